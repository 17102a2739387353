"""The fields that the three forms of the Reformer share."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeVar

from zoo.config import ConfigError
from zoo.models.base import TokenConfig, TraxQuirks
from zoo.models.dense import Precision
from zoo.models.layers import Activation
from zoo.models.reformer.hashing import LSHAttentionConfig
from zoo.models.reformer.heads import AttentionConfig, HeadConfig

C = TypeVar("C", bound="ReformerStackConfig")


@dataclass(frozen=True, kw_only=True)
class ReformerStackConfig(TokenConfig):
    """The fields that the three forms of the Reformer share."""

    looks_ahead: ClassVar[bool] = False
    """Whether positions see later ones, as in an encoder."""

    d_ff: int = 2048
    """Width of the feed-forward layers."""
    num_heads: int = 8
    """Heads of each attention layer. Their width does not depend on it."""
    d_key: int = 64
    """Width of a head's queries and keys."""
    d_value: int = 64
    """Width of a head's values."""
    attention: tuple[AttentionConfig, ...] = (LSHAttentionConfig(),)
    """Kinds of self-attention, which the layers have in turn. Memory does not grow with depth if
    the number of layers is a multiple of the number of kinds."""
    max_len: int = 2048
    """Rows of the position table: the longest sequence. Unused with `axial_shape`."""
    axial_shape: tuple[int, ...] = ()
    """Sides of a box whose cells, numbered with the last side fastest, are the positions. Each side
    has a table of its own, so that few rows serve many positions (trax: axial position encoding).
    The longest sequence is the product of the sides. Empty: one table of `max_len` rows."""
    axial_widths: tuple[int, ...] = ()
    """Width of each side's table; their sum is d_model. Empty: divided about equally."""
    dropout_rate: float = 0.1
    """Dropout rate after the embeddings, the attention, the activation and the feed-forward layer.
    """
    activation: Activation = "relu"
    """Of the feed-forward layers."""
    ff_chunk_len: int | None = field(default=None, metadata={"weights": False})
    """Positions that the feed-forward layers process at a time, to hold fewer of their d_ff values:
    less memory, more time, the same result. None: all."""
    reversible: bool = field(default=True, metadata={"weights": False})
    """Recompute each layer's inputs in the backward pass instead of storing them, so that memory
    does not grow with depth. It takes a `jax.custom_vjp`, which has no forward mode: `jax.jvp`,
    `jax.jacfwd`, `jax.hessian` and `jax.linearize` need False (and float32, see `dense`)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the dense layers' products. Attention scores are float32 in any case."""
    pad_id: int | None = 0
    """The id of padding; None if there is none, as in trax's language models. Padding is masked in
    a source and in a text to be tagged. A decoder masks only the future; but where attention is by
    hashes, padding at the end of a text gets a bucket of its own, lest it move the other chunks."""
    trax: TraxQuirks | None = None
    """The differences of trax; None: none."""

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
            return self if self.max_len >= length else dataclasses.replace(self, max_len=length)
        _, *others = self.axial_shape
        first = -(-length // math.prod(others))
        if first <= self.axial_shape[0]:
            return self
        return dataclasses.replace(self, axial_shape=(first, *others))

    @property
    def heads(self) -> HeadConfig:
        """The sizes that all attention layers have in common."""
        return HeadConfig(
            d_model=self.d_model,
            num_heads=self.num_heads,
            d_key=self.d_key,
            d_value=self.d_value,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
            max_positions=self.max_positions,
        )

    @property
    def side_widths(self) -> tuple[int, ...]:
        """The width of each side's table of positions."""
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
        """True if padding can change the result.

        It can where padding has no id of its own, so that an encoder or a hash takes it for a word;
        and where the number of hash buckets follows from the length.
        """
        return any(
            kind.reads_padding(self.pad_id, self.looks_ahead) for kind in self.attention
        ) or (self.trax is not None and self.trax.reads_padding)

    def cycle(self, num_layers: int) -> tuple[tuple[AttentionConfig, ...], int]:
        """The kinds of attention of the layers that are repeated, and how often they are."""
        kinds = self.attention
        if num_layers % len(kinds):
            return tuple(kinds[i % len(kinds)] for i in range(num_layers)), 1
        return kinds, num_layers // len(kinds)
