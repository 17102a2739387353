"""The Transformer (Vaswani et al. 2017) in four forms, those of trax.

`Transformer` reads a source and predicts a target; `TransformerLM` predicts a text;
`TransformerEncoder` classifies one; `TransformerDecoder` is a stack of decoder blocks, without
logits. From small to large: `FeedForward`, `Block`, `Stack` with its `Cache`, the four models, and
the registered sizes. Attention is in `attention.py`; how models decode is explained in `base.py`.

Where it differs from the paper, as trax does: layer norms come before each sublayer and after the
last block (pre-norm, Xiong et al. 2020); position tables are trained, and begin as the paper's
sinusoids; embeddings are neither multiplied by √d_model nor tied to the output.

Shapes: `B` batch, `S` source length, `T` target length, `D` model, `H` heads, `K` width of a head,
`V` vocabulary, `C` classes, `I` inputs; in decoding `N` beams, `L` capacity of a cache in tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from zoo import registry
from zoo.config import ConfigError
from zoo.models import stacks
from zoo.models.attention import Attention, KeysValues
from zoo.models.base import BoundedConfig, SourceTargetConfig, TraxQuirks
from zoo.models.dense import Precision
from zoo.models.layers import (
    ACTIVATIONS,
    Activation,
    Dropout,
    LayerNorm,
    dense,
    embedding,
    embeddings,
    shift_right,
    sinusoids,
)


@dataclass(frozen=True, kw_only=True)
class StackConfig(BoundedConfig):
    """The fields that all four forms share."""

    d_ff: int = 2048
    """Width of the feed-forward layers."""
    num_heads: int = 8
    """Attention heads; they divide d_model."""
    dropout_rate: float = 0.1
    """Share dropped in training: of the embeddings, of each sublayer's output, of the activations
    in the feed-forward layers, and of attention weights (see `Block.attention_dropout`)."""
    init_scale: float = 1.0
    """See `TokenConfig`. With 1.0 positions are at first some ten times as large as tokens; with
    √d_model both are alike, and a model learns much sooner."""
    activation: Activation = "relu"
    """Of the feed-forward layers."""
    pad_id: int = 0
    """The id of padding. It is masked in a source and in a text to classify, not in a decoder."""
    dtype: Precision = "float32"
    """Precision of the dense layers: `bfloat16` for mixed precision, `int8` for inference."""
    remat: bool = False
    """Compute each block's activations again in the backward pass instead of keeping them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_model % self.num_heads or self.d_model % 2:
            raise ConfigError(
                f"d_model={self.d_model} must be even and a multiple of num_heads={self.num_heads}"
            )

    @property
    def stacks_layers(self) -> bool:
        return True


class FeedForward(nn.Module):
    """Two dense layers with an activation between them; parameters `up` [D, F], `down` [F, D]."""

    config: StackConfig

    @nn.compact
    def __call__(self, x: Float[Array, "... D"], *, train: bool) -> Float[Array, "... D"]:
        """Each position by itself, float32. Training takes the rng `dropout`."""
        config = self.config
        x = ACTIVATIONS[config.activation](dense(config.d_ff, config.dtype, name="up")(x))
        x = Dropout(config.dropout_rate)(x, train=train)
        return dense(config.d_model, config.dtype, name="down")(x)


Source = tuple[Float[Array, "B H K S"], Float[Array, "B H S K"], Bool[Array, "B 1 1 S"]]
"""The source as one block sees it: keys, values, and a mask that is True at its real tokens."""

Memory = tuple[Source | None, ...]
"""The source as each block sees it; None in a language model, which has no source."""

Encoded = tuple[Float[Array, "B S D"], Bool[Array, "B 1 1 S"]]
"""The encoder's vectors of a source, and a mask that is True at its real tokens."""


