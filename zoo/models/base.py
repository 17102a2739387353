"""What model families share: the base class of the configs, and an answer in place of logits."""

from __future__ import annotations

import abc
import dataclasses
from dataclasses import dataclass
from typing import Any, get_args

import jax
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float

from zoo.config import ConfigError, check_share
from zoo.models.dense import Precision


@dataclass(frozen=True, kw_only=True)
class ModelConfig(abc.ABC):
    """The values that a Linen module is made of: frozen, hashable, JSON-ready.

    A field that is None by default (`vocab_size`, `num_classes`, `input_shape`) is what the data
    decides: `Recipe.resolve` fills it in, and `build` refuses to guess it.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name.endswith("dropout_rate"):
                check_share(field.name, getattr(self, field.name))

    @abc.abstractmethod
    def build(self) -> nn.Module:
        """The module. It takes just this config; `train` is an argument of its call."""

    @abc.abstractmethod
    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shapes and dtypes of the arguments of a call, enough to initialise the parameters."""

    def variable_shapes(self) -> dict[str, Any]:
        """Shapes and dtypes of the module's variables, without making any."""
        module = self.build()
        key = jax.random.key(0)
        return dict(
            jax.eval_shape(lambda *inputs: module.init(key, *inputs), *self.example_inputs(1))
        )

    def in_precision(self, dtype: Precision) -> ModelConfig:
        """This config with its dense layers computed in another precision, see `dense`."""
        if not hasattr(self, "dtype"):
            if dtype == "float32":
                return self
            raise ConfigError(
                f"{type(self).__name__} has no dtype: its time does not go to dense layers, so "
                f"{dtype!r} would gain nothing; leave dtype out"
            )
        if dtype not in get_args(Precision):
            raise ConfigError(f"dtype is {dtype!r}; it is one of {', '.join(get_args(Precision))}")
        return dataclasses.replace(self, **{"dtype": dtype})

    @property
    def max_positions(self) -> int | None:
        """The most positions of a sequence; None: as many as there are."""
        return getattr(self, "max_len", None)

    @property
    def described_limit(self) -> str:
        """What `max_positions` follows from, for error messages."""
        return f"max_len={self.max_positions}"

    @property
    def reads_padding(self) -> bool:
        """Whether padding after a text changes what is computed for it."""
        return False

    def with_max_len(self, length: int) -> ModelConfig:
        """This config with positions for sequences of a length, or itself if it has them."""
        if getattr(self, "max_len", length) >= length:
            return self
        return dataclasses.replace(self, **{"max_len": length})

    def size_of(self, field: str) -> int:
        """The value of a size that must be known by now."""
        value = getattr(self, field)
        if value is None:
            raise ConfigError(
                f"{type(self).__name__}.{field} is not set: give it (zoo.create(name, {field}=…)), "
                "or train by a recipe, whose data decides it"
            )
        return int(value)


@struct.dataclass
class Scores:
    """What a model thinks of given tokens, where logits of all of them would take too much room."""

    log_probability: Float[Array, "B T"]
    best: Bool[Array, "B T"]
    """Whether no other token is more probable."""
