"""The Transformer (Vaswani et al. 2017) in its four forms, as trax has them.

`Transformer` reads a source and predicts a target, `TransformerLM` predicts a text,
`TransformerEncoder` classifies one, `TransformerDecoder` is the bare decoder stack. Embeddings are
neither scaled (save at the start, `init_scale`) nor tied to the output. The blocks are in
`stack.py`.

Decoding goes through a `Cache`: `start` makes one, `extend` takes tokens and a cache and gives the
logits of the next token and the new cache, whose `reorder` serves beam search.

Shapes: `B` batch, `S` source length, `T` target length, `D` model, `V` vocabulary, `C` classes; in
decoding `N` beams.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from zoo import registry
from zoo.models.dense import Dense
from zoo.models.layers import Dropout, Embedding, shift_right
from zoo.models.stack import Cache, Memory, Stack, StackConfig, causal_mask


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(StackConfig):
    """Source [B, S] and target [B, T] -> logits [B, T, V]."""

    target_vocab_size: int | None = None
    """Vocabulary of the target, with embeddings of its own; None: both share one."""
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6

    def build(self) -> Transformer:
        return Transformer(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        tokens = jax.ShapeDtypeStruct((batch, min(8, self.max_len)), jnp.int32)
        return tokens, tokens


@dataclass(frozen=True, kw_only=True)
class TransformerLMConfig(StackConfig):
    """Tokens [B, T] -> logits [B, T, V] of each token given those before it."""

    num_layers: int = 6

    def build(self) -> TransformerLM:
        return TransformerLM(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        return (jax.ShapeDtypeStruct((batch, min(8, self.max_len)), jnp.int32),)


@dataclass(frozen=True, kw_only=True)
class TransformerEncoderConfig(StackConfig):
    """Tokens [B, T] -> logits [B, C]."""

    num_layers: int = 6
    num_classes: int | None = None
    """Width of the head."""
    average_padding: bool = False
    """Average over all T positions, as trax did: more padding then changes the answer."""

    @property
    def reads_padding(self) -> bool:
        return self.average_padding

    def build(self) -> TransformerEncoder:
        return TransformerEncoder(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        return (jax.ShapeDtypeStruct((batch, min(8, self.max_len)), jnp.int32),)


@dataclass(frozen=True, kw_only=True)
class TransformerDecoderConfig(StackConfig):
    """Tokens [B, T], or without a vocabulary vectors [B, T, input_size], -> vectors [B, T, D]."""

    input_size: int | None = None
    """Width of the vectors that it takes where `vocab_size` is None."""
    num_layers: int = 6

    def build(self) -> TransformerDecoder:
        return TransformerDecoder(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        length = min(8, self.max_len)
        if self.vocab_size is not None:
            return (jax.ShapeDtypeStruct((batch, length), jnp.int32),)
        size = self.size_of("input_size")
        return (jax.ShapeDtypeStruct((batch, length, size), jnp.float32),)


class Transformer(nn.Module):
    """The module of `TransformerConfig` (trax: `Transformer`).

    The source's padding is masked in the encoder and in the attention to it; the decoder masks the
    future and nothing else. As in trax there is no dropout of the decoder's self-attention weights.
    """

    config: TransformerConfig

    def setup(self) -> None:
        config = self.config
        size = config.size_of("vocab_size")
        self.embedding = self.target_embedding = _embedding(config, size)
        if config.target_vocab_size is not None:
            size = config.target_vocab_size
            self.target_embedding = _embedding(config, size)
        self.dropout = Dropout(config.dropout_rate)
        self.encoder = Stack(config, config.num_encoder_layers, attention_dropout=True)
        self.decoder = Stack(config, config.num_decoder_layers, reads_source=True)
        self.logits = Dense(size, config.dtype)

    def __call__(
        self, inputs: Int[Array, "B S"], targets: Int[Array, "B T"], *, train: bool = False
    ) -> Float[Array, "B T V"]:
        """The logits of each target token given the source and the target tokens before it."""
        memory = self.encode(inputs, train=train)
        x = self.dropout(self.target_embedding(shift_right(targets)), train=train)
        return self.logits(self.decoder(x, causal_mask(targets.shape[1]), memory, train=train))

    def encode(self, inputs: Int[Array, "B S"], *, train: bool = False) -> Memory:
        """What the decoder sees of a source."""
        mask = (inputs != self.config.pad_id)[:, None, None, :]
        x = self.dropout(self.embedding(inputs), train=train)
        x = self.encoder(x, mask, train=train)
        return self.decoder.remember(x, mask)

    def start(self, inputs: Int[Array, "B S"], length: int) -> Cache:
        """An empty cache for up to `length` target tokens."""
        return self.decoder.start(inputs.shape[0], length, self.encode(inputs))

    def extend(
        self, tokens: Int[Array, "B N T"], cache: Cache
    ) -> tuple[Float[Array, "B N V"], Cache]:
        """The logits of the token after `tokens`, which follow those in the cache.

        The first token of all is 0, the start.
        """
        x, cache = self.decoder.extend(self.target_embedding(tokens), cache)
        return self.logits(x), cache


class TransformerLM(nn.Module):
    """The module of `TransformerLMConfig` (trax: `TransformerLM`). Only the future is masked."""

    config: TransformerLMConfig

    def setup(self) -> None:
        config = self.config
        self.embedding = _embedding(config, config.size_of("vocab_size"))
        self.dropout = Dropout(config.dropout_rate)
        self.decoder = Stack(config, config.num_layers, attention_dropout=True)
        self.logits = Dense(config.size_of("vocab_size"), config.dtype)

    def __call__(self, tokens: Int[Array, "B T"], *, train: bool = False) -> Float[Array, "B T V"]:
        x = self.dropout(self.embedding(shift_right(tokens)), train=train)
        return self.logits(self.decoder(x, causal_mask(tokens.shape[1]), train=train))

    def start(self, batch: int, length: int) -> Cache:
        """An empty cache for up to `length` tokens."""
        return self.decoder.start(batch, length)

    def extend(
        self, tokens: Int[Array, "B N T"], cache: Cache
    ) -> tuple[Float[Array, "B N V"], Cache]:
        """The logits of the token after `tokens`, which follow those in the cache.

        The first token of all is 0, the start.
        """
        x, cache = self.decoder.extend(self.embedding(tokens), cache)
        return self.logits(x), cache


class TransformerEncoder(nn.Module):
    """The module of `TransformerEncoderConfig` (trax: `TransformerEncoder`).

    Padding is masked in the attention, and left out of the mean unless `average_padding`.
    """

    config: TransformerEncoderConfig

    @nn.compact
    def __call__(self, tokens: Int[Array, "B T"], *, train: bool = False) -> Float[Array, "B C"]:
        config = self.config
        real = tokens != config.pad_id
        embedding = _embedding(config, config.size_of("vocab_size"), name="embedding")
        x = Dropout(config.dropout_rate)(embedding(tokens), train=train)
        x = Stack(config, config.num_layers, attention_dropout=True, name="encoder")(
            x, real[:, None, None, :], train=train
        )
        counted = jnp.ones_like(x[..., :1]) if config.average_padding else real[..., None]
        mean = jnp.sum(x * counted, axis=1) / jnp.maximum(jnp.sum(counted, axis=1), 1)
        return Dense(config.size_of("num_classes"), config.dtype, name="head")(mean)


class TransformerDecoder(nn.Module):
    """The module of `TransformerDecoderConfig` (trax: `TransformerDecoder`): nothing is shifted."""

    config: TransformerDecoderConfig

    @nn.compact
    def __call__(
        self, inputs: Int[Array, "B T"] | Float[Array, "B T I"], *, train: bool = False
    ) -> Float[Array, "B T D"]:
        config = self.config
        if config.vocab_size is None:
            x = Dense(config.d_model, config.dtype, name="embedding")(inputs)
        else:
            x = _embedding(config, config.vocab_size, name="embedding")(inputs)
        x = Dropout(config.dropout_rate)(x, train=train)
        return Stack(config, config.num_layers, attention_dropout=True, name="decoder")(
            x, causal_mask(inputs.shape[1]), train=train
        )


def _embedding(config: StackConfig, size: int, name: str | None = None) -> Embedding:
    return Embedding(size, config.d_model, config.init_scale, name=name)


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
    """Half the width and the depth of base: for some 100,000 sentence pairs."""
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
