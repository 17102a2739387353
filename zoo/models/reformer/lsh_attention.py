"""Attention by locality-sensitive hashing (Kitaev, Kaiser & Levskaya 2020, section 2).

A query looks for the keys that are most like it, and those have mostly the same hash. So positions
are sorted by their hash, and the sorted ones attend within chunks and to the chunk before: time and
memory grow with the length, not with its square. Several rounds, each with a hash of its own, make
it less likely that a key is missed.

As in trax, and unlike the paper's equation 4, a query sees all keys of its chunks, those of other
hashes too, and a key that it sees in several rounds counts as often.

Shapes: `B` batch, `T` positions, `D` model, `H` heads, `K` width of a query, `W` of a value, `R`
rounds of hashing, `F` random vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from zoo.config import ConfigError
from zoo.models.reformer.chunks import attend_in_chunks, key_positions, scaled, shared_keys

MOST_BUCKETS = 128
"""More than these are numbered by two hashes, of the square root's size (section 2, "LSH
attention"): their random vectors are then fewer."""


@dataclass(frozen=True, kw_only=True)
class LSHAttentionConfig:
    """Attention by hashes: queries and keys are the same vectors, the keys at unit length."""

    chunk_len: int = 128
    """Sorted positions that attend to one another."""
    chunks_before: int = 1
    """Chunks before its own that a position sees."""
    chunks_after: int = 0
    num_hashes: int = 1
    """Rounds. More find more of the keys that matter, for as much more time."""
    num_buckets: int | tuple[int, ...] | None = None
    """Values of a hash, even; or a factor for each of several hashes that make one together. None:
    two for each chunk of the input, so that with more padding there are more of them; give a number
    where answers are not to depend on padding. In decoding the input is the longest that there may
    be."""
    wrap_around: bool = False
    """Sort all rounds into one sequence, where the chunk before the first of a round is the last of
    the round before it, and before the very first the very last, as trax did."""
    count_next: bool = False
    """In decoding, count the position that comes next among the candidates, as if it were in the
    first bucket, as trax did: one less then tells anything."""

    def __post_init__(self) -> None:
        check_chunks(self.chunk_len, self.chunks_before, self.chunks_after)
        if self.num_hashes < 1:
            raise ConfigError(f"num_hashes is {self.num_hashes}; it is 1 or more")
        factors = self.num_buckets
        if factors is not None:
            factors = (factors,) if isinstance(factors, int) else factors
            if not factors or any(factor < 2 or factor % 2 for factor in factors):
                raise ConfigError(
                    f"num_buckets is {self.num_buckets}; it is an even number of 2 or more, or "
                    "several of them, since half of the buckets are the other half's opposites"
                )

    def factors(
        self, length: int, rotations: Float[Array, "G K R F"] | None = None
    ) -> tuple[int, ...]:
        """The numbers of buckets that make up those of an input of this length.

        Where the config does not say how many there are, rotations that are given do.
        """
        if isinstance(self.num_buckets, int):
            return (self.num_buckets,)
        if self.num_buckets is not None:
            return self.num_buckets
        factors = buckets_for(length, self.chunk_len)
        if rotations is not None and sum(factors) != 2 * rotations.shape[-1]:
            return (2 * rotations.shape[-1],)
        return factors

    def rotation_shape(self, heads: int, width: int, length: int) -> tuple[int, int, int, int]:
        """The shape [H, K, R, F] of the rotations for an input of this length."""
        return heads, width, self.num_hashes, sum(self.factors(length)) // 2


def check_chunks(chunk_len: int | None, before: int, after: int) -> None:
    """Raises ConfigError where there are no such chunks."""
    if chunk_len is not None and chunk_len < 1:
        raise ConfigError(f"chunk_len is {chunk_len}; it is 1 or more")
    if before < 0 or after < 0:
        raise ConfigError(f"chunks_before={before} and chunks_after={after} must not be negative")


