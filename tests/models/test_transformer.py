"""The Transformers: properties. trax's numbers are in tests/interop/test_parity.py."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_variables, run

SIZES = {"d_model": 16, "d_ff": 24, "num_heads": 2, "max_len": 12, "dropout_rate": 0.3}
EXACT = {"rtol": 1e-5, "atol": 1e-5}


def translation(**changes):
    from zoo.models.transformer import TransformerConfig

    return TransformerConfig(
        **SIZES, vocab_size=11, num_encoder_layers=1, num_decoder_layers=1, **changes
    )


def language(**changes):
    from zoo.models.transformer import TransformerLMConfig

    return TransformerLMConfig(**SIZES, vocab_size=11, num_layers=2, **changes)


def classifier(**changes):
    from zoo.models.transformer import TransformerEncoderConfig

    return TransformerEncoderConfig(**SIZES, vocab_size=11, num_layers=2, num_classes=3, **changes)


def ids(key, *shape):
    return jax.random.randint(key, shape, 2, 11)


def test_a_target_token_sees_only_what_is_before_it(key):
    module, variables = random_variables(translation(), key())
    source, target = ids(key(), 1, 5), ids(key(), 1, 6)
    logits = run(module, variables, source, target)
    changed = run(module, variables, source, target.at[0, 3].set((target[0, 3] + 1) % 11))
    np.testing.assert_array_equal(logits[0, :4], changed[0, :4])
    assert np.abs(logits[0, 4] - changed[0, 4]).max() > 1e-3


def test_padding_of_the_source_changes_nothing(key):
    module, variables = random_variables(translation(), key())
    source, target = ids(key(), 2, 5), ids(key(), 2, 6)
    logits = run(module, variables, source, target)
    padded = run(module, variables, jnp.pad(source, ((0, 0), (0, 4))), target)
    np.testing.assert_allclose(logits, padded, **EXACT)


def test_a_source_of_padding_alone_is_no_source_however_long_it_is(key):
    module, variables = random_variables(translation(), key())
    target = ids(key(), 1, 6)
    short, long = (
        run(module, variables, jnp.zeros((1, length), jnp.int32), target) for length in (2, 9)
    )
    assert np.isfinite(short).all()
    np.testing.assert_allclose(short, long, **EXACT)


@pytest.mark.parametrize("separate", [False, True])
def test_steps_with_a_cache_are_the_whole_pass(key, separate):
    module, variables = random_variables(
        translation(target_vocab_size=7 if separate else None), key()
    )
    source, target = ids(key(), 3, 5).at[1, 3:].set(0), ids(key(), 3, 6) % 7
    expected = run(module, variables, source, target)
    assert expected.shape == (3, 6, 7 if separate else 11)
    cache = run(module, variables, source, 8, method="start")
    tokens = jnp.pad(target, ((0, 0), (1, 0)))  # after the start
    for position in range(6):
        given = tokens[:, None, position : position + 1]
        logits, cache = run(module, variables, given, cache, method="extend")
        np.testing.assert_allclose(logits[:, 0, 0], expected[:, position], **EXACT)


def test_a_cache_takes_several_tokens_at_once(key):
    module, variables = random_variables(language(), key())
    tokens = ids(key(), 2, 7)
    expected = run(module, variables, tokens)
    cache = run(module, variables, 2, 7, method="start")
    given = jnp.pad(tokens, ((0, 0), (1, 0)))
    for first, last in ((0, 4), (4, 5), (5, 7)):
        logits, cache = run(module, variables, given[:, None, first:last], cache, method="extend")
        np.testing.assert_allclose(logits[:, 0], expected[:, first:last], **EXACT)


def test_reordered_beams_go_on_from_their_parents(key):
    module, variables = random_variables(translation(), key())
    source = ids(key(), 2, 5)
    # At each step both beams take the past of these, and read these tokens.
    parents = np.array([[[0, 0], [0, 0]], [[1, 0], [1, 1]], [[1, 1], [0, 1]], [[0, 1], [1, 0]]])
    tokens = np.asarray(ids(key(), 4, 2, 2))
    cache = run(module, variables, source, 6, method="start")
    pasts = [[[], []], [[], []]]
    for step in range(4):
        cache = cache.reorder(jnp.asarray(parents[step]))
        pasts = [
            [pasts[row][parents[step, row, beam]] + [tokens[step, row, beam]] for beam in (0, 1)]
            for row in (0, 1)
        ]
        logits, cache = module.apply(
            variables, jnp.asarray(tokens[step])[..., None], cache, method="extend"
        )
        for row in (0, 1):
            for beam in (0, 1):
                past = jnp.array([[*pasts[row][beam][1:], 0]])  # the last one is not looked at
                first = pasts[row][beam][0]
                alone = run(module, variables, source[row : row + 1], 6, method="start")
                given = jnp.array([[[first, *np.asarray(past[0, :-1])]]])
                expected, _ = run(module, variables, given, alone, method="extend")
                np.testing.assert_allclose(logits[row, beam, 0], expected[0, 0, -1], **EXACT)


def test_a_classifier_averages_real_tokens_unless_it_is_trax_s(key):
    from zoo.models.trax.transformer import TransformerEncoderQuirks

    tokens = ids(key(), 2, 5)
    padded = jnp.pad(tokens, ((0, 0), (0, 3)))
    module, variables = random_variables(classifier(), key())
    np.testing.assert_allclose(
        run(module, variables, tokens), run(module, variables, padded), **EXACT
    )
    as_trax = classifier(trax=TransformerEncoderQuirks(average_padding=True))
    assert as_trax.reads_padding and as_trax.exact_lengths and not module.config.reads_padding
    as_trax = as_trax.build()
    difference = run(as_trax, variables, tokens) - run(as_trax, variables, padded)
    assert np.abs(difference).max() > 1e-3
    assert np.isfinite(run(module, variables, jnp.zeros((1, 4), jnp.int32))).all()


def test_dropout_is_for_training_alone_and_its_key_decides(key):
    module, variables = random_variables(translation(), key())
    source, target = ids(key(), 2, 5), ids(key(), 2, 5)
    one, other = key(), key()

    def train(dropout):
        return run(module, variables, source, target, train=True, rngs={"dropout": dropout})

    np.testing.assert_array_equal(train(one), train(one))
    assert np.abs(train(one) - train(other)).max() > 1e-3
    without = dataclasses.replace(module.config, dropout_rate=0.0).build()
    np.testing.assert_array_equal(
        run(without, variables, source, target, train=True),
        run(module, variables, source, target),
    )


def loss(module, variables, source, target, train=False):
    rngs = {"dropout": jax.random.key(0)}
    logits = module.apply(variables, source, target, train=train, rngs=rngs)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], axis=-1))


gradient = jax.jit(jax.grad(loss, argnums=1), static_argnums=(0, 4))


def test_rematerialisation_gives_the_same_gradients(key):
    module, variables = random_variables(translation(), key())
    again = dataclasses.replace(module.config, remat=True).build()
    source, target = ids(key(), 2, 5), ids(key(), 2, 5)
    expected, found = (gradient(m, variables, source, target, True) for m in (module, again))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), expected, found)


def test_bfloat16_is_close_forward_and_backward_with_float32_results(key):
    module, variables = random_variables(translation(), key())
    narrow = dataclasses.replace(module.config, dtype="bfloat16").build()
    source, target = ids(key(), 4, 6), ids(key(), 4, 6)
    logits = run(narrow, variables, source, target)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, run(module, variables, source, target), atol=0.1)
    exact, rounded = (gradient(m, variables, source, target) for m in (module, narrow))

    def close(a, b):
        assert b.dtype == jnp.float32
        assert np.linalg.norm(a - b) <= 0.1 * np.linalg.norm(a) + 1e-4

    jax.tree.map(close, exact, rounded)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("rows", [1, 3])
def test_weights_converted_for_inference_give_close_answers(key, dtype, rows):
    from zoo.models import dense

    module, variables = random_variables(translation(), key())
    config = dataclasses.replace(module.config, dtype=dtype)
    converted = dense.convert(variables, dtype)
    shapes = config.variable_shapes()
    assert jax.tree.map(jnp.shape, converted) == jax.tree.map(jnp.shape, shapes)
    source, target = ids(key(), rows, 5), ids(key(), rows, 6)
    expected = run(module, variables, source, target)
    found = run(config.build(), converted, source, target)
    np.testing.assert_allclose(found, expected, atol=0.15)
    assert np.abs(found - expected).max() > 1e-6


def test_int8_rounds_to_127_steps_of_each_row_and_column(key):
    from zoo.models import dense

    x, kernel = jax.random.normal(key(), (3, 8)), jax.random.normal(key(), (8, 4))
    stored = dense.convert({"kernel": kernel, "bias": jnp.zeros(4)}, "int8")
    assert stored["kernel"].dtype == jnp.int8 and stored["kernel"].shape == (4, 8)
    rows = np.round(np.asarray(x) / (s := np.abs(x).max(1, keepdims=True) / 127)) * s
    columns = np.round(np.asarray(kernel) / (s := np.abs(kernel).max(0, keepdims=True) / 127)) * s
    product = dense.int8_product(x, stored["kernel"], stored["scale"])
    np.testing.assert_allclose(product, rows @ columns, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(
        dense.int8_product(jnp.zeros((2, 8)), stored["kernel"], stored["scale"]), 0
    )


def test_ids_outside_the_vocabulary_are_clipped(key):
    module, variables = random_variables(language(), key())
    np.testing.assert_array_equal(
        run(module, variables, jnp.array([[3, 99, -5, 2]])),
        run(module, variables, jnp.array([[3, 10, 0, 2]])),
    )


def test_sinusoids_alternate_sine_and_cosine():
    from zoo.models.layers import sinusoids

    table = sinusoids(None, (5, 6))
    np.testing.assert_allclose(table[3, 0], np.sin(3), rtol=1e-6)
    np.testing.assert_allclose(table[3, 1], np.cos(3), rtol=1e-6)
    np.testing.assert_allclose(table[3, 4], np.sin(3 * 10_000 ** (-4 / 6)), rtol=1e-6)


def test_what_does_not_fit_is_said(key):
    from zoo.config import ConfigError

    for field, value in {
        "num_heads": 0,
        "d_ff": -1,
        "num_encoder_layers": -1,
        "max_len": 0,
    }.items():
        with pytest.raises(ConfigError, match=f"{field} is {value}; it must be 1 or more"):
            dataclasses.replace(translation(), **{field: value})
    with pytest.raises(ConfigError, match=r"d_model=16 must be even and a multiple of num_heads=3"):
        dataclasses.replace(translation(), num_heads=3)
    module, variables = random_variables(language(), key())
    with pytest.raises(ValueError, match=r"a sequence of 13 positions is longer than max_len=12; "):
        run(module, variables, jnp.zeros((1, 13), jnp.int32))
    with pytest.raises(ValueError, match=r"a cache of 13 positions is longer than max_len=12"):
        run(module, variables, 1, 13, method="start")


@pytest.mark.gpu
@pytest.mark.parametrize("length", [8, 7])
def test_fused_attention_gives_what_plain_attention_gives(key, monkeypatch, length):
    from zoo import xla
    from zoo.models import attention

    if not xla._has_ampere():
        pytest.skip("cuDNN's attention is for GPUs of NVIDIA, from Ampere on")
    module = attention.Attention(num_heads=2, d_model=128, dtype="bfloat16")
    x = jax.random.normal(key(), (3, length, 128))
    mask = jnp.arange(length)[None, None, None] < jnp.array([length, 5, 0])[:, None, None, None]

    def answer(variables, x):
        memory = module.apply(variables, x, method="keys_values")
        return module.apply(variables, x, *memory, mask, train=False)

    def begin(module, x):
        return module(x, *module.keys_values(x), mask, train=False)

    variables = module.init(key(), x, method=begin)
    results = []
    for fused in (True, False):
        monkeypatch.setattr(xla, "has_fused_attention", lambda *_, fused=fused: fused)
        found, pull = jax.vjp(answer, variables, x)
        results.append((found, pull(jnp.cos(jnp.arange(found.size)).reshape(found.shape))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.05), *results)


def test_fused_attention_is_asked_for_what_it_takes(monkeypatch):
    from zoo import xla
    from zoo.models import attention

    asked = []

    def fused(plain, queries, keys, values, mask):
        asked.append(True)
        return queries

    monkeypatch.setattr(xla, "fused_attention", fused)
    monkeypatch.setattr(xla, "_has_ampere", lambda: True)

    def asks(width=64, length=6, train=False, **fields):
        fields = {"num_heads": 2, "d_model": 2 * width, "dtype": "bfloat16"} | fields
        module = attention.Attention(**fields)
        heads = jnp.zeros((1, 2, length, width))
        x, mask = jnp.zeros((1, length, 2 * width)), jnp.ones((1, 1, 1, length), bool)
        inputs = x, heads.swapaxes(2, 3), heads, mask, train
        rngs = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
        asked.clear()
        jax.eval_shape(lambda: module.init(rngs, *inputs))
        return bool(asked)

    assert asks() and asks(train=True) and asks(length=5) and asks(dropout_rate=0.1)
    assert not asks(width=12) and not asks(width=136) and not asks(dtype="float32")
    assert not asks(dropout_rate=0.1, train=True)
    monkeypatch.setattr(xla, "_has_ampere", lambda: False)
    assert not asks()


def test_where_a_process_has_a_gpu_a_program_for_its_cpu_is_the_plain_one(key, monkeypatch):
    """Values and gradients, also of odd lengths; the branch for GPUs would fail here."""
    from zoo import xla
    from zoo.models import attention

    def on_gpus(queries, keys, values, mask):
        return queries * jnp.nan

    monkeypatch.setattr(xla, "_cudnn_attention", on_gpus)
    module = attention.Attention(num_heads=2, d_model=16, dtype="bfloat16")
    x, mask = jax.random.normal(key(), (2, 5, 16)), jnp.ones((2, 1, 1, 5), bool)

    def begin(module, x):
        return module(x, *module.keys_values(x), mask)

    variables = module.init(key(), x, method=begin)

    def loss(variables, x):
        return module.apply(variables, x, method=begin).sum()

    results = []
    for ampere in (True, False):
        monkeypatch.setattr(xla, "_has_ampere", lambda ampere=ampere: ampere)
        results.append(jax.jit(jax.value_and_grad(loss))(variables, x))
        jax.clear_caches()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *results)
