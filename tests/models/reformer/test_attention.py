"""A Reformer's attention: trax's numbers with trax's rotations, and properties."""

from __future__ import annotations

import functools
import json
import math

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
    from zoo.models.reformer.self_attention import LSHSelfAttention, split_heads

    from zoo.models.reformer.hashing import LSHAttentionConfig, hash_buckets

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


def lsh(**changes):
    from zoo.models.reformer.hashing import LSHAttentionConfig

    values = {"chunk_len": 4, "num_hashes": 2, "num_buckets": 6} | changes
    return LSHAttentionConfig(**values)


@functools.partial(jax.jit, static_argnames=("config", "causal"))
def by_hashes(config, queries, values, rotations, mask=None, causal=False):
    from zoo.models.reformer.lsh_attention import hash_buckets, lsh_attention, sort_by_bucket

    factors = config.factors(queries.shape[2], rotations)
    buckets = hash_buckets(queries, rotations, factors, mask)
    sorting = sort_by_bucket(buckets, math.prod(factors))
    return lsh_attention(queries, values, sorting, mask, config, causal=causal)


def arrays_of(key, config, length):
    """Queries, values and rotations for two examples and three heads."""
    shape = config.rotation_shape(3, 5, length)
    normal = jax.random.normal
    return normal(key(), (2, 3, length, 5)), normal(key(), (2, 3, length, 4)), normal(key(), shape)


@pytest.mark.parametrize("causal", [False, True])
def test_hashes_into_one_chunk_are_full_attention_with_shared_queries(key, causal):
    from zoo.models.reformer.chunks import attend, shared_keys

    config = lsh(chunk_len=16, num_hashes=3)
    queries, values, rotations = arrays_of(key, config, 11)
    found = by_hashes(config, queries, values, rotations, causal=causal)
    attend = jax.jit(attend, static_argnames=("causal", "avoid_self"))
    at = jnp.arange(11)[None, None]
    keys = shared_keys(queries)
    expected, _ = attend(queries, keys, values, at, at, causal=causal, avoid_self=True)
    # With nothing but itself to see, trax's shares of the rounds do not quite add up to 1.
    np.testing.assert_allclose(found, expected, rtol=1e-2 if causal else 1e-4, atol=1e-5)
    np.testing.assert_allclose(found[:, :, 1:], expected[:, :, 1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("after", [0, 1])
def test_padding_changes_nothing_however_much_there_is(key, after):
    config = lsh(chunks_after=after)
    queries, values, rotations = arrays_of(key, config, 10)
    expected = by_hashes(config, queries, values, rotations)
    for more in (1, 6):
        noise = jax.random.normal(key(), (2, 3, more, 5))
        padded = jnp.concatenate([queries, 9 * noise], axis=2)
        worth = jnp.concatenate([values, 9 * noise[..., :4]], axis=2)
        mask = jnp.broadcast_to(jnp.arange(10 + more)[None] < 10, (2, 10 + more))
        found = by_hashes(config, padded, worth, rotations, mask)
        np.testing.assert_allclose(found[:, :, :10], expected, **EXACT)


def test_no_position_sees_what_comes_after_it(key):
    from zoo.models.reformer.lsh_attention import hash_buckets, lsh_attention, sort_by_bucket

    config = lsh()
    queries, values, rotations = arrays_of(key, config, 14)
    sorting = sort_by_bucket(hash_buckets(queries, rotations, (6,)), 6)

    @jax.jit
    def of(values, queries):
        return lsh_attention(queries, values, sorting, None, config, causal=True)

    changed = of(values.at[:, :, 8].add(1.0), queries.at[:, :, 8].add(1.0))
    expected = of(values, queries)
    np.testing.assert_array_equal(changed[:, :, :8], expected[:, :, :8])
    assert np.abs(changed[:, :, 8:] - expected[:, :, 8:]).max() > 1e-3


@pytest.mark.parametrize("number", [4, 2**31])  # the second leaves no room for the position
def test_positions_are_sorted_by_bucket_and_then_as_they_stood(key, number):
    from zoo.models.reformer.lsh_attention import sort_by_bucket

    buckets = jax.random.randint(key(), (2, 3, 2, 30), 0, 5)
    sorting = sort_by_bucket(buckets, number)
    order = np.argsort(buckets, axis=-1, kind="stable")
    np.testing.assert_array_equal(sorting.order, order)
    np.testing.assert_array_equal(sorting.inverse, np.argsort(order, axis=-1))


def test_gradients_of_scaled_vectors(key):
    from zoo.models.reformer.chunks import scaled

    x, factors = jax.random.normal(key(), (2, 5, 3)), jax.random.normal(key(), (2, 5))
    gradient = jax.random.normal(key(), x.shape)
    found, pull = jax.vjp(scaled, x, factors)
    expected, plain = jax.vjp(lambda x, f: x * f[..., None], x, factors)
    np.testing.assert_array_equal(found, expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), pull(gradient), plain(gradient)
    )


@pytest.mark.parametrize("wrap_around", [False, True])
def test_gradients_of_sorting_are_those_of_plain_gathers(key, wrap_around, monkeypatch):
    from zoo.models.reformer import lsh_attention as module

    config = lsh(wrap_around=wrap_around)
    queries, values, rotations = arrays_of(key, config, 10)
    weights = jax.random.normal(key(), values.shape)

    def loss(queries, values):
        found = by_hashes.__wrapped__(config, queries, values, rotations, causal=True)
        return jnp.sum(weights * found)

    found = jax.jit(jax.grad(loss, argnums=(0, 1)))(queries, values)
    monkeypatch.setattr(module, "to_sorted", lambda x, order, inverse: module._take(x, order))
    monkeypatch.setattr(
        module, "from_sorted", lambda x, order, inverse: module._take_each(x, inverse)
    )
    expected = jax.jit(jax.grad(lambda *inputs: loss(*inputs), argnums=(0, 1)))(queries, values)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), found, expected)


