"""Reversible layers: trax's numbers, and ordinary back-propagation's, with dropout too."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
EXACT = {"rtol": 1e-4, "atol": 1e-5}


def layer_norm(x, scale, bias):
    centred = x - x.mean(-1, keepdims=True)
    normed = centred / jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-6)
    return normed * scale[None, None] + bias[None, None]


def feed_forward(weights, x, memory, given):
    scale, bias, up, up_bias, down, down_bias = weights
    hidden = jax.nn.relu(layer_norm(x, scale, bias) @ up + up_bias[None, None])
    return hidden @ down + down_bias[None, None], ()


def attention(weights, x, memory, given):
    from zoo.models.reformer.self_attention import HeadSizes, SelfAttention, SelfAttentionConfig

    scale, bias, query, key, value, out = weights
    sizes = HeadSizes(d_model=8, num_heads=2, d_key=4, d_value=4)
    params = {"query": query, "key": key, "value": value, "out": out}
    module = SelfAttention(SelfAttentionConfig(), sizes, causal=True)
    return module.apply({"params": params}, layer_norm(x, scale, bias), train=False), ()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "functions"),
    [
        ("half_residual", (feed_forward,)),
        ("half_residual_attn", (attention,)),
        ("serial", (attention, feed_forward, feed_forward)),
    ],
)
def test_outputs_inputs_and_gradients_are_trax_s(shared, name, functions):
    from zoo.models.reformer import reversible

    arrays = np.load(shared / "golden" / "open" / "reformer" / f"reversible_{name}.npz")
    arrays = {key: jnp.asarray(value) for key, value in arrays.items()}
    places = np.split(np.arange(6 * len(functions)), len(functions))
    parameters, expected = (
        tuple(tuple(arrays[f"{prefix}{i:02d}"][None] for i in place) for place in places)
        for prefix in ("w", "dw")
    )
    # We swap the streams after each function, trax in between only.
    streams, given = (arrays["x1"], arrays["x2"]), reversible.Given()

    @jax.jit
    def run(parameters, streams):
        streams, kept = reversible.forward(functions, parameters, streams, (), given)
        gradients = arrays["y2_ct"], arrays["y1_ct"]
        return streams, reversible.backward(
            functions, parameters, streams, (), given, kept, gradients
        )

    (y2, y1), (found, of_parameters, of_streams, _) = run(parameters, streams)
    np.testing.assert_allclose(y1, arrays["y1"], **CLOSE)
    np.testing.assert_allclose(y2, arrays["y2"], **CLOSE)
    for stream, key in zip((*found, *of_streams), ("rec_x1", "rec_x2", "dx1", "dx2"), strict=True):
        np.testing.assert_allclose(stream, arrays[key], **CLOSE)
    for mine, theirs in zip(jax.tree.leaves(of_parameters), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, **CLOSE)


def test_gradients_are_those_of_back_propagation_with_dropout_and_memory(key):
    from zoo.models.reformer import reversible

    def dense(weights, x, memory, given):
        dropped = jax.random.bernoulli(given.key, 0.5, x.shape)
        return jnp.tanh(jnp.where(dropped, 0.0, x) @ weights) * given.each[None, None], ()

    def look(weights, x, memory, given):
        return jnp.sin(x * weights[None, None]) * memory * given.fixed[..., None], ()

    def choose(weights, x, memory, given):
        chosen = jnp.argmax(x, axis=-1) if given.kept is None else given.kept
        return jax.nn.one_hot(chosen, 3) @ weights, chosen

    functions = dense, look, choose
    normal = jax.random.normal
    parameters = normal(key(), (4, 3, 3)), normal(key(), (4, 3)), normal(key(), (4, 3, 3))
    streams = normal(key(), (2, 5, 3)), normal(key(), (2, 5, 3))
    memory = normal(key(), (2, 5, 3))
    given = reversible.Given(
        fixed=jnp.array([[True] * 5, [True] * 2 + [False] * 3]),
        each=(normal(key(), (4, 3)), None, None),
        key=key(),
    )

    def loss(run):
        def of(parameters, streams, memory):
            y1, y2 = run(functions, parameters, streams, memory, given)
            return jnp.sum(jnp.sin(y1) + y2**2)

        return jax.jit(jax.value_and_grad(of, argnums=(0, 1, 2)))(parameters, streams, memory)

    def plainly(*inputs):
        return reversible.forward(*inputs)[0]

    expected, found = loss(plainly), loss(reversible.reversible)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), expected, found)
