"""Configurations of classes and functions that were not written as such, for a user's own code.

`wrap` makes a configuration class from a list of parameters: its fields are flags on the command
line, entries of a card and of JSON like those of any other. `adapt` tells `from_dict` how a name
such as `my_recipes:Net`, which is a module and no configuration, becomes one.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from zoo.config.values import ConfigError, did_you_mean

B = TypeVar("B")

REQUIRED = dataclasses.MISSING
"""In place of a default: the parameter must be given."""

_adapters: dict[type, Callable[[Any], type]] = {}
_wrapped: dict[tuple[type, Any], type] = {}


def adapt(base: type, make: Callable[[Any], type]) -> None:
    """Lets `type` name things that are no configurations, where a `base` is wanted.

    Args:
      base: a configuration class, such as `ModelConfig`.
      make: the thing -> a subclass of `base`. Raises ConfigError for a thing that cannot be one.
    """
    _adapters[base] = make


def adapted(base: type, thing: Any) -> type | None:
    """The configuration class of a thing where a `base` is wanted; None: `base` takes none."""
    for parent in base.__mro__:
        if parent in _adapters:
            return _adapters[parent](thing)
    return None


def wrap(base: type[B], thing: Any, parameters: Mapping[str, tuple[Any, Any]]) -> type[B]:
    """A subclass of `base` with a field for each parameter; the same for the same thing.

    Its name and module are the thing's, so that on disk it is named like the thing. `thing` is an
    attribute of the class.

    Args:
      base: a frozen, keyword-only dataclass.
      thing: the class or function that is wrapped.
      parameters: name -> (type, default or REQUIRED). A parameter whose type no configuration can
        hold keeps its default and is not a field.

    Raises:
      ConfigError: a parameter without a default that no configuration can hold.
    """
    key = base, thing
    if key not in _wrapped:
        fields: list[Any] = []
        for name, (annotation, default) in parameters.items():
            if is_plain(annotation):
                value = dataclasses.field() if default is REQUIRED else default
                fields.append((name, annotation, value))
            elif default is REQUIRED:
                raise ConfigError(
                    f"{thing.__qualname__} needs {name!r}, whose type {annotation} cannot be "
                    "written to a card; give it a default, or a name of type str instead"
                )
        made = dataclasses.make_dataclass(
            thing.__name__,
            fields,
            bases=(base,),
            namespace={
                "__doc__": thing.__doc__,
                "thing": staticmethod(thing),
                "parameters": tuple(name for name, _, _ in fields),
                "__reduce__": _reduce,  # pickle would take the class for the thing
            },
            frozen=True,
            kw_only=True,
        )
        made.__module__, made.__qualname__ = thing.__module__, thing.__qualname__
        _wrapped[key] = made
    return _wrapped[key]


def _reduce(self: Any) -> tuple[Any, ...]:
    base = type(self).__mro__[1]
    values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    return _restored, (base, type(self).thing, values)


def _restored(base: type, thing: Any, values: Mapping[str, Any]) -> Any:
    return (adapted(base, thing) or base)(**values)


def make(cls: type[B], values: Mapping[str, Any]) -> B:
    """A configuration from keyword arguments.

    Raises:
      ConfigError: there is no such field, or one that has no default is missing.
    """
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ConfigError(
                f"{cls.__name__} has no field {name!r}{did_you_mean(name, known)} "
                f"(fields: {', '.join(known)})"
            )
    try:
        return cls(**{name: _frozen(value) for name, value in values.items()})
    except TypeError as error:
        raise ConfigError(str(error).replace(".__init__()", "")) from error


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def is_plain(annotation: Any) -> bool:
    """Whether values of a type can be written to JSON and read back."""
    if annotation in (bool, int, float, str, None, type(None), Ellipsis):
        return True
    if dataclasses.is_dataclass(annotation):
        return True
    origin = get_origin(annotation)
    if origin is Literal:
        return True
    return origin in (tuple, Union, types.UnionType) and all(map(is_plain, get_args(annotation)))