def test_a_batch_may_have_rotations_for_each_example(key):
    config = lsh()
    queries, values, rotations = arrays_of(key, config, 10)
    shared = by_hashes(config, queries, values, rotations)
    each = by_hashes(config, queries, values, jnp.tile(rotations, (2, 1, 1, 1)))
    np.testing.assert_allclose(each, shared, **EXACT)


def test_the_number_of_buckets_follows_from_the_length():
    from zoo.models.reformer.lsh_attention import buckets_for

    assert buckets_for(20, 64) == (2,)
    assert buckets_for(1024, 64) == (32,)
    assert buckets_for(65_536, 64) == (64, 32)
    assert lsh(num_buckets=None).factors(24) == (12,)
    assert lsh(num_buckets=(4, 6)).factors(24) == (4, 6)


@pytest.mark.parametrize("causal", [False, True])
def test_local_attention_ends_at_the_ends_unless_it_wraps_around(key, causal):
    from zoo.models.reformer.chunks import attend_in_chunks

    length, sizes = 10, {"chunk_len": 4, "chunks_before": 1, "chunks_after": 1}
    queries, keys, values = (jax.random.normal(key(), (2, length, 3)) for _ in range(3))
    at = jnp.arange(length)[None]
    found, _ = attend_in_chunks(
        queries, keys, values, at, at, **sizes, wrap_around=False, causal=causal, avoid_self=False
    )
    chunk = np.arange(length) // 4
    seen = np.abs(chunk[:, None] - chunk) <= 1
    if causal:
        seen &= np.tri(length, dtype=bool)
    scores = jnp.where(seen[None], queries @ keys.swapaxes(1, 2), -jnp.inf)
    np.testing.assert_allclose(found, jax.nn.softmax(scores) @ values, **EXACT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_buckets": 5}, r"num_buckets is 5; it is an even number of 2 or more, or several"),
        ({"num_buckets": -4}, r"num_buckets is -4; it is an even number"),
        ({"num_buckets": (4, 3)}, r"num_buckets is \(4, 3\); it is an even number"),
        ({"num_buckets": ()}, r"num_buckets is \(\); it is an even number"),
        ({"num_hashes": 0}, r"num_hashes is 0; it is 1 or more"),
        ({"chunk_len": 0}, r"chunk_len is 0; it is 1 or more"),
        ({"chunks_before": -1}, r"chunks_before=-1 and chunks_after=0 must not be negative"),
    ],
)
def test_hashes_that_cannot_be_are_refused(changes, message):
    from zoo.config import ConfigError

    with pytest.raises(ConfigError, match=message):
        lsh(**changes)
