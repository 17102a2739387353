"""The rows of one split, as training and evaluation take them: from memory or from a stream.

In memory a row is known by its number, and tf.data moves numbers only. What a batch of them holds
is put together by one call of a NumPy function: a step of tf.data for each row would cost more.

Letters: B rows in a batch, N rows of the split.
"""

from __future__ import annotations

import array
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from zoo.pipelines import ops
from zoo.pipelines.base import Array, Dataset, Tensor, shown, tensorflow

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


class CachedRows:
    """Rows in memory."""

    def __init__(
        self,
        count: int,
        fetch: Callable[[Array], Mapping[str, Array]],
        signature: Mapping[str, Any],
        measure: Callable[[Array], Array] | None = None,
    ) -> None:
        """
        Args:
          count: how many there are.
          fetch: row numbers [B] -> a batch of these rows.
          signature: the `tf.TensorSpec` of each feature of a batch.
          measure: row numbers [B] -> the lengths of these rows, int [B], where they have one.
        """
        self._count, self._fetch, self._signature = count, fetch, signature
        self._measure = measure

    def batches(self, batch_size: int, seed: int | None = None, start: int = 0) -> Dataset:
        """Batches of rows, number `start` first.

        Args:
          batch_size: B.
          seed: of the order of endless training batches; None: all rows once, in order.
          start: how many batches to leave out. It costs nothing.
        """
        firsts, order = self._order(batch_size, seed, start)
        return ops.call(lambda first: self._fetch(order(first)), self._signature)(firsts)

    def grouped(
        self,
        boundaries: Sequence[int],
        batch_sizes: Sequence[int],
        limits: Limits = (0, None),
        seed: int | None = None,
        start: int = 0,
    ) -> Dataset:
        """Batches of similar length, as `ops.group_by_length` makes them; number `start` first.

        Lengths decide which rows make a batch: the way to batch `start` is through all before it.

        Args:
          boundaries: as there.
          batch_sizes: as there.
          limits: only rows of such lengths.
          seed: of the order of endless training batches; None: all rows once, in order.
          start: how many batches to leave out.

        Raises:
          ValueError: as there.
        """
        ops.check_buckets(boundaries, batch_sizes)
        tf, measure = tensorflow(), self._measure
        if measure is None:
            raise TypeError("these rows have no length to be grouped by")
        firsts, order = self._order(ops.CHUNK, seed)
        least, most = limits

        def buckets(first: Array) -> dict[str, Array]:
            rows = order(first)
            lengths = measure(rows)
            # Filtered after the shuffle: the first epoch finds the lengths out as it goes.
            within = (lengths >= least) & (lengths <= (lengths if most is None else most))
            return {"row": rows[within], "bucket": np.searchsorted(boundaries, lengths[within])}

        numbers = tf.TensorSpec([None], tf.int64)
        batches = ops.pipe(
            firsts,
            ops.call(buckets, {"row": numbers, "bucket": numbers}),
            ops.unbatch,
            ops.group_by_bucket(batch_sizes, drop_remainder=seed is not None),
        )
        return ops.call(self._fetch, self._signature, ["row"])(batches.skip(start))

    def _order(
        self, batch_size: int, seed: int | None, start: int = 0
    ) -> tuple[Dataset, Callable[[Array], Array]]:
        """The position of the first row of each batch, and what gives the batch's row numbers."""
        tf = tensorflow()
        end = self._count if seed is None else tf.int64.max
        numbers = row_order(self._count, seed)
        firsts = tf.data.Dataset.range(start * batch_size, end, batch_size)
        return firsts, lambda first: numbers(int(first), batch_size)


class StreamedRows:
    """Rows that are read anew in each epoch."""

    def __init__(
        self,
        examples: Dataset,
        count: int,
        buffer_size: int,
        finish: ops.Op = lambda batches: batches,
    ) -> None:
        """
        Args:
          examples: each row once.
          count: how many there are.
          buffer_size: as in `ops.shuffle`.
          finish: what is still to be done to a batch.
        """
        self._examples, self._count = examples, count
        self._buffer_size, self._finish = buffer_size, finish

    def batches(self, batch_size: int, seed: int | None = None, start: int = 0) -> Dataset:
        """As `CachedRows.batches`, but the rows of an epoch that come before `start` are read."""
        if seed is None:
            batches = ops.batch(batch_size, drop_remainder=False)(self._examples).skip(start)
        else:
            epoch, skipped = divmod(start * batch_size, self._count)
            batches = ops.batch(batch_size)(self._shuffled(seed, epoch).skip(skipped))
        return self._finish(batches)

    def grouped(
        self,
        boundaries: Sequence[int],
        batch_sizes: Sequence[int],
        limits: Limits = (0, None),
        seed: int | None = None,
        start: int = 0,
    ) -> Dataset:
        """As `CachedRows.grouped`; the length is that of `inputs`."""
        least, most = limits
        batches = ops.pipe(
            self._examples if seed is None else self._shuffled(seed),
            ops.filter_by_length(most, least),
            ops.group_by_length(boundaries, batch_sizes, drop_remainder=seed is not None),
        )
        return self._finish(batches.skip(start))

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
        tf = tensorflow()
        self.signature = {
            "inputs": tf.TensorSpec([None, None], tf.int32),
            "targets": tf.TensorSpec([None, None], tf.int32),
            "weights": tf.TensorSpec([None, None], tf.float32),
        }
        """Of a batch; the weights are those of the targets."""

    def some(
        self,
        rows: Array,
        lengths: Sequence[int],
        batch_sizes: Sequence[int],
        seed: int | None = None,
        start: int = 0,
    ) -> Dataset:
        """Batches of some of the rows, each padded to one of the lengths; number `start` first.

        Args:
          rows: their numbers; none of them is longer than the last of the lengths.
          lengths: rising.
          batch_sizes: one for each length.
          seed: as in `CachedRows.grouped`.
          start: likewise.
        """

        def fetch(places: Array) -> dict[str, Array]:
            numbers = rows[places]
            length = ops.boundary_of(int(self.lengths[numbers].max()), lengths) or lengths[-1]
            inputs, _ = self.inputs.padded(numbers, length)
            targets, real = self.targets.padded(numbers, length)
            return {"inputs": inputs, "targets": targets, "weights": real.astype(np.float32)}

        def measure(places: Array) -> Array:
            lengths: Array = self.lengths[rows[places]]
            return lengths

        cached = CachedRows(len(rows), fetch, self.signature, measure)
        return cached.grouped(lengths[:-1], batch_sizes, seed=seed, start=start)

    def all(self, lengths: tuple[int, ...], batch_size: int) -> Dataset:
        """All rows once, those of similar lengths together; rows without weights fill batches up.

        Args:
          lengths: to pad to, rising; `reaching` the longest row.
          batch_size: rows of each batch.
        """
        lengths = self.reaching(lengths)
        batches = self.some(np.arange(len(self.lengths)), lengths, [batch_size] * len(lengths))
        return ops.pipe(batches, ops.pad_last_batch(batch_size), ops.prefetch)

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


def row_order(rows: int, seed: int | None) -> Callable[[int, int], Array]:
    """The order of the rows: a function of (first position, count) that gives their numbers, int64.

    Position p is in epoch p // N. Each epoch has each row once, in an order that is a function of
    (seed, epoch). Without a seed there is one epoch, in order.

    >>> row_order(3, None)(1, 9)
    array([1, 2])
    """

    if seed is None:
        return lambda first, count: np.arange(first, min(first + count, rows))
    return endless(rows, lambda epoch: ops.generator(seed, epoch).permutation(rows))


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
