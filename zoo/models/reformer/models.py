"""The Reformer in its three forms: a language model, translation, and a tagger.

`ReformerLM` predicts a text, `Reformer` reads a source and predicts a target, `ReformerTagger`
gives each word of a text a tag. The output layer has weights of its own, not the embeddings'.

Decoding is as `zoo.models.base` explains it. With attention by hashes a step looks for its keys
among the tokens read so far, where a call sorts the whole text: the logits are similar, not equal.

Shapes: `B` batch, `S` source length, `T` length, `D` model, `V` vocabulary, `C` classes; in
decoding `N` beams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from zoo import registry
from zoo.models.base import SourceTargetConfig
from zoo.models.layers import Dropout, LayerNorm, dense, embedding, embeddings, shift_right
from zoo.models.reformer.attention import SelfAttentionConfig
from zoo.models.reformer.config import ReformerStackConfig
from zoo.models.reformer.hashing import LSHAttentionConfig
from zoo.models.reformer.heads import AttentionConfig
from zoo.models.reformer.layer import Masks, in_pieces
from zoo.models.reformer.stack import Cache, ReformerStack, Rotations


@dataclass(frozen=True, kw_only=True)
class ReformerLMConfig(ReformerStackConfig):
    """Tokens [B, T] -> logits [B, T, V] of each token given those before it."""

    num_layers: int = 6
    """Layers: attention and feed-forward."""

    def build(self) -> nn.Module:
        return self.trax.build(self) if self.trax else ReformerLM(self)


@dataclass(frozen=True, kw_only=True)
class ReformerConfig(ReformerStackConfig, SourceTargetConfig):
    """Source [B, S] and target [B, T] -> logits [B, T, V] of each target token."""

    looks_ahead: ClassVar[bool] = True
    num_encoder_layers: int = 6
    """Layers of the encoder: attention and feed-forward."""
    num_decoder_layers: int = 6
    """Layers of the decoder: attention, attention to the source, and feed-forward."""
    attention: tuple[AttentionConfig, ...] = (SelfAttentionConfig(),)
    """Kinds of self-attention, which the layers of encoder and decoder have in turn. The attention
    to the source is always to all of it."""

    def build(self) -> nn.Module:
        return self.trax.build(self) if self.trax else Reformer(self)


@dataclass(frozen=True, kw_only=True)
class ReformerTaggerConfig(ReformerStackConfig):
    """Words [B, T] -> logits [B, T, C] of each word's tag."""

    looks_ahead: ClassVar[bool] = True
    num_layers: int = 2
    """Layers: attention and feed-forward."""
    num_classes: int | None = None
    """Number of tags."""

    def build(self) -> nn.Module:
        return self.trax.build(self) if self.trax else ReformerTagger(self)


@struct.dataclass
class Scores:
    """How probable given tokens are, for texts whose logits would take too much memory."""

    log_probability: Float[Array, "B T"]
    """Natural logarithm of the probability of each token given those before it."""
    best: Bool[Array, "B T"]
    """Whether no other token is more probable."""


