"""Convolutions and normalisations, whose gradients are written by hand, beside JAX's own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.config import ConfigError
from zoo.models import convolution


@pytest.mark.parametrize("padding", ["symmetric", "same", "valid"])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_the_gradients_of_a_convolution(key, padding, size, stride):
    borders = convolution._borders(padding, size)
    for height, width in ((8, 9), (7, 10)):
        x = jax.random.normal(key(), (2, height, width, 3))
        kernel = jax.random.normal(key(), (size, size, 3, 4))

        @jax.jit
        def both(x, kernel):
            def run(function):
                result, pull = jax.vjp(lambda *a: function(*a, stride, borders), x, kernel)
                return result, pull(jnp.cos(jnp.arange(result.size)).reshape(result.shape))

            return run(convolution.convolve), run(convolution._convolve)

        found, expected = both(x, kernel)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected
        )


def test_the_gradients_of_a_normalisation(key):
    x = 3 + 2 * jax.random.normal(key(), (4, 5, 6, 3))
    scale, bias = jax.random.normal(key(), (3,)), jax.random.normal(key(), (3,))
    gradient = jax.random.normal(key(), x.shape)

    def plain(x, scale, bias):
        mean, var = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
        of_each = (y[None, None, None] for y in (mean, jnp.sqrt(var + 1e-5), scale, bias))
        centre, deviation, factor, shift = of_each
        return (x - centre) / deviation * factor + shift, mean, var

    def pulled(function):
        @jax.jit
        def run(*arguments):
            results, pull = jax.vjp(function, *arguments)
            nothing = jnp.zeros(3)
            return results, pull((gradient, nothing, nothing))

        return run(x, scale, bias)

    found = pulled(lambda *a: convolution.standardise(*a, 1e-5))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, pulled(plain)
    )


def test_a_window_larger_than_what_is_left_of_the_image_is_refused():
    with pytest.raises(ConfigError) as error:
        convolution.average(jnp.zeros((1, 8, 4, 2)), 7)
    assert str(error.value) == (
        "pool_window is 7, and there are 8 x 4 positions left of the image; make the window "
        "smaller, None for all positions, or the images larger"
    )
