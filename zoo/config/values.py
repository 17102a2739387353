"""Values of configurations: fields replaced by dotted path, and checked against their types.

A configuration is a `@dataclass(frozen=True, kw_only=True)` whose fields are bool, int, float, str,
None, tuples, `Literal`s, other such dataclasses, or unions of these. That makes it hashable, and
enough to write it to a card or a run's folder and to derive command-line flags from it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from zoo.config.messages import ValueMistake

C = TypeVar("C")


class ConfigError(ValueMistake):
    """A configuration that is unknown or invalid; the message names the field and what it takes."""


def check_share(name: str, value: float) -> None:
    """Raises ConfigError unless `value` is in [0, 1), as a dropout rate must be."""
    if not 0 <= value < 1:
        raise ConfigError(f"{name} is {value}; it must be in [0, 1)")


def check_size(name: str, value: int | tuple[int, ...] | None) -> None:
    """Raises ConfigError unless `value` is 1 or more, or a tuple of such numbers, or None."""
    sizes = value if isinstance(value, tuple) else (value,)
    if any(size is not None and not size >= 1 for size in sizes):
        raise ConfigError(f"{name} is {value}; it must be 1 or more")


def check_not_negative(name: str, value: float) -> None:
    """Raises ConfigError unless `value` is 0 or more; NaN is not."""
    if not value >= 0:
        raise ConfigError(f"{name} is {value}; it must be 0 or more")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The clause `; did you mean 'x'?` with the closest of `known`; empty if none is close.

    >>> did_you_mean("learnin_rate", ["learning_rate", "steps"])
    "; did you mean 'learning_rate'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def field_types(cls: type) -> dict[str, Any]:
    """The types of a dataclass's fields by name, with string annotations evaluated."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def override(config: C, changes: Mapping[str, object]) -> C:
    """A copy of `config` with the fields at dotted paths replaced, each checked against its type.

    >>> override(recipe, {"optimizer.learning_rate": 3e-3, "steps": 500})  # doctest: +SKIP

    An int is converted to a float, and a list to a tuple, where the field wants one; nothing else
    is converted. All fields of a config change together, so those that must fit each other may come
    in any order; a field that is given as a whole is replaced before the fields inside it.

    Raises:
      ConfigError: there is no such path (the message has the closest one), or the value has the
        wrong type.
    """
    changed: C = _override(
        config, [(path.split("."), value, path) for path, value in changes.items()]
    )
    return changed


def _override(config: Any, changes: Sequence[tuple[list[str], object, str]]) -> Any:
    """`config` with changes: the names of each below it, its value, and its whole path."""
    if not dataclasses.is_dataclass(config):
        names, _, path = changes[0]
        at = path[: -len(".".join(names)) - 1]
        raise ConfigError(
            f"{at!r} is {config!r} and has no fields, so {path!r} cannot be set; "
            f"set {at!r} as a whole"
        )
    known = field_types(type(config))
    new: dict[str, Any] = {}
    inside: dict[str, list[tuple[list[str], object, str]]] = {}
    for (name, *rest), value, path in changes:
        if name not in known:
            raise ConfigError(unknown_field(type(config), name))
        if rest:
            inside.setdefault(name, []).append((rest, value, path))
        else:
            new[name] = check(value, known[name], path)
    for name, deeper in inside.items():
        new[name] = _override(new.get(name, getattr(config, name)), deeper)
    return dataclasses.replace(cast(Any, config), **new)


def unknown_field(cls: type, name: str) -> str:
    """The message for a field that a dataclass does not have."""
    known = list(field_types(cls))
    return (
        f"{cls.__name__} has no field {name!r}{did_you_mean(name, known)} "
        f"(fields: {', '.join(known)})"
    )


def check_fields(config: Any) -> None:
    """Checks every field of a dataclass against its annotation and converts it as `override` does.

    Called in `__post_init__`, it makes the constructor and `dataclasses.replace` as strict.

    Raises:
      ConfigError: a field has a value of the wrong type.
    """
    for name, annotation in field_types(type(config)).items():
        object.__setattr__(config, name, check(getattr(config, name), annotation, name))


def check(value: object, annotation: Any, path: str) -> Any:
    """`value` as the annotated type, or a ConfigError with the field, the type and the value."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is Any or annotation is object:
        return value
    if origin is Literal:
        if value in args:
            return value
    elif origin in (Union, types.UnionType):
        for option in args:
            try:
                return check(value, option, path)
            except ConfigError:
                continue
    elif origin is tuple and isinstance(value, tuple | list):
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(check(item, args[0], path) for item in value)
        if len(args) == len(value):
            return tuple(check(item, arg, path) for item, arg in zip(value, args, strict=True))
    elif annotation is None or annotation is type(None):
        if value is None:
            return None
    elif annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isnan(value):
            raise ConfigError(f"{path} is nan; it must be a number")
        return float(value)
    elif annotation is int and isinstance(value, bool):
        pass
    elif isinstance(annotation, type) and isinstance(value, annotation):
        return value
    raise ConfigError(f"{path}: {value!r} is not of type {type_name(annotation)}")


def type_name(annotation: Any) -> str:
    """A type as a user would write it.

    >>> type_name(tuple[int, ...] | None)
    'tuple[int, ...] | None'
    """
    if annotation is type(None) or annotation is None:
        return "None"
    if annotation is Ellipsis:
        return "..."
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(repr(arg) for arg in args)
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(arg) for arg in args)
    if origin is not None:
        return f"{origin.__name__}[{', '.join(type_name(arg) for arg in args)}]"
    return cast(str, getattr(annotation, "__name__", str(annotation)))
