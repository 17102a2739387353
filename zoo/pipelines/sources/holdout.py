"""Rows held out of training for validation or test, and fingerprints of the splits.

A row is held out by a hash of its content, so equal rows fall on one side, and rows that are
shuffled, or to which others are added, stay on theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zoo.pipelines.base import Array, Fingerprint
from zoo.pipelines.sources import hashes
from zoo.pipelines.sources.source import Source
from zoo.pipelines.tfdata import Dataset, Tensor, arrays, numpy_function, tensorflow, traced

CHUNK = 64
"""Number of rows of a stream that are hashed at once, if all have the same shape."""


@dataclass(frozen=True)
class _Rows:
    """Rows in memory, with the hashes of their values, which are computed once for all purposes."""

    source: Source
    values: list[Array]

    @classmethod
    def of(cls, source: Source) -> _Rows:
        return cls(source, hashes.of_values(source.arrays or {}))

    def found(self, seed: int = hashes.VALIDATION) -> Array:
        return hashes.combined(self.values, seed)

    def where(self, mask: Array) -> _Rows:
        return _Rows(self.source.where(mask), [column[mask] for column in self.values])


def with_validation(
    splits: Mapping[str, Source], share: float, test_share: float = 0.0
) -> tuple[dict[str, Source], dict[str, Fingerprint]]:
    """The splits, with a share of the training rows held out if there is no validation split.

    Nothing is held out where all training rows are equal, or there is only one.

    Args:
      splits: `train`, and any others. Rows of a stream may come in another order at each reading.
      share: in [0, 1); 0: none are held out.
      test_share: … of the training rows, if they are in memory, that become the test split before,
        if there is none.

    Returns:
      The splits, and their fingerprints. That of rows in memory, and of a stream that was divided,
      is of their content; else that of a TFDS split is of its name, version and sizes, and that of
      the user's tf.data.Dataset only has their number.
    """
    training, found, prints = splits["train"], None, dict[str, Fingerprint]()
    if training.arrays is not None:
        rows = _Rows.of(training)
        if test_share and "test" not in splits:
            by_test = rows.found(hashes.TEST)
            held = by_test < bound_of(by_test, test_share)
            if held.any():
                test, rows = rows.where(held), rows.where(~held)
                splits = {**splits, "train": rows.source, "test": test.source}
                prints["test"] = _of_hashes(test.found())
        training, found = rows.source, rows.found()
    for split, source in splits.items():
        if split not in ("train", *prints):
            prints[split] = fingerprint(source)
    if "validation" in splits or not share:
        ours = fingerprint(training) if found is None else _of_hashes(found)
        return dict(splits), {"train": ours, **prints}
    found = _of_stream(training.stream) if found is None else found
    bound = bound_of(found, share)
    held = found < bound
    prints = {"train": _of_hashes(found[~held]), **prints}
    if not held.any():
        return dict(splits), prints
    prints["validation"] = _of_hashes(found[held])
    if training.arrays is not None:
        parts = {"train": training.where(~held), "validation": training.where(held)}
    else:
        stream, number = training.stream, int(held.sum())
        kept, apart = (_filtered(stream, bound, wanted) for wanted in (False, True))
        parts = {
            "train": replace(training, stream=kept, num_rows=len(held) - number),
            "validation": replace(training, stream=apart, num_rows=number),
        }
    return {**splits, **parts}, prints


def bound_of(found: Array, share: float) -> np.uint64:
    """Rows whose hash is below this number are held out: `share` of the hashes there may be.

    Of rows that are too few for that, those with the smallest hash, or all but those with the
    largest one. 0 if all rows are equal.

    Args:
      found: the hash of each row: uint64 [N].
      share: in (0, 1).
    """
    if not len(found) or found.min() == found.max():
        return np.uint64(0)
    bound = int(share * 2.0**64)
    return np.uint64(min(max(bound, int(found.min()) + 1), int(found.max())))


def fingerprint(source: Source) -> Fingerprint:
    """The number of rows, and a hash that does not depend on their order."""
    if source.arrays is not None:
        return _of_hashes(hashes.of_rows(source.arrays))
    name = np.array([source.identity], object)
    return Fingerprint(number=source.count(), hash=f"{int(hashes.of_rows({'': name})[0]):016x}")


def _of_hashes(found: Array) -> Fingerprint:
    return Fingerprint(number=len(found), hash=f"{int(found.sum(dtype=np.uint64)):016x}")


def _of_stream(rows: Dataset) -> Array:
    hashed = _chunks(rows).map(traced(lambda rows: _hash_tensor(rows)))
    return np.concatenate([np.zeros(0, np.int64), *arrays(hashed)]).view(np.uint64)


def _filtered(rows: Dataset, bound: np.uint64, held: bool) -> Dataset:
    """The rows of a stream that are held out, or those that are not: each by its own hash."""

    def mark(chunk: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        def run(*columns: Array) -> Array:
            found: Array = hashes.of_rows(dict(zip(chunk, columns, strict=True)))
            wanted: Array = (found < bound) == held
            return wanted

        wanted = numpy_function(run, list(chunk.values()), tensorflow().bool)
        wanted.set_shape([None])
        return chunk, wanted

    marked = _chunks(rows).map(traced(mark)).unbatch()
    return marked.filter(traced(lambda row, wanted: wanted)).map(traced(lambda row, wanted: row))


def _hash_tensor(chunk: dict[str, Tensor]) -> Tensor:
    def run(*columns: Array) -> Array:
        return hashes.of_rows(dict(zip(chunk, columns, strict=True))).view(np.int64)

    return numpy_function(run, list(chunk.values()), tensorflow().int64)


def _chunks(rows: Dataset) -> Dataset:
    specs: list[Any] = list(rows.element_spec.values())
    return rows.batch(CHUNK if all(spec.shape.is_fully_defined() for spec in specs) else 1)
