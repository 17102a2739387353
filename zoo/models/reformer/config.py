"""What a Reformer is made of: the fields that its three forms share."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeVar

from zoo.config import ConfigError
from zoo.models.base import ModelConfig
from zoo.models.dense import Precision
from zoo.models.layers import Activation
from zoo.models.reformer.lsh_attention import LSHAttentionConfig
from zoo.models.reformer.self_attention import AttentionConfig, HeadSizes, SelfAttentionConfig

C = TypeVar("C", bound="ReformerStackConfig")


@dataclass(frozen=True, kw_only=True)
class ReformerStackConfig(ModelConfig):
    """What the three forms share."""

    vocab_size: int | None = None
    """Token ids are 0 … vocab_size - 1; an id outside is clipped to the nearest."""
    looks_ahead: ClassVar[bool] = False
    """Whether positions see those behind them too, as in an encoder."""

    d_model: int = 512
    """Width of a position, in each of the two streams."""
    d_ff: int = 2048
    """Width of the feed-forward layers."""
    num_heads: int = 8
    d_key: int = 64
    """Width of a head's queries and keys."""
    d_value: int = 64
    """Width of a head's values."""
    attention: tuple[SelfAttentionConfig | LSHAttentionConfig, ...] = (LSHAttentionConfig(),)
    """Of the layers in turn, from the first again after the last. Where the number of layers is a
    multiple of theirs, memory does not grow with depth."""
    max_len: int = 2048
    """Most positions of a sequence: rows of the position tables; unused with `axial_shape`."""
    axial_shape: tuple[int, ...] = ()
    """Sides of a box in which positions are numbered, the last one fastest: each side has a table
    of its own, so that few rows serve many positions (trax: axial position encoding). Its volume
    is the greatest length. Empty: one table of `max_len`."""
    axial_widths: tuple[int, ...] = ()
    """What each side's table fills of d_model; they add up to it. Empty: about as much each."""
    dropout_rate: float = 0.1
    """After the embeddings, the attention, the activation and the feed-forward layer."""
    init_scale: float = 1.0
    """Of the first embeddings, as a share of unit variance over the width, which is trax's."""
    activation: Activation = "relu"
    """Of the feed-forward layers."""
    ff_chunk_len: int | None = field(default=None, metadata={"weights": False})
    """Positions of which the feed-forward layer keeps its d_ff values at a time: less memory for
    more time, and no other result. None: all."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the products of dense layers: `bfloat16` for mixed precision. What attention does with
    queries, keys and values is float32 in any case."""
    pad_id: int | None = 0
    """The id of padding; None for none, as in trax's language models. It is masked where a source
    or a text to tag is read. In a decoder nothing is masked but the future; yet where attention is
    by hashes, padding at the end of a text is hashed apart, since it would move the others' chunks.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.attention:
            raise ConfigError("attention is empty; it is one kind of attention or more")
        if self.ff_chunk_len is not None and self.ff_chunk_len < 1:
            raise ConfigError(f"ff_chunk_len is {self.ff_chunk_len}; it is 1 or more")
        shape, widths = self.axial_shape, self.axial_widths
        if widths and len(shape) != len(widths):
            raise ConfigError(
                f"axial_shape={shape} has {len(shape)} sides and axial_widths={widths} has "
                f"{len(widths)} widths; there must be as many of both"
            )
        widths = self.side_widths
        if shape and (min(shape) < 1 or min(widths) < 1 or sum(widths) != self.d_model):
            raise ConfigError(
                f"axial_shape={shape} and axial_widths={widths} must be 1 or more, and the widths "
                f"add up to d_model={self.d_model}, not {sum(widths)}"
            )
        if not shape and self.d_model % 2:
            raise ConfigError(f"d_model={self.d_model} must be even, or use axial_shape")

    def in_precision(self: C, dtype: Precision) -> C:
        if dtype == "int8":
            raise ConfigError(
                f"{type(self).__name__}.dtype is float32 or bfloat16; the layers of a Reformer, "
                "whose parameters are stacked, have no form in int8"
            )
        return super().in_precision(dtype)

    def with_max_len(self: C, length: int) -> C:
        if not self.axial_shape:
            longer = self.max_len < length
            return dataclasses.replace(self, max_len=length) if longer else self
        _, *others = self.axial_shape
        first = -(-length // math.prod(others))
        if first <= self.axial_shape[0]:
            return self
        return dataclasses.replace(self, axial_shape=(first, *others))

    @property
    def sizes(self) -> HeadSizes:
        """Of the attention."""
        return HeadSizes(
            d_model=self.d_model,
            num_heads=self.num_heads,
            d_key=self.d_key,
            d_value=self.d_value,
        )

    @property
    def side_widths(self) -> tuple[int, ...]:
        """What each side's table of positions fills of d_model."""
        sides = len(self.axial_shape)
        if self.axial_widths or not sides:
            return self.axial_widths
        return tuple(
            self.d_model * (i + 1) // sides - self.d_model * i // sides for i in range(sides)
        )

    @property
    def max_positions(self) -> int:
        return math.prod(self.axial_shape) if self.axial_shape else self.max_len

    @property
    def described_limit(self) -> str:
        if self.axial_shape:
            return f"{self.max_positions}, the product of axial_shape={self.axial_shape}"
        return super().described_limit

    @property
    def reads_padding(self) -> bool:
        """See `ModelConfig`.

        Without an id of its own padding is hashed with the words and moves their chunks; the longer
        input has more buckets, where the length decides how many there are; and all rounds in one
        sequence have padding between them. Whoever looks ahead sees padding without an id, or where
        the other end would be seen. What trax's mask leaves visible of it, the first two positions,
        is as much of it with any padding.
        """

        def reads(kind: AttentionConfig) -> bool:
            if isinstance(kind, LSHAttentionConfig):
                return self.pad_id is None or kind.num_buckets is None or kind.wrap_around
            return self.looks_ahead and kind.wrap_around and kind.chunk_len is not None

        return (self.looks_ahead and self.pad_id is None) or any(map(reads, self.attention))

    def check_length(self, length: int, what: str) -> None:
        """Raises ValueError where a sequence is longer than the positions go."""
        if length > self.max_positions:
            raise ValueError(f"{what} of {length} positions is longer than {self.described_limit}")

    def cycle(self, num_layers: int) -> tuple[tuple[AttentionConfig, ...], int]:
        """The kinds of attention of the layers that are repeated, and how often they are."""
        kinds = self.attention
        if num_layers % len(kinds):
            return tuple(kinds[i % len(kinds)] for i in range(num_layers)), 1
        return kinds, num_layers // len(kinds)
