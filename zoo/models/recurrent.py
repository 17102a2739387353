"""Recurrent networks: LSTM, GRU and SRU layers, and the language model made of them.

`lstm.py` has a classifier and a tagger, `seq2seq.py` translation; `base.py` explains how models
decode and carry their state. The inputs of all steps are multiplied before the loop over time,
which only multiplies the state; an SRU's state is multiplied with no kernel, and needs no loop. The
loop takes steps from the first axis, so here time comes first.

Shapes: `T` steps, `B` batch, `I` inputs, `D` units of a layer, `V` vocabulary; in decoding `N` and
`M` beams.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from zoo import registry, xla
from zoo.models.base import TokenConfig
from zoo.models.dense import Precision, Weights, multiply
from zoo.models.layers import Dropout, dense, embedding

CellName = Literal["lstm", "gru", "sru"]

State = tuple[Float[Array, "B D"], ...]
"""The memory of a layer: (c, h) of an LSTM and (h,) of a GRU, whose output is h; (c,) of an SRU."""

Arrays = tuple[Array, ...]
Kernels = tuple[Weights, ...]

# Cells: kernels R, x W + b of one step, state -> next state, and the operand of each kernel.


def lstm(dtype: Precision, kernels: Kernels, inputs: Arrays, state: State) -> tuple[State, Arrays]:
    """Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    i, j, f, o = x W + h R + b
    c' = sigmoid(f) c + sigmoid(i) tanh(j)
    h' = sigmoid(o) tanh(c')
    """
    (kernel,), (gates,), (cell, hidden) = kernels, inputs, state
    i, j, f, o = jnp.split(gates + multiply(hidden, kernel, dtype), 4, axis=-1)
    cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(j)
    return (cell, nn.sigmoid(o) * jnp.tanh(cell)), (hidden,)


def gru(dtype: Precision, kernels: Kernels, inputs: Arrays, state: State) -> tuple[State, Arrays]:
    """Cho et al. (2014), section 2.3, where u is called z.

    u, r = sigmoid(x W + h R + b)
    h' = u h + (1 - u) tanh(x V + (r h) S + d)
    """
    (of_gates, of_candidate), (gates, candidate), (hidden,) = kernels, inputs, state
    u, r = jnp.split(nn.sigmoid(gates + multiply(hidden, of_gates, dtype)), 2, axis=-1)
    reset = r * hidden
    candidate = jnp.tanh(candidate + multiply(reset, of_candidate, dtype))
    return (u * hidden + (1 - u) * candidate,), (hidden, reset)


class Cell(NamedTuple):
    """A kind of layer: its step, and of each x W + h R + b the name and the width in units of D."""

    step: Callable[[Precision, Kernels, Arrays, State], tuple[State, Arrays]]
    projections: dict[str, int]


CELLS: dict[CellName, Cell] = {
    "lstm": Cell(lstm, {"gates": 4}),
    "gru": Cell(gru, {"gates": 2, "candidate": 1}),
}


class RecurrentLayer(nn.Module):
    """A layer of `features` units, D, of LSTM or GRU cells.

    Parameters: for each projection of the cell `input_NAME` (`kernel` [I, O], `bias` [O]) and
    `recurrent_NAME` (`kernel` [D, O]), float32; in int8 kernels are as in `dense`.
    """

    cell: CellName
    features: int
    dtype: Precision = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "T B I"],
        state: State,
        real: Bool[Array, "T B"] | None = None,
        *,
        reverse: bool = False,
    ) -> tuple[Float[Array, "T B D"], State]:
        """The output of each step, and the state after the last one; float32.

        `state` is that before the first step. It does not change over padding, where `real` is
        False. `reverse` begins at the end; each output keeps the place of its input.
        """
        cell = CELLS[self.cell]

        def step(kernels: Kernels, inputs: Arrays, real: Array | None, state: State) -> Any:
            new, operands = cell.step(self.dtype, kernels, inputs, state)
            if real is not None:
                new = jax.tree.map(lambda a, b: jnp.where(real[:, None], a, b), new, state)
            return new, operands

        bias = _forget_bias if self.cell == "lstm" else nn.initializers.zeros
        inputs: Arrays = ()
        kernels: Kernels = ()
        for name, width in cell.projections.items():
            sizes = width * self.features, self.dtype
            inputs += (dense(*sizes, bias_init=bias, name=f"input_{name}")(x),)
            kernels += (RecurrentKernel(*sizes, name=f"recurrent_{name}")(self.features),)
        narrow = self.dtype == "bfloat16"
        return xla.recurrence(step, kernels, inputs, real, state, narrow=narrow, reverse=reverse)


class RecurrentKernel(nn.Module):
    """The kernel of a product with the state, as a dense layer without bias has it."""

    features: int
    dtype: Precision

    @nn.compact
    def __call__(self, width: int) -> Weights:
        """The weights that `multiply` takes for rows of this width."""
        if self.dtype == "int8":
            kernel = self.param("kernel", nn.initializers.zeros, (self.features, width), jnp.int8)
            scale = self.param("scale", nn.initializers.ones, (self.features,), jnp.float32)
            return kernel, scale
        init = nn.initializers.glorot_uniform()
        return (self.param("kernel", init, (width, self.features), jnp.float32),)


class SRULayer(nn.Module):
    """A layer of D simple recurrent units (Lei et al. 2018, section 3), called as `RecurrentLayer`.

    r, f, y = x W + b
    c' = sigmoid(f) c + (1 - sigmoid(f)) y
    h = sigmoid(r) c' + sqrt(3) (1 - sigmoid(r)) x

    The gates do not depend on c, so the states of all steps are one associative scan of c' = f c +
    z. As in trax, they see no c at all (the paper adds v c to them), and sqrt(3) scales the input,
    which is as wide as the output.

    Parameters: `gates` (`kernel` [D, 3 D], `bias` [3 D]).
    """

    features: int
    dtype: Precision = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "T B D"],
        state: State,
        real: Bool[Array, "T B"] | None = None,
        *,
        reverse: bool = False,
    ) -> tuple[Float[Array, "T B D"], State]:
        """The output of each step, and the state after the last one; float32."""
        gates = dense(3 * self.features, self.dtype, name="gates")(x)
        r, f, y = jnp.split(gates, 3, axis=-1)
        r, kept = nn.sigmoid(r), nn.sigmoid(f)
        added = (1 - kept) * y
        if real is not None:
            kept = jnp.where(real[..., None], kept, 1.0)
            added = jnp.where(real[..., None], added, 0.0)

        def joined(before: Arrays, after: Arrays) -> Arrays:
            return before[0] * after[0], after[0] * before[1] + after[1]

        kept, added = jax.lax.associative_scan(joined, (kept, added), reverse=reverse)
        cells = kept * state[0][None] + added
        end = cells[0 if reverse else -1] if len(x) else state[0]
        return r * cells + math.sqrt(3) * (1 - r) * x, (end,)


def _forget_bias(key: Any, shape: tuple[int], dtype: Any = jnp.float32) -> Float[Array, "O"]:
    """1 for the forget gate, so that memory lasts at first (Jozefowicz et al. 2015); else 0."""
    return jnp.zeros((4, shape[0] // 4), dtype).at[2].set(1.0).reshape(shape)


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(TokenConfig):
    """The fields that all recurrent models have."""

    d_model: int = 512
    """D: width of an embedding, and units of a layer."""
    dropout_rate: float = 0.1
    """Share dropped in training, of the embeddings and of each layer's outputs; nothing is dropped
    between the steps of a layer (Zaremba et al. 2014)."""
    dtype: Precision = "float32"
    """Precision of products with kernels: `bfloat16` for mixed precision, `int8` for inference."""


class Layers(nn.Module):
    """Recurrent layers, one above the other, with dropout after each."""

    config: RecurrentConfig
    number: int
    cell: CellName = "lstm"
    bidirectional: bool = False
    """Whether each layer is a pair that reads from both ends, with D units each."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "T B I"],
        states: tuple[State, ...] | None = None,
        real: Bool[Array, "T B"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "T B O"], tuple[State, ...]]:
        """The outputs of the last layer, and the last state of each layer that reads forward.

        O is D, or 2 D where a forward and a backward output are concatenated. `states` are those
        before the first step, None for zeros; `real` is as in `RecurrentLayer`. Training takes the
        rng `dropout`.
        """
        dropout = Dropout(self.config.dropout_rate)
        ends = []
        for i, state in enumerate(states or self.zeros(x.shape[1])):
            outputs, end = self.layer(f"layer_{i}")(x, state, real)
            if self.bidirectional:
                backward, _ = self.layer(f"backward_{i}")(x, state, real, reverse=True)
                outputs = jnp.concatenate([outputs, backward], axis=-1)
            x = dropout(outputs, train=train)
            ends.append(end)
        return x, tuple(ends)

    def layer(self, name: str) -> RecurrentLayer | SRULayer:
        """A new layer."""
        sizes = self.config.d_model, self.config.dtype
        if self.cell == "sru":
            return SRULayer(*sizes, name=name)
        return RecurrentLayer(self.cell, *sizes, name=name)

    def zeros(self, rows: int) -> tuple[State, ...]:
        """The states before anything was read, for `rows` rows."""
        part = jnp.zeros((rows, self.config.d_model), jnp.float32)
        return ((part, part) if self.cell == "lstm" else (part,),) * self.number


