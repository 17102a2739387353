"""Recurrent models: language models, a classifier and a tagger; `seq2seq` has that for translation.

Decoding goes through a `Cache`, as with the Transformer: `start` makes one, `extend` takes tokens
and a cache and gives the logits of the next token and the new cache, whose `reorder` serves beam
search. A language model's state also goes through `unroll`, from one piece of a text to the next.

Shapes: `B` batch, `T` length, `D` units of a layer, `V` vocabulary, `C` classes;
in decoding `N` beams. Inside, time stands before the batch (see `recurrent`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from zoo import registry
from zoo.models.base import ModelConfig
from zoo.models.dense import Precision
from zoo.models.layers import Dropout, Embedding, dense
from zoo.models.recurrent import CellName, Recurrent, State


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(ModelConfig):
    """What the models share."""

    vocab_size: int | None = None
    """Token ids are 0 … vocab_size - 1; an id outside is clipped to the nearest."""
    d_model: int = 512
    """Width of an embedding, and units of a layer."""
    dropout_rate: float = 0.1
    """After the embeddings and each layer (Zaremba et al. 2014: not between the steps)."""
    init_scale: float = 1.0
    """Of the first embeddings, as a share of unit variance over the width (trax's √(3/D) is 1)."""
    dtype: Precision = "float32"
    """Of the products of dense layers: `bfloat16` for mixed precision, `int8` for inference."""

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        return (jax.ShapeDtypeStruct((batch, 8), jnp.int32),)


@dataclass(frozen=True, kw_only=True)
class RecurrentLMConfig(RecurrentConfig):
    """Tokens [B, T] -> logits [B, T, V] of each token given those before it."""

    cell: CellName = "lstm"
    num_layers: int = 2

    def build(self) -> RecurrentLM:
        return RecurrentLM(self)


@dataclass(frozen=True, kw_only=True)
class LSTMClassifierConfig(RecurrentConfig):
    """Tokens [B, T] -> logits [B, C]."""

    num_layers: int = 1
    bidirectional: bool = True
    """Read from both ends, with D units for each direction."""
    pooling: Literal["max", "mean", "last"] = "max"
    """What the head sees: the greatest or the mean value of each unit over the text, or that after
    the last token read."""
    num_classes: int | None = None
    """Width of the head."""
    pad_id: int = 0
    """The id of padding, which changes no answer."""

    def build(self) -> LSTMClassifier:
        return LSTMClassifier(self)


@dataclass(frozen=True, kw_only=True)
class LSTMTaggerConfig(RecurrentConfig):
    """Words [B, T] -> logits [B, T, C] of each word's tag."""

    d_model: int = 128
    """Width of an embedding, and units of a layer."""
    num_layers: int = 1
    bidirectional: bool = True
    """Read from both ends, with D units for each direction."""
    num_classes: int | None = None
    """Number of tags."""
    pad_id: int | None = 0
    """The id of padding, which changes no answer; None for none, as in trax's taggers, where 0 is
    a word."""

    @property
    def reads_padding(self) -> bool:
        """See `ModelConfig`: by the state that runs backwards."""
        return self.pad_id is None and self.bidirectional

    def build(self) -> LSTMTagger:
        return LSTMTagger(self)


@struct.dataclass
class Cache:
    """The state of decoding: that of each layer, one for each beam."""

    layers: tuple[tuple[Float[Array, "B N D"], ...], ...]

    def reorder(self, parents: Int[Array, "B M"]) -> Cache:
        """The cache in which beam m has the past of beam `parents[:, m]`."""

        def pick(kept: Float[Array, "B N D"]) -> Float[Array, "B M D"]:
            return jnp.take_along_axis(kept, parents[..., None], axis=1)

        return replace(self, layers=jax.tree.map(pick, self.layers))


class Carry(NamedTuple):
    """Where a language model stands in a text: what `unroll` goes on from."""

    layers: tuple[State, ...]
    previous: Int[Array, "B"]
    """The last token; 0 before the first."""


class Layers(nn.Module):
    """Recurrent layers, one above the other, with dropout after each."""

    config: RecurrentConfig
    number: int
    cell: CellName = "lstm"
    bidirectional: bool = False

    def setup(self) -> None:
        config = self.config
        self.layer = [self._layer() for _ in range(self.number)]
        if self.bidirectional:
            self.backward = [self._layer() for _ in range(self.number)]
        self.dropout = Dropout(config.dropout_rate)

    def _layer(self) -> Recurrent:
        return Recurrent(self.cell, self.config.d_model, self.config.dtype)

    def __call__(
        self,
        x: Float[Array, "T B I"],
        states: tuple[State, ...] | None = None,
        real: Bool[Array, "T B"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "T B O"], tuple[State, ...]]:
        """The outputs of the last layer, and the last state of each that reads forward.

        Of two directions the outputs stand side by side.
        """
        states = self.zeros(x.shape[1]) if states is None else states
        ends = []
        for i, (layer, state) in enumerate(zip(self.layer, states, strict=True)):
            outputs, end = layer(x, state, real)
            if self.bidirectional:
                other, _ = self.backward[i](x, state, real, reverse=True)
                outputs = jnp.concatenate([outputs, other], axis=-1)
            x = self.dropout(outputs, train=train)
            ends.append(end)
        return x, tuple(ends)

    def zeros(self, rows: int) -> tuple[State, ...]:
        """The states before anything was read."""
        return tuple(layer.zeros(rows) for layer in self.layer)


class RecurrentLM(nn.Module):
    """The module of `RecurrentLMConfig` (trax: `RNNLM`, `GRULM`)."""

    config: RecurrentLMConfig

    def setup(self) -> None:
        config = self.config
        size = config.size_of("vocab_size")
        self.embedding = Embedding(size, config.d_model, config.init_scale)
        self.dropout = Dropout(config.dropout_rate)
        self.layers = Layers(config, config.num_layers, config.cell)
        self.logits = dense(size, config.dtype)

    def __call__(self, tokens: Int[Array, "B T"], *, train: bool = False) -> Float[Array, "B T V"]:
        return self.unroll(tokens, self.begin(tokens.shape[0]), train=train)[0]

    def begin(self, batch: int) -> Carry:
        """The state before a text."""
        return Carry(self.layers.zeros(batch), jnp.zeros((batch,), jnp.int32))

    def unroll(
        self, tokens: Int[Array, "B T"], carry: Carry, *, train: bool = False
    ) -> tuple[Float[Array, "B T V"], Carry]:
        """The logits of each token of the next piece of a text, and the state after it."""
        read = jnp.concatenate([carry.previous[:, None], tokens], axis=1)
        x = self.dropout(self.embedding(read[:, :-1].T), train=train)
        x, layers = self.layers(x, carry.layers, train=train)
        return self.logits(x.swapaxes(0, 1)), Carry(layers, read[:, -1])

    def start(self, batch: int, length: int) -> Cache:
        """The cache of no tokens; it takes any number of them."""
        return Cache(of_beams(self.layers.zeros(batch), 1))

    def extend(
        self, tokens: Int[Array, "B N T"], cache: Cache
    ) -> tuple[Float[Array, "B N V"], Cache]:
        """The logits of the token after `tokens`, which follow those in the cache.

        The first token of all is 0, the start.
        """
        batch, beams, _ = tokens.shape
        x, layers = self.layers(self.embedding(steps(tokens)), of_rows(cache.layers))
        logits = self.logits(x[-1].reshape(batch, beams, -1))
        return logits, replace(cache, layers=of_beams(layers, beams))


class LSTMClassifier(nn.Module):
    """The module of `LSTMClassifierConfig`."""

    config: LSTMClassifierConfig

    @nn.compact
    def __call__(self, tokens: Int[Array, "B T"], *, train: bool = False) -> Float[Array, "B C"]:
        config = self.config
        real = (tokens != config.pad_id).T
        x = _read(config, tokens, real, train)
        head = dense(config.size_of("num_classes"), config.dtype, name="head")
        return head(_pool(x, real, config.pooling, config.d_model))


class LSTMTagger(nn.Module):
    """The module of `LSTMTaggerConfig` (the courses' `Serial(Embedding, LSTM, Dense)`)."""

    config: LSTMTaggerConfig

    @nn.compact
    def __call__(self, tokens: Int[Array, "B T"], *, train: bool = False) -> Float[Array, "B T C"]:
        config = self.config
        real = None if config.pad_id is None else (tokens != config.pad_id).T
        x = _read(config, tokens, real, train)
        head = dense(config.size_of("num_classes"), config.dtype, name="head")
        return head(x.swapaxes(0, 1))


def _read(
    config: LSTMClassifierConfig | LSTMTaggerConfig,
    tokens: Int[Array, "B T"],
    real: Bool[Array, "T B"] | None,
    train: bool,
) -> Float[Array, "T B O"]:
    """What the layers of a classifier or a tagger, whose modules these become, make of a text."""
    size = config.size_of("vocab_size")
    embedding = Embedding(size, config.d_model, config.init_scale, name="embedding")
    layers = Layers(config, config.num_layers, bidirectional=config.bidirectional, name="layers")
    x = Dropout(config.dropout_rate)(embedding(tokens.T), train=train)
    return layers(x, real=real, train=train)[0]


def _pool(
    x: Float[Array, "T B O"], real: Bool[Array, "T B"], how: str, units: int
) -> Float[Array, "B O"]:
    """The outputs at real tokens as one vector; zeros where there is none."""
    if not len(x):
        return jnp.zeros(x.shape[1:])
    if how == "last":
        # Over padding the state does not move: that is the state after the last real token.
        return jnp.concatenate([x[-1, :, :units], x[0, :, units:]], axis=-1)
    counted = real[..., None]
    if how == "mean":
        total = jnp.sum(jnp.where(counted, x, 0.0), axis=0)
        return total / jnp.maximum(jnp.sum(counted, axis=0), 1)
    greatest = jnp.max(jnp.where(counted, x, -jnp.inf), axis=0)
    return jnp.where(jnp.any(counted, axis=0), greatest, 0.0)


def steps(tokens: Int[Array, "B N T"]) -> Int[Array, "T BN"]:
    """The tokens of all beams, step by step."""
    return tokens.reshape(-1, tokens.shape[-1]).T


Rows = tuple[tuple[Float[Array, "R D"], ...], ...]
Beams = tuple[tuple[Float[Array, "B N D"], ...], ...]


def of_rows(layers: Beams) -> Rows:
    """States with a row for each beam."""
    return tuple(tuple(kept.reshape(-1, kept.shape[-1]) for kept in state) for state in layers)


def of_beams(layers: Rows, beams: int) -> Beams:
    """States with the beams of each row together."""
    return tuple(
        tuple(kept.reshape(-1, beams, kept.shape[-1]) for kept in state) for state in layers
    )


@registry.models.register
def lstm_lm() -> RecurrentLMConfig:
    """trax's defaults of `RNNLM`."""
    return RecurrentLMConfig()


@registry.models.register
def lstm_lm_tiny() -> RecurrentLMConfig:
    """For tests and toy tasks."""
    return RecurrentLMConfig(d_model=64)


@registry.models.register
def gru_lm() -> RecurrentLMConfig:
    """trax's defaults of `GRULM`."""
    return RecurrentLMConfig(cell="gru", num_layers=1, dropout_rate=0.0)


@registry.models.register
def lstm_classifier() -> LSTMClassifierConfig:
    """Both directions of 128 units, pooled over time."""
    return LSTMClassifierConfig(d_model=128)


@registry.models.register
def lstm_tagger() -> LSTMTaggerConfig:
    """Both directions of 128 units (Graves & Schmidhuber 2005)."""
    return LSTMTaggerConfig()
