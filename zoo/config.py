"""Frozen dataclasses as configuration: override by dotted path, dict/JSON round trip, difference.

A configuration is a `@dataclass(frozen=True, kw_only=True)` whose fields are bool, int, float, str,
None, tuples, `Literal`s and other such dataclasses, alone or in unions. Nothing else is needed to
make it hashable, to write it to a card or a run folder, and to turn it into command-line flags.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

C = TypeVar("C")

TYPE_KEY = "type"
"""The entry under which `to_dict` names the class of a nested dataclass."""


class ConfigError(ValueError):
    """A configuration that does not exist or fit; the message names the field and what it takes."""


def check_share(name: str, value: float) -> None:
    """Raises ConfigError for what is no share below the whole: dropout's rates and the like."""
    if not 0 <= value < 1:
        raise ConfigError(f"{name} is {value}; it is a share, of 0 or more and below 1")


def check_size(name: str, value: int | tuple[int, ...] | None) -> None:
    """Raises ConfigError unless a size, or each of several, is 1 or more; None is not known yet."""
    sizes = value if isinstance(value, tuple) else (value,)
    if any(size is not None and size < 1 for size in sizes):
        raise ConfigError(f"{name} is {value}; a size is 1 or more")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The clause `; did you mean 'x'?` for the closest of `known`, or nothing when none is close.

    >>> did_you_mean("learnin_rate", ["learning_rate", "steps"])
    "; did you mean 'learning_rate'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def field_types(cls: type) -> dict[str, Any]:
    """The resolved types of the fields of a dataclass, by name."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def override(config: C, changes: Mapping[str, object]) -> C:
    """A copy of `config` with the fields at dotted paths replaced, each checked against its type.

    >>> override(recipe, {"optimizer.learning_rate": 3e-3, "steps": 500})  # doctest: +SKIP

    An int is accepted where a float is wanted, a list where a tuple is; nothing else is converted.

    Raises:
      ConfigError: a path that does not exist (with the closest name that does) or a
        value of the wrong type.
    """
    for path, value in changes.items():
        config = _override(config, path.split("."), value, path)
    return config


def _override(config: Any, names: list[str], value: object, path: str) -> Any:
    name, *rest = names
    if not dataclasses.is_dataclass(config):
        at = path[: -len(".".join(names)) - 1]
        raise ConfigError(
            f"{at!r} is {config!r} and has no fields, so {path!r} cannot be set; "
            f"set {at!r} as a whole"
        )
    known = field_types(type(config))
    if name not in known:
        raise ConfigError(unknown_field(type(config), name))
    if rest:
        new = _override(getattr(config, name), rest, value, path)
    else:
        new = check(value, known[name], path)
    return dataclasses.replace(cast(Any, config), **{name: new})


def unknown_field(cls: type, name: str) -> str:
    """The message for a field that a dataclass does not have."""
    known = list(field_types(cls))
    return (
        f"{cls.__name__} has no field {name!r}{did_you_mean(name, known)} "
        f"(fields: {', '.join(known)})"
    )


def check(value: object, annotation: Any, path: str) -> Any:
    """`value` as the annotated type, or a ConfigError that names field, type and what was given."""
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


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as a JSON-ready dict; each dict of a dataclass names its class under `type`."""
    fields = {
        field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)
    }
    return {TYPE_KEY: type(config).__name__, **fields}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def from_dict(cls: type[C], data: Mapping[str, Any]) -> C:
    """The configuration that `to_dict` wrote. A field that is missing takes its default.

    Where a field's type is a base class or a union, `type` says which class; only `cls`, the
    members of the union and the subclasses known to this process can be named, so that a file never
    decides what is imported.
    """
    return cast(C, _structure(data, cls, cls.__name__))


def _structure(data: Any, annotation: Any, path: str) -> Any:
    if isinstance(data, Mapping) and TYPE_KEY in data:
        candidates = list(_dataclasses_in(annotation))
        name = data[TYPE_KEY]
        found = [candidate for candidate in candidates if candidate.__name__ == name]
        if not found:
            names = [candidate.__name__ for candidate in candidates]
            raise ConfigError(
                f"{path}: no configuration class {name!r} is known here{did_you_mean(name, names)} "
                f"(known: {', '.join(names) or 'none'}); import the module that defines it first"
            )
        known = field_types(found[0])
        values = {}
        for key, value in data.items():
            if key == TYPE_KEY:
                continue
            if key not in known:
                raise ConfigError(f"{path}: {unknown_field(found[0], key)}")
            values[key] = _structure(value, known[key], f"{path}.{key}")
        try:
            return found[0](**values)
        except TypeError as error:
            raise ConfigError(f"{path}: {error}") from error
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(data, list):
        tuples = [
            a
            for a in (args if origin in (Union, types.UnionType) else (annotation,))
            if get_origin(a) is tuple
        ]
        if tuples:
            inner = get_args(tuples[0])[0]
            data = tuple(_structure(item, inner, path) for item in data)
    return check(data, annotation, path)


def _dataclasses_in(annotation: Any) -> Iterable[type]:
    if get_origin(annotation) is not None:
        for arg in get_args(annotation):
            yield from _dataclasses_in(arg)
    elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation
        for subclass in annotation.__subclasses__():
            yield from _dataclasses_in(subclass)


def to_json(config: Any) -> str:
    """`to_dict` as indented JSON text."""
    return json.dumps(to_dict(config), indent=2) + "\n"


def from_json(cls: type[C], text: str) -> C:
    """The configuration that `to_json` wrote."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not a JSON configuration of {cls.__name__}: {error}") from error
    return from_dict(cls, data)


def diff(old: Any, new: Any) -> dict[str, tuple[object, object]]:
    """The leaves in which two configurations differ: dotted path -> (old value, new value).

    A path that only one side has is None on the other.
    """
    left, right = flatten(to_dict(old)), flatten(to_dict(new))
    paths = [*left, *(path for path in right if path not in left)]
    return {
        path: (left.get(path), right.get(path))
        for path in paths
        if left.get(path) != right.get(path)
    }


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted path.

    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves |= flatten(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
