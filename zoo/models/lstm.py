"""LSTMs that classify a text or tag its words. The layers are in `recurrent.py`.

Shapes: `B` batch, `T` length, `D` units of a layer, `O` outputs of a layer (D, or 2 D where it
reads from both ends), `C` classes. Inside, time comes before the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from zoo import registry
from zoo.models.layers import Dropout, dense, embedding
from zoo.models.recurrent import Layers, RecurrentConfig


@dataclass(frozen=True, kw_only=True)
class LSTMConfig(RecurrentConfig):
    """The fields that both models share."""

    d_model: int = 128
    """D: width of an embedding, and units of a layer."""
    num_layers: int = 1
    """Layers, one above the other."""
    bidirectional: bool = True
    """Read from both ends, with D units for each direction."""
    num_classes: int | None = None
    """C, the number of classes or tags."""
    pad_id: int | None = 0
    """The id of padding, which changes no answer. None if no id is padding, as in trax's taggers,
    where 0 is a word."""

    @property
    def reads_padding(self) -> bool:
        """See `ModelConfig`: without a padding id, layers that run backward begin there."""
        return self.pad_id is None and self.bidirectional


@dataclass(frozen=True, kw_only=True)
class LSTMClassifierConfig(LSTMConfig):
    """Tokens [B, T] -> logits [B, C]."""

    pooling: Literal["max", "mean", "last"] = "max"
    """Input of the head: the greatest or the mean output of each unit over the text, or the output
    after the last token read."""

    def build(self) -> LSTMClassifier:
        return LSTMClassifier(self)


@dataclass(frozen=True, kw_only=True)
class LSTMTaggerConfig(LSTMConfig):
    """Words [B, T] -> logits [B, T, C] of each word's tag."""

    def build(self) -> LSTMTagger:
        return LSTMTagger(self)


class LSTMTagger(nn.Module):
    """The module of `LSTMTaggerConfig` (the courses' `Serial(Embedding, LSTM, Dense)`)."""

    config: LSTMConfig

    @nn.compact
    def __call__(self, tokens: Int[Array, "B T"], *, train: bool = False) -> Float[Array, "B *T C"]:
        """Float32 logits: of a tagger [B, T, C], also at padding; of a classifier [B, C].

        Training takes the rng `dropout`.
        """
        config = self.config
        real = None if config.pad_id is None else (tokens != config.pad_id).T
        x = embedding(config, name="embedding")(tokens.T)
        x = Dropout(config.dropout_rate)(x, train=train)
        layers = Layers(config, config.num_layers, "lstm", config.bidirectional, name="layers")
        x, _ = layers(x, real=real, train=train)
        head = dense(config.size_of("num_classes"), config.dtype, name="head")
        return head(self.pool(x, real))

    @nn.nowrap
    def pool(self, x: Float[Array, "T B O"], real: Bool[Array, "T B"] | None) -> Array:
        """The input of the head: here the outputs for each word."""
        return x.swapaxes(0, 1)


class LSTMClassifier(LSTMTagger):
    """The module of `LSTMClassifierConfig`, whose head reads one vector a text."""

    config: LSTMClassifierConfig

    @nn.nowrap
    def pool(self, x: Float[Array, "T B O"], real: Bool[Array, "T B"] | None) -> Array:
        """The outputs at real tokens as one vector; zeros where there is none."""
        how, units = self.config.pooling, self.config.d_model
        if not len(x):
            return jnp.zeros(x.shape[1:])
        if how == "last":
            # The state does not change over padding: this is the state after the last real token.
            return jnp.concatenate([x[-1, :, :units], x[0, :, units:]], axis=-1)
        counted = jnp.ones((*x.shape[:2], 1), bool) if real is None else real[..., None]
        if how == "mean":
            total = jnp.sum(jnp.where(counted, x, 0.0), axis=0)
            return total / jnp.maximum(jnp.sum(counted, axis=0), 1)
        greatest = jnp.max(jnp.where(counted, x, -jnp.inf), axis=0)
        return jnp.where(jnp.any(counted, axis=0), greatest, 0.0)


@registry.models.register
def lstm_classifier() -> LSTMClassifierConfig:
    """Both directions of 128 units, pooled over time."""
    return LSTMClassifierConfig()


@registry.models.register
def lstm_tagger() -> LSTMTaggerConfig:
    """Both directions of 128 units (Graves & Schmidhuber 2005)."""
    return LSTMTaggerConfig()