# Decoding, in which the beams of all texts are rows.


C = TypeVar("C", bound="Cache")


@struct.dataclass
class Cache:
    """The state of each layer, for each beam."""

    layers: tuple[tuple[Float[Array, "B N D"], ...], ...]

    def reorder(self, parents: Int[Array, "B M"]) -> Cache:
        """The cache in which beam m has the history of beam `parents[:, m]`."""
        pick = functools.partial(jnp.take_along_axis, indices=parents[..., None], axis=1)
        return replace(self, layers=jax.tree.map(pick, self.layers))

    def rows(self: C, indices: Int[Array, "R"]) -> C:
        """See `base.Cache`."""
        taken: C = jax.tree.map(lambda x: jnp.take(x, indices, axis=0), self)
        return taken


def beams_to_rows(tree: Any) -> Any:
    """Each array [B, N, X] as [B · N, X]."""
    return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), tree)


def rows_to_beams(tree: Any, beams: int) -> Any:
    """Each array [B · N, ...] as [B, N, ...]."""
    return jax.tree.map(lambda x: x.reshape(-1, beams, *x.shape[1:]), tree)


def first(count: Int[Array, ""] | None, tokens: Int[Array, "B N T"]) -> Bool[Array, "T R"] | None:
    """True at the first `count` tokens of each of the R beams: where a state changes."""
    if count is None:
        return None
    batch, beams, new = tokens.shape
    read = jnp.arange(new, dtype=jnp.int32) < count
    return jnp.broadcast_to(read[:, None], (new, batch * beams))


