"""Opens rows from whatever holds them: TFDS, files, arrays, tuples, a tf.data.Dataset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.config import TypeMistake, ValueMistake, shown
from zoo.pipelines.base import Array, ColumnError, quoted
from zoo.pipelines.sources import formats, locations, missing
from zoo.pipelines.sources.formats import Options
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
        identity=data_set.identity(split),
        class_names=data_set.class_names,
    )


def from_file(
    path: str | Path,
    columns: Sequence[str] | None = None,
    data_dir: str | None = None,
    options: Options = formats.DEFAULTS,
) -> Source:
    """The rows of a file in one of the formats of `formats.read`.

    Args:
      path: as in `locations.find_file`.
      columns: those wanted; None: all.
      data_dir: the folder to look into first.
      options: how the file is written.

    Raises:
      FileNotFoundError: there is no such file.
      ColumnError: it lacks a column.
      ValueError: as `formats.read`.
    """
    found = locations.find_file(path, data_dir)
    read = formats.read(found, columns, options)
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
    instead: Sequence[str] = (),
) -> Source:
    """Examples that the user hands over.

    Args:
      rows: a tf.data.Dataset, or as in `user_columns`.
      names: the columns of a tuple.
      convert: changes a column in memory: (name, values) -> values for `from_arrays`.
      instead: columns that may take the place of the first one. Others than these and `names` are
        left out unread, unless one of these is missing.

    Raises:
      TypeMistake: it is something else.
    """
    if is_dataset(rows):
        return from_dataset(rows, names)
    columns = user_columns(rows, names)
    choices = [(*instead, *names[1:])] if instead else []
    for wanted in (*choices, names):
        if set(wanted) <= set(columns):
            columns = {name: columns[name] for name in wanted}
            break
    return from_arrays({name: convert(name, values) for name, values in columns.items()})


def user_columns(rows: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """The columns of examples in memory that the user hands over.

    Args:
      rows: a mapping of columns, a table such as pandas' DataFrame, an array [N, columns], or an
        iterable of tuples or of mappings.
      names: the columns of a tuple.

    Raises:
      TypeMistake: it is something else.
      ColumnError: one row is a mapping without a column that the first one has; or the name of a
        column is no string.
      ValueMistake: a tuple has another number of values, or what looks like rows may be columns.
    """
    columns = _user_columns(rows, names)
    for name in columns:
        if not isinstance(name, str):
            raise ColumnError(f"{USER_ROWS} has a column named {name!r:.60}; a name is a string")
    return columns


def _user_columns(rows: Any, names: Sequence[str]) -> Mapping[str, Any]:
    if isinstance(rows, Mapping):
        return rows
    if hasattr(rows, "columns") and hasattr(rows, "to_dict"):  # pandas, polars
        return _columns_of_table(rows, names)
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise TypeMistake(
            f"data is {shown(rows)}; it must be an iterable of tuples ({', '.join(names)}), a "
            "mapping of columns, a DataFrame or a tf.data.Dataset"
        )
    _refuse_columns_as_rows(rows, names)
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return {name: [] for name in names}
    mappings = isinstance(first, Mapping)
    names = list(first) if mappings else names
    columns: list[list[Any]] = [[] for _ in names]
    values_of = _values_by_name if mappings else _values
    for number, row in enumerate(itertools.chain([first], rows), start=1):
        for column, value in zip(columns, values_of(row, names, number), strict=True):
            column.append(value)
    return dict(zip(names, columns, strict=True))


def _columns_of_table(table: Any, names: Sequence[str]) -> Mapping[str, Any]:
    found = list(table.columns)
    if not any(isinstance(name, str) for name in found) and len(found) == len(names):
        found = list(names)  # pandas numbers columns that have no names
    elif repeated := [name for name in found if found.count(name) > 1]:
        raise ColumnError(f"{USER_ROWS} has several columns named {repeated[0]!r}")
    return {
        str(name): list(table[own]) for name, own in zip(found, list(table.columns), strict=True)
    }


def _refuse_columns_as_rows(rows: Any, names: Sequence[str]) -> None:
    """Refuses `(texts, classes)`, which would be two rows, or a list of lists that may be that."""
    count = len(names)
    if not isinstance(rows, tuple | list) or len(rows) != count or count < 2:
        return
    listed = [
        not isinstance(row, tuple | str | bytes | Mapping) and hasattr(row, "__len__")
        for row in rows
    ]
    if all(listed) and (isinstance(rows, tuple) or {len(row) for row in rows} == {count}):
        columns = ", ".join(f"{name!r}: […]" for name in names)
        raise ValueMistake(
            f"data is a {type(rows).__name__} of {count} lists, which may be columns or rows; "
            f"write {{{columns}}} for columns, or tuples for rows: "
            f"[({', '.join(names)}), …], which zip makes of columns"
        )


def _values(row: Any, names: Sequence[str], number: int) -> Sequence[Any]:
    """The values of a row that is a tuple, or one value."""
    if isinstance(row, np.ndarray) and row.ndim == 1 and len(names) > 1:
        row = row.tolist()
    values = row if isinstance(row, tuple | list) else (row,)
    if len(values) != len(names):
        raise ValueMistake(
            f"{USER_ROWS}: row {number} has {len(values)} value(s) instead of {len(names)}: "
            f"{quoted(names)}; give tuples, or {{{names[0]!r}: […], …}} for columns"
        )
    return values


def _values_by_name(row: Any, names: Sequence[str], number: int) -> Sequence[Any]:
    """The values of a row that is a mapping."""
    if not isinstance(row, Mapping):
        raise TypeMistake(
            f"{USER_ROWS}: row {number} is a {type(row).__name__}, but the rows before are dicts"
        )
    if lacking := [name for name in names if name not in row]:
        raise ColumnError(
            f"{USER_ROWS}: row {number} has no column {lacking[0]!r}; its columns are "
            f"{quoted(list(row))}"
        )
    return [row[name] for name in names]


def check_column(values: Any, origin: str) -> None:
    """Raises TypeMistake if a column is one value, such as one text."""
    if isinstance(values, np.ndarray) and values.ndim > 0:
        return
    if isinstance(values, str | bytes | np.ndarray) or not isinstance(values, Iterable):
        raise TypeMistake(f"{origin} is {shown(values)}; give a list, a value for each row")


def _column(values: Any, origin: str) -> Array:
    """A column as an array: text as bytes objects, truth values as numbers.

    Raises:
      TypeMistake: as `check_column`.
      ValueMistake: the values have several shapes, or one is missing.
    """
    check_column(values, origin)
    if not isinstance(values, np.ndarray):
        values = list(values)
        missing.check(values, origin)
        text = any(isinstance(value, str | bytes) for value in values)
        try:
            values = np.array(values, object if text else None)
        except ValueError as error:
            raise ValueMistake(f"{origin} has values of several shapes ({error})") from error
    else:
        missing.check(values, origin)
    if values.dtype.kind in "USO":
        encoded = [_bytes(value, origin, row) for row, value in enumerate(values, start=1)]
        values = np.fromiter(encoded, object, len(encoded))
    return np.asarray(values, np.int64 if values.dtype == bool else values.dtype)


def _bytes(value: Any, origin: str, row: int) -> bytes:
    if isinstance(value, bytes):
        return value
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, str | int | float):
        raise ValueMistake(f"{origin}, row {row}: {shown(value)} is neither text nor a number")
    try:
        return str(value).encode()
    except UnicodeEncodeError as error:
        raise ValueMistake(f"{origin}, row {row} is not Unicode text ({error})") from error
