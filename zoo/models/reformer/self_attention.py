"""A Reformer's attention as modules: full and local, by hashes, and from a decoder to its source.

The weights are apart for each head, and the heads' outputs are added up, as in trax.

Shapes: `B` batch, `T` positions, `S` source positions, `D` model, `H` heads, `K` width of a query,
`W` of a value, `R` rounds of hashing; in decoding `N` beams, `L` the most tokens of a cache, `C`
candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from zoo.models.dense import Precision, multiply
from zoo.models.layers import Dropout
from zoo.models.reformer.chunks import (
    HIDDEN,
    NOWHERE,
    attend,
    attend_in_chunks,
    key_positions,
    shared_keys,
    softmax,
)
from zoo.models.reformer.lsh_attention import (
    LSHAttentionConfig,
    Sorting,
    check_chunks,
    hash_buckets,
    lsh_attention,
    sort_by_bucket,
)


@dataclass(frozen=True, kw_only=True)
class SelfAttentionConfig:
    """Attention to all positions, or with `chunk_len` to those near by."""

    share_qk: bool = False
    """Let the queries be the keys, at unit length; a position then sees itself last of all."""
    chunk_len: int | None = None
    """Positions that attend to one another; None: all."""
    chunks_before: int = 0
    """Chunks before its own that a position sees."""
    chunks_after: int = 0
    use_bias: bool = False
    """Add a vector to queries, keys and values."""
    wrap_around: bool = False
    """Let the chunk before the first be the last, and the one after the last the first, as in trax.
    In a causal model that changes nothing where there are more chunks than a position sees."""
    first_padding_visible: bool = False
    """Where padding is masked, leave it visible at the positions 0 and 1, as trax did."""
    decode_all: bool = False
    """In decoding, see all tokens so far and not only those of the chunks, as trax did."""

    def __post_init__(self) -> None:
        check_chunks(self.chunk_len, self.chunks_before, self.chunks_after)


AttentionConfig = SelfAttentionConfig | LSHAttentionConfig


@dataclass(frozen=True, kw_only=True)
class HeadSizes:
    """The sizes of attention."""

    d_model: int
    num_heads: int
    d_key: int
    d_value: int

    def inputs(self, width: int) -> tuple[int, int, int]:
        """The shape of a projection from the model to each head."""
        return self.num_heads, self.d_model, width

    def output(self) -> tuple[int, int, int]:
        """The shape of the projection from the heads back to the model."""
        return self.num_heads, self.d_value, self.d_model


INPUT_INIT = nn.initializers.glorot_uniform(in_axis=1, out_axis=(0, 2))
OUTPUT_INIT = nn.initializers.glorot_uniform(in_axis=(0, 1), out_axis=2)
BIAS_INIT = nn.initializers.normal(1e-6)


@struct.dataclass
class LayerCache:
    """What a layer keeps of the tokens before."""

    keys: Float[Array, "B N H L K"]
    values: Float[Array, "B N H L W"]
    buckets: Int[Array, "B N H R L"] | None = None
    """The hashes of the keys, where attention is by hashes."""

    def reorder(self, parents: Int[Array, "B M"]) -> LayerCache:
        """The cache in which beam m has the past of beam `parents[:, m]`."""

        def pick(kept: jax.Array) -> jax.Array:
            where = parents.reshape(*parents.shape, *(1,) * (kept.ndim - 2))
            return jnp.take_along_axis(kept, where, axis=1)

        found: LayerCache = jax.tree.map(pick, self)
        return found


def empty_cache(config: AttentionConfig, sizes: HeadSizes, batch: int, length: int) -> LayerCache:
    """A cache of no tokens with room for `length`, for one beam a row."""
    if isinstance(config, LSHAttentionConfig) and config.count_next:
        length += 1
    shape = (batch, 1, sizes.num_heads, length)
    buckets = None
    if isinstance(config, LSHAttentionConfig):
        buckets = jnp.zeros((*shape[:3], config.num_hashes, shape[3]), jnp.int32)
    return LayerCache(jnp.zeros((*shape, sizes.d_key)), jnp.zeros((*shape, sizes.d_value)), buckets)


class SelfAttention(nn.Module):
    """Full or local attention of a sequence to itself (trax: `SelfAttention`)."""

    config: SelfAttentionConfig
    sizes: HeadSizes
    causal: bool
    dropout_rate: float = 0.0
    """Of the output."""
    dtype: Precision = "float32"
    """Of the projections."""

    def setup(self) -> None:
        sizes, config = self.sizes, self.config
        names = {"query": sizes.d_key, "key": sizes.d_key, "value": sizes.d_value}
        if config.share_qk:
            del names["key"]
        for name, width in names.items():
            setattr(self, name, self.param(name, INPUT_INIT, sizes.inputs(width)))
            if config.use_bias:
                shape = sizes.num_heads, width
                setattr(self, f"{name}_bias", self.param(f"{name}_bias", BIAS_INIT, shape))
        self.out = self.param("out", OUTPUT_INIT, sizes.output())
        self.dropout = Dropout(self.dropout_rate)

    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None = None, *, train: bool
    ) -> Float[Array, "B T D"]:
        """What each position finds; `mask` is True at real tokens."""
        config, (queries, keys, values) = self.config, self._heads(x)
        places = at = jnp.arange(x.shape[1], dtype=jnp.int32)[None]
        if mask is not None:
            at, places = key_positions(mask, first_padding_visible=config.first_padding_visible)
        arrays = queries, keys, values, at[:, None], places[:, None]
        if config.chunk_len is None:
            found, _ = attend(*arrays, causal=self.causal, avoid_self=config.share_qk)
        else:
            found, _ = attend_in_chunks(
                *arrays,
                chunk_len=config.chunk_len,
                chunks_before=config.chunks_before,
                chunks_after=config.chunks_after,
                wrap_around=config.wrap_around,
                causal=self.causal,
                avoid_self=config.share_qk,
            )
        return self.dropout(join_heads(found, self.out, self.dtype), train=train)

    def extend(
        self, x: Float[Array, "B N T D"], cache: LayerCache, length: Int[Array, ""]
    ) -> tuple[Float[Array, "B N T D"], LayerCache]:
        """What the next tokens find, and the cache with them."""
        config = self.config
        queries, keys, values = (_per_beam(y, x.shape[:2]) for y in self._heads(_flat(x)))
        cache = _write(cache, length, keys=keys, values=values)
        at = length + jnp.arange(x.shape[2], dtype=jnp.int32)[:, None]  # [T, 1]
        places = jnp.arange(cache.keys.shape[3], dtype=jnp.int32)[None]  # [1, L]
        if config.chunk_len is not None and not config.decode_all:
            before = at // config.chunk_len - places // config.chunk_len
            places = jnp.where(before <= config.chunks_before, places, NOWHERE)
        found, _ = attend(
            queries[..., None, :],
            cache.keys[:, :, :, None],
            cache.values[:, :, :, None],
            at[None, None, None],
            places[None, None, None],
            causal=True,
            avoid_self=config.share_qk,
        )
        return _join_beams(found[..., 0, :], self.out, self.dtype), cache

    def _heads(self, x: Float[Array, "B T D"]) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries, keys that are scaled, and values."""
        queries, values = self._project(x, "query"), self._project(x, "value")
        if self.config.share_qk:
            return queries, shared_keys(queries), values
        return queries, self._project(x, "key") / math.sqrt(queries.shape[-1]), values

    def _project(self, x: Float[Array, "B T D"], name: str) -> Float[Array, "B H T K"]:
        projected = split_heads(x, getattr(self, name), self.dtype)
        if self.config.use_bias:
            projected = projected + getattr(self, f"{name}_bias")[None, :, None]
        return projected


