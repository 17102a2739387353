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


@pytest.mark.parametrize("rate", [0.0, 1e-6, 0.001, 1 / 512, 0.9999])
def test_no_rate_above_zero_is_rounded_away(key, rate):
    mask, share = xla.keep_mask(key(), rate, (10_000,))
    dropped = 1 - float(mask.mean())
    assert (dropped > 0) == (share < 1) == (rate > 0)
    assert dropped < 1


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


# Matrix products.


def test_a_dot_general_of_rows_gives_what_a_dense_layer_gives(key):
    x = jax.random.normal(key(), (2, 3, 4))
    plain, own = nn.Dense(5), nn.Dense(5, dot_general=xla.dot_general_of_rows(jnp.matmul))
    variables = plain.init(key(), x)

    def results(layer):
        y, pull = jax.vjp(layer.apply, variables, x)
        return y, pull(jnp.cos(y)), jax.jvp(layer.apply, (variables, x), (variables, x))

    assert_close(results(own), results(plain))


@pytest.mark.parametrize("rows", [1, 3])
def test_products_with_a_row_of_padding_are_the_same(key, rows):
    x, kernel = jax.random.normal(key(), (rows, 4)), jax.random.normal(key(), (4, 5))
    assert_close(xla.with_two_rows(jnp.matmul, x, kernel), x @ kernel)


def test_bfloat16_products_and_their_gradients_are_near_the_plain_ones(key):
    def plain(x, kernel):
        narrow = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
        return jnp.matmul(*narrow, preferred_element_type=jnp.float32)

    x, kernel = jax.random.normal(key(), (6, 8)), jax.random.normal(key(), (8, 5))
    (found, pull), (expected, pull_plain) = (
        jax.vjp(f, x, kernel) for f in (xla.bfloat16_product, plain)
    )
    assert found.dtype == jnp.float32
    assert_close(found, expected)
    gradient = jax.random.normal(key(), found.shape)
    for one, other in zip(pull(gradient), pull_plain(gradient), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, other, atol=0.03 * np.abs(other).max())


# Convolution.


@pytest.mark.parametrize("padding", [1, "SAME", "VALID"])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_a_convolution_and_its_derivatives_are_those_of_jax(key, padding, size, stride):
    borders = ((size // 2, size // 2),) * 2 if padding == 1 else padding
    x = jax.random.normal(key(), (2, 8, 9, 3))
    kernel = jax.random.normal(key(), (size, size, 3, 4))
    towards = jax.random.normal(key(), x.shape), jax.random.normal(key(), kernel.shape)

    @jax.jit
    def both(*at):
        def run(convolve):
            def convolved(x, kernel):
                layout = ("NHWC", "HWIO", "NHWC")
                y = convolve(x, kernel, (stride, stride), borders, dimension_numbers=layout)
                return jnp.sin(y)

            def gradient(*at):
                return jax.grad(lambda *at: jnp.sum(convolved(*at) ** 2), argnums=(0, 1))(*at)

            # Forward, and forward over reverse: a product with the Hessian.
            return jax.jvp(convolved, at, towards), jax.jvp(gradient, at, towards)

        return run(xla.convolution), run(jax.lax.conv_general_dilated)

    found, expected = both(x, kernel)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), found, expected
    )


# Recurrence.


@pytest.mark.parametrize("reverse", [False, True])
def test_a_recurrence_and_its_derivatives_are_those_of_a_scan(key, reverse):
    """A step with two kernels, the second of which multiplies a part of the state with a gate."""
    shapes = {"kernels": [(3, 6), (3, 3)], "inputs": [(4, 2, 6), (4, 2, 3)], "state": [(2, 3)] * 2}
    parts = [[jax.random.normal(key(), shape) for shape in group] for group in shapes.values()]
    at = tuple((kernel,) for kernel in parts[0]), tuple(parts[1]), tuple(parts[2])
    towards = jax.tree.map(lambda x: jax.random.normal(key(), x.shape), at)
    real = jnp.asarray([[True, True]] * 3 + [[True, False]])

    def step(kernels, inputs, real, state):
        memory, hidden = state
        gates, keep = jnp.split(jnp.tanh(inputs[0] + hidden @ kernels[0][0]), 2, axis=-1)
        operand = gates * hidden
        memory = jnp.where(real[:, None], memory * keep + operand, memory)
        new = memory, jnp.tanh(inputs[1] + operand @ kernels[1][0])
        return new, (hidden, operand)

    def plain(kernels, inputs, state):
        def body(state, at):
            state, _ = step(kernels, *at, state)
            return state, state[-1]

        last, outputs = jax.lax.scan(body, state, (inputs, real), reverse=reverse)
        return outputs, last

    def ours(kernels, inputs, state):
        return xla.recurrence(step, kernels, inputs, real, state, reverse=reverse)

    @jax.jit
    def run(at, towards):
        def gradient(run):
            def loss(at):
                outputs, (memory, _) = run(*at)
                return jnp.sum(outputs**2) + jnp.sum(jnp.sin(memory))

            return jax.grad(loss)

        return [
            (jax.jvp(run, at, towards), jax.jvp(gradient(run), (at,), (towards,)))
            for run in (ours, plain)
        ]

    found, expected = run(at, towards)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected
    )


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


# Where a program runs.


def _bfloat16_gradient(x, kernel):
    return jax.grad(lambda kernel: xla.bfloat16_product(x, kernel).sum())(kernel)


def _convolution_gradient(x, kernel):
    images, kernels = x.reshape(2, 4, 4, 4), kernel.reshape(2, 2, 4, 4)
    numbers = ("NHWC", "HWIO", "NHWC")

    def loss(kernels):
        return xla.convolution(images, kernels, (1, 1), "SAME", dimension_numbers=numbers).sum()

    return jax.grad(loss)(kernels)


@pytest.mark.parametrize(
    ("gradient", "plain", "trick"),
    [
        (_bfloat16_gradient, "contracting_dims = [0] x [0]", "stablehlo.compare"),
        (_convolution_gradient, "stablehlo.convolution", "optimization_barrier"),
    ],
)
def test_what_is_for_cpus_is_in_their_programs_only(gradient, plain, trick):
    """Decided where the program is compiled, not by what else the process has."""
    x = jax.ShapeDtypeStruct((8, 16), jnp.float32)
    kernel = jax.ShapeDtypeStruct((16, 4), jnp.float32)

    def program(platform):
        exported = jax.export.export(jax.jit(gradient), platforms=[platform])(x, kernel)
        return exported.mlir_module()

    assert trick in program("cpu")
    for platform in ("cuda", "rocm", "tpu"):
        assert trick not in program(platform)
        assert plain in program(platform)


# Several instances.


def test_instances_one_by_one_are_those_of_vmap(key):
    def function(x, kernel):
        return {"y": jnp.tanh(x @ kernel)}

    x, kernel = jax.random.normal(key(), (3, 4, 5)), jax.random.normal(key(), (5, 2))
    for axes in ((0, None), (0, 0)):
        kernels = kernel if axes[1] is None else jnp.stack([kernel, -kernel, 2 * kernel])
        found = jax.vmap(xla.one_by_one(function), axes)(x, kernels)
        assert_close(found, jax.vmap(function, axes)(x, kernels))