class Block(nn.Module):
    """Self-attention, attention to the source if there is one, and the feed-forward layer."""

    config: StackConfig
    reads_source: bool
    attention_dropout: bool
    """Whether weights of the self-attention are dropped; those of the attention to a source are."""

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
        mask: Bool[Array, "#B 1 #T L"],
        source: Source | None,
        train: bool,
        cached: KeysValues | None = None,
        position: Int[Array, ""] | int = 0,
    ) -> tuple[Float[Array, "B T D"], KeysValues]:
        """A sequence through the block, and the keys and values that its positions saw.

        `mask` is True where a position sees a key. In decoding `x` is what is read now: its keys
        and values are written into `cached`, which has room for L, at `position`. Training takes
        the rng `dropout`.
        """
        normed = self.attention_norm(x)
        keys, values = self.attention.keys_values(normed)
        if cached is not None:
            keys = jax.lax.dynamic_update_slice_in_dim(cached[0], keys, position, axis=3)
            values = jax.lax.dynamic_update_slice_in_dim(cached[1], values, position, axis=2)
        x = x + self.dropout(self.attention(normed, keys, values, mask, train), train=train)
        if source is not None:
            normed = self.cross_attention_norm(x)
            x = x + self.dropout(self.cross_attention(normed, *source, train), train=train)
        x = x + self.dropout(self.mlp(self.mlp_norm(x), train=train), train=train)
        return x, (keys, values)

    def sees(self, source: Encoded | None) -> Source | None:
        """The source as this block sees it."""
        return source and (*self.cross_attention.keys_values(source[0]), source[1])


@struct.dataclass
class Cache:
    """The state of decoding, see `base.Cache`.

    The beams of a row share their keys and values: a query is shown those of all beams, and
    `ancestors` says which of them are its own history. So `reorder` moves a few integers, no keys.
    """

    length: Int[Array, ""]
    """Tokens read so far, the same for all rows."""
    layers: tuple[KeysValues, ...]
    """Keys [B, H, K, LN] and values [B, H, LN, K] for each block; the N beams of a position are
    adjacent. Their shape is the one that attention takes: if they had to be reshaped for it, the
    compiler would copy them at each step instead of writing the new ones in place."""
    ancestors: Int[Array, "B N L"]
    """The beam under which the token at each position of a beam's history was read."""
    memory: Memory

    def reorder(self, parents: Int[Array, "B M"]) -> Cache:
        """The cache in which beam m has the history of beam `parents[:, m]`.

        Only from one beam may the number of beams change.
        """
        layers, beams = self.layers, parents.shape[1]
        if beams != self.ancestors.shape[1]:
            layers = tuple(
                (_with_beams(keys, 3, beams), _with_beams(values, 2, beams))
                for keys, values in layers
            )
        ancestors = jnp.take_along_axis(self.ancestors, parents[..., None], axis=1)
        return replace(self, layers=layers, ancestors=ancestors)

    def rows(self, indices: Int[Array, "R"]) -> Cache:
        """See `base.Cache`."""
        parts = self.layers, self.ancestors, self.memory
        layers, ancestors, memory = jax.tree.map(lambda x: jnp.take(x, indices, axis=0), parts)
        return replace(self, layers=layers, ancestors=ancestors, memory=memory)


def _with_beams(cached: Float[Array, "..."], axis: int, beams: int) -> Float[Array, "..."]:
    """Keys or values of one beam, with positions along `axis`, with room for several."""
    wide = jnp.stack([cached, *[jnp.zeros_like(cached)] * (beams - 1)], axis=axis + 1)
    return jax.lax.collapse(wide, axis, axis + 2)


def causal_mask(length: int) -> Bool[Array, "1 1 T T"]:
    """True where a position sees another: itself and those before it."""
    return jnp.tri(length, dtype=bool)[None, None]


def cache_mask(cache: Cache, new: int) -> tuple[Int[Array, "B N L"], Bool[Array, "B 1 TN LN"]]:
    """The ancestors with `new` more tokens read, and the cached keys that each of these may see."""
    batch, beams, length = cache.ancestors.shape
    position = jnp.arange(length, dtype=jnp.int32)
    last = cache.length + jnp.arange(new, dtype=jnp.int32)[:, None]  # [T, 1]
    beam = jnp.arange(beams, dtype=jnp.int32)
    # A token that is read now, or later, belongs to its own beam.
    is_past = (position < cache.length)[None, None]
    ancestors = jnp.where(is_past, cache.ancestors, beam[None, :, None])  # [B, N, L]
    own = ancestors[:, None, :, :, None] == beam[None, None, None, None, :]  # [B, 1, N, L, M]
    mask = own & (position[None] <= last)[None, :, None, :, None]  # [B, T, N, L, M]
    return ancestors, mask.reshape(batch, 1, new * beams, length * beams)


