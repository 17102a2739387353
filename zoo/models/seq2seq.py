"""Translation by LSTMs with attention (Luong et al. 2015). The layers are in `recurrent.py`.

Shapes: `B` batch, `S` source length, `T` target length, `D` units of a layer, `H` heads, `K` head
width, `V` vocabulary; in decoding `N` beams. Inside, time comes before the batch, and `R` rows are
the beams of all sentences.
"""

from __future__ import annotations

from dataclasses import dataclass

from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from zoo import registry
from zoo.config import ConfigError
from zoo.models.attention import Attention
from zoo.models.base import SourceTargetConfig, TraxQuirks
from zoo.models.layers import Dropout, dense, embeddings, shift_right
from zoo.models.recurrent import (
    Cache,
    Layers,
    RecurrentConfig,
    beams_to_rows,
    first,
    rows_to_beams,
)


@dataclass(frozen=True, kw_only=True)
class LSTMSeq2SeqConfig(RecurrentConfig, SourceTargetConfig):
    """Source [B, S] and target [B, T] -> logits [B, T, V]."""

    num_encoder_layers: int = 2
    """Layers over the source."""
    num_decoder_layers: int = 2
    """Layers over the target above the attention; there is one more below it."""
    num_heads: int = 1
    """Attention heads; they divide d_model."""
    bidirectional: bool = False
    """Read the source from both ends, with D units for each direction."""
    attention_dropout_rate: float = 0.0
    """Of the attention weights."""
    pad_id: int = 0
    """The id of padding. In the source it is masked, and changes no state."""
    trax: TraxQuirks | None = None
    """Set for trax's weights; see `models/trax/lstm.py`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_model % self.num_heads:
            raise ConfigError(
                f"d_model={self.d_model} must be a multiple of num_heads={self.num_heads}"
            )

    @property
    def reads_padding(self) -> bool:
        """See `ModelConfig`: the layers that run backward would begin in the padding."""
        return self.bidirectional and self.trax is not None and self.trax.reads_padding

    def build(self) -> nn.Module:
        return self.trax.build(self) if self.trax else LSTMSeq2Seq(self)


@struct.dataclass
class Memory:
    """The source as the decoder sees it, computed once a sentence."""

    keys: Float[Array, "B H K S"]
    values: Float[Array, "B H S K"]
    mask: Bool[Array, "B 1 1 S"]
    """True at the source's real tokens."""


@struct.dataclass
class SourceCache(Cache):
    """The state of each decoder layer, for each beam, and the source."""

    memory: Memory


class LSTMSeq2Seq(nn.Module):
    """The module of `LSTMSeq2SeqConfig` (trax: `LSTMSeq2SeqAttn`).

    The first decoder layer reads the target. Its outputs are the queries of an attention over the
    source; queries and contexts are summed and fed to the remaining layers.
    """

    config: LSTMSeq2SeqConfig

    def setup(self) -> None:
        config = self.config
        self.embedding, self.target_embedding = embeddings(config)
        self.dropout = Dropout(config.dropout_rate)
        self.encoder = Layers(config, config.num_encoder_layers, bidirectional=config.bidirectional)
        self.reader = Layers(config, 1)
        self.attention = Attention(
            config.d_model, config.num_heads, config.attention_dropout_rate, config.dtype
        )
        self.decoder = Layers(config, config.num_decoder_layers)
        self.logits = dense(config.output_size, config.dtype)

    def __call__(
        self, inputs: Int[Array, "B S"], targets: Int[Array, "B T"], *, train: bool = False
    ) -> Float[Array, "B T V"]:
        """Float32 logits of each target token given the source and the target tokens before it.

        The model shifts the targets itself. Training takes the rng `dropout`.
        """
        memory = self.encode(inputs, train=train)
        x = self.dropout(self.target_embedding(shift_right(targets).T), train=train)
        x, _ = self.reader(x, train=train)
        x, _ = self.decoder(self.attend(x, memory, train=train), train=train)
        return self.logits(x.swapaxes(0, 1))

    def encode(self, inputs: Int[Array, "B S"], *, train: bool = False) -> Memory:
        """The source as the decoder sees it."""
        real = inputs != self.config.pad_id
        x = self.dropout(self.embedding(inputs.T), train=train)
        x, _ = self.encoder(x, real=self.encoded(real.T), train=train)
        return Memory(*self.attention.keys_values(x.swapaxes(0, 1)), real[:, None, None, :])

    @nn.nowrap
    def encoded(self, real: Bool[Array, "S B"]) -> Bool[Array, "S B"] | None:
        """The positions at which the encoder's state changes; None for all."""
        return real

    def start(self, source: Int[Array, "B S"], length: int) -> SourceCache:
        """See `base.Decoder`. The cache takes any number of tokens."""
        rows = source.shape[0]
        layers = self.reader.zeros(rows) + self.decoder.zeros(rows)
        return SourceCache(rows_to_beams(layers, 1), self.encode(source))

    def extend(
        self, tokens: Int[Array, "B N T"], cache: SourceCache, count: Int[Array, ""] | None = None
    ) -> tuple[Float[Array, "B N T V"], SourceCache]:
        """See `base.Decoder`."""
        beams, states = tokens.shape[1], beams_to_rows(cache.layers)
        read = first(count, tokens)
        x = self.target_embedding(beams_to_rows(tokens).T)
        x, reader = self.reader(x, states[:1], read)
        x, decoder = self.decoder(self.attend(x, cache.memory, beams), states[1:], read)
        logits = rows_to_beams(self.logits(x.swapaxes(0, 1)), beams)
        return logits, SourceCache(rows_to_beams(reader + decoder, beams), cache.memory)

    def attend(
        self, x: Float[Array, "T R D"], memory: Memory, beams: int = 1, train: bool = False
    ) -> Float[Array, "T R D"]:
        """The queries x plus the contexts that they find in the source.

        The beams of a sentence are consecutive rows, and share its source.
        """
        length, rows, width = x.shape
        batch = rows // beams
        queries = x.reshape(length, batch, beams, width).swapaxes(0, 1)
        contexts = self.attention(
            queries.reshape(batch, length * beams, width),
            memory.keys,
            memory.values,
            memory.mask,
            train,
        )
        return x + contexts.reshape(batch, length, beams, width).swapaxes(0, 1).reshape(x.shape)


@registry.models.register
def lstm_seq2seq() -> LSTMSeq2SeqConfig:
    """trax's defaults of `LSTMSeq2SeqAttn`, but padding changes no answer."""
    return LSTMSeq2SeqConfig(dropout_rate=0.0)
