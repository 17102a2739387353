"""zoo.xla: each function gives what its plain form gives, values and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from zoo import xla

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), found, expected)


# Choosing.


def test_argmax_takes_the_first_of_equal_values(key):
    x = jnp.round(jax.random.normal(key(), (2, 7, 50)))
    np.testing.assert_array_equal(xla.argmax(x), jnp.argmax(x, axis=-1))


@pytest.mark.parametrize("size", [5, 128, 1000, 1664])
def test_top_k_takes_the_first_of_equal_values(key, size):
    x = jnp.round(jax.random.normal(key(), (3, size)) * 3)
    for k in (1, 4, 6):
        if k <= size:
            for found, expected in zip(xla.top_k(x, k), jax.lax.top_k(x, k), strict=True):
                np.testing.assert_array_equal(found, expected)


# Random masks.


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.999])
def test_a_mask_keeps_exactly_the_share_that_it_says(key, rate):
    mask, share = xla.keep_mask(key(), rate, (313, 317))
    assert abs(share - (1 - rate)) <= 1 / 256
    deviation = np.sqrt(share * (1 - share) / mask.size)
    assert abs(mask.mean() - share) <= 5 * deviation


def test_neighbouring_entries_of_a_mask_are_independent(key):
    mask = np.asarray(xla.keep_mask(key(), 0.5, (100_000,))[0], float)
    for distance in (1, 2, 3, 4):
        assert abs(np.corrcoef(mask[:-distance], mask[distance:])[0, 1]) < 0.02


# Normalisation.


@pytest.mark.parametrize("shape", [(7, 8), (2, 3, 8), (2, 0, 8)])
def test_layer_norm_and_its_derivatives_are_linen_s(key, shape):
    plain = nn.LayerNorm(1e-6, use_fast_variance=False)

    def linen(x, scale, bias):
        return plain.apply({"params": {"scale": scale, "bias": bias}}, x)

    def own(x, scale, bias):
        return xla.layer_norm(x, scale, bias, 1e-6)

    def draw():
        return [jax.random.normal(key(), size) for size in (shape, (8,), (8,))]

    at, towards, gradient = draw(), draw(), jax.random.normal(key(), shape)
    at[0] = 2 + 3 * at[0]
    assert_close(jax.jvp(own, at, towards), jax.jvp(linen, at, towards))
    (found, pull), (expected, pull_plain) = jax.vjp(own, *at), jax.vjp(linen, *at)
    assert_close(found, expected)
    assert_close(pull(gradient), pull_plain(gradient))


# Fusion.


def test_what_is_computed_unfused_is_the_same(key):
    x = jax.random.normal(key(), (3, 4))

    def own(x):
        return xla.unfused(jnp.transpose, jnp.sin(x), x[0, 0]) ** 2

    def plain(x):
        return jnp.sin(x).T ** 2

    np.testing.assert_array_equal(jax.jit(own)(x), jax.jit(plain)(x))
    assert_close(jax.jacfwd(own)(x), jax.jacfwd(plain)(x))
    assert_close(jax.jacrev(own)(x), jax.jacrev(plain)(x))


# Attention.


def test_softmax_and_its_derivatives_are_the_plain_form_s(key):
    def plain(scores):
        normaliser = jax.nn.logsumexp(scores, axis=-1)
        return jnp.exp(scores - normaliser[..., None]), normaliser

    def draw(*shape):
        return jax.random.normal(key(), shape)

    scores, towards = draw(3, 4, 7), draw(3, 4, 7)
    scores = scores.at[0, 0].add(-1e9)  # each weight is 1
    gradients = draw(3, 4, 7), draw(3, 4)
    assert_close(jax.jvp(xla.softmax, (scores,), (towards,)), jax.jvp(plain, (scores,), (towards,)))
    found, expected = jax.vjp(xla.softmax, scores), jax.vjp(plain, scores)
    assert_close(found[0], expected[0])
    assert_close(found[1](gradients), expected[1](gradients))


# Gathers.


@pytest.mark.parametrize("number", [1, 60])  # by gather, by counts
def test_a_weighted_sum_and_its_gradients_are_the_plain_form_s(key, number):
    table = jax.random.normal(key(), (40, 4))
    ids = jax.random.randint(key(), (2, number), 0, 45)  # 40 and more are no rows
    weights = jax.random.uniform(key(), (2, number))

    def plain(table, weights):
        rows = jnp.take(table, ids, axis=0, mode="fill", fill_value=0)
        return jnp.einsum("bnd,bn->bd", rows, weights)

    def own(table, weights):
        return xla.weighted_sum(table, ids, weights)

    gradient = jax.random.normal(key(), (2, 4))
    found, expected = jax.vjp(own, table, weights), jax.vjp(plain, table, weights)
    assert_close(found[0], expected[0])
    assert_close(found[1](gradient), expected[1](gradient))
