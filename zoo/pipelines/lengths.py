"""Lengths that batches are padded to, so that few shapes occur and programs are compiled for few.

Buckets are separated by rising boundaries: bucket i holds lengths up to and including
`boundaries[i]`, and one more bucket holds those above the last boundary.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

from zoo.config import ValueMistake


def check_buckets(boundaries: Sequence[int], batch_sizes: Sequence[int] | None) -> None:
    """Raises ValueError unless boundaries rise and each bucket has a batch size.

    Args:
      boundaries: lengths.
      batch_sizes: one for each bucket; None: they are not checked.
    """
    steps = zip([0, *boundaries], boundaries, strict=False)
    if not all(low < high for low, high in steps):
        raise ValueMistake(f"bucket boundaries must be positive and rise; got {tuple(boundaries)}")
    if batch_sizes is None:
        return
    buckets = [f"lengths up to {boundary}" for boundary in boundaries]
    buckets.append(f"lengths above {boundaries[-1]}" if boundaries else "all lengths")
    count = f"{len(boundaries)} bucket boundaries make {len(buckets)} bucket(s)"
    missing = buckets[len(batch_sizes) :]
    if missing:
        raise ValueMistake(
            f"{count}, but there are {len(batch_sizes)} batch sizes {tuple(batch_sizes)}; "
            f"add one for {', '.join(missing)}"
        )
    if len(batch_sizes) > len(buckets):
        raise ValueMistake(
            f"{count}, but there are {len(batch_sizes)} batch sizes {tuple(batch_sizes)}; "
            f"leave out {len(batch_sizes) - len(buckets)}"
        )
    if min(batch_sizes) < 1:
        raise ValueMistake(f"batch sizes must be 1 or more; got {tuple(batch_sizes)}")


def boundary_of(length: int, boundaries: Sequence[int]) -> int | None:
    """The smallest boundary that is not below a length, if there is one.

    >>> boundary_of(4, (4, 8)), boundary_of(5, (4, 8)), boundary_of(9, (4, 8))
    (4, 8, None)
    """
    index = bisect.bisect_left(boundaries, length)
    return boundaries[index] if index < len(boundaries) else None


def default_lengths(longest: int) -> tuple[int, ...]:
    """Lengths to pad to: 8, 12, 16, 24, 32, …, each at most half again the one before.

    >>> default_lengths(64)
    (8, 12, 16, 24, 32, 48, 64)
    """
    steps = (step << power for power in itertools.count() for step in (8, 12))
    return (*itertools.takewhile(lambda step: step < longest, steps), longest)


def extended(lengths: tuple[int, ...], longest: int) -> tuple[int, ...]:
    """The lengths to pad to, with more of them where `longest` is above the last one.

    >>> extended((8, 16), 40), extended((8, 16), 5)
    ((8, 16, 24, 32, 40), (8, 16))
    """
    if longest <= lengths[-1]:
        return lengths
    between = [length for length in default_lengths(longest) if lengths[-1] < length < longest]
    return (*lengths, *between, longest)


def padded_size(size: int, boundary: int | None, *, strict: bool = False) -> int:
    """The size to which trax pads an axis: the boundary, or the size if that is larger.

    If the boundary is more than twice the size, it is the next power of two instead. `strict` pads
    to a multiple of the boundary. Where trax pads an axis of no entries to none, or fails, the size
    here is 1.

    >>> padded_size(9, 16), padded_size(5, 16), padded_size(20, 16), padded_size(20, None)
    (16, 8, 20, 20)
    >>> padded_size(5, 16, strict=True), padded_size(20, 16, strict=True)
    (16, 32)
    """
    size = max(size, 1)
    if boundary is None:
        return size
    if strict:
        return -(-size // boundary) * boundary
    return 1 << (size - 1).bit_length() if 2 * size < boundary else max(size, boundary)
