"""The rows of one split, by column."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.config import ValueMistake, did_you_mean
from zoo.pipelines import ops
from zoo.pipelines.base import Array, ColumnError, quoted
from zoo.pipelines.tfdata import Dataset, arrays, tensorflow, traced
from zoo.tokenizers import nfc

CHUNK = 256
"""Number of rows that are read at once."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """The rows of one split, in memory or as a stream."""

    origin: str
    """Where the rows come from, for error messages."""
    arrays: Mapping[str, Array] | None = None
    """The columns, each [N, …], if they are in memory. Texts are bytes objects."""
    stream: Dataset = None
    """Otherwise a dict of tensors for each row."""
    identity: str = ""
    """Of a stream: tells its rows from others without reading them; "": nothing does."""
    num_rows: int | None = None
    """Number of rows; None: not known before they are counted."""
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of the classes, for columns that number them."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of rows that are not among these, by reason."""

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

        The dtype of text, and of the content of files, is object. The shape, or a size in it, is
        None where it is not the same in all rows.
        """
        if self.arrays is not None:
            array = self.arrays[column]
            return array.dtype, array.shape[1:]
        spec = self.stream.element_spec[column]
        shape = None if spec.shape.rank is None else tuple(spec.shape)
        return np.dtype(spec.dtype.as_numpy_dtype), shape

    def select(self, columns: Iterable[str]) -> Source:
        """Only these columns.

        Raises:
          ColumnError: one is not there.
        """
        wanted = tuple(dict.fromkeys(columns))
        for column in wanted:
            if column not in self.names:
                raise ColumnError(
                    f"{self.origin} has no column {column!r}{did_you_mean(column, self.names)}; "
                    f"its columns are {quoted(self.names)}"
                )
        return self.renamed(**{column: column for column in wanted})

    def renamed(self, **columns: str) -> Source:
        """Only some columns, by new names: `renamed(text="title")` has the title as its text."""
        if self.arrays is not None:
            arrays = {new: self.arrays[old] for new, old in columns.items()}
            return dataclasses.replace(self, arrays=arrays)
        return dataclasses.replace(self, stream=ops.select(**columns)(self.stream))

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
                raise ValueMistake(
                    f"{self.origin}: column {column!r} is not text; it holds {dtype} of shape "
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

        return dataclasses.replace(source, stream=source.stream.map(traced(run)))

    def cached(self) -> Source:
        """The same rows in memory.

        Raises:
          ValueError: there are none.
        """
        if self.arrays is not None:
            return self
        chunks = list(arrays(self.stream.batch(CHUNK)))
        if not chunks:
            raise ValueMistake(f"{self.origin} has no rows")
        columns = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
        rows = len(next(iter(columns.values())))
        return dataclasses.replace(self, arrays=columns, stream=None, num_rows=rows)

    def head(self, number: int) -> Source:
        """The first rows, in memory."""
        if self.arrays is None:
            return dataclasses.replace(self, stream=self.stream.take(number)).cached()
        first = {name: array[:number] for name, array in self.arrays.items()}
        return dataclasses.replace(self, arrays=first, num_rows=len(next(iter(first.values()))))

    def where(self, mask: Array) -> Source:
        """Only the rows where the mask, bool [N], is true."""
        rows = int(mask.sum())
        if self.arrays is not None:
            columns = {name: array[mask] for name, array in self.arrays.items()}
            return dataclasses.replace(self, arrays=columns, num_rows=rows)
        wanted = tensorflow().constant(mask)
        numbered = self.stream.enumerate().filter(traced(lambda number, row: wanted[number]))
        stream = numbered.map(traced(lambda number, row: row))
        return dataclasses.replace(self, stream=stream, num_rows=rows)

    def count(self) -> int:
        """The number of rows. A stream of unknown length is read to count them."""
        if self.num_rows is not None:
            return self.num_rows
        return int(self.stream.reduce(np.int64(0), traced(lambda count, row: count + 1)))

    def column(self, name: str) -> Array:
        """One column in memory."""
        columns = self.select([name]).cached().arrays or {}
        return columns[name]

    def texts(self, name: str) -> Iterator[str]:
        """One column of text, row by row, in Unicode's NFC.

        Raises:
          ColumnError: there is no such column.
          ValueError: a row is not text, or not UTF-8.
        """
        source = self.select([name])
        rows: Iterable[Any]
        if source.arrays is not None:
            rows = source.arrays[name]
        else:
            rows = (row for batch in arrays(source.stream.batch(CHUNK)) for row in batch[name])
        for number, text in enumerate(rows, start=1):
            if not isinstance(text, bytes):
                raise ValueMistake(
                    f"{self.origin}, row {number}: column {name!r} is not text but {text!s:.40}"
                )
            try:
                yield nfc(text.decode())
            except UnicodeDecodeError as error:
                raise ValueMistake(f"{self.origin}: row {number} is not UTF-8: {error}") from error


def chained(parts: Sequence[Source]) -> Source:
    """The rows of several sources in memory, one source after the other.

    All must have the columns of the first one.
    """
    first, *others = parts
    if not others:
        return first
    columns = [part.select(first.names).cached().arrays or {} for part in parts]
    joined = {name: np.concatenate([arrays[name] for arrays in columns]) for name in first.names}
    return dataclasses.replace(
        first,
        origin=", ".join(part.origin for part in parts),
        arrays=joined,
        stream=None,
        num_rows=len(next(iter(joined.values()))),
    )
