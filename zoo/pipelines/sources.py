"""Where rows come from: TFDS, CSV, TSV, JSONL and text files, arrays, tuples, a tf.data.Dataset.

Nothing here uses the network.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo.config import ConfigError, did_you_mean
from zoo.pipelines import files, folders, ops
from zoo.pipelines.base import (
    Array,
    ColumnError,
    DataConfig,
    Dataset,
    LabelError,
    is_dataset,
    shown,
    tensorflow,
)
from zoo.pipelines.tfds import Prepared

HOLDOUT_SEED = 0
"""Of the shuffle that decides which rows are held out: not the run's, so that runs compare."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """The rows of one split, in memory or as a stream; in the same order at each reading."""

    where: str
    """What the rows come from, for error messages."""
    arrays: Mapping[str, Array] | None = None
    """The columns, each [N, …], if they are in memory. Texts are bytes objects."""
    stream: Dataset = None
    """Otherwise a dict of tensors a row."""
    num_rows: int | None = None
    """How many there are; None: not known before they are counted."""
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For columns of class numbers whose classes have names: these."""

    @property
    def dataset(self) -> Dataset:
        """The rows as a tf.data.Dataset of dicts."""
        if self.arrays is None:
            return self.stream
        return tensorflow().data.Dataset.from_tensor_slices(dict(self.arrays))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.arrays if self.arrays is not None else self.stream.element_spec)

    def spec(self, column: str) -> tuple[np.dtype[Any], tuple[int | None, ...] | None]:
        """Dtype and shape of a column's values.

        The dtype of text, and of the content of files, is object. None: sizes, or the number of
        axes, that are not the same in all rows or not known.
        """
        if self.arrays is not None:
            array = self.arrays[column]
            return array.dtype, array.shape[1:]
        spec = self.stream.element_spec[column]
        shape = None if spec.shape.rank is None else tuple(spec.shape)
        return np.dtype(spec.dtype.as_numpy_dtype), shape

    def select(self, columns: Iterable[str]) -> Source:
        """These columns alone.

        Raises:
          ColumnError: one is not there.
        """
        wanted = tuple(dict.fromkeys(columns))
        for column in wanted:
            if column not in self.names:
                raise ColumnError(
                    f"{self.where} has no column {column!r}{did_you_mean(column, self.names)}; "
                    f"its columns are {shown(self.names)}"
                )
        if self.arrays is not None:
            arrays = {column: self.arrays[column] for column in wanted}
            return dataclasses.replace(self, arrays=arrays)
        stream = ops.select(**{column: column for column in wanted})(self.stream)
        return dataclasses.replace(self, stream=stream)

    def join(self, columns: Sequence[str], name: str) -> Source:
        """These columns of text as one column `name`, a space between them; the other columns stay.

        Raises:
          ColumnError: one is not there.
          ValueError: one is not text.
        """
        others = [column for column in self.names if column not in columns]
        source = self.select([*columns, *others])
        for column in columns:
            dtype, shape = source.spec(column)
            if dtype.kind != "O" or shape != ():
                raise ValueError(
                    f"{self.where}: column {column!r} is not text; it holds {dtype} of shape "
                    f"{shape}"
                )
        if source.arrays is not None:
            parts = zip(*(source.arrays[column] for column in columns), strict=True)
            joined = {name: np.array([b" ".join(part) for part in parts], object)}
            kept = {column: source.arrays[column] for column in others}
            return dataclasses.replace(source, arrays={**kept, **joined})

        def run(row: dict[str, Any]) -> dict[str, Any]:
            text = tensorflow().strings.join([row[column] for column in columns], " ")
            return {**{column: row[column] for column in others}, name: text}

        return dataclasses.replace(source, stream=source.stream.map(run))

    def cached(self) -> Source:
        """The same rows in memory.

        Raises:
          ValueError: there are none.
        """
        if self.arrays is not None:
            return self
        chunks = list(self.dataset.batch(ops.CHUNK).as_numpy_iterator())
        if not chunks:
            raise ValueError(f"{self.where} has no rows")
        arrays = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
        rows = len(next(iter(arrays.values())))
        return dataclasses.replace(self, arrays=arrays, stream=None, num_rows=rows)

    def count(self) -> int:
        """The number of rows, which are read if that is what it takes."""
        if self.num_rows is not None:
            return self.num_rows
        return int(self.dataset.reduce(np.int64(0), lambda count, _: count + 1))

    def column(self, name: str) -> Array:
        """One column in memory."""
        arrays = self.select([name]).cached().arrays or {}
        return arrays[name]

    def texts(self, name: str) -> Iterator[str]:
        """One column of text, row by row.

        Raises:
          ColumnError: there is no such column.
          ValueError: a row is not text, or not UTF-8.
        """
        source = self.select([name])
        rows: Iterable[Any]
        if source.arrays is not None:
            rows = source.arrays[name]
        else:
            batches = source.stream.batch(ops.CHUNK).as_numpy_iterator()
            rows = (row for batch in batches for row in batch[name])
        for number, text in enumerate(rows, start=1):
            if not isinstance(text, bytes):
                raise ValueError(
                    f"{self.where}, row {number}: column {name!r} is not text but {text!s:.40}"
                )
            try:
                yield text.decode()
            except UnicodeDecodeError as error:
                raise ValueError(f"{self.where}: row {number} is not UTF-8: {error}") from error

    def labels(self, column: str) -> tuple[str, ...]:
        """The names of the classes in a column: those that came with the data, or all that occur.

        Raises:
          ConfigError: there are fewer than two, or the column has neither names nor whole numbers.
        """
        labels = self.class_names.get(column) or label_names(self._classes(column))
        if len(labels) < 2:
            raise ConfigError(
                f"{self.where}: column {column!r} has only the label {shown(labels)}; "
                "a classifier needs two"
            )
        return labels

    def targets(self, column: str, labels: tuple[str, ...]) -> Array:
        """The class of each row as an index into `labels`: int32 [N].

        Raises:
          LabelError: a row's class is not among them.
        """
        values = self._classes(column)
        table = label_table(values, labels, self.where, self.class_names.get(column))
        return np.array([table[value] for value in values], np.int32)

    def target_table(self, column: str, labels: tuple[str, ...]) -> dict[Any, int]:
        """What `targets` makes of each value that may occur in a column.

        Raises:
          LabelError: as `targets`, but where classes have names, for any that may occur.
        """
        names = self.class_names.get(column)
        values = self._classes(column) if names is None else range(len(names))
        return label_table(values, labels, self.where, names)

    def _classes(self, column: str) -> list[Any]:
        array = self.column(column)
        if array.ndim != 1 or array.dtype.kind not in "iuO":
            raise ConfigError(
                f"{self.where}: column {column!r} holds {array.dtype} {list(array.shape[1:])}; "
                "labels are names or whole numbers"
            )
        values: list[Any] = array.tolist()
        return values

    def split(self, share: float) -> tuple[Source, Source]:
        """The rows to train on and those that are `held_out`."""
        mask = held_out(self.count(), share)
        return self._masked(~mask), self._masked(mask)

    def _masked(self, mask: Array) -> Source:
        rows = int(mask.sum())
        if self.arrays is not None:
            arrays = {name: array[mask] for name, array in self.arrays.items()}
            return dataclasses.replace(self, arrays=arrays, num_rows=rows)
        wanted = tensorflow().constant(mask)
        numbered = self.dataset.enumerate().filter(lambda number, row: wanted[number])
        return dataclasses.replace(self, stream=numbered.map(lambda _, row: row), num_rows=rows)


def held_out(rows: int, share: float) -> Array:
    """Which rows are held out for validation: bool [N], the same for every run.

    The last `share` of the rows after a shuffle with a fixed seed; never all, and of two rows or
    more at least one.
    """
    mask = np.zeros(rows, bool)
    if share > 0 and rows > 1:
        order = np.random.default_rng(HOLDOUT_SEED).permutation(rows)
        mask[order[-min(max(round(rows * share), 1), rows - 1) :]] = True
    return mask


def label_names(values: Iterable[Any]) -> tuple[str, ...]:
    """The labels that occur, sorted; by value if all are whole numbers.

    >>> label_names(["10", b"9", 10])
    ('9', '10')
    """
    names = set(map(_name, values))
    return tuple(sorted(names, key=int if all(map(_is_number, names)) else None))


def label_table(
    values: Sequence[Any], labels: tuple[str, ...], where: str, names: tuple[str, ...] | None = None
) -> dict[Any, int]:
    """The index into `labels` of each value that occurs.

    Args:
      values: of the rows in turn, or a range of all that may occur. Each is the name of a label or,
        where no label is called by a number, an index into `labels`. With `names` each is an index
        into these.
      labels: the classes.
      where: what the values come from, for the error message.
      names: the data's own names of its classes.

    Raises:
      LabelError: a value is neither.
    """
    table: dict[Any, int] = {}
    numbers = names is None and not any(map(_is_number, labels))
    for value in dict.fromkeys(values):
        name = names[value] if names and 0 <= value < len(names) else _name(value)
        if name in labels:
            table[value] = labels.index(name)
        elif numbers and isinstance(value, int) and 0 <= value < len(labels):
            table[value] = value
        else:
            found = names or label_names(values)
            row = "" if isinstance(values, range) else f": row {values.index(value) + 1}"
            raise LabelError(
                f"{where}{row} has the label {name!r}, which is not one of the {len(labels)} "
                f"classes {shown(labels)}; the data has {shown(found)}"
            )
    return table


def _is_number(name: str) -> bool:
    return re.fullmatch(r"-?\d+", name) is not None


def _name(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def from_tfds(
    name: str, split: str, data_dir: str | None = None, *, decode_all: bool = True
) -> Source:
    """A split of a TFDS data set that was prepared before.

    Args:
      name: as `folders.find_tfds` has it.
      split: TFDS's expression, as `train` or `train[:10%]`.
      data_dir: the folder to look into first.
      decode_all: images of several sizes too; otherwise they are the content of their files.

    Raises:
      FileNotFoundError: the data set is in none of the folders.
      LookupError: it has no such split.
    """
    data_set = Prepared(name, data_dir)
    return Source(
        where=f"{data_set.name}, split {split}",
        num_rows=data_set.count(split),
        stream=data_set.read(split, decode_all=decode_all),
        class_names=data_set.class_names,
    )


def from_file(
    path: str | Path, columns: Sequence[str] | None = None, data_dir: str | None = None
) -> Source:
    """The rows of a CSV, TSV, JSONL or plain text file.

    Args:
      path: as `folders.find_file` has it.
      columns: those wanted; None: all.
      data_dir: the folder to look into first.

    Raises:
      FileNotFoundError: there is no such file.
      ColumnError: it lacks a column.
      ValueError: as `files.read`.
    """
    found = folders.find_file(path, data_dir)
    read = files.read(found, columns)
    return from_arrays(read, str(found)).select(columns or read)


def from_splits(
    name: str | None,
    splits: Mapping[str, str | None],
    columns: Sequence[str],
    data_dir: str | None = None,
    *,
    decode_all: bool = True,
) -> dict[str, Source]:
    """The splits of a data set: those of TFDS where it has a name, else one file each.

    Args:
      name: a TFDS data set; None: files.
      splits: for each of the zoo's splits TFDS's expression (none: the split of that name, if there
        is one), or the path of a file (none: no such split).
      columns: those wanted.
      data_dir: the folder to look into first.
      decode_all: as `from_tfds` has it.

    Raises:
      ConfigError: there is nothing to train on.
    """
    if name is not None:
        there = Prepared(name, data_dir).splits
        wanted = {s: e or s for s, e in splits.items() if e or s in there or s == "train"}
        return {
            s: from_tfds(name, e, data_dir, decode_all=decode_all).select(columns)
            for s, e in wanted.items()
        }
    if not splits["train"]:
        raise ConfigError(
            "no training data: give data.name, a TFDS data set, or data.train, a file "
            f"({', '.join(files.SUFFIXES)})"
        )
    return {s: from_file(path, columns, data_dir) for s, path in splits.items() if path}


def for_classes(
    found: Mapping[str, Source], column: str, labels: tuple[str, ...] | None, config: DataConfig
) -> tuple[dict[str, Source], tuple[str, ...]]:
    """Splits with a class for each row, checked, and with rows held out if `config` says so.

    Args:
      found: the splits there are, `train` among them.
      column: that of the class.
      labels: the classes; None: those of the training rows.
      config: whether to cache, how much to hold out.

    Raises:
      LabelError: a row's class is not among the labels.
      ConfigError: there is only one label.
    """
    splits = dict(found)
    if config.cache:
        splits["train"] = splits["train"].cached()
    labels = labels or splits["train"].labels(column)
    for source in splits.values():
        source.target_table(column, labels)  # a wrong label is better found now than in evaluation
    if "validation" not in splits and config.holdout and splits["train"].count() > 1:
        splits["train"], splits["validation"] = splits["train"].split(config.holdout)
    return splits, labels


def from_arrays(columns: Mapping[str, Any], where: str = "the data") -> Source:
    """Columns of equal length in memory: arrays, or sequences of strings or numbers.

    Raises:
      ValueError: there are none, they differ in length, or one mixes shapes.
    """
    arrays = {
        name: _column(values, f"{where}: column {name!r}") for name, values in columns.items()
    }
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{where}: the columns have different numbers of rows: {lengths}")
    if not any(lengths.values()):
        raise ValueError(f"{where} has no rows")
    return Source(where=where, arrays=arrays, num_rows=max(lengths.values()))


def transpose(
    rows: Iterable[Any], names: Sequence[str], where: str = "the data"
) -> dict[str, list[Any]]:
    """Tuples, one a row with a value for each name, as columns.

    Raises:
      ValueError: a row has another number of values.
    """
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for number, row in enumerate(rows, start=1):
        values = row if isinstance(row, tuple | list) else (row,)
        if len(values) != len(names):
            raise ValueError(
                f"{where}: row {number} has {len(values)} value(s) instead of {len(names)}: "
                f"{shown(names)}"
            )
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    return columns


def from_dataset(
    dataset: Dataset, names: Sequence[str], where: str = "the tf.data.Dataset"
) -> Source:
    """A tf.data.Dataset of dicts, or of tuples with a value for each name.

    Raises:
      ValueError: its elements are something else, or it has no end.
    """
    tf = tensorflow()
    spec = dataset.element_spec
    if isinstance(spec, tuple) and len(spec) == len(names):
        dataset = dataset.map(lambda *row: dict(zip(names, row, strict=True)))
    elif not isinstance(spec, dict):
        raise ValueError(
            f"{where} has elements {spec}; they must be dicts, or tuples of {len(names)}: "
            f"{shown(names)}"
        )
    rows = int(dataset.cardinality())
    if rows == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"{where} has no end; an epoch must have one: leave out its repeat()")
    return Source(where=where, stream=dataset, num_rows=rows if rows >= 0 else None)


def from_user(
    rows: Any,
    names: Sequence[str],
    convert: Callable[[str, Any], Any] = lambda name, values: values,
) -> Source:
    """The examples that someone hands over.

    Args:
      rows: a tf.data.Dataset, a mapping of columns, or an iterable of tuples.
      names: the columns of a tuple.
      convert: what is done to a column in memory: (name, values) -> values for `from_arrays`.

    Raises:
      TypeError: it is something else.
    """
    if is_dataset(rows):
        return from_dataset(rows, names)
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise TypeError(
            f"data is {rows!r:.60}; it must be an iterable of tuples, a mapping of columns or a "
            "tf.data.Dataset"
        )
    columns = rows if isinstance(rows, Mapping) else transpose(rows, names)
    return from_arrays({name: convert(name, values) for name, values in columns.items()})


def _column(values: Any, where: str) -> Array:
    """A column as an array that tf.data takes: text as bytes objects, truth values as numbers."""
    if not isinstance(values, np.ndarray):
        values = list(values)
        text = any(isinstance(value, str | bytes) for value in values)
        try:
            values = np.array(values, object if text else None)
        except ValueError as error:
            raise ValueError(f"{where} has values of several shapes ({error})") from error
    if values.dtype.kind in "USO":
        encoded = [_bytes(value, where, row) for row, value in enumerate(values, start=1)]
        values = np.array(encoded, object)
    return np.asarray(values, np.int64 if values.dtype == bool else values.dtype)


def _bytes(value: Any, where: str, row: int) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str | int | float):
        raise ValueError(f"{where}, row {row}: {value!r:.40} is neither text nor a number")
    try:
        return str(value).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}, row {row} is not Unicode text ({error})") from error
