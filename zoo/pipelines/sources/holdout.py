"""Rows held out of training for validation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from zoo.pipelines.base import Array
from zoo.pipelines.sources.source import Source

HOLDOUT_SEED = 0
"""Of the shuffle that decides which rows are held out: not the run's, so that runs compare."""


def with_validation(splits: Mapping[str, Source], share: float) -> dict[str, Source]:
    """The splits, with a share of the training rows held out if there is no validation split.

    Args:
      splits: `train`, and any others.
      share: in [0, 1); 0: none are held out.
    """
    training = splits["train"]
    if "validation" in splits or not share or training.count() < 2:
        return dict(splits)
    mask = held_out(training.count(), share)
    return {**splits, "train": training.where(~mask), "validation": training.where(mask)}


def held_out(rows: int, share: float) -> Array:
    """Which rows are held out for validation: bool [N], the same for every run.

    The last `share` of the rows after a shuffle with a fixed seed; never all, and of two rows or
    more at least one.
    """
    mask = np.zeros(rows, bool)
    if share > 0 and rows > 1:
        order = np.random.default_rng(HOLDOUT_SEED).permutation(rows)
        mask[order[-min(max(round(rows * share), 1), rows - 1) :]] = True
    return mask
