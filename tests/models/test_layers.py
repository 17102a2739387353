"""zoo.models.layers: activations against trax's, and the cheap dropout mask."""

import jax
import numpy as np
import pytest


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.999])
def test_the_mask_keeps_exactly_the_share_that_it_says(key, rate):
    from zoo.models.layers import keep_mask

    mask, share = keep_mask(key(), rate, (313, 317))
    assert abs(share - (1 - rate)) <= 1 / 256
    deviation = np.sqrt(share * (1 - share) / mask.size)
    assert abs(mask.mean() - share) <= 5 * deviation


def test_neighbouring_entries_of_a_mask_are_independent(key):
    from zoo.models.layers import keep_mask

    mask = np.asarray(keep_mask(key(), 0.5, (100_000,))[0], float)
    for distance in (1, 2, 3, 4):
        assert abs(np.corrcoef(mask[:-distance], mask[distance:])[0, 1]) < 0.02


def test_dropout_scales_what_it_keeps_and_does_nothing_in_evaluation(key):
    from zoo.models.layers import Dropout

    x = jax.numpy.ones((64, 64))
    dropped = np.asarray(Dropout(0.1).apply({}, x, train=True, rngs={"dropout": key()}))
    assert set(np.unique(dropped)) == {0.0, np.float32(256 / 230)}
    np.testing.assert_array_equal(Dropout(0.1).apply({}, x, train=False), x)


def test_activations_are_trax_s():
    from zoo.models.layers import ACTIVATIONS

    x = np.linspace(-6, 6, 97, dtype=np.float32)
    assert float(ACTIVATIONS["gelu"](1.0)) == pytest.approx(0.8413447)  # x Φ(x), the erf form
    assert float(ACTIVATIONS["gelu_tanh"](1.0)) == pytest.approx(0.8411920)
    np.testing.assert_allclose(ACTIVATIONS["swish"](x), x / (1 + np.exp(-x)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 8), (2, 3, 8), (2, 0, 8)])
def test_a_layer_norm_is_linen_s_and_so_are_its_gradients(key, shape):
    from flax import linen as nn

    from zoo.models.layers import LayerNorm

    x, gradient = 2 + 3 * jax.random.normal(key(), shape), jax.random.normal(key(), shape)
    scale, bias = jax.random.normal(key(), (8,)), jax.random.normal(key(), (8,))
    variables = {"params": {"scale": scale, "bias": bias}}

    def both(module):
        result, pull = jax.vjp(module.apply, variables, x)
        return result, pull(gradient)

    found, expected = both(LayerNorm()), both(nn.LayerNorm(1e-6, use_fast_variance=False))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected
    )
