"""Translation by LSTMs with attention (Luong et al. 2015; trax: `LSTMSeq2SeqAttn`).

Decoding goes through a `SourceCache`, see `lstm`.

Shapes: `B` batch, `S` source length, `T` target length, `D` units of a layer, `H` heads, `K` head
width, `V` vocabulary; in decoding `N` beams. Inside, time stands before the batch: `R` rows are the
beams of all sentences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from zoo import registry
from zoo.config import ConfigError
from zoo.models.attention import Attention
from zoo.models.layers import Dropout, Embedding, dense, shift_right
from zoo.models.lstm import Cache, Layers, RecurrentConfig, of_beams, of_rows, steps


@dataclass(frozen=True, kw_only=True)
class LSTMSeq2SeqConfig(RecurrentConfig):
    """Source [B, S] and target [B, T] -> logits [B, T, V]."""

    target_vocab_size: int | None = None
    """Vocabulary of the target, with embeddings of its own; None: both share one."""
    num_encoder_layers: int = 2
    num_decoder_layers: int = 2
    """Those above the attention; one more stands below it."""
    num_heads: int = 1
    """Attention heads; they divide d_model."""
    bidirectional: bool = False
    """Read the source from both ends, with D units for each direction."""
    attention_dropout_rate: float = 0.0
    """Of the attention weights."""
    pad_id: int = 0
    """The id of padding: masked in the source, where the state does not move over it."""
    read_padding: bool = False
    """Let the encoder's state move over padding, as trax did: if it reads from both ends, padding
    then changes the answer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_model % self.num_heads:
            raise ConfigError(
                f"d_model={self.d_model} must be a multiple of num_heads={self.num_heads}"
            )

    @property
    def reads_padding(self) -> bool:
        """See `ModelConfig`: by the state that runs backwards."""
        return self.read_padding and self.bidirectional

    def build(self) -> LSTMSeq2Seq:
        return LSTMSeq2Seq(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        tokens = jax.ShapeDtypeStruct((batch, 8), jnp.int32)
        return tokens, tokens


@struct.dataclass
class Memory:
    """What a decoder sees of the source, computed once a sentence."""

    keys: Float[Array, "B H K S"]
    values: Float[Array, "B H S K"]
    mask: Bool[Array, "B 1 1 S"]
    """True at the source's real tokens."""


@struct.dataclass
class SourceCache(Cache):
    """The same, and the source."""

    memory: Memory


class LSTMSeq2Seq(nn.Module):
    """The module of `LSTMSeq2SeqConfig` (trax: `LSTMSeq2SeqAttn`; Luong et al. 2015).

    A layer reads the target; what it gives asks the source, and the answer is added to the question
    for the layers above.
    """

    config: LSTMSeq2SeqConfig

    def setup(self) -> None:
        config = self.config
        size = config.size_of("vocab_size")
        self.embedding = self.target_embedding = Embedding(size, config.d_model, config.init_scale)
        if config.target_vocab_size is not None:
            size = config.target_vocab_size
            self.target_embedding = Embedding(size, config.d_model, config.init_scale)
        self.dropout = Dropout(config.dropout_rate)
        self.encoder = Layers(config, config.num_encoder_layers, bidirectional=config.bidirectional)
        self.reader = Layers(config, 1)
        self.attention = Attention(
            config.d_model, config.num_heads, config.attention_dropout_rate, config.dtype
        )
        self.decoder = Layers(config, config.num_decoder_layers)
        self.logits = dense(size, config.dtype)

    def __call__(
        self, inputs: Int[Array, "B S"], targets: Int[Array, "B T"], *, train: bool = False
    ) -> Float[Array, "B T V"]:
        """The logits of each target token given the source and the target tokens before it."""
        memory = self.encode(inputs, train=train)
        x = self.dropout(self.target_embedding(shift_right(targets).T), train=train)
        x, _ = self.reader(x, train=train)
        x, _ = self.decoder(self._ask(x, memory, train=train), train=train)
        return self.logits(x.swapaxes(0, 1))

    def encode(self, inputs: Int[Array, "B S"], *, train: bool = False) -> Memory:
        """What the decoder sees of a source."""
        real = inputs != self.config.pad_id
        x = self.dropout(self.embedding(inputs.T), train=train)
        x, _ = self.encoder(x, real=None if self.config.read_padding else real.T, train=train)
        return Memory(*self.attention.keys_values(x.swapaxes(0, 1)), real[:, None, None, :])

    def start(self, inputs: Int[Array, "B S"], length: int) -> SourceCache:
        """The cache of no tokens; it takes any number of them."""
        layers = self.reader.zeros(inputs.shape[0]) + self.decoder.zeros(inputs.shape[0])
        return SourceCache(of_beams(layers, 1), self.encode(inputs))

    def extend(
        self, tokens: Int[Array, "B N T"], cache: SourceCache
    ) -> tuple[Float[Array, "B N V"], SourceCache]:
        """The logits of the token after `tokens`, which follow those in the cache.

        The first token of all is 0, the start.
        """
        batch, beams, _ = tokens.shape
        states = of_rows(cache.layers)
        x, reader = self.reader(self.target_embedding(steps(tokens)), states[:1])
        x, decoder = self.decoder(self._ask(x, cache.memory, beams), states[1:])
        logits = self.logits(x[-1].reshape(batch, beams, -1))
        return logits, replace(cache, layers=of_beams(reader + decoder, beams))

    def _ask(
        self, x: Float[Array, "T R D"], memory: Memory, beams: int = 1, train: bool = False
    ) -> Float[Array, "T R D"]:
        """The queries, with what they find in the source added to them.

        The beams of a sentence are rows side by side, and ask the same source.
        """
        length, rows, width = x.shape
        batch = rows // beams
        queries = x.reshape(length, batch, beams, width).swapaxes(0, 1)
        found = self.attention(
            queries.reshape(batch, length * beams, width),
            memory.keys,
            memory.values,
            memory.mask,
            train,
        )
        return x + found.reshape(batch, length, beams, width).swapaxes(0, 1).reshape(x.shape)


@registry.models.register
def lstm_seq2seq() -> LSTMSeq2SeqConfig:
    """trax's defaults of `LSTMSeq2SeqAttn`, but padding changes no answer."""
    return LSTMSeq2SeqConfig(dropout_rate=0.0)
