"""trax's `TransformerEncoder`, whose mean takes in padding."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from zoo.models.base import TraxQuirks
from zoo.models.transformer import TransformerEncoder, TransformerEncoderConfig


@dataclass(frozen=True, kw_only=True)
class TransformerEncoderQuirks(TraxQuirks):
    """For the weights of trax's `TransformerEncoder`."""

    average_padding: bool = False
    """Average over all positions, padding included: more padding then changes the answer."""

    @property
    def reads_padding(self) -> bool:
        return self.average_padding

    def build(self, config: TransformerEncoderConfig) -> nn.Module:
        return AveragingEncoder(config) if self.average_padding else TransformerEncoder(config)


class AveragingEncoder(TransformerEncoder):
    """A `TransformerEncoder` whose head reads the mean over all positions."""

    def pool(self, x: Float[Array, "B T D"], real: Bool[Array, "B T"]) -> Float[Array, "B D"]:
        return super().pool(x, jnp.ones_like(real))
