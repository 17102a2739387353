"""A Reformer's attention layers: trax's numbers (with its quirks), and local attention."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
EXACT = {"rtol": 1e-5, "atol": 1e-5}
NAMES = {"w_q": "query", "w_k": "key", "w_v": "value", "w_o": "out"}
NAMES |= {f"b_{letter}": f"{NAMES[f'w_{letter}']}_bias" for letter in "qkv"}


def golden(shared, name):
    """trax's arrays, its arguments, and its weights and their gradients under our names."""
    folder = shared / "golden" / "open"
    facts = json.loads((folder / "manifest.json").read_text())[f"reformer/{name}.npz"]
    arrays = {k: jnp.asarray(v) for k, v in np.load(folder / "reformer" / f"{name}.npz").items()}
    params, gradients = (
        {ours: arrays[f"{prefix}{name}"] for name, ours in NAMES.items() if name in arrays}
        for prefix in ("", "d")
    )
    return arrays, facts, params, gradients


def heads_of(params):
    from zoo.models.reformer.heads import HeadConfig

    heads, d_model, d_key = params["query"].shape
    return HeadConfig(
        d_model=d_model, num_heads=heads, d_key=d_key, d_value=params["value"].shape[2]
    )


def quirks(*names):
    from zoo.models.trax.reformer import ReformerQuirks

    return ReformerQuirks(**dict.fromkeys(names, True))


def assert_trax_s(function, inputs, arrays, expected):
    """Outputs and gradients (by input, by name of a weight) of `function(params, *inputs)`."""
    params, names = inputs[0], list(expected)

    def loss(*inputs):
        out = function(*inputs)
        return jnp.sum(out * arrays["out_ct"]), out

    gradient = jax.jit(jax.grad(loss, argnums=tuple(range(len(inputs))), has_aux=True))
    (of_params, *of_inputs), out = gradient(*inputs)
    np.testing.assert_allclose(out, arrays["out"], **CLOSE)
    assert params.keys() == of_params.keys() == {*names}
    keys = ["dx"] if len(of_inputs) == 1 else ["dq", "dkv"]
    found = of_params | dict(zip(keys, of_inputs, strict=True))
    for name, gradient in (expected | {key: arrays[key] for key in keys}).items():
        if name != "key_bias":  # it has no true gradient: both sides are rounding errors
            difference = np.linalg.norm(found[name] - gradient)
            assert difference <= 1e-4 * np.linalg.norm(gradient), name


@pytest.mark.shared
@pytest.mark.parametrize("number", range(5))
def test_attention_by_hashes_is_trax_s(shared, number):
    from zoo.models.reformer.hashing import LSHAttentionConfig, hash_buckets
    from zoo.models.reformer.heads import split_heads
    from zoo.models.trax.reformer import TraxLSHSelfAttention

    arrays, facts, params, gradients = golden(shared, f"lsh_attention_{number}")
    kwargs = facts["kwargs"]
    buckets = kwargs["n_buckets"]
    config = LSHAttentionConfig(
        chunk_len=kwargs["chunk_len"],
        chunks_before=kwargs["n_chunks_before"],
        chunks_after=kwargs["n_chunks_after"],
        num_hashes=kwargs["n_hashes"],
        num_buckets=tuple(buckets) if isinstance(buckets, list) else buckets,
    )
    x, mask, rotations = arrays["x"], arrays.get("mask"), arrays["rotations"]
    length = x.shape[1]
    factors = config.factors(length)
    assert list(factors) == list(np.atleast_1d(facts["n_buckets_used"]))
    found = hash_buckets(split_heads(x, params["query"], "float32"), rotations, factors, mask)
    rounds = found.shape[2]
    buckets = arrays["buckets"][:, : rounds * length].reshape(found.shape)
    step = np.prod(factors) + (mask is not None)
    np.testing.assert_array_equal(found + step * np.arange(rounds)[None, None, :, None], buckets)

    module = TraxLSHSelfAttention(config, heads_of(params), kwargs["causal"], quirks("wrap_around"))

    def attention(params, x):
        return module.apply({"params": params}, x, mask, rotations)[0]

    assert_trax_s(attention, (params, x), arrays, gradients)


@pytest.mark.shared
@pytest.mark.parametrize("number", range(4))
def test_full_and_local_attention_are_trax_s(shared, number):
    from zoo.models.reformer.attention import SelfAttentionConfig
    from zoo.models.trax.reformer import TraxSelfAttention

    arrays, facts, params, gradients = golden(shared, f"self_attention_{number}")
    kwargs = facts["kwargs"]
    config = SelfAttentionConfig(
        share_qk=kwargs["share_qk"],
        chunk_len=kwargs.get("chunk_len"),
        chunks_before=kwargs.get("n_chunks_before", 0),
        chunks_after=kwargs.get("n_chunks_after", 0),
        use_bias=kwargs.get("bias", False),
    )
    module = TraxSelfAttention(
        config,
        heads_of(params),
        kwargs["causal"],
        quirks("wrap_around", "first_padding_visible"),
    )

    def attention(params, x):
        return module.apply({"params": params}, x, arrays.get("mask"))[0]

    assert_trax_s(attention, (params, arrays["x"]), arrays, gradients)


@pytest.mark.shared
@pytest.mark.parametrize("number", range(2))
def test_attention_to_a_source_is_trax_s(shared, number):
    from zoo.models.trax.reformer import SummingAttention

    arrays, _, params, gradients = golden(shared, f"encdec_attention_{number}")
    module = SummingAttention(heads_of(params))

    def attention(params, q, kv):
        bound = module.bind({"params": params})
        return bound(q, *bound.keys_values(kv), arrays.get("mask"))

    assert_trax_s(attention, (params, arrays["q"], arrays["kv"]), arrays, gradients)


@pytest.mark.parametrize("causal", [False, True])
def test_local_attention_sees_the_chunks_around_and_ends_at_the_ends(key, causal):
    from zoo.models.reformer.attention import SelfAttentionConfig
    from zoo.models.reformer.heads import attend_in_chunks

    length, config = 10, SelfAttentionConfig(chunk_len=4, chunks_before=1, chunks_after=1)
    queries, keys, values = (jax.random.normal(key(), (2, length, 3)) for _ in range(3))
    at = jnp.arange(length)[None]
    found, _ = attend_in_chunks(
        config, queries, keys, values, at, at, causal=causal, avoid_self=False
    )
    chunk = np.arange(length) // 4
    seen = np.abs(chunk[:, None] - chunk) <= 1
    if causal:
        seen &= np.tri(length, dtype=bool)
    scores = jnp.where(seen[None], queries @ keys.swapaxes(1, 2), -jnp.inf)
    np.testing.assert_allclose(found, jax.nn.softmax(scores) @ values, **EXACT)
