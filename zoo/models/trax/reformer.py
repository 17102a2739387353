"""The differences of trax's Reformers (see `zoo.models.base`).

Shapes: as in `zoo.models.reformer.attention` and `hashing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from zoo.config import ConfigError
from zoo.models.attention import HIDDEN
from zoo.models.base import TraxQuirks
from zoo.models.reformer.attention import CrossAttention, SelfAttention, SelfAttentionConfig
from zoo.models.reformer.hashing import HashedCache, LSHAttentionConfig, LSHSelfAttention, choose
from zoo.models.reformer.heads import AttentionConfig, attend_in_chunks
from zoo.models.reformer.models import Reformer, ReformerConfig, ReformerLM, ReformerLMConfig
from zoo.models.reformer.stack import ReformerStack


@dataclass(frozen=True, kw_only=True)
class ReformerQuirks(TraxQuirks):
    """For the weights of trax's `ReformerLM` and `Reformer`."""

    wrap_around: bool = False
    """Chunks form a ring: before the first is the last, after the last the first. With attention by
    hashes all rounds form one ring, so that the chunk before a round is the last of another. In
    causal local attention this changes nothing where there are more chunks than a position sees."""
    first_padding_visible: bool = False
    """Padding is not masked at the positions 0 and 1, where a source is read."""
    sum_source: bool = False
    """The decoder gets the sum of all values of the source, whatever its queries."""
    decode_all: bool = False
    """In decoding, local attention sees all tokens so far, not only those of its chunks."""
    count_next: bool = False
    """In decoding with attention by hashes, one of the candidates is the next position, which holds
    nothing yet and counts as of bucket 0."""

    @property
    def reads_padding(self) -> bool:
        return self.wrap_around

    def build(self, config: Any) -> nn.Module:
        if isinstance(config, ReformerLMConfig):
            return TraxReformerLM(config)
        if isinstance(config, ReformerConfig):
            return TraxReformer(config)
        raise ConfigError(
            f"{type(config).__name__}.trax is a ReformerQuirks; it fits ReformerLMConfig and "
            "ReformerConfig: leave it out"
        )


class TraxReformerLM(ReformerLM):
    """`ReformerLM` with the layers of trax."""

    @nn.nowrap
    def stack(self, num_layers: int, *, causal: bool) -> ReformerStack:
        return TraxStack(self.config, num_layers, causal)


class TraxReformer(Reformer):
    """`Reformer` with the layers of trax."""

    @nn.nowrap
    def stack(self, num_layers: int, *, causal: bool) -> ReformerStack:
        return TraxStack(self.config, num_layers, causal, reads_source=causal)


class TraxStack(ReformerStack):
    """`ReformerStack` with the attention of trax."""

    @property
    def quirks(self) -> ReformerQuirks:
        return cast(ReformerQuirks, self.config.trax)

    @nn.nowrap
    def self_attention(self, kind: AttentionConfig) -> nn.Module:
        sizes, quirks = self.config.heads, self.quirks
        if isinstance(kind, LSHAttentionConfig):
            return TraxLSHSelfAttention(kind, sizes, self.causal, quirks, parent=None)
        if isinstance(kind, SelfAttentionConfig):
            return TraxSelfAttention(kind, sizes, self.causal, quirks, parent=None)
        return super().self_attention(kind)

    @nn.nowrap
    def cross_attention(self) -> CrossAttention:
        if not self.quirks.sum_source:
            return super().cross_attention()
        return SummingAttention(self.config.heads, parent=None)


def ring(x: Array, before: int, after: int, fill: int) -> Array:
    """`with_neighbours`, where the ends of the sequence are neighbours."""
    shifts = range(before, -after - 1, -1)
    return jnp.concatenate([jnp.roll(x, by, axis=-3) for by in shifts], axis=-2)


class TraxSelfAttention(SelfAttention):
    """`SelfAttention` as trax computes it."""

    quirks: ReformerQuirks

    @nn.nowrap
    def around(self, x: Array, before: int, after: int, fill: int) -> Array:
        if not self.quirks.wrap_around:
            return super().around(x, before, after, fill)
        return ring(x, before, after, fill)

    @nn.nowrap
    def positions(
        self, length: int, mask: Bool[Array, "B T"] | None
    ) -> tuple[Int[Array, "1 T"], Int[Array, "#B T"]]:
        """Positions count from 1; those of padding are negated first, so two stay above -1."""
        if mask is None or not self.quirks.first_padding_visible:
            return super().positions(length, mask)
        at = jnp.arange(length, dtype=jnp.int32)[None]
        return at + 1, jnp.where(mask, at, -at) + 1

    @nn.nowrap
    def visible(self, at: Int[Array, "T 1"], places: Int[Array, "1 L"]) -> Int[Array, "#T L"]:
        return places if self.quirks.decode_all else super().visible(at, places)


class TraxLSHSelfAttention(LSHSelfAttention):
    """`LSHSelfAttention` as trax computes it."""

    quirks: ReformerQuirks

    @nn.nowrap
    def attend_in_rounds(self, *arrays: Array) -> tuple[Array, Array]:
        """All rounds as one sequence."""
        if not self.quirks.wrap_around:
            return super().attend_in_rounds(*arrays)
        shape = arrays[0].shape[:4]
        joined = (x.reshape(*shape[:2], -1, *x.shape[4:]) for x in arrays)
        context, normaliser = attend_in_chunks(
            self.config, *joined, causal=self.causal, avoid_self=True, around=ring
        )
        return context.reshape(*shape, -1), normaliser.reshape(shape)

    @nn.nowrap
    def start(self, batch: int, length: int) -> HashedCache:
        return super().start(batch, length + self.quirks.count_next)

    @nn.nowrap
    def candidates(
        self,
        same_bucket: Bool[Array, "B N H T L"],
        buckets: Int[Array, "B N H R T"],
        at: Int[Array, "T"],
    ) -> Int[Array, "B N H T C"]:
        if not self.quirks.count_next:
            return super().candidates(same_bucket, buckets, at)
        places = jnp.arange(same_bucket.shape[-1], dtype=jnp.int32)
        following = (places[None] == at[:, None] + 1)[None, None, None]
        in_first = (buckets[:, :, :, 0] == 0)[..., None]
        same_bucket = jnp.where(following, in_first, same_bucket)
        return choose(same_bucket, at + 1, self.config.num_candidates)


class SummingAttention(CrossAttention):
    """`CrossAttention` that, with a mask, adds up the values of all real tokens.

    trax lowers the scores of real tokens by 1e9 and those of padding by twice as much. In float32
    the former are then equal, and so near their log-sum-exp that each weight is 1.
    """

    @nn.nowrap
    def weighted_mean(
        self,
        scores: Float[Array, "B H T S"],
        values: Float[Array, "B H S W"],
        mask: Bool[Array, "B S"] | None,
    ) -> Float[Array, "B H T W"]:
        if mask is None:
            return super().weighted_mean(scores, values, mask)
        scores = scores + jnp.where(mask[:, None, None], HIDDEN, 2 * HIDDEN)
        weights = jnp.exp(scores - jax.nn.logsumexp(scores, axis=-1, keepdims=True))
        return jnp.einsum("bhts,bhsw->bhtw", weights, values)
