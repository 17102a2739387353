"""The stack of blocks that every Transformer is made of, and the cache through which it decodes.

Layer norms stand before each sublayer and after the last block (pre-norm, Xiong et al. 2020), and
position tables are trained and begin as sinusoids, as in trax.

Shapes: `B` batch, `S` source length, `T` target length, `D` model, `H` heads, `K` head width; in
decoding `N` beams, `L` the most tokens of a cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from zoo.config import ConfigError
from zoo.models.attention import Attention
from zoo.models.base import ModelConfig
from zoo.models.dense import Dense, Precision
from zoo.models.layers import ACTIVATIONS, Activation, Dropout, LayerNorm

C = TypeVar("C", bound="StackConfig")


@dataclass(frozen=True, kw_only=True)
class StackConfig(ModelConfig):
    """What the four forms share."""

    vocab_size: int | None = None
    """Token ids are 0 … vocab_size - 1; an id outside is clipped to the nearest."""
    d_model: int = 512
    """Width of a position."""
    d_ff: int = 2048
    """Width of the feed-forward layers."""
    num_heads: int = 8
    """Attention heads; they divide d_model."""
    max_len: int = 2048
    """Most positions of a sequence: rows of the position tables."""
    dropout_rate: float = 0.1
    """After the embeddings, each sublayer, the activation, and of attention weights (see there)."""
    init_scale: float = 1.0
    """Of the first embeddings, as a share of unit variance over the width, which is trax's. There
    the positions are ten times as large as the tokens at the start; with √d_model both are alike,
    and a model learns much sooner."""
    activation: Activation = "relu"
    """Of the feed-forward layers."""
    pad_id: int = 0
    """The id of padding: masked where a source or a text to classify is read, not in a decoder."""
    dtype: Precision = "float32"
    """Of the products of dense layers: `bfloat16` for mixed precision, `int8` for inference."""
    remat: bool = False
    """Compute each block's activations anew in the backward pass instead of keeping them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_model % self.num_heads or self.d_model % 2:
            raise ConfigError(
                f"d_model={self.d_model} must be even and a multiple of num_heads={self.num_heads}"
            )

    @property
    def max_positions(self) -> int:
        return self.max_len

    def with_max_len(self: C, length: int) -> C:
        return self if self.max_len >= length else replace(self, max_len=length)


@struct.dataclass
class Memory:
    """What a decoder sees of the source: one entry a layer, computed once a sentence."""

    keys: tuple[Float[Array, "B H K S"], ...]
    values: tuple[Float[Array, "B H S K"], ...]
    mask: Bool[Array, "B 1 1 S"]
    """True at the source's real tokens."""


@struct.dataclass
class Cache:
    """The state of decoding: all that the next step must know of the tokens before it.

    Beams share it: a query sees the keys of every beam of its row, and `ancestors` says which of
    them are its past. So `reorder` moves a few integers, not the keys.
    """

    length: Int[Array, ""]
    """Tokens so far, the same for all rows."""
    keys: tuple[Float[Array, "B H K LN"], ...]
    """One a layer; the beams of a position stand together.

    They have the shape that attention takes: after a reshape, the compiler would copy all of them
    at each step instead of writing the new ones in place.
    """
    values: tuple[Float[Array, "B H LN K"], ...]
    ancestors: Int[Array, "B N L"]
    """The beam under which the past token at each position was read."""
    memory: Memory | None
    """None in a language model."""

    def reorder(self, parents: Int[Array, "B M"]) -> Cache:
        """The cache in which beam m has the past of beam `parents[:, m]`.

        With one beam in it, M > 1 makes room for M.
        """
        if parents.shape[1] == self.ancestors.shape[1]:
            keys, values = self.keys, self.values
        else:
            keys = tuple(_widen(kept, 3, parents.shape[1]) for kept in self.keys)
            values = tuple(_widen(kept, 2, parents.shape[1]) for kept in self.values)
        return replace(
            self,
            keys=keys,
            values=values,
            ancestors=jnp.take_along_axis(self.ancestors, parents[..., None], axis=1),
        )


