"""From planned batches to the arrays that one process holds, made ahead of their use.

A pipeline plans global batches: which rows each one has. A process then reads only the rows that it
holds, so the order of the data does not depend on the number of processes.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from zoo.pipelines.base import Array, Batch, Rows, Share

T = TypeVar("T")

AHEAD = 2
"""Number of batches that are made before they are asked for."""

SAMPLE_SEED = 0
"""Seed of the sample that an evaluation with a limit takes: not the run's, so runs compare."""


@dataclass(frozen=True)
class GlobalBatch:
    """A batch of all processes together. Its rows are made only when they are taken."""

    size: int
    """Number of rows."""
    take: Callable[[slice], Batch]
    """Makes some of the rows."""
    indexed: bool = True
    """Whether the others are not read for that."""


def deliver(
    batches: Iterable[GlobalBatch],
    batch_size: int,
    rows: Rows | None = None,
    *,
    fill: bool = False,
) -> Iterator[Batch]:
    """The arrays of one process, made in another thread.

    Args:
      batches: global batches in order.
      batch_size: the size to which `fill` fills batches up.
      rows: as in `Data.train`.
      fill: add rows of zeros to each global batch up to `batch_size`.
    """
    share = Share.of_rows(rows, batch_size)

    def make() -> Iterator[Batch]:
        told = share.count == 1
        for batch in batches:
            if not (told or batch.indexed):
                told = True
                logging.getLogger(__name__).warning(
                    "these rows are a stream, which cannot be indexed: each process reads all of "
                    "them, and keeps one of %d",
                    share.count,
                )
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
    """The items of an iterator, which another thread makes up to `number` items ahead.

    An error of the iterator is raised when its item's turn comes.
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
    """Row numbers of an evaluation, in order: all `count`, or `limit` of them drawn at random."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(SAMPLE_SEED).permutation(count)[:limit])


def generator(seed: int, *numbers: int) -> np.random.Generator:
    """NumPy's generator for an epoch or a batch. Its numbers are a function of the arguments."""
    return np.random.default_rng((seed % 2**64, *numbers))
