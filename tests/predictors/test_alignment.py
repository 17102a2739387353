"""Which words of the source a translation looks at."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SIZES, toy_predictor


@pytest.fixture
def lstm(key):
    from zoo.models.seq2seq import LSTMSeq2SeqConfig

    config = LSTMSeq2SeqConfig(vocab_size=258, d_model=SIZES["d_model"], num_heads=2)
    return toy_predictor(config, "translation", key)


def by_hand(translator, source, target, layer):
    """The weights of one decoder layer, computed from the vectors that Flax can show."""
    config = translator.module.config
    params = jax.tree.map(np.asarray, translator.variables["params"])
    inputs = jnp.asarray([translator.encode(source)])
    targets = jnp.asarray([[*translator.encode(target), 1]])
    _, seen = translator.module.apply(
        translator.variables, inputs, targets, capture_intermediates=True
    )
    seen = jax.tree.map(np.asarray, seen["intermediates"])
    memory = seen["encoder"]["__call__"][0][0]
    normed = seen["decoder"][f"block_{layer}"]["cross_attention_norm"]["__call__"][0][0]
    at = params["decoder"][f"block_{layer}"]["cross_attention"]
    shape = (-1, config.num_heads, config.d_model // config.num_heads)
    queries, keys = (
        (x @ at[name]["kernel"] + at[name]["bias"]).reshape(shape)
        for name, x in (("query", normed), ("key", memory))
    )
    scores = np.einsum("thk,shk->hts", queries, keys) / np.sqrt(shape[-1])
    return jax.nn.softmax(scores, axis=-1).mean(axis=0)


def test_weights_are_those_of_the_decoder_s_layers(translator):
    layers = translator.module.config.num_decoder_layers
    expected = [by_hand(translator, "abc", "de", layer) for layer in range(layers)]
    for layer in range(layers):
        found = translator.align("abc", "de", layer=layer)
        assert found.source == ("a", "b", "c") and found.target == ("d", "e", "<end>")
        np.testing.assert_allclose(found.weights, expected[layer], rtol=1e-4, atol=1e-5)
    mean = translator.align("abc", "de").weights
    np.testing.assert_allclose(mean, np.mean(expected, axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["translator", "lstm"])
def test_each_row_is_a_distribution_over_the_source_whatever_else_is_in_the_batch(name, request):
    translator = request.getfixturevalue(name)
    sources, targets = ["abc", "a much longer sentence", "x"], ["d", "efgh", "a long answer here"]
    together = translator.align(sources, targets)
    for source, target, found in zip(sources, targets, together, strict=True):
        assert found.weights.shape == (len(target) + 1, len(source))
        np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(
            found.weights, translator.align(source, target).weights, rtol=1e-4, atol=1e-6
        )


def test_what_cannot_be_aligned_is_refused(translator, key):
    with pytest.raises(ValueError, match=r"layer is 9; .* has the layers 0 to"):
        translator.align("abc", "de", layer=9)
    with pytest.raises(TypeError, match="align takes two strings or two lists"):
        translator.align("abc", ["de"])
    from zoo.models.reformer.models import ReformerConfig

    config = ReformerConfig(**SIZES, vocab_size=258, num_encoder_layers=1, num_decoder_layers=1)
    reformer = toy_predictor(config, "translation", key)
    with pytest.raises(ValueError, match="shows no attention to the source"):
        reformer.align("abc", "de")
