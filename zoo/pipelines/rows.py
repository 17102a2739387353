"""The rows of one split, as training and evaluation take them: from memory or from a stream.

In memory a row is known by its number. Batches are planned as row numbers, of which a process
fetches only those that it holds. Streams are tf.data's.

Letters: B rows in a batch, N rows of the split.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from zoo.config import LookupMistake, TypeMistake
from zoo.pipelines import ops
from zoo.pipelines.base import Array, Batch, quoted
from zoo.pipelines.delivery import GlobalBatch, generator, sample
from zoo.pipelines.lengths import check_buckets
from zoo.pipelines.tfdata import Dataset, Tensor, arrays

R = TypeVar("R")

CHUNK = 256
"""Number of rows whose lengths are asked for at once."""

Bounds: TypeAlias = tuple[int, int | None]
"""The smallest and the largest length, both inclusive; None: any."""

ANY: Bounds = (0, None)


class LazySplits(Generic[R]):
    """The rows of each split by its name, made when they are first needed."""

    def __init__(self, names: Iterable[str], make: Callable[[str], R]) -> None:
        self._names, self._make = tuple(names), make
        self._made: dict[str, R] = {}

    def __getitem__(self, name: str) -> R:
        """
        Raises:
          LookupError: there is no such split.
        """
        if name not in self._names:
            raise LookupMistake(f"the data has no split {name!r}; it has {quoted(self._names)}")
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]


class IndexedRows:
    """Rows in memory, each known by its number. Only those that are wanted are fetched."""

    def __init__(
        self,
        count: int,
        fetch: Callable[[Array, slice], Batch],
        lengths: Callable[[Array], Array] | None = None,
    ) -> None:
        """
        Args:
          count: N.
          fetch: the row numbers [B] of a batch, and which of them are wanted -> these rows. What
            concerns the whole batch, such as the length to pad to, depends on all B rows.
          lengths: row numbers [B] -> the lengths of these rows, int [B], where they have one.
        """
        self._count, self._fetch, self._lengths = count, fetch, lengths

    def batches(
        self,
        batch_size: int,
        seed: int | None = None,
        start: int = 0,
        limit: int | None = None,
    ) -> Iterator[GlobalBatch]:
        """Batches of rows, number `start` first.

        Args:
          batch_size: B.
          seed: of the order of endless training batches; None: all rows once, in order.
          start: number of batches to leave out, which costs nothing.
          limit: take a sample of that many rows. Only without a seed.
        """
        return map(self._batch, self._planned(batch_size, seed, start, limit))

    def grouped(
        self,
        boundaries: Sequence[int],
        batch_sizes: Sequence[int],
        bounds: Bounds = ANY,
        seed: int | None = None,
        start: int = 0,
        limit: int | None = None,
    ) -> Iterator[GlobalBatch]:
        """Batches of rows of similar length, number `start` first.

        A batch leaves as soon as its bucket (`zoo.pipelines.lengths`) is full, and at the end of an
        evaluation what is left in each bucket. Which rows make a batch depends on all lengths
        before: reaching batch `start` replays the batches before it.

        Args:
          boundaries: rising lengths.
          batch_sizes: one more than the boundaries.
          bounds: only rows of such lengths.
          seed: as in `batches`.
          start: as in `batches`.
          limit: as in `batches`.

        Raises:
          ValueError: boundaries that do not rise, too few or too many batch sizes, a size below 1.
        """
        check_buckets(boundaries, batch_sizes)
        lengths_of = self._lengths
        if lengths_of is None:
            raise TypeMistake("these rows have no length to be grouped by")
        least, most = bounds

        def bucketed() -> Iterator[tuple[int, int]]:
            """Row number and bucket."""
            for rows in self._planned(CHUNK, seed, 0, limit):
                lengths = lengths_of(rows)
                # Filtered after the shuffle: the first epoch finds the lengths out as it goes.
                within = (lengths >= least) & (lengths <= (lengths if most is None else most))
                buckets = np.searchsorted(boundaries, lengths[within])
                yield from zip(rows[within].tolist(), buckets.tolist(), strict=True)

        def planned() -> Iterator[Array]:
            waiting: list[list[int]] = [[] for _ in batch_sizes]
            for row, bucket in bucketed():
                waiting[bucket].append(row)
                if len(waiting[bucket]) == batch_sizes[bucket]:
                    yield np.array(waiting[bucket])
                    waiting[bucket] = []
            yield from (np.array(rows) for rows in waiting if rows)

        return map(self._batch, itertools.islice(planned(), start, None))

    def _batch(self, rows: Array) -> GlobalBatch:
        return GlobalBatch(len(rows), lambda wanted: self._fetch(rows, wanted))

    def _planned(
        self, batch_size: int, seed: int | None, start: int, limit: int | None
    ) -> Iterator[Array]:
        """The row numbers of each batch."""
        if seed is None:
            rows = sample(self._count, limit)
            for first in range(start * batch_size, len(rows), batch_size):
                yield rows[first : first + batch_size]
            return
        order = shuffled(self._count, seed)
        for first in itertools.count(start * batch_size, batch_size):
            yield order(first, batch_size)


class StreamedRows:
    """Rows of a tf.data.Dataset, which are read again in each epoch.

    They cannot be indexed: every process reads all of them, and a sample is the first rows.
    """

    def __init__(
        self,
        examples: Dataset,
        count: int,
        buffer_size: int,
        pad: ops.Step = lambda batches: batches,
    ) -> None:
        """
        Args:
          examples: each row once.
          count: N.
          buffer_size: as in `ops.shuffle`.
          pad: pads a batch.
        """
        self._examples, self._count = examples, count
        self._buffer_size, self._pad = buffer_size, pad

    def batches(
        self,
        batch_size: int,
        seed: int | None = None,
        start: int = 0,
        limit: int | None = None,
    ) -> Iterator[GlobalBatch]:
        """As `IndexedRows.batches`, but the rows of an epoch that come before `start` are read."""
        if seed is None:
            examples = self._first(limit)
            batches = examples.padded_batch(batch_size).skip(start)
        else:
            epoch, skipped = divmod(start * batch_size, self._count)
            shuffled = self._shuffled(seed, epoch).skip(skipped)
            batches = shuffled.padded_batch(batch_size, drop_remainder=True)
        return self._read(batches)

    def grouped(
        self,
        boundaries: Sequence[int],
        batch_sizes: Sequence[int],
        bounds: Bounds = ANY,
        seed: int | None = None,
        start: int = 0,
        limit: int | None = None,
    ) -> Iterator[GlobalBatch]:
        """As `IndexedRows.grouped`; the length is that of `inputs`."""
        least, most = bounds
        batches = ops.pipe(
            self._first(limit) if seed is None else self._shuffled(seed),
            ops.filter_by_length(most, least),
            ops.group_by_length(boundaries, batch_sizes, drop_remainder=seed is not None),
        )
        return self._read(batches.skip(start))

    def _read(self, batches: Dataset) -> Iterator[GlobalBatch]:
        def whole(batch: Batch) -> GlobalBatch:
            def take(wanted: slice) -> Batch:
                return {key: array[wanted] for key, array in batch.items()}

            return GlobalBatch(len(next(iter(batch.values()))), take, indexed=False)

        return map(whole, arrays(ops.prefetch(self._pad(batches))))

    def _first(self, limit: int | None) -> Dataset:
        if limit is None:
            return self._examples
        logging.getLogger(__name__).info(
            "these rows are a stream: the sample to evaluate is the first %d", limit
        )
        return self._examples.take(limit)

    def _shuffled(self, seed: int, epoch: int = 0) -> Dataset:
        """The examples of one epoch after the other, without end."""

        def make(number: Tensor) -> Dataset:
            return ops.shuffle(self._buffer_size, seed=seed, epoch=number)(self._examples)

        return ops.epochs(make, epoch)


def shuffled(rows: int, seed: int) -> Callable[[int, int], Array]:
    """The endless order of training: a function of (first position, count) gives row numbers.

    Position p is in epoch p // N. Each epoch has each row once, in an order that is a function of
    (seed, epoch).
    """
    return endless(rows, lambda epoch: generator(seed, epoch).permutation(rows))


def endless(rows: int, make: Callable[[int], Array]) -> Callable[[int, int], Array]:
    """The rows of one epoch after the other: a function of (first position, count) gives some.

    Args:
      rows: the number of rows of an epoch.
      make: the number of an epoch -> its rows: [rows].

    >>> endless(3, lambda epoch: 10 * epoch + np.arange(3))(2, 3)
    array([ 2, 10, 11])
    """
    made = functools.lru_cache(maxsize=2)(make)

    def numbers(first: int, count: int) -> Array:
        parts: list[Array] = []
        while count > 0:
            epoch, place = divmod(first, rows)
            parts.append(made(epoch)[place : place + count])
            first, count = first + len(parts[-1]), count - len(parts[-1])
        return np.concatenate(parts)

    return numbers