class ReformerLM(nn.Module):
    """The module of `ReformerLMConfig` (trax: `ReformerLM`). Only the future is masked."""

    config: ReformerLMConfig

    def setup(self) -> None:
        config = self.config
        self.embedding = embedding(config)
        self.dropout = Dropout(config.dropout_rate)
        self.decoder = self.stack(config.num_layers, causal=True)
        self.norm = LayerNorm()
        self.logits = dense(config.size_of("vocab_size"), config.dtype)

    @nn.nowrap
    def stack(self, num_layers: int, *, causal: bool) -> ReformerStack:
        """The layers."""
        return ReformerStack(self.config, num_layers, causal)

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        rotations: Rotations | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B T V"]:
        """The float32 logits of each token given those before it.

        Args:
          tokens: the text.
          rotations: of the layers that attend by hashes, in order, each float32 [H, d_key,
            num_hashes, half of the buckets], or with B · H in place of H. None: drawn from the rng
            stream `lsh`, or in training from `dropout`; without either they are always the same.
          train: whether there is dropout, which needs the rng stream `dropout`.

        Raises:
          ValueError: the text is longer than `max_positions`, or rotations do not fit.
        """
        return self.logits(self.encode(tokens, rotations, train=train))

    def encode(
        self,
        tokens: Int[Array, "B T"],
        rotations: Rotations | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B T E"]:
        """The vectors that the logits are made of: both streams side by side, so E is 2 D.

        Arguments, rngs and errors are those of a call.
        """
        x = self.dropout(self.embedding(shift_right(tokens)), train=train)
        masks = Masks(sequence=_up_to_last(tokens, self.config.pad_id))
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
        """How probable each token is given those before it, without the logits of a whole text.

        Only those of `chunk_len` positions exist at a time, in the backward pass too. A token
        outside the vocabulary scores NaN. Other arguments, rngs and errors are those of a call.
        """
        x = self.encode(tokens, rotations, train=train)

        def piece(head: nn.Module, number: Array, x: Array, tokens: Array) -> tuple[Array, Array]:
            logits = head(x)
            own = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
            return own - jax.nn.logsumexp(logits, axis=-1), own >= logits.max(axis=-1)

        return Scores(*in_pieces(piece, self.logits, chunk_len, x, tokens))

    def start(self, batch: int, length: int, rotations: Rotations | None = None) -> Cache:
        """A cache with room for `length` tokens, see `zoo.models.base.Decoder`."""
        return self.decoder.start(batch, length, rotations)

    def extend(
        self, tokens: Int[Array, "B N T"], cache: Cache, count: Int[Array, ""] | None = None
    ) -> tuple[Float[Array, "B N T V"], Cache]:
        """See `zoo.models.base.Decoder`."""
        streams, cache = self.decoder.extend(self.embedding(tokens), cache, count)
        return self.logits(self.norm(jnp.concatenate(streams, axis=-1))), cache


class Reformer(nn.Module):
    """The module of `ReformerConfig` (trax: `Reformer`).

    The source's padding is masked in the encoder and in the attention to it; the decoder masks only
    the future.
    """

    config: ReformerConfig

    def setup(self) -> None:
        config = self.config
        self.embedding, self.target_embedding = embeddings(config)
        self.dropout = Dropout(config.dropout_rate)
        self.encoder = self.stack(config.num_encoder_layers, causal=False)
        self.encoder_norm = LayerNorm()
        self.decoder = self.stack(config.num_decoder_layers, causal=True)
        self.decoder_norm = LayerNorm()
        self.logits = dense(config.output_size, config.dtype)

    @nn.nowrap
    def stack(self, num_layers: int, *, causal: bool) -> ReformerStack:
        """The layers of the encoder, or if `causal` of the decoder."""
        return ReformerStack(self.config, num_layers, causal, reads_source=causal)

    def __call__(
        self, inputs: Int[Array, "B S"], targets: Int[Array, "B T"], *, train: bool = False
    ) -> Float[Array, "B T V"]:
        """The float32 logits of each target token given the source and the targets before it.

        `train` turns dropout on, which needs the rng stream `dropout`; the stream `lsh` draws the
        rotations of layers that attend by hashes.

        Raises:
          ValueError: source or target is longer than `max_positions`.
        """
        memory, mask = self.encode(inputs, train=train)
        x = self.dropout(self.target_embedding(shift_right(targets)), train=train)
        masks = Masks(sequence=_up_to_last(targets, self.config.pad_id), source=mask)
        y1, y2 = self.decoder(x, masks, memory, train=train)
        return self.logits(self.decoder_norm((y1 + y2) / 2))

    def encode(
        self, inputs: Int[Array, "B S"], *, train: bool = False
    ) -> tuple[Float[Array, "B S D"], Bool[Array, "B S"] | None]:
        """The source's vectors, and a mask that is True at its real tokens."""
        mask = _real(inputs, self.config.pad_id)
        x = self.dropout(self.embedding(inputs), train=train)
        y1, y2 = self.encoder(x, Masks(sequence=mask), train=train)
        return self.encoder_norm((y1 + y2) / 2), mask

    def start(self, inputs: Int[Array, "B S"], length: int) -> Cache:
        """A cache with room for `length` target tokens, see `zoo.models.base.Decoder`."""
        memory, mask = self.encode(inputs)
        return self.decoder.start(inputs.shape[0], length, None, memory, mask)

    def extend(
        self, tokens: Int[Array, "B N T"], cache: Cache, count: Int[Array, ""] | None = None
    ) -> tuple[Float[Array, "B N T V"], Cache]:
        """See `zoo.models.base.Decoder`."""
        (y1, y2), cache = self.decoder.extend(self.target_embedding(tokens), cache, count)
        return self.logits(self.decoder_norm((y1 + y2) / 2)), cache


class ReformerTagger(nn.Module):
    """The module of `ReformerTaggerConfig`: a bidirectional encoder. Padding is masked."""

    config: ReformerTaggerConfig

    def setup(self) -> None:
        config = self.config
        self.embedding = embedding(config)
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
        """The float32 logits of each word's tag. Arguments, rngs and errors: as `ReformerLM`'s."""
        masks = Masks(sequence=_real(tokens, self.config.pad_id))
        x = self.dropout(self.embedding(tokens), train=train)
        streams = self.encoder(x, masks, (), rotations, train=train)
        return self.head(self.norm(jnp.concatenate(streams, axis=-1)))


def _real(tokens: Int[Array, "B T"], pad_id: int | None) -> Bool[Array, "B T"] | None:
    """True at all tokens but padding."""
    return None if pad_id is None else tokens != pad_id


def _up_to_last(tokens: Int[Array, "B T"], pad_id: int | None) -> Bool[Array, "B T"] | None:
    """True at all tokens but the padding at the end."""
    real = _real(tokens, pad_id)
    if real is None:
        return None
    return jax.lax.cummax(real.astype(jnp.int32), axis=1, reverse=True) > 0


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