class Stack(nn.Module):
    """Positions, blocks and a last layer norm: an encoder or a decoder, depending on its mask.

    Parameters: `positions` [max_len, D], the blocks' `block_0`, `block_1` …, and `norm`. Where
    those of the blocks are stacked (see `stacks`), a call runs one block in a compiled loop. For
    decoding they must be apart.
    """

    config: StackConfig
    num_layers: int
    reads_source: bool = False
    attention_dropout: bool = False
    """See `Block`."""

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
        source: Encoded | None = None,
        *,
        train: bool,
    ) -> Float[Array, "B T D"]:
        """Embeddings -> the last block's vectors, float32. Training takes the rng `dropout`.

        `mask` is True where a position sees another. Raises ValueError beyond max_len.
        """
        self.config.check_length(x.shape[1], "a sequence")
        x = x + self.positions[None, : x.shape[1]]
        if self._stacked is not None:
            return self.norm(self._looped(x, mask, source, train))
        for block in self.block:
            x, _ = block(x, mask, block.sees(source), train)
        return self.norm(x)

    @property
    def _stacked(self) -> Any:
        """The parameters of all blocks, each array [N, …]; None: they are apart."""
        return self.get_variable("params", stacks.name(self.num_layers))

    def _looped(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "#B 1 #T T"],
        source: Encoded | None,
        train: bool,
    ) -> Float[Array, "B T D"]:
        """The blocks, stacked, one after the other."""
        block = Block(self.config, self.reads_source, self.attention_dropout, parent=None)
        rngs = {}
        if train and self.has_rng("dropout"):
            rngs["dropout"] = jax.random.split(self.make_rng("dropout"), self.num_layers)

        def step(x: Array, layer: tuple[Any, Any]) -> tuple[Array, None]:
            params, rngs = layer
            seen = block.apply(params, source, method=Block.sees)
            x, _ = block.apply(params, x, mask, seen, train, rngs=rngs)
            return x, None

        if self.config.remat:
            step = jax.checkpoint(step, prevent_cse=False)  # a loop has nothing to share
        x, _ = jax.lax.scan(step, x, ({"params": self._stacked}, rngs))
        return x

    def start(self, batch: int, length: int, source: Encoded | None = None) -> Cache:
        """An empty cache with room for `length` tokens. Raises ValueError beyond max_len."""
        config = self.config
        config.check_length(length, "a cache")
        heads, width = config.num_heads, config.d_model // config.num_heads
        keys = jnp.zeros((batch, heads, width, length), jnp.float32)
        values = jnp.zeros((batch, heads, length, width), jnp.float32)
        return Cache(
            length=jnp.zeros((), jnp.int32),
            layers=((keys, values),) * self.num_layers,
            ancestors=jnp.zeros((batch, 1, length), jnp.int32),
            memory=tuple(block.sees(source) for block in self.block),
        )

    def extend(
        self, x: Float[Array, "B N T D"], cache: Cache, count: Int[Array, ""] | None = None
    ) -> tuple[Float[Array, "B N T D"], Cache]:
        """Embeddings of the next tokens -> their vectors, and the cache with `count` of them.

        Keys and values of padding are written too. They are hidden from all tokens before them, and
        overwritten by those that take their places.
        """
        batch, beams, new, width = x.shape
        positions = jax.lax.dynamic_slice_in_dim(self.positions, cache.length, new)
        x = (x + positions[None, None]).swapaxes(1, 2).reshape(batch, new * beams, width)
        ancestors, mask = cache_mask(cache, new)
        layers = []
        for block, cached, source in zip(self.block, cache.layers, cache.memory, strict=True):
            x, kept = block(x, mask, source, False, cached, cache.length * beams)
            layers.append(kept)
        length = cache.length + (new if count is None else count)
        cache = replace(cache, length=length, layers=tuple(layers), ancestors=ancestors)
        return self.norm(x).reshape(batch, new, beams, width).swapaxes(1, 2), cache


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(StackConfig, SourceTargetConfig):
    """Source [B, S] and target [B, T] -> logits [B, T, V]."""

    num_encoder_layers: int = 6
    """Blocks that read the source."""
    num_decoder_layers: int = 6
    """Blocks that read the target and the encoded source."""

    def build(self) -> Transformer:
        return Transformer(self)


