"""Translation by LSTMs as trax had it, for its weights.

Shapes: as in `zoo.models.seq2seq`.
"""

from __future__ import annotations

from dataclasses import dataclass

from flax import linen as nn
from jaxtyping import Array, Bool

from zoo.models.base import TraxQuirks
from zoo.models.seq2seq import LSTMSeq2Seq, LSTMSeq2SeqConfig


@dataclass(frozen=True, kw_only=True)
class LSTMSeq2SeqQuirks(TraxQuirks):
    """trax's `LSTMSeq2SeqAttn`."""

    encode_padding: bool = False
    """Let the encoder's state change over padding too. Padding is masked in the attention, so it
    only changes the answer where it comes before the text, or the encoder reads from both ends."""

    @property
    def reads_padding(self) -> bool:
        """See `TraxQuirks`; `LSTMSeq2SeqConfig` asks only if the encoder reads from both ends."""
        return self.encode_padding

    def build(self, config: LSTMSeq2SeqConfig) -> nn.Module:
        return PaddingEncoder(config) if self.encode_padding else LSTMSeq2Seq(config)


class PaddingEncoder(LSTMSeq2Seq):
    """An `LSTMSeq2Seq` whose encoder reads padding like any other token."""

    @nn.nowrap
    def encoded(self, real: Bool[Array, "S B"]) -> None:
        return None
