"""Attention by locality-sensitive hashing (Kitaev, Kaiser & Levskaya 2020, section 2).

The keys that matter to a query are those most like it, and these mostly have the same hash. So the
positions are sorted by their hash, and in this order each attends to its chunk and the chunk before
it: time and memory grow with the length, not with its square. Several rounds, each with a hash of
its own, make it less likely that a key is missed.

As in trax, and unlike equation 4 of the paper, a query sees all keys of its chunks, including those
of other hashes, and a key that it sees in several rounds counts as often.

Shapes: `B` batch, `T` positions, `D` model, `H` heads, `K` width of a query, `W` width of a value,
`R` rounds of hashing, `F` random vectors, `G` sets of rotations; in decoding `N` beams, `L` tokens
that the cache has room for, `C` candidates.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Integer, PRNGKeyArray

from zoo import xla
from zoo.config import ConfigError, ValueMistake
from zoo.models.layers import dropout
from zoo.models.reformer.heads import (
    NOWHERE,
    AttentionConfig,
    HeadConfig,
    LayerCache,
    attend,
    attend_in_chunks,
    empty_cache,
    input_kernel,
    join_heads,
    output_kernel,
    shared_keys,
    split_heads,
)

GATHERED = 16
"""Tokens whose candidates are gathered at a time in decoding: each has keys and values of its own.
"""

MOST_BUCKETS = 128
"""More buckets than these are numbered by two hashes of about the square root's size, which take
fewer random vectors (section 2, "LSH attention")."""


@dataclass(frozen=True, kw_only=True)
class LSHAttentionConfig(AttentionConfig):
    """Attention by hashes. Queries, scaled to length √d_key, are the keys."""

    chunk_len: int = 128
    """Positions of a chunk of the sorted sequence, which attend to each other."""
    chunks_before: int = 1
    """Chunks before its own that a position sees."""
    num_hashes: int = 1
    """Rounds of hashing. More rounds find more of the keys that matter; time grows with them."""
    num_buckets: int | tuple[int, ...] | None = None
    """Values of a hash: an even number, or the factors of that number, one for each of several
    hashes that together make one. None: two for each chunk of the input, so that padding, which
    lengthens the input, changes the hashes; give a number if answers must not depend on padding. In
    decoding the input is taken to have the greatest length."""

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def build(self, common: HeadConfig, causal: bool) -> LSHSelfAttention:
        return LSHSelfAttention(self, common, causal, parent=None)

    def rotation_shape(self, common: HeadConfig, length: int) -> tuple[int, int, int, int]:
        """[H, K, R, F]: the shape of the rotations for a sequence of this length."""
        return common.num_heads, common.d_key, self.num_hashes, sum(self.factors(length)) // 2

    @property
    def num_candidates(self) -> int:
        """The keys that a query sees, over all rounds."""
        return self.num_hashes * self.chunk_len * (1 + self.chunks_before)

    def reads_padding(self, pad_id: int | None, looks_ahead: bool) -> bool:
        """Padding without an id is hashed like a word; longer input may have more buckets."""
        return pad_id is None or self.num_buckets is None

    def factors(
        self, length: int, rotations: Float[Array, "G K R F"] | None = None
    ) -> tuple[int, ...]:
        """The factors of the number of buckets for a sequence of this length.

        Given rotations decide if the config does not.
        """
        if isinstance(self.num_buckets, int):
            return (self.num_buckets,)
        if self.num_buckets is not None:
            return self.num_buckets
        factors = buckets_for(length, self.chunk_len)
        if rotations is not None and sum(factors) != 2 * rotations.shape[-1]:
            return (2 * rotations.shape[-1],)
        return factors


def buckets_for(length: int, chunk_len: int) -> tuple[int, ...]:
    """Two buckets for each chunk; above `MOST_BUCKETS`, two even factors of about that number.

    >>> buckets_for(1024, 64), buckets_for(65536, 64)
    ((32,), (64, 32))
    """
    number = 2 * max(1, length // chunk_len)
    if number <= MOST_BUCKETS:
        return (number,)
    first: int = 2 ** math.ceil(math.log2(number) / 2)
    return first, 2 * (number // (2 * first))


def hash_buckets(
    queries: Float[Array, "B H T K"],
    rotations: Float[Array, "G K R F"],
    factors: tuple[int, ...],
    mask: Bool[Array, "B T"] | None = None,
) -> Int[Array, "B H R T"]:
    """The bucket of each position in each round: h(x) = argmax([xR; -xR]). No gradient.

    Args:
      queries: the projected vectors, not scaled.
      rotations: the random matrices R, for each head (G is H) or for each head of each example (G
        is B · H, examples first).
      factors: of the number of buckets. Each has columns of R of its own and gives one digit of the
        bucket, the first one the lowest: b0 + f0 · b1 + f0 · f1 · b2 …
      mask: True at real tokens; padding has a bucket of its own, after all others.
    """
    queries, rotations = jax.lax.stop_gradient((queries, rotations))
    per_example = rotations.reshape(-1, queries.shape[1], *rotations.shape[1:])
    per_example = jnp.broadcast_to(per_example, (len(queries), *per_example.shape[1:]))
    rotated = jnp.einsum("bhtk,bhkrf->bhrtf", queries, per_example)
    buckets = jnp.zeros(rotated.shape[:-1], jnp.int32)
    first, stride = 0, 1
    for factor in factors:
        columns = rotated[..., first : first + factor // 2]
        buckets = buckets + stride * xla.argmax(jnp.concatenate([columns, -columns], axis=-1))
        first, stride = first + factor // 2, stride * factor
    if mask is None:
        return buckets
    return jnp.where(mask[:, None, None, :], buckets, stride)


# Sorting.


def sort_by_bucket(buckets: Int[Array, "B H R T"]) -> Int[Array, "B H R T"]:
    """The positions in the order of (bucket, position), see section 2, figure 2."""
    return jnp.argsort(buckets, axis=-1, stable=True).astype(jnp.int32)


def inverse(order: Int[Array, "B H R T"]) -> Int[Array, "B H R T"]:
    """The place of each position in an order."""
    places = jax.lax.broadcasted_iota(order.dtype, order.shape, order.ndim - 1)
    return jnp.put_along_axis(
        places, order, places, axis=-1, inplace=False, mode="promise_in_bounds"
    )


def narrow(order: Int[Array, "B H R T"]) -> Integer[Array, "B H R T"]:
    """An order in as few bytes as its length allows."""
    return order.astype(jnp.uint16 if order.shape[-1] <= 2**16 else jnp.int32)


@functools.partial(jnp.vectorize, signature="(t,f),(t)->(t,f)")
def take(x: Float[Array, "T F"], order: Int[Array, "T"]) -> Float[Array, "T F"]:
    """Vectors in another order. Leading axes broadcast."""
    return x.at[order].get(mode="promise_in_bounds")


def combine_rounds(
    context: Float[Array, "B H R T W"], normaliser: Float[Array, "B H R T"]
) -> Float[Array, "B H T W"]:
    """The outputs of the rounds, weighted by their share of all exponentials (appendix A)."""
    if context.shape[2] == 1:
        return context[:, :, 0]
    share = jnp.exp(normaliser - jax.nn.logsumexp(normaliser, axis=2, keepdims=True))
    return jnp.einsum("bhrtw,bhrt->bhtw", context, share, precision="highest")


@struct.dataclass
class HashedCache(LayerCache):
    """The cache of an attention layer that hashes."""

    buckets: Int[Array, "B N H R L"]


class LSHSelfAttention(nn.Module):
    """Attention of a sequence to itself by hashes (trax: `LSHSelfAttention`).

    Parameters: `query` [H, D, K], `value` [H, D, W], `out` [H, W, D].
    """

    config: LSHAttentionConfig
    common: HeadConfig
    causal: bool

    def setup(self) -> None:
        self.query = input_kernel(self, "query", self.common.d_key)
        self.value = input_kernel(self, "value", self.common.d_value)
        self.out = output_kernel(self)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "B T"] | None = None,
        rotations: Float[Array, "G K R F"] | None = None,
        order: Integer[Array, "B H R T"] | None = None,
        rng: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "B T D"], Integer[Array, "B H R T"]]:
        """The output for each position, and the order in which the positions were sorted.

        No gradient flows through the order. The output at padding is meaningless.

        Args:
          x: the vectors.
          mask: True at real tokens.
          rotations: see `hash_buckets`; needed if there is no `order`.
          order: that of an earlier call, which is then not made again.
          rng: the key for dropout; None: no dropout.
        """
        queries = split_heads(x, self.query, self.common.dtype)
        values = split_heads(x, self.value, self.common.dtype)
        if order is None:
            if rotations is None:
                raise ValueMistake("neither rotations nor order are given; one of them is needed")
            factors = self.config.factors(x.shape[1], rotations)
            order = sort_by_bucket(hash_buckets(queries, rotations, factors, mask))
        order = order.astype(jnp.int32)
        context = self.attend(queries, values, order, mask)
        out = join_heads(context, self.out, self.common.dtype)
        return dropout(out, self.common.dropout_rate, rng), narrow(order)

    @nn.nowrap
    def attend(
        self,
        queries: Float[Array, "B H T K"],
        values: Float[Array, "B H T W"],
        order: Int[Array, "B H R T"],
        mask: Bool[Array, "B T"] | None,
    ) -> Float[Array, "B H T W"]:
        """Sorts queries and values, attends in each round, and combines the rounds."""
        sorted_queries = take(queries[:, :, None], order)
        key_positions = order
        if mask is not None:
            real = jnp.take_along_axis(mask[:, None, None], order, axis=3)
            key_positions = jnp.where(real, order, NOWHERE)
        context, normaliser = self.attend_in_rounds(
            sorted_queries,
            shared_keys(sorted_queries),
            take(values[:, :, None], order),
            order,
            key_positions,
        )
        back = inverse(order)
        normaliser = jnp.take_along_axis(normaliser, back, axis=3)
        return combine_rounds(take(context, back), normaliser)

    @nn.nowrap
    def attend_in_rounds(
        self,
        queries: Float[Array, "B H R T K"],
        keys: Float[Array, "B H R T K"],
        values: Float[Array, "B H R T W"],
        query_positions: Int[Array, "B H R T"],
        key_positions: Int[Array, "B H R T"],
    ) -> tuple[Float[Array, "B H R T W"], Float[Array, "B H R T"]]:
        """`attend_in_chunks` in each round's order; what comes first sees no chunk before it."""
        arrays = queries, keys, values, query_positions, key_positions
        return attend_in_chunks(self.config, *arrays, causal=self.causal, avoid_self=True)

    @nn.nowrap
    def start(self, batch: int, length: int) -> HashedCache:
        """A cache with room for `length` tokens, for one beam a row."""
        cache = empty_cache(self.common, batch, length)
        shape = (*cache.keys.shape[:3], self.config.num_hashes, length)
        return HashedCache(cache.keys, cache.values, jnp.zeros(shape, jnp.int32))

    def extend(
        self,
        x: Float[Array, "B N T D"],
        cache: HashedCache,
        length: Int[Array, ""],
        rotations: Float[Array, "G K R F"],
    ) -> tuple[Float[Array, "B N T D"], HashedCache]:
        """The output for the next tokens, and the cache with these tokens.

        Each token attends to its candidates instead of to sorted chunks.

        Args:
          x: the vectors of the tokens.
          cache: of the tokens before them.
          length: the number of tokens before them.
          rotations: see `hash_buckets`.
        """
        common, (batch, beams, new, _) = self.common, x.shape
        queries = split_heads(x, self.query, common.dtype)
        # The bucket of a token must not depend on how long its text has become.
        factors = self.config.factors(common.max_positions or 1, rotations)
        buckets = hash_buckets(
            jax.lax.collapse(queries, 0, 2),
            _for_beams(rotations, batch, beams, common.num_heads),
            factors,
        ).reshape(batch, beams, common.num_heads, -1, new)
        cache = cache.write(
            length,
            keys=shared_keys(queries),
            values=split_heads(x, self.value, common.dtype),
            buckets=buckets,
        )

        def context(queries: Array, buckets: Array, at: Array) -> Float[Array, "B N H T W"]:
            same = jnp.any(cache.buckets[..., None, :] == buckets[..., None], axis=3)
            chosen = self.candidates(same, buckets, at)
            found, _ = attend(
                queries[..., None, :],
                _gather(cache.keys, chosen),
                _gather(cache.values, chosen),
                at[None, None, None, :, None],
                chosen,
                causal=True,
                avoid_self=True,
            )
            return found[..., 0, :]

        at = length + jnp.arange(new, dtype=jnp.int32)
        found = _by_pieces(context, queries, buckets, at, max(GATHERED // (batch * beams), 1))
        return join_heads(found, self.out, common.dtype), cache

    @nn.nowrap
    def candidates(
        self,
        same_bucket: Bool[Array, "B N H T L"],
        buckets: Int[Array, "B N H R T"],
        at: Int[Array, "T"],
    ) -> Int[Array, "B N H T C"]:
        """The positions that the tokens at `at` attend to, as many as in a whole pass.

        Args:
          same_bucket: whether a cached token shares a bucket with the new one in any round.
          buckets: of the new tokens.
          at: positions of the new tokens.
        """
        return choose(same_bucket, at, self.config.num_candidates)


def choose(
    same_bucket: Bool[Array, "B N H T L"], last: Int[Array, "T"], number: int
) -> Int[Array, "B N H T C"]:
    """Positions up to `last`, first those in the same bucket, and of these and the rest the latest.

    Where there are too few, later positions follow.
    """
    room = same_bucket.shape[-1]
    places = jnp.arange(room, dtype=jnp.int32)[None, None, None, None]
    seen = places <= last[None, None, None, :, None]
    _, chosen = jax.lax.top_k(jnp.where(seen, places + room * same_bucket, -1), min(number, room))
    return chosen


def _for_beams(
    rotations: Float[Array, "G K R F"], batch: int, beams: int, heads: int
) -> Float[Array, "_ K R F"]:
    """The rotations of each example, if it has its own, for each of its beams."""
    if rotations.shape[0] == heads:
        return rotations
    each = rotations.reshape(batch, 1, heads, *rotations.shape[1:])
    return jnp.repeat(each, beams, axis=1).reshape(-1, *rotations.shape[1:])


def _by_pieces(
    function: Callable[[Array, Array, Array], Array],
    queries: Float[Array, "B N H T K"],
    buckets: Int[Array, "B N H R T"],
    at: Int[Array, "T"],
    most: int,
) -> Float[Array, "B N H T W"]:
    """`function` of all tokens; of more than `most`, of some at a time."""
    new = len(at)
    if new <= most:
        return function(queries, buckets, at)
    piece = math.gcd(new, 1 << (most.bit_length() - 1))

    def split(x: Array, axis: int) -> Array:
        pieces = x.reshape(*x.shape[:axis], -1, piece, *x.shape[axis + 1 :])
        return jnp.moveaxis(pieces, axis, 0)

    parts = split(queries, 3), split(buckets, 4), split(at, 0)
    found = jnp.moveaxis(jax.lax.map(lambda part: function(*part), parts), 0, 3)
    return jax.lax.collapse(found, 3, 5)


def _gather(
    cached: Float[Array, "B N H L K"], chosen: Int[Array, "B N H T C"]
) -> Float[Array, "B N H T C K"]:
    flat = jax.lax.collapse(chosen, 3, 5)[..., None]
    return jnp.take_along_axis(cached, flat, axis=3).reshape(*chosen.shape, cached.shape[-1])
