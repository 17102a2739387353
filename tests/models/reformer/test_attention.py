"""A Reformer's attention: trax's numbers with trax's rotations, and properties."""

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


def sizes_of(params):
    from zoo.models.reformer.self_attention import HeadSizes

    heads, d_model, d_key = params["query"].shape
    return HeadSizes(
        d_model=d_model, num_heads=heads, d_key=d_key, d_value=params["value"].shape[2]
    )


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
    from zoo.models.reformer.lsh_attention import LSHAttentionConfig, hash_buckets
    from zoo.models.reformer.self_attention import LSHSelfAttention, split_heads

    arrays, facts, params, gradients = golden(shared, f"lsh_attention_{number}")
    kwargs = facts["kwargs"]
    buckets = kwargs["n_buckets"]
    config = LSHAttentionConfig(
        chunk_len=kwargs["chunk_len"],
        chunks_before=kwargs["n_chunks_before"],
        chunks_after=kwargs["n_chunks_after"],
        num_hashes=kwargs["n_hashes"],
        num_buckets=tuple(buckets) if isinstance(buckets, list) else buckets,
        wrap_around=True,
    )
    x, mask, rotations = arrays["x"], arrays.get("mask"), arrays["rotations"]
    length, sizes = x.shape[1], sizes_of(params)
    factors = config.factors(length)
    assert list(factors) == list(np.atleast_1d(facts["n_buckets_used"]))
    found = hash_buckets(split_heads(x, params["query"]), rotations, factors, mask)
    rounds = found.shape[2]
    buckets = arrays["buckets"][:, : rounds * length].reshape(found.shape)
    step = np.prod(factors) + (mask is not None)
    np.testing.assert_array_equal(found + step * np.arange(rounds)[None, None, :, None], buckets)

    module = LSHSelfAttention(config, sizes, kwargs["causal"])

    def attention(params, x):
        return module.apply({"params": params}, x, rotations, mask, train=False)[0]

    assert_trax_s(attention, (params, x), arrays, gradients)


@pytest.mark.shared
@pytest.mark.parametrize("number", range(4))
def test_full_and_local_attention_are_trax_s(shared, number):
    from zoo.models.reformer.self_attention import SelfAttention, SelfAttentionConfig

    arrays, facts, params, gradients = golden(shared, f"self_attention_{number}")
    kwargs = facts["kwargs"]
    config = SelfAttentionConfig(
        share_qk=kwargs["share_qk"],
        chunk_len=kwargs.get("chunk_len"),
        chunks_before=kwargs.get("n_chunks_before", 0),
        chunks_after=kwargs.get("n_chunks_after", 0),
        use_bias=kwargs.get("bias", False),
        wrap_around=True,
        first_padding_visible=True,
    )
    module = SelfAttention(config, sizes_of(params), kwargs["causal"])

    def attention(params, x):
        return module.apply({"params": params}, x, arrays.get("mask"), train=False)

    assert_trax_s(attention, (params, arrays["x"]), arrays, gradients)


@pytest.mark.shared
@pytest.mark.parametrize("number", range(2))
def test_attention_to_a_source_is_trax_s(shared, number):
    from zoo.models.reformer.self_attention import CrossAttention

    arrays, _, params, gradients = golden(shared, f"encdec_attention_{number}")
    module = CrossAttention(sizes_of(params), sum_values=True)

    def attention(params, q, kv):
        bound = module.bind({"params": params})
        return bound(q, *bound.keys_values(kv), arrays.get("mask"), train=False)

    assert_trax_s(attention, (params, arrays["q"], arrays["kv"]), arrays, gradients)
