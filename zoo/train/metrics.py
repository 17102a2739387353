"""Metrics: functions `(output, batch) -> (sum, denominator)`, as losses are.

The sums of all batches are added up on the device, inside the compiled step; the value of the
metric is the total divided by the total denominator. A metric of your own is a function:

    def top5_accuracy(output, batch):
        _, best = jax.lax.top_k(output, 5)  # [B, 5]
        hits = jnp.any(best == batch["targets"][:, None], axis=-1)
        return jnp.sum(batch["weights"] * hits), jnp.sum(batch["weights"])

Where the value is anything but that quotient, or the sums are arrays, wrap the function in a
`Metric` that says how to compute it. `Task.metrics` names the metrics of a task.

Shapes, weights and errors are those of `losses`: an item of weight 0 is padding and counts nowhere.
Sums are float32: items of weight 1 are counted exactly up to 16.7 million.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from zoo.config import ValueMistake
from zoo.train import entities, losses
from zoo.train.losses import Sums
from zoo.xla import argmax

Batch: TypeAlias = Mapping[str, Any]
"""`inputs`, `targets` and `weights`, as arrays."""

MetricFunction: TypeAlias = Callable[[Any, Batch], Sums]
Totals: TypeAlias = npt.NDArray[np.float32]


def quotient(total: Totals, denominator: Totals) -> float:
    """The value of an ordinary metric: a weighted mean.

    Raises:
      ValueError: the denominator is 0.
    """
    return float(total) / _nonzero(float(denominator))


@dataclass(frozen=True)
class Metric:
    """A metric whose value is not simply the total divided by the total denominator."""

    sums: MetricFunction
    """(output, batch) -> (sum, denominator): arrays of any shape, the same for each batch."""
    value: Callable[[Totals, Totals], float] = quotient
    """Total and total denominator -> the value, computed on the host."""


# One class per example or per position: logits [..., C], targets as in `losses`, weights [...].


def cross_entropy(output: losses.Logits, batch: Batch) -> Sums:
    """Cross-entropy in nats, without label smoothing."""
    return losses.cross_entropy(output, batch["targets"], batch["weights"])


def accuracy(output: losses.Logits, batch: Batch) -> Sums:
    """Fraction of the items whose class is right."""
    return losses.accuracy(output, batch["targets"], batch["weights"])


def _exponential(total: Totals, denominator: Totals) -> float:
    try:
        return math.exp(quotient(total, denominator))
    except OverflowError:
        return math.inf


perplexity = Metric(cross_entropy, _exponential)
"""exp(cross-entropy) per token; infinite where that exceeds the range of a float."""


def f1_sums(logits: jax.Array, batch: Batch) -> Sums:
    """2 · right, and predicted + actual, float32 [C]: the quotient is the F1 of each class."""
    weights = losses.class_weights(logits, batch["targets"], batch["weights"])
    targets = losses.class_numbers(logits, batch["targets"])
    predictions = argmax(logits)

    def by_class(classes: jax.Array, amounts: jax.Array) -> jax.Array:
        return jnp.zeros(logits.shape[-1]).at[classes].add(amounts)

    right = by_class(targets, weights * (predictions == targets))
    return 2 * right, by_class(predictions, weights) + by_class(targets, weights)


def _mean_of_quotients(totals: Totals, denominators: Totals) -> float:
    occurring = denominators > 0
    quotients = totals[occurring] / denominators[occurring]
    return float(quotients.sum()) / _nonzero(int(occurring.sum()))


macro_f1 = Metric(f1_sums, _mean_of_quotients)
"""The mean F1 of the classes.

A class that is neither a target nor predicted anywhere is left out, as in scikit-learn's
`f1_score(average="macro")`; trax's `MacroAveragedFScore` counts it as 0.
"""


# Entities in tagged sentences: logits [B, T, C], targets [B, T], weights [B, T]. All types count
# together (seqeval's `average="micro"`), and each figure is 0 where there is nothing to find.


def _quotient_or_zero(total: Totals, denominator: Totals) -> float:
    return float(total) / max(float(denominator), 1.0)


def entity_metrics(labels: tuple[str, ...]) -> dict[str, Metric]:
    """Precision, recall and F1 of whole entities: first word, last word and type must be right.

    Args:
      labels: the tags by name (see `entities`).
    """

    def count(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        weights = losses.class_weights(logits, batch["targets"], batch["weights"])
        return entities.count(argmax(logits), batch["targets"], weights, labels)

    def precision(logits: jax.Array, batch: Batch) -> Sums:
        right, predicted, _ = count(logits, batch)
        return right, predicted

    def recall(logits: jax.Array, batch: Batch) -> Sums:
        right, _, actual = count(logits, batch)
        return right, actual

    def f1(logits: jax.Array, batch: Batch) -> Sums:
        right, predicted, actual = count(logits, batch)
        return 2 * right, predicted + actual

    return {
        function.__name__: Metric(function, _quotient_or_zero)
        for function in (precision, recall, f1)
    }


def _nonzero(denominator: float) -> float:
    if denominator == 0:
        raise ValueMistake(
            "nothing to average: no item was counted, or every item had weight 0; "
            "look for an empty split, or for weights that are all padding"
        )
    return denominator