class Transformer(nn.Module):
    """The module of `TransformerConfig` (trax: `Transformer`).

    The source's padding is masked in the encoder and in the attention to it; the decoder masks the
    future and nothing else. As in trax, weights of the decoder's self-attention are not dropped.
    """

    config: TransformerConfig

    def setup(self) -> None:
        config = self.config
        self.embedding, self.target_embedding = embeddings(config)
        self.dropout = Dropout(config.dropout_rate)
        self.encoder = Stack(config, config.num_encoder_layers, attention_dropout=True)
        self.decoder = Stack(config, config.num_decoder_layers, reads_source=True)
        self.logits = dense(config.output_size, config.dtype)

    def __call__(
        self, inputs: Int[Array, "B S"], targets: Int[Array, "B T"], *, train: bool = False
    ) -> Float[Array, "B T V"]:
        """Logits of each target token given the source and the targets before it, float32.

        Targets are shifted right in here. Training takes the rng `dropout`. Raises ValueError
        beyond max_len.
        """
        source = self.encode(inputs, train=train)
        x = self.dropout(self.target_embedding(shift_right(targets)), train=train)
        return self.logits(self.decoder(x, causal_mask(targets.shape[1]), source, train=train))

    def encode(self, inputs: Int[Array, "B S"], *, train: bool = False) -> Encoded:
        """The source as the encoder gives it."""
        mask = (inputs != self.config.pad_id)[:, None, None, :]
        x = self.dropout(self.embedding(inputs), train=train)
        return self.encoder(x, mask, train=train), mask

    def start(self, inputs: Int[Array, "B S"], length: int) -> Cache:
        """See `base.Decoder`."""
        return self.decoder.start(inputs.shape[0], length, self.encode(inputs))

    def extend(
        self, tokens: Int[Array, "B N T"], cache: Cache, count: Int[Array, ""] | None = None
    ) -> tuple[Float[Array, "B N T V"], Cache]:
        """See `base.Decoder`."""
        x, cache = self.decoder.extend(self.target_embedding(tokens), cache, count)
        return self.logits(x), cache


@dataclass(frozen=True, kw_only=True)
class TransformerLMConfig(StackConfig):
    """Tokens [B, T] -> logits [B, T, V] of each token given those before it."""

    num_layers: int = 6
    """Blocks."""

    def build(self) -> TransformerLM:
        return TransformerLM(self)


class TransformerLM(nn.Module):
    """The module of `TransformerLMConfig` (trax: `TransformerLM`). Only the future is masked."""

    config: TransformerLMConfig

    def setup(self) -> None:
        config = self.config
        self.embedding = embedding(config)
        self.dropout = Dropout(config.dropout_rate)
        self.decoder = Stack(config, config.num_layers, attention_dropout=True)
        self.logits = dense(config.size_of("vocab_size"), config.dtype)

    def __call__(self, tokens: Int[Array, "B T"], *, train: bool = False) -> Float[Array, "B T V"]:
        """Logits of each token given those before it, float32.

        Tokens are shifted right in here. Training takes the rng `dropout`. Raises ValueError beyond
        max_len.
        """
        x = self.dropout(self.embedding(shift_right(tokens)), train=train)
        return self.logits(self.decoder(x, causal_mask(tokens.shape[1]), train=train))

    def start(self, batch: int, length: int) -> Cache:
        """See `base.Decoder`."""
        return self.decoder.start(batch, length)

    def extend(
        self, tokens: Int[Array, "B N T"], cache: Cache, count: Int[Array, ""] | None = None
    ) -> tuple[Float[Array, "B N T V"], Cache]:
        """See `base.Decoder`."""
        x, cache = self.decoder.extend(self.embedding(tokens), cache, count)
        return self.logits(x), cache


@dataclass(frozen=True, kw_only=True)
class TransformerEncoderConfig(StackConfig):
    """Tokens [B, T] -> logits [B, C]."""

    num_layers: int = 6
    """Blocks."""
    num_classes: int | None = None
    """Number of logits."""
    trax: TraxQuirks | None = None
    """For trax's weights: `models.trax.transformer.TransformerEncoderQuirks`."""

    @property
    def reads_padding(self) -> bool:
        return self.trax is not None and self.trax.reads_padding

    def build(self) -> nn.Module:
        return self.trax.build(self) if self.trax else TransformerEncoder(self)


