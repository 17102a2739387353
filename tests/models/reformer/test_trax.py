"""What trax's Reformers compute differently; their numbers are in the tests of parity."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_variables, run

SIZES = {"vocab_size": 11, "d_model": 16, "d_ff": 24, "num_heads": 2, "d_key": 8, "d_value": 6}


def with_quirks(*names, **fields):
    """A language model, or with `num_encoder_layers` a translation, that has some of them."""
    from zoo.models.reformer.models import ReformerConfig, ReformerLMConfig
    from zoo.models.trax.reformer import ReformerQuirks

    config = ReformerConfig if "num_encoder_layers" in fields else ReformerLMConfig
    quirks = ReformerQuirks(**dict.fromkeys(names, True))
    return config(**SIZES, max_len=24, trax=quirks, **fields)


def hashed(**fields):
    from zoo.models.reformer.hashing import LSHAttentionConfig

    return LSHAttentionConfig(**({"chunk_len": 2, "num_hashes": 2, "num_buckets": 4} | fields))


def local(**fields):
    from zoo.models.reformer.attention import SelfAttentionConfig

    return SelfAttentionConfig(chunk_len=2, **fields)


def ids(key, *shape):
    return jax.random.randint(key, shape, 2, 11)


def changes(config, key, *inputs):
    """How much the answer of a config differs from that without its quirks."""
    module, variables = random_variables(config, key)
    plain = dataclasses.replace(config, trax=None).build()
    return np.abs(run(module, variables, *inputs) - run(plain, variables, *inputs)).max()


def test_where_rounds_are_one_ring_padding_is_read(key):
    config = with_quirks("wrap_around", attention=(hashed(),), num_layers=2)
    assert config.reads_padding and not dataclasses.replace(config, trax=None).reads_padding
    tokens = ids(key(), 2, 6)
    assert changes(config, key(), tokens) > 1e-3
    module, variables = random_variables(config, key())
    padded = run(module, variables, jnp.pad(tokens, ((0, 0), (0, 8))))[:, :6]
    assert np.abs(padded - run(module, variables, tokens)).max() > 1e-3


def test_chunks_in_a_ring_change_nothing_in_a_causal_model(key):
    near = local(chunks_before=1)
    config = with_quirks("wrap_around", attention=(near,), num_layers=2)
    assert changes(config, key(), ids(key(), 2, 10)) <= 1e-5


def test_padding_at_the_first_positions_is_visible(key):
    config = with_quirks(
        "first_padding_visible",
        num_encoder_layers=1,
        num_decoder_layers=1,
        attention=(dataclasses.replace(local(), chunk_len=None),),
    )
    target = ids(key(), 1, 3)
    empty = jnp.zeros((1, 4), jnp.int32)
    assert changes(config, key(), ids(key(), 1, 4), target) == 0
    module, variables = random_variables(config, key())
    first = empty.at[0, 2:].set(5)
    # Without the quirk, what is in front of the first word would be masked wherever it is.
    encoded, _ = run(module, variables, first, method="encode")
    plain = dataclasses.replace(config, trax=None).build()
    expected, _ = run(plain, variables, first, method="encode")
    assert np.abs(encoded[:, 2:] - expected[:, 2:]).max() > 1e-3
    later = jnp.array([[5, 5, 0, 0]])
    encoded, _ = run(module, variables, later, method="encode")
    expected, _ = run(plain, variables, later, method="encode")
    np.testing.assert_allclose(encoded[:, :2], expected[:, :2], rtol=1e-5, atol=1e-6)


def test_a_source_is_summed_whatever_is_asked(key):
    config = with_quirks("sum_source", num_encoder_layers=1, num_decoder_layers=1)
    source, target = ids(key(), 1, 4), ids(key(), 1, 3)
    assert changes(config, key(), source, target) > 1e-3
    layer = config.build().stack(1, causal=True).cross_attention()
    values = jax.random.normal(key(), (1, 2, 4, 6))
    scores = jax.random.normal(key(), (1, 2, 3, 4))
    mask = jnp.array([[True, True, False, True]])
    found = layer.weighted_mean(scores, values, mask)
    expected = values[:, :, [0, 1, 3]].sum(axis=2, keepdims=True)
    np.testing.assert_allclose(found, jnp.broadcast_to(expected, found.shape), rtol=1e-5)


def steps(config, variables, tokens):
    """The logits of each step of decoding."""
    module = config.build()
    cache = run(module, variables, 1, 12, method="start")
    found = []
    for place in range(tokens.shape[1]):
        logits, cache = run(
            module, variables, tokens[:, None, place : place + 1], cache, method="extend"
        )
        found.append(logits[:, 0, 0])
    return jnp.stack(found, axis=1)


@pytest.mark.parametrize("quirk", ["decode_all", "count_next"])
def test_decoding_sees_other_tokens(key, quirk):
    kind = local() if quirk == "decode_all" else hashed(num_hashes=1, chunks_before=0)
    config = with_quirks(quirk, attention=(kind,), num_layers=1)
    plain = dataclasses.replace(config, trax=None)
    _, variables = random_variables(config, key())
    tokens = ids(key(), 1, 8)
    np.testing.assert_allclose(
        run(config.build(), variables, tokens), run(plain.build(), variables, tokens)
    )
    assert np.abs(steps(config, variables, tokens) - steps(plain, variables, tokens)).max() > 1e-3


def test_a_tagger_has_no_weights_of_trax():
    from zoo.config import ConfigError
    from zoo.models.reformer.models import ReformerTaggerConfig
    from zoo.models.trax.reformer import ReformerQuirks

    config = ReformerTaggerConfig(**SIZES, num_classes=3, trax=ReformerQuirks())
    with pytest.raises(ConfigError, match=r"ReformerTaggerConfig.trax is a ReformerQuirks; it"):
        config.build()
