"""A Linen module that is not in the zoo, as a model of a recipe: `zoo.module(Net, width=128)`."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any, ClassVar, get_type_hints

import jax
from flax import linen as nn

from zoo.config import ConfigError, wrapping
from zoo.models.base import ModelConfig

Inputs = tuple[tuple[tuple[int, ...], str], ...]
"""For each argument of a call, the shape of one example and the dtype."""

TOKENS: Inputs = (((16,), "int32"),)
"""The inputs that initialise a module of unknown inputs: token ids."""


@dataclass(frozen=True, kw_only=True)
class OwnModel(ModelConfig):
    """The config of a Linen module of the user's own: its fields, and what it is called with.

    A field of the module that is None by default and that the data decides (`vocab_size`,
    `num_classes`, `input_shape`) is filled in by `Recipe.resolve`, as in the zoo's own models.
    """

    thing: ClassVar[Any]
    """The module's class."""
    parameters: ClassVar[tuple[str, ...]]
    """The fields of the module that are fields of this config."""

    inputs: Inputs | None = None
    """Shape of one example and dtype, for each argument of a call; None: the data decides, or the
    module reads token ids of any length."""

    def build(self) -> nn.Module:
        module: nn.Module = self.thing(**{name: getattr(self, name) for name in self.parameters})
        return module

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        return tuple(
            jax.ShapeDtypeStruct((batch, *shape), dtype) for shape, dtype in self.inputs or TOKENS
        )


def module(cls: type[nn.Module], **fields: Any) -> ModelConfig:
    """A model for a recipe from a Linen module: its own fields are the config.

    >>> zoo.Recipe(model=zoo.module(Net, width=128), ...)  # doctest: +SKIP

    Args:
      cls: the module's class, defined at the top level of a file. Its `__call__` takes the inputs
        and `train` as a keyword: `def __call__(self, x, *, train=False)`.
      fields: values of the module's fields; `inputs` is described at `OwnModel`.

    Raises:
      ConfigError: there is no such field, or the class cannot be used like this.
    """
    return wrapping.make(config_class(cls), fields)


def config_class(cls: Any) -> type[OwnModel]:
    """The config class of a Linen module's class.

    Raises:
      ConfigError: it is no module, is defined inside a function, or its call takes no `train`.
    """
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ConfigError(f"{cls!r} is not a Linen module; give a class derived from nn.Module")
    if "<locals>" in cls.__qualname__:
        raise ConfigError(
            f"{cls.__qualname__} is defined inside a function, where no other process can find it; "
            "move it to the top level of its file"
        )
    arguments = inspect.signature(cls.__call__).parameters.values()
    if not any(item.name == "train" or item.kind is item.VAR_KEYWORD for item in arguments):
        raise ConfigError(
            f"{cls.__name__}.__call__ takes no `train`, which says whether there is dropout; write "
            "it as `def __call__(self, x, *, train=False)`"
        )
    hints = get_type_hints(cls)
    parameters = {
        item.name: (hints.get(item.name, Any), _default(item))
        for item in dataclasses.fields(cls)
        if item.init and item.name not in ("parent", "name")
    }
    if taken := sorted(parameters.keys() & {"inputs", "thing", "parameters"}):
        raise ConfigError(
            f"{cls.__name__} has a field {taken[0]!r}, a name that is taken; rename it"
        )
    return wrapping.wrap(OwnModel, cls, parameters)


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


wrapping.adapt(ModelConfig, config_class)
