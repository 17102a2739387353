"""The rows of one split, as training and evaluation take them: from memory or from a stream.

In memory a row is known by its number. Batches are planned as row numbers, of which a process
fetches only those that it holds. Streams are tf.data's.

Letters: B rows in a batch, N rows of the split.
"""

from __future__ import annotations

import array
import functools
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from zoo.pipelines import ops
from zoo.pipelines.base import Array, Batch, Dataset, Tensor, arrays, shown
from zoo.pipelines.delivery import GlobalBatch, deliver, generator, sample

R = TypeVar("R")

LONGEST = 2**20
"""The largest length to pad to, where rows of any length are batched."""


class Splits(Generic[R]):
    """The rows of each split, read when they are first needed."""

    def __init__(self, names: Iterable[str], read: Callable[[str], R]) -> None:
        self._names, self._read = tuple(names), read
        self._rows: dict[str, R] = {}

    def __getitem__(self, name: str) -> R:
        """
        Raises:
          LookupError: there is no such split.
        """
        if name not in self._names:
            raise LookupError(f"the data has no split {name!r}; it has {shown(self._names)}")
        if name not in self._rows:
            self._rows[name] = self._read(name)
        return self._rows[name]


Limits: TypeAlias = tuple[int, int | None]
"""The smallest and the largest length; None: any."""


