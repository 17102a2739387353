"""Reversible layers: trax's numbers, and ordinary back-propagation's, with dropout too."""

from __future__ import annotations

import functools

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


def feed_forward(weights, x, memory, extras):
    scale, bias, up, up_bias, down, down_bias = weights
    hidden = jax.nn.relu(layer_norm(x, scale, bias) @ up + up_bias[None, None])
    return hidden @ down + down_bias[None, None], ()


def attention(weights, x, memory, extras):
    from zoo.models.reformer.attention import SelfAttention, SelfAttentionConfig
    from zoo.models.reformer.heads import HeadConfig

    scale, bias, query, key, value, out = weights
    heads = HeadConfig(d_model=8, num_heads=2, d_key=4, d_value=4)
    params = {"query": query, "key": key, "value": value, "out": out}
    module = SelfAttention(SelfAttentionConfig(), heads, causal=True)
    return module.apply({"params": params}, layer_norm(x, scale, bias))


def forward(branches, parameters, streams, memory, extras):
    """The whole stack, as `ReformerStack` runs it: the streams, and the choices of the branches."""
    from zoo.models.reformer import reversible

    def cycle(streams, step):
        repetition, weights, rotations = step
        each = reversible.split(extras._replace(rotations=rotations), repetition)
        own = [functools.partial(*pair) for pair in zip(branches, weights, strict=True)]
        return reversible.forward(own, streams, memory, each)

    steps = jnp.arange(reversible.repetitions(parameters)), parameters, extras.rotations
    return jax.lax.scan(cycle, streams, steps)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "branches"),
    [
        ("half_residual", (feed_forward,)),
        ("half_residual_attn", (attention,)),
        ("serial", (attention, feed_forward, feed_forward)),
    ],
)
def test_outputs_inputs_and_gradients_are_trax_s(shared, name, branches):
    from zoo.models.reformer import reversible

    arrays = np.load(shared / "golden" / "open" / "reformer" / f"reversible_{name}.npz")
    arrays = {key: jnp.asarray(value) for key, value in arrays.items()}
    places = np.split(np.arange(6 * len(branches)), len(branches))
    parameters, expected = (
        tuple(tuple(arrays[f"{prefix}{i:02d}"][None] for i in place) for place in places)
        for prefix in ("w", "dw")
    )
    extras = reversible.Extras(rotations=(None,) * len(branches))

    @jax.jit
    def run(parameters, streams):
        streams, choices = forward(branches, parameters, streams, (), extras)
        # We swap the streams after each branch, trax only in between.
        gradients = arrays["y2_ct"], arrays["y1_ct"]
        return streams, reversible.backward(
            branches, parameters, streams, (), extras._replace(choices=choices), gradients
        )

    (y2, y1), (found, of_parameters, of_streams, _) = run(parameters, (arrays["x1"], arrays["x2"]))
    np.testing.assert_allclose(y1, arrays["y1"], **CLOSE)
    np.testing.assert_allclose(y2, arrays["y2"], **CLOSE)
    for stream, key in zip((*found, *of_streams), ("rec_x1", "rec_x2", "dx1", "dx2"), strict=True):
        np.testing.assert_allclose(stream, arrays[key], **CLOSE)
    for mine, theirs in zip(jax.tree.leaves(of_parameters), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, **CLOSE)


def test_gradients_are_those_of_back_propagation_with_dropout_and_memory(key):
    from zoo.models.reformer import reversible

    def dense(weights, x, memory, extras):
        dropped = jax.random.bernoulli(extras.rng, 0.5, x.shape)
        return jnp.tanh(jnp.where(dropped, 0.0, x) @ weights) * extras.rotations[None, None], ()

    def look(weights, x, memory, extras):
        return jnp.sin(x * weights[None, None]) * memory * extras.masks[..., None], ()

    def choose(weights, x, memory, extras):
        chosen = jnp.argmax(x, axis=-1) if extras.choices is None else extras.choices
        return jax.nn.one_hot(chosen, 3) @ weights, chosen

    branches, normal = (dense, look, choose), jax.random.normal
    parameters = normal(key(), (4, 3, 3)), normal(key(), (4, 3)), normal(key(), (4, 3, 3))
    streams = normal(key(), (2, 5, 3)), normal(key(), (2, 5, 3))
    memory = normal(key(), (2, 5, 3))
    gradients = normal(key(), (2, 5, 3)), normal(key(), (2, 5, 3))
    extras = reversible.Extras(
        masks=jnp.array([[True] * 5, [True] * 2 + [False] * 3]),
        rotations=(normal(key(), (4, 3)), None, None),
        rng=key(),
    )

    @jax.jit
    def plainly(*inputs):
        (_, choices), pull = jax.vjp(lambda *x: forward(branches, *x, extras), *inputs)
        nothing = jax.tree.map(lambda x: np.zeros(x.shape, jax.dtypes.float0), choices)
        return pull((gradients, nothing))

    @jax.jit
    def reversibly(parameters, streams, memory):
        out, choices = forward(branches, parameters, streams, memory, extras)
        kept = extras._replace(choices=choices)
        return reversible.backward(branches, parameters, out, memory, kept, gradients)

    found, *of_inputs = reversibly(parameters, streams, memory)
    expected = plainly(parameters, streams, memory)
    for mine, theirs in ((found, streams), (tuple(of_inputs), expected)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), mine, theirs)