class TransformerEncoder(nn.Module):
    """The module of `TransformerEncoderConfig` (trax: `TransformerEncoder`).

    Padding is masked in the attention and left out of the mean that the head reads.
    """

    config: TransformerEncoderConfig

    @nn.compact
    def __call__(self, tokens: Int[Array, "B T"], *, train: bool = False) -> Float[Array, "B C"]:
        """Logits of each text, float32.

        Training takes the rng `dropout`. Raises ValueError beyond max_len.
        """
        config = self.config
        real = tokens != config.pad_id
        x = Dropout(config.dropout_rate)(embedding(config, "embedding")(tokens), train=train)
        encoder = Stack(config, config.num_layers, attention_dropout=True, name="encoder")
        x = self.pool(encoder(x, real[:, None, None, :], train=train), real)
        return dense(config.size_of("num_classes"), config.dtype, name="head")(x)

    def pool(self, x: Float[Array, "B T D"], real: Bool[Array, "B T"]) -> Float[Array, "B D"]:
        """The mean of the vectors at real tokens; zeros for a text without any."""
        counted = real[..., None]
        return jnp.sum(x * counted, axis=1) / jnp.maximum(jnp.sum(counted, axis=1), 1)


@dataclass(frozen=True, kw_only=True)
class TransformerDecoderConfig(StackConfig):
    """Tokens [B, T], or without a vocabulary vectors [B, T, input_size], -> vectors [B, T, D]."""

    input_size: int | None = None
    """Width of the input vectors where `vocab_size` is None."""
    num_layers: int = 6
    """Blocks."""

    def build(self) -> TransformerDecoder:
        return TransformerDecoder(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        (tokens,) = super().example_inputs(batch)
        if self.vocab_size is not None:
            return (tokens,)
        return (jax.ShapeDtypeStruct((*tokens.shape, self.size_of("input_size")), jnp.float32),)


class TransformerDecoder(nn.Module):
    """The module of `TransformerDecoderConfig` (trax: `TransformerDecoder`): nothing is shifted."""

    config: TransformerDecoderConfig

    @nn.compact
    def __call__(
        self, inputs: Int[Array, "B T"] | Float[Array, "B T I"], *, train: bool = False
    ) -> Float[Array, "B T D"]:
        """The vector of each position given itself and those before it, float32.

        Training takes the rng `dropout`. Raises ValueError beyond max_len.
        """
        config = self.config
        if config.vocab_size is None:
            x = dense(config.d_model, config.dtype, name="embedding")(inputs)
        else:
            x = embedding(config, "embedding")(inputs)
        x = Dropout(config.dropout_rate)(x, train=train)
        decoder = Stack(config, config.num_layers, attention_dropout=True, name="decoder")
        return decoder(x, causal_mask(inputs.shape[1]), train=train)


@registry.models.register
def transformer_base() -> TransformerConfig:
    """The base model of Vaswani et al. (2017), table 3; trax's defaults."""
    return TransformerConfig()


@registry.models.register
def transformer_big() -> TransformerConfig:
    """The big model of Vaswani et al. (2017), table 3."""
    return TransformerConfig(d_model=1024, d_ff=4096, num_heads=16, dropout_rate=0.3)


@registry.models.register
def transformer_small() -> TransformerConfig:
    """Half the width and the depth of base: for about 100,000 sentence pairs."""
    return TransformerConfig(
        d_model=256, d_ff=1024, num_heads=4, num_encoder_layers=3, num_decoder_layers=3
    )


@registry.models.register
def transformer_tiny() -> TransformerConfig:
    """For tests and toy tasks."""
    return TransformerConfig(
        d_model=64, d_ff=128, num_heads=2, num_encoder_layers=2, num_decoder_layers=2, max_len=256
    )


@registry.models.register
def transformer_lm_base() -> TransformerLMConfig:
    """trax's defaults of `TransformerLM`."""
    return TransformerLMConfig()


@registry.models.register
def transformer_lm_small() -> TransformerLMConfig:
    """Six layers of 384: nanoGPT's size for characters."""
    return TransformerLMConfig(d_model=384, d_ff=1536, num_heads=6, dropout_rate=0.2)


@registry.models.register
def transformer_lm_tiny() -> TransformerLMConfig:
    """For tests and toy tasks."""
    return TransformerLMConfig(d_model=64, d_ff=128, num_heads=2, num_layers=2, max_len=256)


@registry.models.register
def transformer_encoder_base() -> TransformerEncoderConfig:
    """trax's defaults of `TransformerEncoder`."""
    return TransformerEncoderConfig()


@registry.models.register
def transformer_encoder_tiny() -> TransformerEncoderConfig:
    """For tests and toy tasks."""
    return TransformerEncoderConfig(d_model=64, d_ff=128, num_heads=2, num_layers=2)


@registry.models.register
def transformer_decoder_base() -> TransformerDecoderConfig:
    """trax's defaults of `TransformerDecoder`."""
    return TransformerDecoderConfig()
