"""Steps that make batches: consecutive examples, or examples of similar length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.config import check_size
from zoo.pipelines.base import Array
from zoo.pipelines.lengths import boundary_of, check_buckets, padded_size
from zoo.pipelines.ops import order
from zoo.pipelines.ops.examples import INPUTS, length_of
from zoo.pipelines.ops.execution import Step, through_numpy
from zoo.pipelines.tfdata import Dataset, Tensor, tensorflow, traced


def batch(batch_size: int, *, drop_remainder: bool = True) -> Step:
    """Batches of consecutive examples, each feature padded with 0 to the longest in the batch.

    `batch(2)`: {"inputs": [5, 6]}, {"inputs": [7]}, {"inputs": [8]} ->
    {"inputs": [[5, 6], [7, 0]]}; without `drop_remainder` {"inputs": [[8]]} comes after it.

    Raises:
      ConfigError: `batch_size` is below 1.
    """
    check_size("batch_size", batch_size)

    def run(dataset: Dataset) -> Dataset:
        spec = dataset.element_spec
        for key, feature in spec.items() if isinstance(spec, dict) else ():
            order.single("batch", key, feature)
        return dataset.padded_batch(batch_size, drop_remainder=drop_remainder)

    return run


def group_by_length(
    boundaries: Sequence[int],
    batch_sizes: Sequence[int],
    keys: Sequence[str] = INPUTS,
    *,
    drop_remainder: bool = True,
) -> Step:
    """Batches of similar length, padded with 0 to the longest in the batch.

    Bucket i holds lengths up to and including `boundaries[i]`, one more bucket longer ones. A batch
    leaves as soon as its bucket is full.

    Args:
      boundaries: rising lengths.
      batch_sizes: one more than the boundaries.
      keys: features of which the longest decides.
      drop_remainder: leave out batches that are not full when the dataset ends, as trax does.

    Raises:
      ValueError: boundaries that do not rise, too few or too many batch sizes, a size below 1.
    """
    tf = tensorflow()
    check_buckets(boundaries, batch_sizes)
    edges = tf.constant(boundaries, tf.int64)

    def bucket(example: dict[str, Any]) -> Tensor:
        return tf.math.count_nonzero(edges < length_of(example, keys))

    sizes = tf.constant(batch_sizes, tf.int64)

    def group(dataset: Dataset) -> Dataset:
        return dataset.group_by_window(
            traced(bucket),
            traced(lambda key, rows: rows.padded_batch(sizes[key], drop_remainder=drop_remainder)),
            window_size_func=traced(lambda key: sizes[key]),
        )

    return order.needing("group_by_length", keys, order.sequence, group)


def pad_to_bucket(
    boundaries: Sequence[int], keys: Sequence[str] = INPUTS, *, strict: bool = False
) -> Step:
    """Pads batches with 0, so that few shapes occur and a program is compiled for few.

    All axes but the first are padded to `padded_size`. The boundary is the smallest one that is not
    below the batch's length, the longest of `keys`. Beyond the last boundary nothing is padded.

    With boundaries (4,): {"inputs": [[5, 6, 7]]} -> {"inputs": [[5, 6, 7, 0]]}
    """
    tf = tensorflow()

    def pad(dataset: Dataset) -> Dataset:
        features = list(dataset.element_spec)

        def run(*arrays: Array) -> dict[str, Array]:
            batch = dict(zip(features, arrays, strict=True))
            boundary = boundary_of(max(batch[key].shape[1] for key in keys), boundaries)
            return {key: _padded(array, boundary, strict) for key, array in batch.items()}

        signature = {
            key: tf.TensorSpec([spec.shape[0], *[None] * (spec.shape.rank - 1)], spec.dtype)
            for key, spec in dataset.element_spec.items()
        }
        return through_numpy(run, signature, features)(dataset)

    return order.needing("pad_to_bucket", keys, order.batch, pad)


def _padded(array: Array, boundary: int | None, strict: bool) -> Array:
    sizes = [padded_size(size, boundary, strict=strict) for size in array.shape[1:]]
    missing = [(0, new - old) for new, old in zip(sizes, array.shape[1:], strict=True)]
    return np.pad(array, [(0, 0), *missing])
