"""The Reformer in its three forms: a language model, translation, and a tagger.

`ReformerLM` predicts a text, `Reformer` reads a source and predicts a target, `ReformerTagger`
gives each word of a text a tag. Embeddings are neither scaled (save at the start, `init_scale`) nor
tied to the output.

Decoding goes through a `Cache`, as with the Transformer. Attention by hashes then looks at the
tokens so far alone, where a whole pass sorts all of a text: the answers are alike, not equal.

Shapes: `B` batch, `S` source length, `T` length, `D` model, `V` vocabulary, `C` classes; in
decoding `N` beams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from zoo import registry
from zoo.models.base import Scores
from zoo.models.dense import multiply
from zoo.models.layers import Dropout, Embedding, LayerNorm, dense, shift_right
from zoo.models.reformer.blocks import Cache, Masks, ReformerStack, Rotations
from zoo.models.reformer.chunks import in_pieces
from zoo.models.reformer.config import ReformerStackConfig
from zoo.models.reformer.lsh_attention import LSHAttentionConfig
from zoo.models.reformer.self_attention import SelfAttentionConfig


@dataclass(frozen=True, kw_only=True)
class ReformerLMConfig(ReformerStackConfig):
    """Tokens [B, T] -> logits [B, T, V] of each token given those before it."""

    num_layers: int = 6

    def build(self) -> ReformerLM:
        return ReformerLM(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        return (jax.ShapeDtypeStruct((batch, min(8, self.max_positions)), jnp.int32),)


@dataclass(frozen=True, kw_only=True)
class ReformerConfig(ReformerStackConfig):
    """Source [B, S] and target [B, T] -> logits [B, T, V]."""

    looks_ahead: ClassVar[bool] = True
    target_vocab_size: int | None = None
    """Vocabulary of the target, with embeddings of its own; None: both share one."""
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    attention: tuple[SelfAttentionConfig | LSHAttentionConfig, ...] = (SelfAttentionConfig(),)
    """Of the layers of encoder and decoder in turn; all of the source is seen in any case."""
    sum_source: bool = False
    """Let the decoder see the sum of all that the source offers, whatever it asks for, as trax did
    by mistake."""

    def build(self) -> Reformer:
        return Reformer(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        tokens = jax.ShapeDtypeStruct((batch, min(8, self.max_positions)), jnp.int32)
        return tokens, tokens


@dataclass(frozen=True, kw_only=True)
class ReformerTaggerConfig(ReformerStackConfig):
    """Words [B, T] -> logits [B, T, C] of each word's tag."""

    looks_ahead: ClassVar[bool] = True
    num_layers: int = 2
    num_classes: int | None = None
    """Number of tags."""

    def build(self) -> ReformerTagger:
        return ReformerTagger(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        return (jax.ShapeDtypeStruct((batch, min(8, self.max_positions)), jnp.int32),)


class ReformerLM(nn.Module):
    """The module of `ReformerLMConfig` (trax: `ReformerLM`). Only the future is masked."""

    config: ReformerLMConfig

    def setup(self) -> None:
        config = self.config
        self.embedding = _embedding(config, config.size_of("vocab_size"))
        self.dropout = Dropout(config.dropout_rate)
        self.decoder = ReformerStack(config, config.num_layers, causal=True)
        self.norm = LayerNorm()
        self.logits = dense(config.size_of("vocab_size"), config.dtype)

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        rotations: Rotations | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B T V"]:
        """The logits of each token given those before it.

        Args:
          tokens: the text.
          rotations: of the layers that attend by hashes, in order, each [H, d_key, num_hashes, half
            of the buckets] or with B · H in place of H. None: drawn by the stream of random numbers
            `lsh`, in training by `dropout`, and without either always the same ones.
          train: whether there is dropout.
        """
        return self.logits(self.encode(tokens, rotations, train=train))

    def encode(
        self,
        tokens: Int[Array, "B T"],
        rotations: Rotations | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B T E"]:
        """What the logits are made of: both streams side by side (E is 2 D)."""
        x = self.dropout(self.embedding(shift_right(tokens)), train=train)
        masks = Masks(own=_not_after_end(tokens, self.config.pad_id))
        streams = self.decoder(x, masks, (), rotations, train=train)
        normed: jax.Array = self.norm(jnp.concatenate(streams, axis=-1))
        return normed

    def scores(
        self,
        tokens: Int[Array, "B T"],
        chunk_len: int,
        rotations: Rotations | None = None,
        *,
        train: bool = False,
    ) -> Scores:
        """How probable each token is given those before it, without logits of the whole text.

        Only those of `chunk_len` positions exist at a time, in the backward pass too.
        """
        x = self.encode(tokens, rotations, train=train)

        def piece(number: jax.Array, head: Any, x: jax.Array, tokens: jax.Array) -> Any:
            product = multiply(x.reshape(-1, x.shape[-1]), (head["kernel"],), self.config.dtype)
            logits = product.reshape(*tokens.shape, -1) + head["bias"][None, None]
            own = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
            return own - jax.nn.logsumexp(logits, axis=-1), own >= logits.max(axis=-1)

        return Scores(*in_pieces(piece, chunk_len, self.logits.variables["params"], x, tokens))

    def start(
        self,
        batch: int,
        length: int,
        rotations: Rotations | None = None,
    ) -> Cache:
        """An empty cache for up to `length` tokens."""
        return self.decoder.start(batch, length, rotations)

    def extend(
        self, tokens: Int[Array, "B N T"], cache: Cache
    ) -> tuple[Float[Array, "B N V"], Cache]:
        """The logits of the token after `tokens`, which follow those in the cache.

        The first token of all is 0, the start.
        """
        streams, cache = self.decoder.extend(self.embedding(tokens), cache)
        last = jnp.concatenate([stream[:, :, -1] for stream in streams], axis=-1)
        return self.logits(self.norm(last)), cache


class Reformer(nn.Module):
    """The module of `ReformerConfig` (trax: `Reformer`).

    The source's padding is masked in the encoder and in the attention to it; the decoder masks the
    future and nothing else.
    """

    config: ReformerConfig

    def setup(self) -> None:
        config = self.config
        size = config.size_of("vocab_size")
        self.embedding = self.target_embedding = _embedding(config, size)
        if config.target_vocab_size is not None:
            size = config.target_vocab_size
            self.target_embedding = _embedding(config, size)
        self.dropout = Dropout(config.dropout_rate)
        self.encoder = ReformerStack(config, config.num_encoder_layers, causal=False)
        self.encoder_norm = LayerNorm()
        self.decoder = ReformerStack(
            config,
            config.num_decoder_layers,
            causal=True,
            reads_source=True,
            sum_values=config.sum_source,
        )
        self.decoder_norm = LayerNorm()
        self.logits = dense(size, config.dtype)

    def __call__(
        self, inputs: Int[Array, "B S"], targets: Int[Array, "B T"], *, train: bool = False
    ) -> Float[Array, "B T V"]:
        """The logits of each target token given the source and the target tokens before it."""
        memory, mask = self.encode(inputs, train=train)
        x = self.dropout(self.target_embedding(shift_right(targets)), train=train)
        masks = Masks(own=_not_after_end(targets, self.config.pad_id), source=mask)
        y1, y2 = self.decoder(x, masks, memory, train=train)
        return self.logits(self.decoder_norm((y1 + y2) / 2))

    def encode(
        self, inputs: Int[Array, "B S"], *, train: bool = False
    ) -> tuple[Float[Array, "B S D"], Bool[Array, "B S"] | None]:
        """The source's vectors, and where it is real."""
        mask = _real(inputs, self.config.pad_id)
        x = self.dropout(self.embedding(inputs), train=train)
        y1, y2 = self.encoder(x, Masks(own=mask), train=train)
        return self.encoder_norm((y1 + y2) / 2), mask

    def start(self, inputs: Int[Array, "B S"], length: int) -> Cache:
        """An empty cache for up to `length` target tokens."""
        memory, mask = self.encode(inputs)
        return self.decoder.start(inputs.shape[0], length, None, memory, mask)

    def extend(
        self, tokens: Int[Array, "B N T"], cache: Cache
    ) -> tuple[Float[Array, "B N V"], Cache]:
        """The logits of the token after `tokens`, which follow those in the cache.

        The first token of all is 0, the start.
        """
        (y1, y2), cache = self.decoder.extend(self.target_embedding(tokens), cache)
        return self.logits(self.decoder_norm((y1[:, :, -1] + y2[:, :, -1]) / 2)), cache


class ReformerTagger(nn.Module):
    """The module of `ReformerTaggerConfig`: a bidirectional encoder. Padding is masked."""

    config: ReformerTaggerConfig

    def setup(self) -> None:
        config = self.config
        self.embedding = _embedding(config, config.size_of("vocab_size"))
        self.dropout = Dropout(config.dropout_rate)
        self.encoder = ReformerStack(config, config.num_layers, causal=False)
        self.norm = LayerNorm()
        self.head = dense(config.size_of("num_classes"), config.dtype)

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        rotations: Rotations | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B T C"]:
        """The logits of each word's tag; `rotations` as in `ReformerLM`."""
        masks = Masks(own=_real(tokens, self.config.pad_id))
        x = self.dropout(self.embedding(tokens), train=train)
        streams = self.encoder(x, masks, (), rotations, train=train)
        return self.head(self.norm(jnp.concatenate(streams, axis=-1)))


def _real(tokens: Int[Array, "B T"], pad_id: int | None) -> Bool[Array, "B T"] | None:
    return None if pad_id is None else tokens != pad_id


def _not_after_end(tokens: Int[Array, "B T"], pad_id: int | None) -> Bool[Array, "B T"] | None:
    """True at all tokens but the padding at the end."""
    real = _real(tokens, pad_id)
    if real is None:
        return None
    return jax.lax.cummax(real.astype(jnp.int32), axis=1, reverse=True) > 0


def _embedding(config: ReformerStackConfig, size: int) -> Embedding:
    return Embedding(size, config.d_model, config.init_scale)


LOCAL = SelfAttentionConfig(chunk_len=64, chunks_before=1)
HASHED = LSHAttentionConfig(chunk_len=64, num_hashes=2, num_buckets=64)


@registry.models.register
def reformer_lm_base() -> ReformerLMConfig:
    """trax's sizes of `ReformerLM`, with local attention and attention by hashes in turn."""
    return ReformerLMConfig(attention=(LOCAL, HASHED), activation="gelu_tanh")


@registry.models.register
def reformer_lm_small() -> ReformerLMConfig:
    """Six layers of 256 that attend by hashes: for texts of some thousand characters."""
    return ReformerLMConfig(
        d_model=256, d_ff=1024, num_heads=4, attention=(HASHED,), activation="gelu_tanh"
    )


@registry.models.register
def reformer_lm_long() -> ReformerLMConfig:
    """`reformer_lm_small` for 65,536 positions, with axial position encodings."""
    return ReformerLMConfig(
        d_model=256,
        d_ff=1024,
        num_heads=4,
        attention=(LSHAttentionConfig(chunk_len=64, num_hashes=2, num_buckets=(32, 64)),),
        activation="gelu_tanh",
        max_len=65_536,
        axial_shape=(256, 256),
        ff_chunk_len=4096,
    )


@registry.models.register
def reformer_lm_tiny() -> ReformerLMConfig:
    """For tests and toy tasks."""
    return ReformerLMConfig(
        d_model=64,
        d_ff=128,
        num_heads=2,
        d_key=32,
        d_value=32,
        num_layers=2,
        max_len=256,
        attention=(LSHAttentionConfig(chunk_len=16, num_hashes=2, num_buckets=16),),
    )


@registry.models.register
def reformer_base() -> ReformerConfig:
    """trax's defaults of `Reformer`."""
    return ReformerConfig()


@registry.models.register
def reformer_tiny() -> ReformerConfig:
    """For tests and toy tasks."""
    return ReformerConfig(
        d_model=64,
        d_ff=128,
        num_heads=2,
        d_key=32,
        d_value=32,
        num_encoder_layers=2,
        num_decoder_layers=2,
        max_len=256,
    )


@registry.models.register
def reformer_tagger() -> ReformerTaggerConfig:
    """Two layers of 128 that attend by hashes, for sentences."""
    return ReformerTaggerConfig(
        d_model=128,
        d_ff=256,
        num_heads=4,
        d_key=32,
        d_value=32,
        attention=(LSHAttentionConfig(chunk_len=32, chunks_after=1, num_hashes=2, num_buckets=8),),
        max_len=512,
    )
