"""Translation by LSTMs as trax had it, for its weights.

Shapes: as in `zoo.models.seq2seq`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Bool

from zoo.models.base import TraxQuirks
from zoo.models.seq2seq import LSTMSeq2Seq


@dataclass(frozen=True, kw_only=True)
class LSTMSeq2SeqQuirks(TraxQuirks):
    """trax's `LSTMSeq2SeqAttn`."""

    encode_padding: bool = False
    """Let the encoder's state change over padding too. Padding is masked in the attention, so it
    only changes the answer where it comes before the text, or the encoder reads from both ends."""

    @property
    def reads_padding(self) -> bool:
        """See `TraxQuirks`; if the encoder reads from both ends."""
        return self.encode_padding

    def build(self, config: Any) -> nn.Module:
        return TraxLSTMSeq2Seq(config)


class TraxLSTMSeq2Seq(LSTMSeq2Seq):
    """The module of an `LSTMSeq2SeqConfig` with `LSTMSeq2SeqQuirks`."""

    @nn.nowrap
    def encoded(self, real: Bool[Array, "S B"]) -> Bool[Array, "S B"] | None:
        """None if the state changes over padding."""
        quirks: Any = self.config.trax
        return None if quirks.encode_padding else real
