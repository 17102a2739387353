"""Batches of a few fixed shapes, so that a handful of compiled programs serve all inputs."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

TOKENS = 2048
"""Tokens of a full batch, padding included."""

MOST_ROWS, FEW_ROWS = 64, 8
"""Rows of a full batch of short sequences, and of a small one."""

SHORTEST = 16
"""Shortest padded length."""


class Batch(NamedTuple):
    """Which items go through the model together."""

    indices: list[int]
    """The items, by their place in the list of all."""
    rows: int
    """Rows of the batch. Those after the items repeat the first item."""
    length: int
    """Padded length."""

    def pad(self, sequences: Sequence[Sequence[int]], padding: int) -> Array:
        """The sequences of the items as int32 [rows, length], see `padded`."""
        own = [sequences[index] for index in self.indices]
        return padded(own, self.rows, self.length, padding)

    def lengths(self, sequences: Sequence[Sequence[int]]) -> Array:
        """The length of the sequence in each row of `pad`, int32 [rows]."""
        return self.fill(np.array([len(sequence) for sequence in sequences], np.int32))

    def fill(self, values: Array) -> Array:
        """The values of the items, one for each row."""
        return values[self.indices + self.indices[:1] * (self.rows - len(self.indices))]


def padded(sequences: Sequence[Sequence[int]], rows: int, length: int, padding: int) -> Array:
    """Sequences as int32 [rows, length], with the id `padding` after each.

    Further rows repeat the first, so that decoding them takes no longer than the others.
    """
    array = np.full((rows, length), padding, np.int32)
    for row, sequence in zip(array, sequences, strict=False):
        row[: len(sequence)] = sequence
    array[len(sequences) :] = array[0]
    return array


def batches(
    lengths: Sequence[int],
    longest: int,
    *,
    exact: bool = False,
    begun: Sequence[int] | None = None,
    spread: int = 0,
    width: int = 1,
    few: int = FEW_ROWS,
) -> Iterator[Batch]:
    """Every item once, in batches of similar lengths and of few shapes.

    Lengths are padded to powers of two, and rows to 1 or a power of two from `few` to a full batch.
    An item's padded length depends only on its own length, so no answer depends on what else is in
    the batch.

    Args:
      lengths: of the items.
      longest: the greatest padded length.
      exact: add no padding, for a model whose answers would change with it.
      begun: of answers that are begun, the number of tokens given. Those in a batch differ by
        `spread` at most: what one has more than another is read token by token.
      spread: see `begun`.
      width: what a row of the batch counts for, such as the beams of an item.
      few: see above; for items that are answers to one question 1, else `FEW_ROWS`.
    """
    given = begun or [0] * len(lengths)
    by_length: dict[int, list[int]] = {}
    for index in sorted(range(len(lengths)), key=lambda index: (given[index], lengths[index])):
        length = max(lengths[index], 1)  # models take no empty sequences
        if not exact:
            length = min(max(power_of_two(length), SHORTEST), longest)
        by_length.setdefault(length, []).append(index)
    for length, indices in sorted(by_length.items()):
        most = max(min(TOKENS // length, MOST_ROWS) // width, 1)
        while indices:
            near = bisect.bisect(indices, given[indices[0]] + spread, key=given.__getitem__)
            rows = min(_rows(near, few), most)
            yield Batch(indices[: min(rows, near)], rows, length)
            indices = indices[min(rows, near) :]


def stacks(
    items: Sequence[tuple[Array, ...]],
) -> Iterator[tuple[list[int], tuple[Array, ...]]]:
    """Every item once, its arrays stacked with those of other items of the same shapes.

    Yields the places of the items, and their arrays as [rows, …], with rows as in `batches`.
    """
    by_shape: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, item in enumerate(items):
        by_shape.setdefault(tuple(array.shape for array in item), []).append(index)
    for places in by_shape.values():
        for batch in batches([1] * len(places), 1):
            indices = [places[index] for index in batch.indices]
            rows = [items[index] for index in indices + indices[:1] * (batch.rows - len(indices))]
            yield indices, tuple(np.stack(column) for column in zip(*rows, strict=True))


def _rows(items: int, few: int = FEW_ROWS) -> int:
    """Rows of the next batch if this many items are left: less than a quarter is padding.

    Only a batch of `FEW_ROWS` or less may have more. One of several items has `few` rows or more.
    """
    if items == 1:
        return 1
    rows = max(power_of_two(items), few)
    return rows // 2 if rows > FEW_ROWS and 4 * items <= 3 * rows else rows


def power_of_two(number: int) -> int:
    """The smallest power of two that is not less than `number` (1 for 0)."""
    return 1 << max(number - 1, 0).bit_length()
