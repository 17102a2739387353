"""A Reformer's attention: full, local, and from a decoder to a source.

The other kind of self-attention, which sorts positions by their hashes, is in `hashing`.

Shapes: `*b` any leading axes, `B` batch, `T` positions, `S` source positions, `D` model, `H` heads,
`K` width of a query, `W` width of a value; in decoding `N` beams and `L` tokens that the cache has
room for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from zoo.models.attention import HIDDEN
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
    with_neighbours,
)


@dataclass(frozen=True, kw_only=True)
class SelfAttentionConfig(AttentionConfig):
    """Attention to all positions, or with `chunk_len` to those nearby."""

    share_qk: bool = False
    """Use the queries, scaled to length √d_key, as keys; a position then sees itself last of all.
    """
    use_bias: bool = False
    """Add a vector to queries, keys and values."""

    def build(self, common: HeadConfig, causal: bool) -> SelfAttention:
        return SelfAttention(self, common, causal, parent=None)


BIAS_INIT = nn.initializers.normal(1e-6)


class SelfAttention(nn.Module):
    """Full or local attention of a sequence to itself (trax: `SelfAttention`).

    Parameters: `query`, `key` [H, D, K], `value` [H, D, W] and `out` [H, W, D]; with `use_bias`
    also `query_bias`, `key_bias` [H, K] and `value_bias` [H, W]. No `key` with `share_qk`.
    """

    config: SelfAttentionConfig
    common: HeadConfig
    causal: bool

    def setup(self) -> None:
        widths = {
            "query": self.common.d_key,
            "key": self.common.d_key,
            "value": self.common.d_value,
        }
        if self.config.share_qk:
            del widths["key"]
        for name, width in widths.items():
            setattr(self, name, input_kernel(self, name, width))
            if self.config.use_bias:
                shape = self.common.num_heads, width
                bias = self.param(f"{name}_bias", BIAS_INIT, shape, jnp.float32)
                setattr(self, f"{name}_bias", bias)
        self.out = output_kernel(self)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "B T"] | None = None,
        rotations: None = None,
        order: Any = None,
        rng: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "B T D"], tuple[()]]:
        """The output for each position, and nothing that a second call would need.

        Args:
          x: the vectors.
          mask: True at real tokens. It is not needed if attention is causal: padding comes after
            the text, where it is hidden like the rest of the future.
          rotations, order: unused, see `LSHSelfAttention`.
          rng: the key for dropout; None: no dropout.
        """
        config = self.config
        query_positions, key_positions = self.positions(x.shape[1], None if self.causal else mask)
        arrays = *self._heads(x), query_positions[:, None], key_positions[:, None]
        if config.chunk_len is None:
            context, _ = attend(*arrays, causal=self.causal, avoid_self=config.share_qk)
        else:
            context, _ = attend_in_chunks(
                config,
                *arrays,
                causal=self.causal,
                avoid_self=config.share_qk,
                around=self.around,
            )
        out = join_heads(context, self.out, self.common.dtype)
        return dropout(out, self.common.dropout_rate, rng), ()

    @nn.nowrap
    def positions(
        self, length: int, mask: Bool[Array, "B T"] | None
    ) -> tuple[Int[Array, "1 T"], Int[Array, "#B T"]]:
        """The positions of queries and of keys; padding is no key."""
        at = jnp.arange(length, dtype=jnp.int32)[None]
        return at, at if mask is None else jnp.where(mask, at, NOWHERE)

    @nn.nowrap
    def around(self, x: Array, before: int, after: int, fill: int) -> Array:
        """The chunks that each chunk sees."""
        return with_neighbours(x, before, after, fill)

    @nn.nowrap
    def start(self, batch: int, length: int) -> LayerCache:
        """A cache with room for `length` tokens, for one beam a row."""
        return empty_cache(self.common, batch, length)

    def extend(
        self,
        x: Float[Array, "B N T D"],
        cache: LayerCache,
        length: Int[Array, ""],
        rotations: None = None,
    ) -> tuple[Float[Array, "B N T D"], LayerCache]:
        """The output for the next tokens, and the cache with these tokens.

        Args:
          x: the vectors of the tokens.
          cache: of the tokens before them.
          length: the number of tokens before them.
          rotations: unused, see `LSHSelfAttention`.
        """
        queries, keys, values = self._heads(x)
        cache = cache.write(length, keys=keys, values=values)
        at = length + jnp.arange(x.shape[2], dtype=jnp.int32)[:, None]  # [T, 1]
        places = jnp.arange(cache.keys.shape[3], dtype=jnp.int32)[None]  # [1, L]
        context, _ = attend(
            queries[..., None, :],
            cache.keys[:, :, :, None],
            cache.values[:, :, :, None],
            at[None, None, None],
            self.visible(at, places)[None, None, None],
            causal=True,
            avoid_self=self.config.share_qk,
        )
        return join_heads(context[..., 0, :], self.out, self.common.dtype), cache

    @nn.nowrap
    def visible(self, at: Int[Array, "T 1"], places: Int[Array, "1 L"]) -> Int[Array, "#T L"]:
        """The positions of the cached keys for the token at each position; NOWHERE: not seen."""
        if self.config.chunk_len is None:
            return places
        before = at // self.config.chunk_len - places // self.config.chunk_len
        return jnp.where(before <= self.config.chunks_before, places, NOWHERE)

    def _heads(self, x: Float[Array, "*b T D"]) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries, scaled keys, and values, each [*b, H, T, …]."""
        queries, values = self._project(x, "query"), self._project(x, "value")
        if self.config.share_qk:
            return queries, shared_keys(queries), values
        return queries, self._project(x, "key") / math.sqrt(queries.shape[-1]), values

    def _project(self, x: Float[Array, "*b T D"], name: str) -> Float[Array, "*b H T K"]:
        projected = split_heads(x, getattr(self, name), self.common.dtype)
        if self.config.use_bias:
            bias: jax.Array = getattr(self, f"{name}_bias")
            projected = projected + jnp.expand_dims(bias[:, None], range(x.ndim - 2))
        return projected