class LSHSelfAttention(nn.Module):
    """Attention of a sequence to itself by hashes (trax: `LSHSelfAttention`)."""

    config: LSHAttentionConfig
    sizes: HeadSizes
    causal: bool
    dropout_rate: float = 0.0
    """Of the output."""
    dtype: Precision = "float32"
    """Of the projections."""

    def setup(self) -> None:
        sizes = self.sizes
        self.query = self.param("query", INPUT_INIT, sizes.inputs(sizes.d_key))
        self.value = self.param("value", INPUT_INIT, sizes.inputs(sizes.d_value))
        self.out = self.param("out", OUTPUT_INIT, sizes.output())
        self.dropout = Dropout(self.dropout_rate)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        rotations: Float[Array, "G K R F"],
        mask: Bool[Array, "B T"] | None = None,
        sorting: Sorting | None = None,
        *,
        train: bool,
    ) -> tuple[Float[Array, "B T D"], Sorting]:
        """What each position finds, and how they were sorted.

        Args:
          x: the vectors.
          rotations: see `hash_buckets`.
          mask: True at real tokens.
          sorting: that of an earlier call, in place of the rotations.
          train: whether there is dropout.
        """
        queries, values = (
            split_heads(x, self.query, self.dtype),
            split_heads(x, self.value, self.dtype),
        )
        if sorting is None:
            factors = self.config.factors(x.shape[1], rotations)
            sorting = sort_by_bucket(
                hash_buckets(queries, rotations, factors, mask), math.prod(factors)
            )
        sorting = sorting.wide()
        found = lsh_attention(queries, values, sorting, mask, self.config, causal=self.causal)
        return self.dropout(join_heads(found, self.out, self.dtype), train=train), sorting.narrow()

    def extend(
        self,
        x: Float[Array, "B N T D"],
        cache: LayerCache,
        length: Int[Array, ""],
        rotations: Float[Array, "G K R F"],
        factors: tuple[int, ...],
    ) -> tuple[Float[Array, "B N T D"], LayerCache]:
        """What the next tokens find among their candidates, and the cache with them."""
        beams, config = x.shape[:2], self.config
        flat = _flat(x)
        queries, values = (
            split_heads(flat, self.query, self.dtype),
            split_heads(flat, self.value, self.dtype),
        )
        if rotations.shape[0] != queries.shape[1]:
            rotations = _for_beams(rotations, *beams)
        new = _per_beam(hash_buckets(queries, rotations, factors), beams)
        keys, queries = _per_beam(shared_keys(queries), beams), _per_beam(queries, beams)
        cache = _write(cache, length, keys=keys, values=_per_beam(values, beams), buckets=new)
        at = length + jnp.arange(x.shape[2], dtype=jnp.int32)  # [T]
        chosen = candidates(cache, new, at, config)
        found, _ = attend(
            queries[..., None, :],
            _gather(cache.keys, chosen),
            _gather(cache.values, chosen),
            at[None, None, None, :, None],
            chosen,
            causal=True,
            avoid_self=True,
        )
        return _join_beams(found[..., 0, :], self.out, self.dtype), cache


