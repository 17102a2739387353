"""The bag of embeddings of trax's tutorials, whose mean takes in padding."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Int

from zoo.config import ConfigError
from zoo.models.bag_of_embeddings import BagOfEmbeddings, BagOfEmbeddingsConfig
from zoo.models.base import TraxQuirks


@dataclass(frozen=True, kw_only=True)
class BagOfEmbeddingsQuirks(TraxQuirks):
    """For the weights of trax's `Serial(Embedding, Mean, Dense)`."""

    average_padding: bool = False
    """Average over all positions, padding included: more padding then changes the answer."""

    @property
    def reads_padding(self) -> bool:
        return self.average_padding

    def build(self, config: BagOfEmbeddingsConfig) -> nn.Module:
        if not self.average_padding:
            return BagOfEmbeddings(config)
        if config.unique or config.ngram_order > 1 or config.pooling != "mean":
            raise ConfigError(
                "trax.average_padding=True is trax's mean over all positions; it goes only with "
                "unique=False, ngram_order=1 and pooling='mean'"
            )
        return AveragingBag(config)


class AveragingBag(BagOfEmbeddings):
    """A `BagOfEmbeddings` whose mean is over all positions."""

    @nn.nowrap
    def real(self, tokens: Int[Array, "B L"]) -> Bool[Array, "B L"]:
        return jnp.ones_like(tokens, bool)
