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
from jaxtyping import Array, Float, Int, UInt

from zoo import registry
from zoo.models.base import ModelConfig
from zoo.xla import keep_mask


@dataclass(frozen=True, kw_only=True)
class BagOfEmbeddingsConfig(ModelConfig):
    """Token ids [B, L] -> logits [B, C].

    An answer does not depend on padding, save with `average_padding`.
    """

    vocab_size: int | None = None
    """Token ids are 0 … vocab_size - 1; an id outside is clipped to the nearest."""
    num_classes: int | None = None
    """Width of the head."""
    d_model: int = 256
    """Width of an embedding."""
    ngram_order: int = 1
    """Longest n-gram; those of two tokens and more are hashed into `num_buckets` rows."""
    num_buckets: int = 0
    """Rows of the table for hashed n-grams."""
    unique: bool = False
    """Count each n-gram once a text: a set, not a list."""
    pooling: Literal["mean", "sqrt"] = "mean"
    """The vectors' sum is divided by their number n, or by √n: then long texts speak louder."""
    dropout_rate: float = 0.0
    """Share of a text's n-grams that is left out in a training step."""
    init_scale: float = 1.0
    """Of the first embeddings, as a share of unit variance over the width (trax's √(3/D) is 1)."""
    average_padding: bool = False
    """Average over all L positions, as trax did: more padding then changes the answer."""
    pad_id: int = 0
    """The id of padding."""

    @property
    def reads_padding(self) -> bool:
        return self.average_padding

    def build(self) -> BagOfEmbeddings:
        if self.ngram_order > 1 and self.num_buckets < 1:
            raise ValueError(
                f"ngram_order={self.ngram_order} needs num_buckets, the number of rows for hashed "
                "n-grams; got 0"
            )
        if self.average_padding and (self.unique or self.ngram_order > 1 or self.pooling != "mean"):
            raise ValueError(
                "average_padding=True reproduces trax's mean over all positions; "
                "it goes with unique=False, ngram_order=1 and pooling='mean' only"
            )
        return BagOfEmbeddings(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        return (jax.ShapeDtypeStruct((batch, 8), jnp.int32),)


class BagOfEmbeddings(nn.Module):
    """The module of `BagOfEmbeddingsConfig`."""

    config: BagOfEmbeddingsConfig

    @nn.compact
    def __call__(self, tokens: Int[Array, "B L"], *, train: bool = False) -> Float[Array, "B C"]:
        config = self.config
        vocab_size, num_classes = config.size_of("vocab_size"), config.size_of("num_classes")
        initializer = nn.initializers.variance_scaling(config.init_scale**2, "fan_out", "uniform")
        rows = vocab_size + config.num_buckets
        table = nn.Embed(
            rows, config.d_model, embedding_init=initializer, name="embedding"
        ).embedding

        ids = ngram_ids(tokens, config)
        if config.unique:
            ids = jnp.sort(ids, axis=1)  # repetitions are neighbours then
            first = jnp.concatenate(
                [jnp.ones_like(ids[:, :1], bool), ids[:, 1:] != ids[:, :-1]], axis=1
            )
            counted = first & (ids < rows)
        else:
            counted = ids < rows
        weights = counted.astype(table.dtype)
        number = weights.sum(axis=1)
        if train and config.dropout_rate > 0:
            mask, share = keep_mask(self.make_rng("dropout"), config.dropout_rate, ids.shape)
            weights = jnp.where(mask, weights / share, jnp.zeros_like(weights))

        number = jnp.maximum(number, 1.0)  # a text without tokens is a vector of zeros
        divisor = number if config.pooling == "mean" else jnp.sqrt(number)
        pooled = weighted_sum(table, ids, weights) / divisor[:, None]
        return nn.Dense(num_classes, name="head", kernel_init=nn.initializers.glorot_uniform())(
            pooled
        )


def ngram_ids(tokens: Int[Array, "B L"], config: BagOfEmbeddingsConfig) -> Int[Array, "B N"]:
    """The rows of the table that belong to a text, all orders one after the other.

    A token's row is its id. The row of n tokens is a hash of their ids, behind the vocabulary.
    Whatever holds padding gets the number of rows, which is no row at all.
    """
    vocab_size = config.size_of("vocab_size")
    nothing = vocab_size + config.num_buckets
    real = jnp.ones_like(tokens, bool) if config.average_padding else tokens != config.pad_id
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
    """Lets every bit reach every other (MurmurHash3's last step), so that `%` spreads evenly."""
    x = (x ^ (x >> jnp.uint32(16))) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> jnp.uint32(13))) * jnp.uint32(0xC2B2AE35)
    mixed: jax.Array = x ^ (x >> jnp.uint32(16))
    return mixed


def weighted_sum(
    table: Float[Array, "V D"], ids: Int[Array, "B N"], weights: Float[Array, "B N"]
) -> Float[Array, "B D"]:
    """Σₙ weights[b, n] · table[ids[b, n]], with ids ≥ V worth nothing.

    For long texts and a small table the sum is a product with the matrix of counts: the gradient of
    a gather is a scatter of B·N rows, one after the other, where the product needs B·V numbers (a
    step of trax's tutorial on a CPU: the gather takes twice as long).
    """
    size = table.shape[0]
    if size <= 32 * ids.shape[1]:
        rows = jnp.arange(ids.shape[0])[:, None]
        counts = (
            jnp.zeros((ids.shape[0], size), table.dtype).at[rows, ids].add(weights, mode="drop")
        )
        return jnp.dot(counts, table, precision=jax.lax.Precision.HIGHEST)
    vectors = jnp.take(table, ids, axis=0, mode="clip")  # [B, N, D]
    return jnp.einsum("bnd,bn->bd", vectors, weights)


@registry.models.register
def bag_of_embeddings() -> BagOfEmbeddingsConfig:
    """Mean of 256-wide embeddings and a dense head: trax's first tutorial."""
    return BagOfEmbeddingsConfig()