def candidates(
    cache: LayerCache,
    buckets: Int[Array, "B N H R T"],
    at: Int[Array, "T"],
    config: LSHAttentionConfig,
) -> Int[Array, "B N H T C"]:
    """The positions that the next tokens, at `at`, attend to: as many as in a whole pass.

    Those that share a bucket with them in any round come first, and of these the latest.
    """
    kept = cache.buckets
    if kept is None:
        raise ValueError("a cache without buckets serves no attention by hashes")
    room = kept.shape[-1]
    number = config.num_hashes * config.chunk_len * (1 + config.chunks_before)
    same = jnp.any(kept[..., None, :] == buckets[..., None], axis=3)  # [B, N, H, T, L]
    places = jnp.arange(room, dtype=jnp.int32)[None, None, None, None]
    last = at[None, None, None, :, None]
    if config.count_next:
        last = last + 1
        same = jnp.where(places == last, buckets[:, :, :, 0, :, None] == 0, same)
    rank = jnp.where(places <= last, places + room * same, NOWHERE)
    _, chosen = jax.lax.top_k(rank, min(number, room))
    return chosen


class CrossAttention(nn.Module):
    """Attention from one sequence to another (trax: `EncDecAttention`)."""

    sizes: HeadSizes
    dropout_rate: float = 0.0
    """Of the output."""
    dtype: Precision = "float32"
    """Of the projections."""
    sum_values: bool = False
    """Add up the values of all real tokens, as trax does where there is a mask."""

    def setup(self) -> None:
        sizes = self.sizes
        self.query = self.param("query", INPUT_INIT, sizes.inputs(sizes.d_key))
        self.key = self.param("key", INPUT_INIT, sizes.inputs(sizes.d_key))
        self.value = self.param("value", INPUT_INIT, sizes.inputs(sizes.d_value))
        self.out = self.param("out", OUTPUT_INIT, sizes.output())
        self.dropout = Dropout(self.dropout_rate)

    def keys_values(
        self, x: Float[Array, "B S D"]
    ) -> tuple[Float[Array, "B H S K"], Float[Array, "B H S W"]]:
        """What a sequence offers to queries; the keys are scaled."""
        keys = split_heads(x, self.key, self.dtype) / math.sqrt(self.sizes.d_key)
        return keys, split_heads(x, self.value, self.dtype)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        keys: Float[Array, "B H S K"],
        values: Float[Array, "B H S W"],
        mask: Bool[Array, "B S"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "B T D"]:
        """What the positions of `x` find; nothing, that is zeros, where no token is real."""
        scores = jnp.einsum("bhtk,bhsk->bhts", split_heads(x, self.query, self.dtype), keys)
        if mask is not None:
            seen = mask[:, None, None, :]
            if self.sum_values:
                # trax lowers the scores of real tokens by 1e9 and those of padding by twice that.
                # In float32 the first are then equal, and their weights 1 each.
                scores = scores - jnp.where(seen, HIDDEN, 2 * HIDDEN)
            else:
                scores = scores - jnp.where(seen, 0.0, HIDDEN)
        weights, _ = softmax(scores)
        found = jnp.einsum("bhts,bhsw->bhtw", weights, values)
        if mask is not None and not self.sum_values:
            found = jnp.where(mask.any(axis=1)[:, None, None, None], found, 0.0)
        return self.dropout(join_heads(found, self.out, self.dtype), train=train)


