"""Bag of embeddings: the vectors of a text's tokens, pooled, and a dense head.

Two classifiers in one. With the defaults it is the first model of trax's tutorials
(`Serial(Embedding, Mean, Dense)`). With `ngram_order=2` it is fastText (Joulin et al. 2016, "Bag of
Tricks for Efficient Text Classification", section 2.1): word n-grams, hashed into a table that they
share.

Shapes: `B` batch, `L` tokens, `N` n-grams of a text (all orders), `D` width, `V` rows of the table,
`C` classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, UInt

from zoo import registry, xla
from zoo.config import ConfigError
from zoo.models.base import TokenConfig, TraxQuirks


@dataclass(frozen=True, kw_only=True)
class BagOfEmbeddingsConfig(TokenConfig):
    """Token ids [B, L] -> logits [B, C]."""

    num_classes: int | None = None
    """Number of logits."""
    d_model: int = 256
    """Width of an embedding."""
    ngram_order: int = 1
    """Tokens of the longest n-gram; n-grams of several tokens are hashed into `num_buckets` rows.
    """
    num_buckets: int = 0
    """Rows of the table for hashed n-grams; needed if `ngram_order` is more than 1."""
    unique: bool = False
    """Count each n-gram once a text: a set, not a list."""
    pooling: Literal["mean", "sqrt"] = "mean"
    """The divisor of a sum of n vectors: n, or √n, with which long texts have larger sums."""
    dropout_rate: float = 0.0
    """Share of a text's n-grams that is dropped in training."""
    pad_id: int = 0
    """The id of padding, which counts as nothing."""
    trax: TraxQuirks | None = None
    """For trax's weights: `models.trax.bag_of_embeddings.BagOfEmbeddingsQuirks`."""

    @property
    def reads_padding(self) -> bool:
        return self.trax is not None and self.trax.reads_padding

    def build(self) -> nn.Module:
        if self.ngram_order > 1 and self.num_buckets < 1:
            raise ConfigError(
                f"ngram_order={self.ngram_order} needs num_buckets, the number of rows for hashed "
                f"n-grams; got {self.num_buckets}"
            )
        return self.trax.build(self) if self.trax else BagOfEmbeddings(self)


class BagOfEmbeddings(nn.Module):
    """The module of `BagOfEmbeddingsConfig`.

    Parameters: `embedding/embedding` [V, D], first the vocabulary, then the buckets; `head`.
    """

    config: BagOfEmbeddingsConfig

    @nn.compact
    def __call__(self, tokens: Int[Array, "B L"], *, train: bool = False) -> Float[Array, "B C"]:
        """The float32 logits of each text. Training takes the rng `dropout`."""
        config = self.config
        rows = config.size_of("vocab_size") + config.num_buckets
        init = nn.initializers.variance_scaling(config.init_scale**2, "fan_out", "uniform")
        table = nn.Embed(rows, config.d_model, embedding_init=init, name="embedding").embedding

        ids = ngram_ids(tokens, self.real(tokens), config)
        counted = ids < rows
        if config.unique:
            ids = jnp.sort(ids, axis=1)  # repetitions are neighbours then
            before = jnp.pad(ids, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
            counted = (ids < rows) & (ids != before)
        weights = counted.astype(table.dtype)
        number = jnp.maximum(weights.sum(axis=1), 1.0)  # a text without tokens: a vector of zeros
        if train and config.dropout_rate > 0:
            mask, share = xla.keep_mask(self.make_rng("dropout"), config.dropout_rate, ids.shape)
            weights = jnp.where(mask, weights / share, jnp.zeros_like(weights))

        divisor = number if config.pooling == "mean" else jnp.sqrt(number)
        pooled = xla.weighted_sum(table, ids, weights) / divisor[:, None]
        init = nn.initializers.glorot_uniform()
        return nn.Dense(config.size_of("num_classes"), kernel_init=init, name="head")(pooled)

    @nn.nowrap
    def real(self, tokens: Int[Array, "B L"]) -> Bool[Array, "B L"]:
        """True at the tokens that count."""
        return tokens != self.config.pad_id


def ngram_ids(
    tokens: Int[Array, "B L"], real: Bool[Array, "B L"], config: BagOfEmbeddingsConfig
) -> Int[Array, "B N"]:
    """The table's rows for the n-grams of a text, one order after the other.

    A token's row is its id; the row of several tokens is a hash of their ids, after the vocabulary.
    An n-gram with padding in it gets the number of rows, which is not a row.

    Args:
      tokens: the texts.
      real: False at padding.
      config: has the sizes.
    """
    vocab_size = config.size_of("vocab_size")
    nothing = vocab_size + config.num_buckets
    clipped = jnp.clip(tokens, 0, vocab_size - 1).astype(jnp.int32)
    orders = [jnp.where(real, clipped, nothing)]
    hashed, complete = clipped.astype(jnp.uint32), real
    for order in range(2, config.ngram_order + 1):
        following = clipped[:, order - 1 :].astype(jnp.uint32)
        hashed = (hashed[:, : following.shape[1]] * jnp.uint32(0x9E3779B1)) ^ following
        complete = complete[:, : following.shape[1]] & real[:, order - 1 :]
        rows = vocab_size + (_mix(hashed) % jnp.uint32(config.num_buckets)).astype(jnp.int32)
        orders.append(jnp.where(complete, rows, nothing))
    return jnp.concatenate(orders, axis=1)


def _mix(x: UInt[Array, "..."]) -> UInt[Array, "..."]:
    """The last step of MurmurHash3: each bit depends on all others, so that `%` spreads evenly."""
    x = (x ^ (x >> jnp.uint32(16))) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> jnp.uint32(13))) * jnp.uint32(0xC2B2AE35)
    mixed: jax.Array = x ^ (x >> jnp.uint32(16))
    return mixed


@registry.models.register
def bag_of_embeddings() -> BagOfEmbeddingsConfig:
    """Mean of 256-wide embeddings and a dense head: trax's first tutorial."""
    return BagOfEmbeddingsConfig()