class IndexedRows:
    """Rows in memory, each known by its number. Only those that are wanted are fetched."""

    def __init__(
        self,
        count: int,
        fetch: Callable[[Array, slice], Batch],
        measure: Callable[[Array], Array] | None = None,
    ) -> None:
        """
        Args:
          count: N.
          fetch: the row numbers [B] of a batch, and which of them are wanted -> these rows. What
            depends on the whole batch, such as the length to pad to, depends on all B rows.
          measure: row numbers [B] -> the lengths of these rows, int [B], where they have one.
        """
        self._count, self._fetch, self._measure = count, fetch, measure

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
        limits: Limits = (0, None),
        seed: int | None = None,
        start: int = 0,
        limit: int | None = None,
    ) -> Iterator[GlobalBatch]:
        """Batches of rows of similar length, number `start` first.

        Bucket i holds lengths up to and including `boundaries[i]`; one more bucket holds longer
        ones. A batch leaves as soon as its bucket is full, and at the end of an evaluation what is
        left in each bucket. Which rows make a batch depends on all lengths before: reaching batch
        `start` replays the ones before it.

        Args:
          boundaries: rising lengths.
          batch_sizes: one more than the boundaries.
          limits: only rows of such lengths.
          seed: as in `batches`.
          start: as in `batches`.
          limit: as in `batches`.

        Raises:
          ValueError: boundaries that do not rise, too few or too many batch sizes, a size below 1.
        """
        ops.check_buckets(boundaries, batch_sizes)
        measure = self._measure
        if measure is None:
            raise TypeError("these rows have no length to be grouped by")
        least, most = limits

        def measured() -> Iterator[tuple[int, int]]:
            """Row number and bucket."""
            for rows in self._planned(ops.CHUNK, seed, 0, limit):
                lengths = measure(rows)
                # Filtered after the shuffle: the first epoch finds the lengths out as it goes.
                within = (lengths >= least) & (lengths <= (lengths if most is None else most))
                buckets = np.searchsorted(boundaries, lengths[within])
                yield from zip(rows[within].tolist(), buckets.tolist(), strict=True)

        def planned() -> Iterator[Array]:
            waiting: list[list[int]] = [[] for _ in batch_sizes]
            for row, bucket in measured():
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
    """Rows of a tf.data.Dataset, which are read anew in each epoch.

    They cannot be indexed: every process reads all of them, and a sample is the first rows.
    """

    def __init__(
        self,
        examples: Dataset,
        count: int,
        buffer_size: int,
        pad: ops.Op = lambda batches: batches,
    ) -> None:
        """
        Args:
          examples: each row once.
          count: N.
          buffer_size: as in `ops.shuffle`.
          pad: what is still to be done to a batch.
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
            batches = ops.batch(batch_size, drop_remainder=False)(examples).skip(start)
        else:
            epoch, skipped = divmod(start * batch_size, self._count)
            batches = ops.batch(batch_size)(self._shuffled(seed, epoch).skip(skipped))
        return self._read(batches)

    def grouped(
        self,
        boundaries: Sequence[int],
        batch_sizes: Sequence[int],
        limits: Limits = (0, None),
        seed: int | None = None,
        start: int = 0,
        limit: int | None = None,
    ) -> Iterator[GlobalBatch]:
        """As `IndexedRows.grouped`; the length is that of `inputs`."""
        least, most = limits
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

            return GlobalBatch(len(next(iter(batch.values()))), take)

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


class Sequences:
    """Sequences of ids one after the other in one array: a list each would take ten times as much.

    Letters: N sequences.
    """

    def __init__(self, sequences: Iterable[Sequence[int]]) -> None:
        ids, ends = array.array("i"), array.array("q", [0])
        for sequence in sequences:
            ids.extend(sequence)
            ends.append(len(ids))
        self.ids = np.array(ids, np.int32)
        """Of all of them."""
        self._starts = np.array(ends[:-1], np.int64)
        self.lengths = np.diff(np.array(ends, np.int64))
        """Of each: [N]."""

    def padded(self, rows: Array, length: int) -> tuple[Array, Array]:
        """Some sequences, padded with 0: int32 [B, length]; and which ids are theirs: bool."""
        places = np.arange(length)
        real = places < self.lengths[rows, None]
        ids = np.zeros(real.shape, np.int32)
        ids[real] = self.ids[(self._starts[rows, None] + places)[real]]
        return ids, real


class Aligned:
    """Rows of two sequences, which in a batch are padded to one length: `inputs` and `targets`.

    Letters: N rows.
    """

    def __init__(self, inputs: Sequences, targets: Sequences) -> None:
        self.inputs, self.targets = inputs, targets
        self.lengths = np.maximum(inputs.lengths, targets.lengths)
        """Of the longer sequence of each row: [N]."""

    def some(
        self,
        rows: Array,
        lengths: Sequence[int],
        batch_sizes: Sequence[int],
        seed: int | None = None,
        start: int = 0,
        limit: int | None = None,
    ) -> Iterator[GlobalBatch]:
        """Batches of some of the rows, each padded to one of the lengths; number `start` first.

        Args:
          rows: their numbers; none of them is longer than the last of the lengths.
          lengths: rising.
          batch_sizes: one for each length.
          seed: as in `IndexedRows.batches`.
          start: as in `IndexedRows.batches`.
          limit: as in `IndexedRows.batches`.
        """

        def fetch(places: Array, wanted: slice) -> Batch:
            numbers = rows[places]
            length = ops.boundary_of(int(self.lengths[numbers].max()), lengths) or lengths[-1]
            inputs, _ = self.inputs.padded(numbers[wanted], length)
            targets, real = self.targets.padded(numbers[wanted], length)
            return {"inputs": inputs, "targets": targets, "weights": real.astype(np.float32)}

        def measure(places: Array) -> Array:
            lengths: Array = self.lengths[rows[places]]
            return lengths

        indexed = IndexedRows(len(rows), fetch, measure)
        return indexed.grouped(lengths[:-1], batch_sizes, seed=seed, start=start, limit=limit)

    def all(
        self,
        lengths: tuple[int, ...],
        batch_size: int,
        rows: slice | None = None,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """All rows once, those of similar lengths together; see `Data.evaluate`.

        Args:
          lengths: to pad to, rising; `reaching` the longest row.
          batch_size: rows of each batch.
          rows: as in `Data.evaluate`.
          limit: as in `Data.evaluate`.
        """
        lengths = self.reaching(lengths)
        numbers, sizes = np.arange(len(self.lengths)), [batch_size] * len(lengths)
        batches = self.some(numbers, lengths, sizes, limit=limit)
        return deliver(batches, batch_size, rows, fill=True)

    def reaching(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        """The lengths to pad to, and more of them where a row is longer, the last one its own."""
        longest = int(self.lengths.max(initial=0))
        if longest <= lengths[-1]:
            return lengths
        between = [length for length in ops.ladder(LONGEST) if lengths[-1] < length < longest]
        return (*lengths, *between, longest)

    def longest(self, lengths: tuple[int, ...]) -> int:
        """What the longest row is padded to, by `all`."""
        reaching = self.reaching(lengths)
        return ops.boundary_of(int(self.lengths.max(initial=0)), reaching) or reaching[-1]


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
        epochs, places = np.divmod(np.arange(first, first + count), rows)
        parts = [made(epoch)[places[epochs == epoch]] for epoch in np.unique(epochs).tolist()]
        return np.concatenate(parts)

    return numbers
