"""Opens rows from whatever holds them: TFDS, files, arrays, tuples, a tf.data.Dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.config import TypeMistake, ValueMistake
from zoo.pipelines.base import Array, quoted
from zoo.pipelines.sources import formats, locations
from zoo.pipelines.sources.source import Source
from zoo.pipelines.sources.tfds import Prepared
from zoo.pipelines.tfdata import Dataset, is_dataset, tensorflow, traced

USER_ROWS = "the data"
"""Origin of rows that the user handed over, in error messages."""


def from_tfds(
    name: str, split: str, data_dir: str | None = None, *, decode_all: bool = True
) -> Source:
    """A split of a TFDS data set that was prepared before.

    Args:
      name: as in `locations.find_tfds`.
      split: a split expression of TFDS such as `train` or `train[:10%]`.
      data_dir: the folder to look into first.
      decode_all: as in `from_prepared`.

    Raises:
      FileNotFoundError: the data set is in none of the folders.
      LookupError: it has no such split.
    """
    return from_prepared(Prepared(name, data_dir), split, decode_all=decode_all)


def from_prepared(data_set: Prepared, split: str, *, decode_all: bool = True) -> Source:
    """A split of a TFDS data set.

    Args:
      data_set: the data set.
      split: a split expression of TFDS.
      decode_all: decode images of several sizes too; otherwise they are the content of their files.

    Raises:
      LookupError: there is no such split.
    """
    return Source(
        origin=f"{data_set.name}, split {split}",
        num_rows=data_set.count(split),
        stream=data_set.read(split, decode_all=decode_all),
        class_names=data_set.class_names,
    )


def from_file(
    path: str | Path, columns: Sequence[str] | None = None, data_dir: str | None = None
) -> Source:
    """The rows of a file in one of the formats of `formats.read`.

    Args:
      path: as in `locations.find_file`.
      columns: those wanted; None: all.
      data_dir: the folder to look into first.

    Raises:
      FileNotFoundError: there is no such file.
      ColumnError: it lacks a column.
      ValueError: as `formats.read`.
    """
    found = locations.find_file(path, data_dir)
    read = formats.read(found, columns)
    return from_arrays(read, str(found)).select(columns or read)


def from_arrays(columns: Mapping[str, Any], origin: str = USER_ROWS) -> Source:
    """Columns of equal length in memory: arrays, or sequences of strings or numbers.

    Raises:
      ValueError: there are none, they differ in length, or one mixes shapes.
    """
    arrays = {
        name: _column(values, f"{origin}: column {name!r}") for name, values in columns.items()
    }
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueMistake(f"{origin}: the columns have different numbers of rows: {lengths}")
    if not any(lengths.values()):
        raise ValueMistake(f"{origin} has no rows")
    return Source(origin=origin, arrays=arrays, num_rows=max(lengths.values()))


def from_dataset(
    dataset: Dataset, names: Sequence[str], origin: str = "the tf.data.Dataset"
) -> Source:
    """A tf.data.Dataset of dicts, or of tuples with a value for each name.

    Raises:
      ValueError: its elements are something else, or it has no end.
    """
    tf = tensorflow()
    spec = dataset.element_spec
    if isinstance(spec, tuple) and len(spec) == len(names):
        dataset = dataset.map(traced(lambda *row: dict(zip(names, row, strict=True))))
    elif not isinstance(spec, dict):
        raise ValueMistake(
            f"{origin} has elements {spec}; they must be dicts, or tuples of {len(names)}: "
            f"{quoted(names)}"
        )
    rows = int(dataset.cardinality())
    if rows == tf.data.INFINITE_CARDINALITY:
        raise ValueMistake(f"{origin} has no end; an epoch must have one: leave out its repeat()")
    return Source(origin=origin, stream=dataset, num_rows=rows if rows >= 0 else None)


def from_user(
    rows: Any,
    names: Sequence[str],
    convert: Callable[[str, Any], Any] = lambda name, values: values,
) -> Source:
    """Examples that the user hands over.

    Args:
      rows: a tf.data.Dataset, a mapping of columns, or an iterable of tuples.
      names: the columns of a tuple.
      convert: changes a column in memory: (name, values) -> values for `from_arrays`.

    Raises:
      TypeError: it is something else.
    """
    if is_dataset(rows):
        return from_dataset(rows, names)
    columns = user_columns(rows, names)
    return from_arrays({name: convert(name, values) for name, values in columns.items()})


def user_columns(rows: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """The columns of examples in memory that the user hands over.

    Args:
      rows: a mapping of columns, or an iterable of tuples.
      names: the columns of a tuple.

    Raises:
      TypeError: it is something else.
      ValueError: a tuple has another number of values.
    """
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise TypeMistake(
            f"data is {rows!r:.60}; it must be an iterable of tuples ({', '.join(names)}), a "
            "mapping of columns or a tf.data.Dataset"
        )
    if isinstance(rows, Mapping):
        return rows
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for number, row in enumerate(rows, start=1):
        values = row if isinstance(row, tuple | list) else (row,)
        if len(values) != len(names):
            raise ValueMistake(
                f"{USER_ROWS}: row {number} has {len(values)} value(s) instead of {len(names)}: "
                f"{quoted(names)}"
            )
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    return columns


def _column(values: Any, origin: str) -> Array:
    """A column as an array: text as bytes objects, truth values as numbers."""
    if not isinstance(values, np.ndarray):
        values = list(values)
        text = any(isinstance(value, str | bytes) for value in values)
        try:
            values = np.array(values, object if text else None)
        except ValueError as error:
            raise ValueMistake(f"{origin} has values of several shapes ({error})") from error
    if values.dtype.kind in "USO":
        encoded = [_bytes(value, origin, row) for row, value in enumerate(values, start=1)]
        values = np.array(encoded, object)
    return np.asarray(values, np.int64 if values.dtype == bool else values.dtype)


def _bytes(value: Any, origin: str, row: int) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str | int | float):
        raise ValueMistake(f"{origin}, row {row}: {value!r:.40} is neither text nor a number")
    try:
        return str(value).encode()
    except UnicodeEncodeError as error:
        raise ValueMistake(f"{origin}, row {row} is not Unicode text ({error})") from error