def split_heads(
    x: Float[Array, "B T D"], kernel: Float[Array, "H D K"], dtype: Precision = "float32"
) -> Float[Array, "B H T K"]:
    """Each head's projection."""
    heads, width, size = kernel.shape
    # One product of two matrices, whose rows are moved as wholes: of an einsum the compiler makes
    # one that transposes all that goes in and comes out.
    matrix = kernel.swapaxes(0, 1).reshape(width, heads * size)
    product = multiply(x.reshape(-1, width), (matrix,), dtype)
    return product.reshape(*x.shape[:2], heads, size).swapaxes(1, 2)


def join_heads(
    x: Float[Array, "B H T W"], kernel: Float[Array, "H W D"], dtype: Precision = "float32"
) -> Float[Array, "B T D"]:
    """The sum of the heads' projections."""
    batch, heads, length, size = x.shape
    joined = x.swapaxes(1, 2).reshape(batch * length, heads * size)
    product = multiply(joined, (kernel.reshape(heads * size, -1),), dtype)
    return product.reshape(batch, length, kernel.shape[-1])


def _flat(x: Float[Array, "B N T D"]) -> Float[Array, "BN T D"]:
    return jax.lax.collapse(x, 0, 2)


def _per_beam(x: Array, beams: tuple[int, ...]) -> Array:
    return x.reshape(*beams, *x.shape[1:])


def _join_beams(
    x: Float[Array, "B N H T W"], kernel: Float[Array, "H W D"], dtype: Precision
) -> jax.Array:
    return _per_beam(join_heads(jax.lax.collapse(x, 0, 2), kernel, dtype), x.shape[:2])


def _for_beams(rotations: Float[Array, "G K R F"], batch: int, beams: int) -> jax.Array:
    """The rotations of each example for each of its beams."""
    each = rotations.reshape(batch, 1, -1, *rotations.shape[1:])
    return jnp.repeat(each, beams, axis=1).reshape(-1, *rotations.shape[1:])


def _write(cache: LayerCache, position: Int[Array, ""], **new: jax.Array) -> LayerCache:
    """The cache with the keys, values and buckets of new tokens from a position on."""
    axes = {"keys": 3, "values": 3, "buckets": 4}
    written = {
        name: jax.lax.dynamic_update_slice_in_dim(
            getattr(cache, name), value, position, axis=axes[name]
        )
        for name, value in new.items()
    }
    return replace(cache, **written)


def _gather(
    kept: Float[Array, "B N H L K"], chosen: Int[Array, "B N H T C"]
) -> Float[Array, "B N H T C K"]:
    flat = jax.lax.collapse(chosen, 3, 5)[..., None]
    return jnp.take_along_axis(kept, flat, axis=3).reshape(*chosen.shape, kept.shape[-1])
