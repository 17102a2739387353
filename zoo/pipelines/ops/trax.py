"""Steps that only users of trax's `trax.data` need; no pipeline of the zoo does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.config import ValueMistake
from zoo.pipelines.lengths import check_buckets
from zoo.pipelines.ops import order
from zoo.pipelines.ops.batching import group_by_length, pad_to_bucket
from zoo.pipelines.ops.examples import INPUTS
from zoo.pipelines.ops.execution import Step, mapped, pipe
from zoo.pipelines.tfdata import tensorflow


def append_eos(keys: Sequence[str] = INPUTS, *, eos_id: int = 1) -> Step:
    """Ends sequences with an id.

    {"inputs": [5, 6]} -> {"inputs": [5, 6, 1]}
    """
    tf = tensorflow()

    def append(example: dict[str, Any]) -> dict[str, Any]:
        ended = {
            key: tf.concat([example[key], tf.constant([eos_id], example[key].dtype)], 0)
            for key in keys
        }
        return {**example, **ended}

    return order.needing("append_eos", keys, order.sequence, mapped(append))


def pad_to_length(value: int = 0, **lengths: int) -> Step:
    """Pads sequences of single examples to a length; longer ones stay.

    `pad_to_length(9, targets=4)`: {"targets": [5, 6]} -> {"targets": [5, 6, 9, 9]}
    """
    tf = tensorflow()

    def pad(example: dict[str, Any]) -> dict[str, Any]:
        padded = {}
        for key, length in lengths.items():
            missing = tf.maximum(length - tf.shape(example[key])[0], 0)
            padded[key] = tf.pad(example[key], [[0, missing]], constant_values=value)
        return {**example, **padded}

    return order.needing("pad_to_length", tuple(lengths), order.sequence, mapped(pad))


def bucket_by_length(
    boundaries: Sequence[int],
    batch_sizes: Sequence[int],
    keys: Sequence[str] = INPUTS,
    *,
    strict: bool = False,
    drop_remainder: bool = True,
) -> Step:
    """Batches of similar length, with a batch size for each bucket (trax: BucketByLength).

    `group_by_length`, then `pad_to_bucket`, which say what the arguments mean.

    With boundaries (2, 4) and batch sizes (2, 1, 1), {"inputs": [5]}, {"inputs": [6, 7, 8]},
    {"inputs": [9, 9]} -> {"inputs": [[6, 7, 8, 0]]}, {"inputs": [[5, 0], [9, 9]]}

    Raises:
      ValueError: boundaries that do not rise, too few or too many batch sizes, a size below 1.
    """
    group = group_by_length(boundaries, batch_sizes, keys, drop_remainder=drop_remainder)
    pad = pad_to_bucket(boundaries, keys, strict=strict)
    return lambda dataset: pipe(dataset, group, pad)


def bucket_by_tokens(
    max_tokens: int,
    boundaries: Sequence[int],
    keys: Sequence[str] = INPUTS,
    *,
    drop_remainder: bool = True,
) -> Step:
    """`bucket_by_length` whose batches have at most `max_tokens` positions, padding included.

    A bucket up to length b has batches of `max_tokens // b` examples. Examples beyond the last
    boundary come one at a time; `filter_by_length` keeps them away.

    `bucket_by_tokens(64, (8, 16))` has batch sizes 8, 4 and 1.

    Raises:
      ValueError: boundaries that do not rise, or one that is larger than `max_tokens`.
    """
    check_buckets(boundaries, None)
    if boundaries and boundaries[-1] > max_tokens:
        raise ValueMistake(
            f"one example of length {boundaries[-1]} has more than {max_tokens} tokens; raise "
            "max_tokens or lower the last boundary"
        )
    sizes = [*(max_tokens // boundary for boundary in boundaries), 1]
    return bucket_by_length(boundaries, sizes, keys, drop_remainder=drop_remainder)