class Stack(nn.Module):
    """Positions, blocks and a last layer norm: an encoder or a decoder, as its mask has it."""

    config: StackConfig
    num_layers: int
    reads_source: bool = False
    attention_dropout: bool = False

    def setup(self) -> None:
        config = self.config
        self.positions = self.param("positions", sinusoids, (config.max_len, config.d_model))
        block = nn.remat(Block, static_argnums=(4,)) if config.remat else Block
        self.block = [
            block(config, self.reads_source, self.attention_dropout) for _ in range(self.num_layers)
        ]
        self.norm = LayerNorm()

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "#B 1 #T T"],
        memory: Memory | None = None,
        *,
        train: bool,
    ) -> Float[Array, "B T D"]:
        """Embeddings -> the last layer's vectors."""
        length = x.shape[1]
        if length > self.config.max_len:
            raise ValueError(
                f"a sequence of {length} positions is longer than max_len={self.config.max_len}; "
                "split it"
            )
        x = x + self.positions[None, :length]
        for i, block in enumerate(self.block):
            x = block(x, mask, _layer(memory, i), train)
        normed: jax.Array = self.norm(x)
        return normed

    def remember(self, x: Float[Array, "B S D"], mask: Bool[Array, "B 1 1 S"]) -> Memory:
        """The keys and values of a source for every layer."""
        keys, values = zip(*(block.remember(x) for block in self.block), strict=True)
        return Memory(keys, values, mask)

    def start(self, batch: int, length: int, memory: Memory | None = None) -> Cache:
        """A cache of no tokens with room for `length`, for one beam a row."""
        config = self.config
        if length > config.max_len:
            raise ValueError(
                f"a cache of {length} positions is longer than max_len={config.max_len}"
            )
        heads, width = config.num_heads, config.d_model // config.num_heads
        keys, values = (
            jnp.zeros((batch, heads, width, length)),
            jnp.zeros((batch, heads, length, width)),
        )
        return Cache(
            length=jnp.zeros((), jnp.int32),
            keys=(keys,) * self.num_layers,
            values=(values,) * self.num_layers,
            ancestors=jnp.zeros((batch, 1, length), jnp.int32),
            memory=memory,
        )

    def extend(
        self, x: Float[Array, "B N T D"], cache: Cache
    ) -> tuple[Float[Array, "B N D"], Cache]:
        """Embeddings of the next tokens -> the vector of the last, and the cache with them."""
        batch, beams, new, width = x.shape
        positions = jax.lax.dynamic_slice_in_dim(self.positions, cache.length, new)
        x = (x + positions[None, None]).swapaxes(1, 2).reshape(batch, new * beams, width)
        ancestors, mask = _past(cache, new)
        keys, values = [], []
        for i, block in enumerate(self.block):
            x, *kept = block.extend(
                x,
                cache.keys[i],
                cache.values[i],
                cache.length * beams,
                mask,
                _layer(cache.memory, i),
            )
            keys.append(kept[0])
            values.append(kept[1])
        last = self.norm(x[:, -beams:])
        return last, replace(
            cache,
            length=cache.length + new,
            keys=tuple(keys),
            values=tuple(values),
            ancestors=ancestors,
        )


Layer = tuple[Float[Array, "B H K S"], Float[Array, "B H S K"], Bool[Array, "B 1 1 S"]]
"""Keys, values and mask of the source for one layer."""


def _layer(memory: Memory | None, i: int) -> Layer | None:
    return None if memory is None else (memory.keys[i], memory.values[i], memory.mask)


