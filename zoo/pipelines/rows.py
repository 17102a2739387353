"""The rows of one split, as training and evaluation take them: from memory or from a stream.

In memory a row is known by its number, and tf.data moves numbers only. What a batch of them holds
is put together by one call of a NumPy function: a step of tf.data for each row would cost more.

Letters: B rows in a batch, N rows of the split.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from zoo.pipelines import ops
from zoo.pipelines.base import Array, Dataset, Tensor, shown, tensorflow

R = TypeVar("R")


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


class CachedRows:
    """Rows in memory."""

    def __init__(
        self,
        count: int,
        fetch: Callable[[Array], Mapping[str, Array]],
        signature: Mapping[str, Any],
    ) -> None:
        """
        Args:
          count: how many there are.
          fetch: row numbers [B] -> a batch of these rows.
          signature: the `tf.TensorSpec` of each feature of a batch.
        """
        self._count, self._fetch, self._signature = count, fetch, signature

    def batches(self, batch_size: int, seed: int | None = None, start: int = 0) -> Dataset:
        """Batches of rows, number `start` first.

        Args:
          batch_size: B.
          seed: of the order of endless training batches; None: all rows once, in order.
          start: how many batches to leave out. It costs nothing.
        """
        return self.numbered(self._fetch, self._signature, batch_size, seed, start)

    def numbered(
        self,
        function: Callable[[Array], Mapping[str, Array]],
        signature: Mapping[str, Any],
        batch_size: int,
        seed: int | None,
        start: int = 0,
    ) -> Dataset:
        """What a function makes of the row numbers of each batch; else as `batches`."""
        tf = tensorflow()
        order = row_order(self._count, seed)
        end = self._count if seed is None else tf.int64.max
        firsts = tf.data.Dataset.range(start * batch_size, end, batch_size)
        return ops.call(lambda first: function(order(int(first), batch_size)), signature)(firsts)


class StreamedRows:
    """Rows that are read anew in each epoch."""

    def __init__(self, examples: Dataset, count: int, buffer_size: int) -> None:
        """
        Args:
          examples: each row once.
          count: how many there are.
          buffer_size: as in `ops.shuffle`.
        """
        self._count, self._buffer_size = count, buffer_size
        self.examples = examples

    def batches(self, batch_size: int, seed: int | None = None, start: int = 0) -> Dataset:
        """As `CachedRows.batches`, but the rows of an epoch that come before `start` are read."""
        if seed is None:
            return ops.batch(batch_size, drop_remainder=False)(self.examples).skip(start)
        epoch, skipped = divmod(start * batch_size, self._count)
        return ops.batch(batch_size)(self.shuffled(seed, epoch).skip(skipped))

    def shuffled(self, seed: int, epoch: int = 0) -> Dataset:
        """The examples of one epoch after the other, without end."""

        def make(number: Tensor) -> Dataset:
            return ops.shuffle(self._buffer_size, seed=seed, epoch=number)(self.examples)

        return ops.epochs(make, epoch)


def row_order(rows: int, seed: int | None) -> Callable[[int, int], Array]:
    """The order of the rows: a function of (first position, count) that gives their numbers, int64.

    Position p is in epoch p // N. Each epoch has each row once, in an order that is a function of
    (seed, epoch). Without a seed there is one epoch, in order.

    >>> row_order(3, None)(1, 9)
    array([1, 2])
    """

    @functools.lru_cache(maxsize=2)
    def shuffled(epoch: int) -> Array:
        return ops.generator(seed or 0, epoch).permutation(rows)

    def numbers(first: int, count: int) -> Array:
        if seed is None:
            return np.arange(first, min(first + count, rows))
        epochs, places = np.divmod(np.arange(first, first + count), rows)
        parts = [shuffled(epoch)[places[epochs == epoch]] for epoch in np.unique(epochs).tolist()]
        return np.concatenate(parts)

    return numbers
