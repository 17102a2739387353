"""A Reformer's attention by hashes: properties. trax's numbers are in test_attention.py."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
EXACT = {"rtol": 1e-5, "atol": 1e-5}


def lsh(**changes):
    from zoo.models.reformer.hashing import LSHAttentionConfig

    values = {"chunk_len": 4, "num_hashes": 2, "num_buckets": 6} | changes
    return LSHAttentionConfig(**values)


@functools.partial(jax.jit, static_argnames=("config", "causal"))
def by_hashes(config, queries, values, rotations, mask=None, causal=False):
    from zoo.models.reformer.hashing import hash_buckets, sort_by_bucket

    factors = config.factors(queries.shape[2], rotations)
    order = sort_by_bucket(hash_buckets(queries, rotations, factors, mask))
    return layer(config, causal).attend(queries, values, order, mask)


def layer(config, causal):
    from zoo.models.reformer.heads import HeadConfig

    return config.build(HeadConfig(d_model=16, num_heads=3, d_key=5, d_value=4), causal)


def arrays_of(key, config, length):
    """Queries, values and rotations for two examples and three heads."""
    shape = config.rotation_shape(layer(config, False).common, length)
    normal = jax.random.normal
    return normal(key(), (2, 3, length, 5)), normal(key(), (2, 3, length, 4)), normal(key(), shape)


@pytest.mark.parametrize("causal", [False, True])
def test_hashes_into_one_chunk_are_full_attention_with_shared_queries(key, causal):
    from zoo.models.reformer.heads import attend, shared_keys

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
    from zoo.models.reformer.hashing import hash_buckets, sort_by_bucket

    config = lsh()
    queries, values, rotations = arrays_of(key, config, 14)
    order = sort_by_bucket(hash_buckets(queries, rotations, (6,)))

    @jax.jit
    def of(values, queries):
        return layer(config, causal=True).attend(queries, values, order, None)

    changed = of(values.at[:, :, 8].add(1.0), queries.at[:, :, 8].add(1.0))
    expected = of(values, queries)
    np.testing.assert_array_equal(changed[:, :, :8], expected[:, :, :8])
    assert np.abs(changed[:, :, 8:] - expected[:, :, 8:]).max() > 1e-3


def test_positions_are_sorted_by_bucket_and_then_as_they_were(key):
    from zoo.models.reformer.hashing import inverse, sort_by_bucket

    buckets = jax.random.randint(key(), (2, 3, 2, 30), 0, 5)
    order = sort_by_bucket(buckets)
    np.testing.assert_array_equal(order, np.argsort(buckets, axis=-1, kind="stable"))
    np.testing.assert_array_equal(inverse(order), np.argsort(order, axis=-1))


def test_an_order_takes_as_few_bytes_as_its_length_allows():
    from zoo.models.reformer.hashing import narrow

    for length, dtype in ((2**16, jnp.uint16), (2**16 + 1, jnp.int32)):
        order = jnp.arange(length, dtype=jnp.int32)[None, None, None]
        assert narrow(order).dtype == dtype
        np.testing.assert_array_equal(narrow(order), order)


def test_a_layer_without_rotations_or_order_says_what_it_needs():
    with pytest.raises(ValueError, match="neither rotations nor order are given; one of them is"):
        layer(lsh(), causal=True).init(jax.random.key(0), jnp.zeros((1, 4, 16)))


def test_a_batch_may_have_rotations_for_each_example(key):
    config = lsh()
    queries, values, rotations = arrays_of(key, config, 10)
    shared = by_hashes(config, queries, values, rotations)
    each = by_hashes(config, queries, values, jnp.tile(rotations, (2, 1, 1, 1)))
    np.testing.assert_allclose(each, shared, **EXACT)


def test_the_number_of_buckets_follows_from_the_length():
    from zoo.models.reformer.hashing import buckets_for

    assert buckets_for(20, 64) == (2,)
    assert buckets_for(1024, 64) == (32,)
    assert buckets_for(65_536, 64) == (64, 32)
    assert lsh(num_buckets=None).factors(24) == (12,)
    assert lsh(num_buckets=(4, 6)).factors(24) == (4, 6)


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