# Language model.


@dataclass(frozen=True, kw_only=True)
class RecurrentLMConfig(RecurrentConfig):
    """Tokens [B, T] -> logits [B, T, V] of each token given those before it."""

    cell: CellName = "lstm"
    """Kind of the layers."""
    num_layers: int = 2
    """Layers, one above the other."""

    @property
    def carries_state(self) -> bool:
        return True

    def build(self) -> RecurrentLM:
        return RecurrentLM(self)


class Carry(NamedTuple):
    """The state of a language model between two pieces of a text."""

    layers: tuple[State, ...]
    previous: Int[Array, "B"]
    """The last token; 0 before the first."""


class RecurrentLM(nn.Module):
    """The module of `RecurrentLMConfig` (trax: `RNNLM`, `GRULM`)."""

    config: RecurrentLMConfig

    def setup(self) -> None:
        config = self.config
        self.embedding = embedding(config)
        self.dropout = Dropout(config.dropout_rate)
        self.layers = Layers(config, config.num_layers, config.cell)
        self.logits = dense(config.size_of("vocab_size"), config.dtype)

    def __call__(self, tokens: Int[Array, "B T"], *, train: bool = False) -> Float[Array, "B T V"]:
        """Float32 logits of each token given those before it. Training takes the rng `dropout`."""
        return self.unroll(tokens, self.begin(tokens.shape[0]), train=train)[0]

    def begin(self, batch: int) -> Carry:
        """The state before a text, for B rows."""
        return Carry(self.layers.zeros(batch), jnp.zeros((batch,), jnp.int32))

    def unroll(
        self, tokens: Int[Array, "B T"], carry: Carry, *, train: bool = False
    ) -> tuple[Float[Array, "B T V"], Carry]:
        """The logits of each token of the next piece of a text, and the state after it."""
        read = jnp.concatenate([carry.previous[:, None], tokens], axis=1)
        x = self.dropout(self.embedding(read[:, :-1].T), train=train)
        x, layers = self.layers(x, carry.layers, train=train)
        return self.logits(x.swapaxes(0, 1)), Carry(layers, read[:, -1])

    def start(self, source: int, length: int) -> Cache:
        """See `base.Decoder`. The cache takes any number of tokens."""
        return Cache(rows_to_beams(self.layers.zeros(source), 1))

    def extend(
        self, tokens: Int[Array, "B N T"], cache: Cache, count: Int[Array, ""] | None = None
    ) -> tuple[Float[Array, "B N T V"], Cache]:
        """See `base.Decoder`."""
        beams = tokens.shape[1]
        x = self.embedding(beams_to_rows(tokens).T)
        x, layers = self.layers(x, beams_to_rows(cache.layers), first(count, tokens))
        logits = rows_to_beams(self.logits(x.swapaxes(0, 1)), beams)
        return logits, Cache(rows_to_beams(layers, beams))


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
def sru_lm() -> RecurrentLMConfig:
    """Two layers of simple recurrent units, which train without a loop over time."""
    return RecurrentLMConfig(cell="sru")
