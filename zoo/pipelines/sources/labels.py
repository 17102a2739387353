"""Classes by name, and the numbers that stand for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from zoo.config import ConfigError, shown
from zoo.pipelines.base import Array, LabelError, quoted
from zoo.pipelines.sources import missing
from zoo.pipelines.sources.source import Source
from zoo.tokenizers import nfc


def checked(
    splits: Mapping[str, Source], column: str, labels: tuple[str, ...] | None
) -> tuple[str, ...]:
    """The labels of a data set, each row of which was checked to have one of them.

    Args:
      splits: `train`, and any others.
      column: that of the class.
      labels: the classes; None: those of the training rows.

    Raises:
      LabelError: a row's class is not among the labels.
      ConfigError: there is only one label.
    """
    labels = normalised(labels) if labels else of_column(splits["train"], column)
    for source in splits.values():  # a wrong label is better found now than in evaluation
        table_of_column(source, column, labels)
    return labels


def of_column(source: Source, column: str) -> tuple[str, ...]:
    """The labels in a column: those that came with the data, or all that occur.

    Raises:
      ConfigError: there are fewer than two, or the column has neither names nor whole numbers.
    """
    named = normalised(source.class_names.get(column, ()))
    labels = named or sorted_names(_classes(source, column))
    if len(labels) < 2:
        raise ConfigError(
            f"{source.origin}: column {column!r} has only the label {quoted(labels)}; "
            "a classifier needs two"
        )
    return labels


def targets(source: Source, column: str, labels: tuple[str, ...]) -> Array:
    """The class of each row as an index into `labels`: int32 [N].

    Raises:
      LabelError: a row's class is not among them.
    """
    values = _classes(source, column)
    numbers = table(values, labels, source.origin, source.class_names.get(column))
    return np.array([numbers[value] for value in values], np.int32)


def table_of_column(source: Source, column: str, labels: tuple[str, ...]) -> dict[Any, int]:
    """The index into `labels` of each value that may occur in a column.

    Raises:
      LabelError: as `targets`, but where classes have names, for any that may occur.
    """
    names = source.class_names.get(column)
    values = _classes(source, column) if names is None else range(len(names))
    return table(values, labels, source.origin, names)


def table(
    values: Sequence[Any],
    labels: tuple[str, ...],
    origin: str,
    names: tuple[str, ...] | None = None,
) -> dict[Any, int]:
    """The index into `labels` of each value that occurs.

    Args:
      values: of the rows in turn, or a range of all that may occur. Each is the name of a label or,
        where no label is called by a number, an index into `labels`. With `names` each is an index
        into these.
      labels: the classes.
      origin: where the values come from, for the error message.
      names: the data's own names of its classes.

    Raises:
      LabelError: a value is neither.
    """
    found: dict[Any, int] = {}
    numbers = names is None and not any(map(_is_number, labels))
    for value in dict.fromkeys(values):
        name = nfc(names[value]) if names and 0 <= value < len(names) else _name(value)
        if name in labels:
            found[value] = labels.index(name)
        elif numbers and isinstance(value, int) and 0 <= value < len(labels):
            found[value] = value
        else:
            there = names or sorted_names(values)
            row = "" if isinstance(values, range) else f": row {values.index(value) + 1}"
            raise LabelError(
                f"{origin}{row} has the label {shown(name)}, which is not one of the {len(labels)} "
                f"classes {quoted(labels)}; the data has {quoted(there)}"
            )
    return found


def normalised(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels in Unicode's NFC, as the data's are read.

    Raises:
      ConfigError: two are the same.
    """
    names = tuple(map(nfc, labels))
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigError(f"the labels {quoted(names)} have {name!r} twice; leave one out")
    return names


def sorted_names(values: Iterable[Any]) -> tuple[str, ...]:
    """The labels that occur, sorted; by value if all are whole numbers.

    >>> sorted_names(["10", b"9", 10])
    ('9', '10')
    """
    names = set(map(_name, values))
    if all(map(_is_number, names)):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _classes(source: Source, column: str) -> list[Any]:
    array = source.column(column)
    if array.ndim == 1 and array.dtype.kind in "fO":
        missing.check_names(array, f"{source.origin}: column {column!r}")
    if array.ndim != 1 or array.dtype.kind not in "iuO":
        raise ConfigError(
            f"{source.origin}: column {column!r} holds {array.dtype} {list(array.shape[1:])}; "
            "labels are names or whole numbers"
        )
    values: list[Any] = array.tolist()
    return values


def _is_number(name: str) -> bool:
    return re.fullmatch(r"-?\d+", name) is not None


def _name(value: Any) -> str:
    """The name of a class, in Unicode's NFC: macOS writes the names of folders in another form."""
    return nfc(value.decode(errors="replace") if isinstance(value, bytes) else str(value))