class CrossAttention(nn.Module):
    """Attention from one sequence to another (trax: `EncDecAttention`).

    Parameters: `query`, `key` [H, D, K], `value` [H, D, W], `out` [H, W, D].
    """

    common: HeadConfig

    def setup(self) -> None:
        self.query = input_kernel(self, "query", self.common.d_key)
        self.key = input_kernel(self, "key", self.common.d_key)
        self.value = input_kernel(self, "value", self.common.d_value)
        self.out = output_kernel(self)

    def keys_values(
        self, x: Float[Array, "B S D"]
    ) -> tuple[Float[Array, "B H S K"], Float[Array, "B H S W"]]:
        """The keys, scaled, and the values of the sequence that is attended to."""
        keys = split_heads(x, self.key, self.common.dtype) / math.sqrt(self.common.d_key)
        return keys, split_heads(x, self.value, self.common.dtype)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        keys: Float[Array, "B H S K"],
        values: Float[Array, "B H S W"],
        mask: Bool[Array, "B S"] | None = None,
        rng: PRNGKeyArray | None = None,
    ) -> Float[Array, "B T D"]:
        """The output for each position of `x`: zeros where no key is real, since there is no bias.

        Args:
          x: the vectors that the queries are made of.
          keys, values: see `keys_values`.
          mask: True at real tokens of the other sequence.
          rng: the key for dropout; None: no dropout.
        """
        queries = split_heads(x, self.query, self.common.dtype)
        scores = jnp.einsum("bhtk,bhsk->bhts", queries, keys)
        context = self.weighted_mean(scores, values, mask)
        return dropout(
            join_heads(context, self.out, self.common.dtype), self.common.dropout_rate, rng
        )

    @nn.nowrap
    def weighted_mean(
        self,
        scores: Float[Array, "B H T S"],
        values: Float[Array, "B H S W"],
        mask: Bool[Array, "B S"] | None,
    ) -> Float[Array, "B H T W"]:
        """The mean of the real values, weighted by their scores; zeros if none is real."""
        if mask is None:
            return jnp.einsum("bhts,bhsw->bhtw", jax.nn.softmax(scores), values)
        weights = jax.nn.softmax(jnp.where(mask[:, None, None], scores, HIDDEN))
        context = jnp.einsum("bhts,bhsw->bhtw", weights, values)
        return jnp.where(mask.any(axis=1)[:, None, None, None], context, 0.0)
