"""From planned batches to the arrays that one process holds, made ahead of their use.

A pipeline plans global batches: which rows each one has. Only the rows that this process holds are
then read, so the order of the data does not depend on the number of processes.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from zoo.config import ConfigError
from zoo.pipelines.base import Array, Batch

T = TypeVar("T")

AHEAD = 2
"""Batches that are made ahead of their use."""

SAMPLE_SEED = 0
"""Seed of the sample that an evaluation with a limit takes: always the same rows."""


@dataclass(frozen=True)
class GlobalBatch:
    """A batch of all processes together. Its rows are made only when they are taken."""

    size: int
    """Number of rows."""
    take: Callable[[slice], Batch]
    """Makes some of the rows."""


@dataclass(frozen=True)
class Share:
    """One of several equal parts of each batch.

    >>> Share.of_slice(slice(2, 4), batch_size=8)
    Share(index=1, count=4)
    """

    index: int = 0
    count: int = 1

    @classmethod
    def of_slice(cls, rows: slice | None, batch_size: int) -> Share:
        """The share that some rows of a batch of `batch_size` rows are.

        Raises:
          ConfigError: the slice is no such part.
        """
        if rows is None:
            return cls()
        first, last = rows.start or 0, batch_size if rows.stop is None else rows.stop
        size = last - first
        if rows.step not in (None, 1) or not 0 <= first < last or first % size:
            raise ConfigError(
                f"rows is {rows}; it must be one of equal parts of a batch of {batch_size} rows, "
                "such as slice(0, 8) and slice(8, 16) of 16"
            )
        return cls(first // size, -(-batch_size // size))

    def of(self, size: int) -> slice:
        """The rows of a batch of that size, which may be too few for the last shares.

        >>> [Share(index, 3).of(8) for index in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 9, None)]
        """
        rows = -(-size // self.count)
        return slice(self.index * rows, (self.index + 1) * rows)


def deliver(
    batches: Iterable[GlobalBatch],
    batch_size: int,
    rows: slice | None = None,
    *,
    fill: bool = False,
) -> Iterator[Batch]:
    """The arrays of one process, made in another thread.

    Args:
      batches: global batches in order.
      batch_size: the size of which `rows` is a slice.
      rows: as in `Data.train`.
      fill: fill up each global batch to `batch_size` rows of zeros.
    """
    share = Share.of_slice(rows, batch_size)

    def make() -> Iterator[Batch]:
        for batch in batches:
            wanted = share.of(batch_size if fill else batch.size)
            yield filled(batch.take(wanted), wanted.stop - wanted.start)

    return ahead(make())


def filled(batch: Batch, rows: int) -> Batch:
    """A batch with rows of zeros added until it has `rows` rows."""
    missing = rows - len(next(iter(batch.values())))
    if not missing:
        return batch
    return {
        key: np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
        for key, array in batch.items()
    }


def ahead(items: Iterator[T], number: int = AHEAD) -> Iterator[T]:
    """The items, of which up to `number` are made in another thread before they are asked for.

    What the iterator raises is raised at the item's turn.
    """
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="zoo-data")
    waiting: collections.deque[Future[object]] = collections.deque()
    try:
        while True:
            while len(waiting) <= number:
                waiting.append(pool.submit(next, items, end))
            item = waiting.popleft().result()
            if item is end:
                return
            yield item  # type: ignore[misc]
    finally:
        # Without waiting: the garbage collector may close this generator in the pool's own thread.
        pool.shutdown(wait=False, cancel_futures=True)


def sample(count: int, limit: int | None) -> Array:
    """The numbers of the rows to evaluate, in order: all, or `limit` of them drawn at random."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(SAMPLE_SEED).permutation(count)[:limit])


def generator(seed: int, *numbers: int) -> np.random.Generator:
    """NumPy's random numbers for an epoch, or for a batch: a function of the arguments."""
    return np.random.default_rng((seed % 2**64, *numbers))