class Block(nn.Module):
    """Self-attention, attention to a source where there is one, and the feed-forward layer."""

    config: StackConfig
    reads_source: bool
    attention_dropout: bool

    def setup(self) -> None:
        config = self.config
        rate, sizes = config.dropout_rate, (config.d_model, config.num_heads)
        self.attention_norm = LayerNorm()
        self.attention = Attention(*sizes, rate if self.attention_dropout else 0.0, config.dtype)
        if self.reads_source:
            self.cross_attention_norm = LayerNorm()
            self.cross_attention = Attention(*sizes, rate, config.dtype)
        self.mlp_norm = LayerNorm()
        self.mlp = FeedForward(config)
        self.dropout = Dropout(rate)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "#B 1 #T T"],
        memory: Layer | None,
        train: bool,
    ) -> Float[Array, "B T D"]:
        normed = self.attention_norm(x)
        keys, values = self.attention.keys_values(normed)
        x = x + self.dropout(self.attention(normed, keys, values, mask, train), train=train)
        return self._above(x, memory, train)

    def remember(
        self, x: Float[Array, "B S D"]
    ) -> tuple[Float[Array, "B H K S"], Float[Array, "B H S K"]]:
        """The keys and values of a source."""
        return self.cross_attention.keys_values(x)

    def extend(
        self,
        x: Float[Array, "B TN D"],
        keys: Float[Array, "B H K LN"],
        values: Float[Array, "B H LN K"],
        position: Int[Array, ""],
        mask: Bool[Array, "B 1 TN LN"],
        memory: Layer | None,
    ) -> tuple[Float[Array, "B TN D"], Float[Array, "B H K LN"], Float[Array, "B H LN K"]]:
        """The next tokens, and the keys and values with theirs written from `position` on."""
        normed = self.attention_norm(x)
        new_keys, new_values = self.attention.keys_values(normed)
        keys = jax.lax.dynamic_update_slice_in_dim(keys, new_keys, position, axis=3)
        values = jax.lax.dynamic_update_slice_in_dim(values, new_values, position, axis=2)
        x = x + self.attention(normed, keys, values, mask)
        return self._above(x, memory, train=False), keys, values

    def _above(
        self, x: Float[Array, "B T D"], memory: Layer | None, train: bool
    ) -> Float[Array, "B T D"]:
        """What comes after self-attention."""
        if memory is not None:
            found = self.cross_attention(self.cross_attention_norm(x), *memory, train)
            x = x + self.dropout(found, train=train)
        return x + self.dropout(self.mlp(self.mlp_norm(x), train=train), train=train)


class FeedForward(nn.Module):
    """Two dense layers with an activation between them."""

    config: StackConfig

    @nn.compact
    def __call__(self, x: Float[Array, "... D"], *, train: bool) -> Float[Array, "... D"]:
        config = self.config
        x = ACTIVATIONS[config.activation](Dense(config.d_ff, config.dtype, name="up")(x))
        x = Dropout(config.dropout_rate)(x, train=train)
        return Dense(config.d_model, config.dtype, name="down")(x)


def sinusoids(key: Any, shape: tuple[int, int], dtype: Any = jnp.float32) -> Float[Array, "L D"]:
    """The first position table: sines in even columns, cosines in odd ones (section 3.5)."""
    length, width = shape
    rates = np.exp(np.arange(0, width, 2) * -(np.log(10_000.0) / width))
    angles = np.arange(length)[:, None] * rates
    return jnp.asarray(np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(shape), dtype)


def causal_mask(length: int) -> Bool[Array, "1 1 T T"]:
    """True where a position sees itself and what came before."""
    return jnp.tri(length, dtype=bool)[None, None]


def _past(cache: Cache, new: int) -> tuple[Int[Array, "B N L"], Bool[Array, "B 1 TN LN"]]:
    """The ancestors with the new tokens, and which keys of which beams each new token may see."""
    batch, beams, length = cache.ancestors.shape
    position = jnp.arange(length)
    end = cache.length + jnp.arange(new)[:, None]  # [T, 1]
    beam = jnp.arange(beams)
    # A token that is being read now, or later, belongs to its own beam.
    read = (position < cache.length)[None, None]
    ancestors = jnp.where(read, cache.ancestors, beam[None, :, None])  # [B, N, L]
    own = ancestors[:, None, :, :, None] == beam[None, None, None, None, :]  # [B, 1, N, L, M]
    mask = own & (position[None] <= end)[None, :, None, :, None]  # [B, T, N, L, M]
    return ancestors, mask.reshape(batch, 1, new * beams, length * beams)


def _widen(kept: Float[Array, "..."], axis: int, beams: int) -> Float[Array, "..."]:
    """Keys or values of one beam, whose positions lie along `axis`, with room for several."""
    wide = jnp.stack([kept, *[jnp.zeros_like(kept)] * (beams - 1)], axis=axis + 1)
    return jax.lax.collapse(wide, axis, axis + 2)