def buckets_for(length: int, chunk_len: int) -> tuple[int, ...]:
    """Two buckets a chunk; above `MOST_BUCKETS`, about as many as the product of two even factors.

    >>> buckets_for(1024, 64), buckets_for(65536, 64)
    ((32,), (64, 32))
    """
    number = 2 * max(1, length // chunk_len)
    if number <= MOST_BUCKETS:
        return (number,)
    first: int = 2 ** math.ceil(math.log2(number) / 2)
    return first, 2 * (number // (2 * first))


def draw_rotations(key: PRNGKeyArray, shape: tuple[int, int, int, int]) -> Float[Array, "H K R F"]:
    """Random vectors, the columns of the matrix R of section 2. All examples share them."""
    return jax.random.normal(key, shape)


def hash_buckets(
    queries: Float[Array, "B H T K"],
    rotations: Float[Array, "G K R F"],
    factors: tuple[int, ...],
    mask: Bool[Array, "B T"] | None = None,
) -> Int[Array, "B H R T"]:
    """The bucket of each position in each round: h(x) = argmax([xR; -xR]).

    Args:
      queries: as they come, not normalised.
      rotations: R for each head, or for each head of each example (G is H or B · H).
      factors: with several, each has its own columns of R and gives one digit of the number, the
        first the lowest: b0 + f0 · b1 + f0 · f1 · b2 …
      mask: True at real tokens; padding has a bucket of its own, after all others.
    """
    queries, rotations = jax.lax.stop_gradient((queries, rotations))
    per_example = rotations.reshape(-1, queries.shape[1], *rotations.shape[1:])
    # The axes of the product stand as the product leaves them: only the buckets are transposed.
    if per_example.shape[0] == 1:
        rotated = jnp.einsum("bhtk,hkrf->hbtrf", queries, per_example[0])
    else:
        rotated = jnp.einsum("bhtk,bhkrf->hbtrf", queries, per_example)
    buckets = jnp.zeros(rotated.shape[:-1], jnp.int32)
    first, stride = 0, 1
    for factor in factors:
        columns = rotated[..., first : first + factor // 2]
        buckets = buckets + stride * _nearest(columns)
        first, stride = first + factor // 2, stride * factor
    buckets = jnp.transpose(buckets, (1, 0, 3, 2))  # [B, H, R, T]
    if mask is None:
        return buckets
    return jnp.where(mask[:, None, None, :], buckets, stride)


def _nearest(rotated: Float[Array, "*b F"]) -> Int[Array, "*b"]:
    """argmax([x; -x]), the first of equal ones; by two reductions, see `zoo.xla.argmax`."""
    size = rotated.shape[-1]
    greatest = jnp.max(jnp.abs(rotated), axis=-1, keepdims=True)
    index = jax.lax.broadcasted_iota(jnp.int32, rotated.shape, rotated.ndim - 1)
    where = jnp.where(
        rotated == greatest, index, jnp.where(-rotated == greatest, index + size, 2 * size - 1)
    )
    return jnp.min(where, axis=-1)


class Sorting(NamedTuple):
    """Where the positions of a sequence stand once they are sorted."""

    order: Int[Array, "B H R T"]
    """The position at each place."""
    inverse: Int[Array, "B H R T"]
    """The place of each position."""

    def narrow(self) -> Sorting:
        """The same in as few bytes as the length allows, to be kept for the backward pass."""
        small = self.order.shape[-1] <= 2**16
        return Sorting(*(x.astype(jnp.uint16 if small else jnp.int32) for x in self))

    def wide(self) -> Sorting:
        """The same as 32-bit integers, to reckon with."""
        return Sorting(*(x.astype(jnp.int32) for x in self))


def sort_by_bucket(buckets: Int[Array, "B H R T"], number: int) -> Sorting:
    """Positions by (bucket, position) (section 2, "chunks").

    Args:
      buckets: from 0 to `number`, which is that of padding.
      number: of buckets.
    """
    order = _places(buckets, number + 1)
    return Sorting(order, _places(order, order.shape[-1]))


def _places(keys: Int[Array, "B H R T"], number: int) -> Int[Array, "B H R T"]:
    """Where the smallest key stands, and so on; of equal keys the first is first.

    Where key and position fit into one integer, that is sorted: in a fifth of the time on a CPU.
    """
    length = keys.shape[-1]
    positions = jax.lax.broadcasted_iota(jnp.uint32, keys.shape, keys.ndim - 1)
    if number * length <= 2**32:
        both = jax.lax.sort(keys.astype(jnp.uint32) * length + positions, is_stable=False)
        return (both % length).astype(jnp.int32)
    _, places = jax.lax.sort((keys, positions), is_stable=True, num_keys=1)
    return places.astype(jnp.int32)


@jax.custom_vjp
def to_sorted(
    x: Float[Array, "B H T F"], order: Int[Array, "B H R T"], inverse: Int[Array, "B H R T"]
) -> Float[Array, "B H R T F"]:
    """Each round's order of the vectors.

    The gradient of a permutation is its inverse: a gather too, where that of a gather would be a
    scatter.
    """
    return _take(x, order)


def _to_sorted_forward(x: Array, order: Array, inverse: Array) -> tuple[Array, Array]:
    return _take(x, order), inverse


def _to_sorted_backward(inverse: Array, gradient: Array) -> tuple[Array, None, None]:
    return _over_rounds(_take_each(gradient, inverse)), None, None


to_sorted.defvjp(_to_sorted_forward, _to_sorted_backward)


@jax.custom_vjp
def from_sorted(
    x: Float[Array, "B H R T F"], order: Int[Array, "B H R T"], inverse: Int[Array, "B H R T"]
) -> Float[Array, "B H R T F"]:
    """The vectors of each round at the positions that they came from."""
    return _take_each(x, inverse)


def _from_sorted_forward(x: Array, order: Array, inverse: Array) -> tuple[Array, Array]:
    return _take_each(x, inverse), order


def _from_sorted_backward(order: Array, gradient: Array) -> tuple[Array, None, None]:
    return _take_each(gradient, order), None, None


from_sorted.defvjp(_from_sorted_forward, _from_sorted_backward)


def _take(x: Array, order: Array) -> Array:
    """Rows of [B, H, T, F] by [B, H, R, T]."""
    flat = jax.lax.collapse(order, 2, 4)[..., None]
    return jnp.take_along_axis(x, flat, axis=2, mode="promise_in_bounds").reshape(
        *order.shape, x.shape[-1]
    )


def _take_each(x: Array, order: Array) -> Array:
    """Rows of [B, H, R, T, F] by [B, H, R, T]."""
    return jnp.take_along_axis(x, order[..., None], axis=3, mode="promise_in_bounds")


def lsh_attention(
    queries: Float[Array, "B H T K"],
    values: Float[Array, "B H T W"],
    sorting: Sorting,
    mask: Bool[Array, "B T"] | None,
    config: LSHAttentionConfig,
    *,
    causal: bool,
) -> Float[Array, "B H T W"]:
    """What each position finds, over all rounds (section 2, "multi-round LSH attention").

    No gradient flows through the order. Of a position that is padding the answer means nothing.
    """
    order, inverse = sorting
    sorted_queries = to_sorted(queries, order, inverse)
    sorted_values = to_sorted(values, order, inverse)
    keys = order
    if mask is not None:
        _, places = key_positions(mask)
        keys = jnp.take_along_axis(places[:, None, None, :], order, axis=3)
    arrays: tuple[jax.Array, ...] = (
        sorted_queries,
        shared_keys(sorted_queries),
        sorted_values,
        order,
        keys,
    )
    if config.wrap_around:
        arrays = tuple(x.reshape(*x.shape[:2], 1, -1, *x.shape[4:]) for x in arrays)
    found, normaliser = attend_in_chunks(
        *arrays,
        chunk_len=config.chunk_len,
        chunks_before=config.chunks_before,
        chunks_after=config.chunks_after,
        wrap_around=config.wrap_around,
        causal=causal,
        avoid_self=True,
    )
    found = from_sorted(found.reshape(*order.shape, values.shape[-1]), order, inverse)
    normaliser = from_sorted(normaliser.reshape(*order.shape, 1), order, inverse)
    return combine_rounds(found, normaliser)


def combine_rounds(
    found: Float[Array, "B H R T W"], normaliser: Float[Array, "B H R T 1"]
) -> Float[Array, "B H T W"]:
    """Each round's answer by its share of the sum of all exponentials (appendix A)."""
    if found.shape[2] == 1:
        return found[:, :, 0]
    total = jax.nn.logsumexp(normaliser, axis=2, keepdims=True)
    return _over_rounds(scaled(found, jnp.exp(normaliser - total)[..., 0]))


def _over_rounds(x: Float[Array, "B H R T F"]) -> Float[Array, "B H T F"]:
    """The sum of the rounds. On a CPU a reduction of so few would take ten times as long."""
    total = x[:, :, 0]
    for number in range(1, x.shape[2]):
        total = total + x[:, :, number]
    return total
