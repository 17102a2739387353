"""Configurations on disk: to a dict or JSON and back, and the difference between two.

>>> from_json(Recipe, to_json(recipe)) == recipe  # doctest: +SKIP
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, cast, get_args, get_origin

from zoo.config import code, wrapping
from zoo.config.values import ConfigError, check, did_you_mean, field_types, unknown_field

C = TypeVar("C")

TYPE_KEY = "type"
"""The entry under which `to_dict` names the class of a dataclass."""


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as a JSON-ready dict. Each dict of a dataclass names its class under `type`."""
    fields = {
        field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)
    }
    return {TYPE_KEY: class_name(type(config)), **fields}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def class_name(cls: type) -> str:
    """How a class is written under `type`: its name, with its module if it is not the zoo's."""
    return code.reference(getattr(cls, "thing", cls)) if code.is_own(cls) else cls.__name__


def from_dict(cls: type[C], data: Mapping[str, Any]) -> C:
    """The configuration that `to_dict` wrote. A missing field takes its default.

    Where a field's type is a base class or a union, `type` says which class. It can name only
    `cls`, members of the union, and subclasses that this process has imported (or that an
    installed package declares, see `code`), so that a file never decides what is imported.

    Raises:
      ConfigError: an unknown class or field, or a value of the wrong type; the message has the path
        of the entry.
    """
    return cast(C, _structure(data, cls, cls.__name__))


def _structure(data: Any, annotation: Any, path: str) -> Any:
    if isinstance(data, Mapping) and TYPE_KEY in data:
        cls = _class_of(str(data[TYPE_KEY]), annotation, path)
        known = field_types(cls)
        values = {}
        for key, value in data.items():
            if key == TYPE_KEY:
                continue
            if key not in known:
                raise ConfigError(f"{path}: {unknown_field(cls, key)}")
            values[key] = _structure(value, known[key], f"{path}.{key}")
        try:
            return cls(**values)
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
            inner = get_args(tuples[0])
            kinds = [inner[0]] * len(data) if inner[1:] == (Ellipsis,) else inner
            data = tuple(map(_structure, data, kinds, [path] * len(data)))
    return check(data, annotation, path)


def _class_of(name: str, annotation: Any, path: str) -> type:
    """The class that `type` names among those that the annotation allows."""
    candidates = _classes_in(annotation)
    if ":" in name and not any(class_name(candidate) == name for candidate in candidates):
        try:
            thing = code.resolve(name)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        if own := wrapping.adapted(annotation, thing):
            return own
        candidates = _classes_in(annotation)
    matching = [candidate for candidate in candidates if class_name(candidate) == name]
    if not matching:
        names = [class_name(candidate) for candidate in candidates]
        raise ConfigError(
            f"{path}: there is no configuration class {name!r}{did_you_mean(name, names)} "
            f"(known: {', '.join(names) or 'none'})"
        )
    return code.latest(matching)


def _classes_in(annotation: Any) -> list[type]:
    """The dataclasses of an annotation and their subclasses, in the order of their definition."""
    if get_origin(annotation) is not None:
        return [cls for arg in get_args(annotation) for cls in _classes_in(arg)]
    if not (isinstance(annotation, type) and dataclasses.is_dataclass(annotation)):
        return []
    below = [cls for child in annotation.__subclasses__() for cls in _classes_in(child)]
    return [annotation, *below]


def to_json(config: Any) -> str:
    """`to_dict` as indented JSON text."""
    return json.dumps(to_dict(config), indent=2) + "\n"


def from_json(cls: type[C], text: str) -> C:
    """The configuration that `to_json` wrote."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, too
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
