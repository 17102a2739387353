"""Metrics as CLU collections, which add up on the device, inside the compiled step.

    collection = Classification.single_from_model_output(logits=…, targets=…, weights=…)
    collection = collection.merge(other)
    collection.compute()  # {"loss": 0.31, "accuracy": 0.89, "f1": 0.88}, on the host

The state of every metric is sums, so the collection to begin with is one of zeros, in the shapes
that `jax.eval_shape` gives for `single_from_model_output`. Shapes, weights and errors are those of
`losses`: an item of weight 0 is padding and counts nowhere. Sums are float32: items of weight 1 are
counted exactly up to 16.7 million.

The metrics are classes of our own, on CLU's interface. CLU's `Average` reads weights as true or
false, and drops a mask of the wrong length with no more than a line in the log.
"""

# No `from __future__ import annotations` here: CLU takes the metrics of a collection from its
# annotations, and cannot use them as strings.

import math
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from clu import metrics
from flax import struct

from zoo.train import entities, losses
from zoo.xla import argmax


@struct.dataclass
class Sums(metrics.Metric):  # type: ignore[misc]  # CLU ships no types
    """A metric whose state is sums over the items."""

    def merge(self, other: Self) -> Self:
        """The metric of the items of both."""
        merged: Self = jax.tree.map(jnp.add, self, other)
        return merged


@struct.dataclass
class Mean(Sums):
    """A weighted mean; a subclass says of what."""

    total: jax.Array
    """Sum of weight · value, float32 []."""
    weight: jax.Array
    """Sum of the weights, float32 []."""

    def compute(self) -> float:
        """The mean, or a ValueError where nothing has any weight."""
        return float(self.total) / _nonzero(float(self.weight))


@struct.dataclass
class Loss(Mean):
    """Cross-entropy in nats, without label smoothing."""

    @classmethod
    def from_model_output(
        cls, *, logits: losses.Logits, targets: jax.Array, weights: jax.Array, **_: Any
    ) -> Self:
        return cls(*losses.cross_entropy(logits, targets, weights))


@struct.dataclass
class Perplexity(Loss):
    """exp(cross-entropy), of a token; infinite where that is above the range of a float."""

    def compute(self) -> float:
        """The perplexity, or a ValueError where nothing has any weight."""
        try:
            return math.exp(super().compute())
        except OverflowError:
            return math.inf


@struct.dataclass
class Accuracy(Mean):
    """Share of the items whose class is right."""

    @classmethod
    def from_model_output(
        cls, *, logits: losses.Logits, targets: jax.Array, weights: jax.Array, **_: Any
    ) -> Self:
        return cls(*losses.accuracy(logits, targets, weights))


@struct.dataclass
class F1(Sums):
    """Macro F1: the mean over the classes of 2 · right / (predicted + actual).

    A class that is neither a target nor predicted anywhere is left out of the mean, as in
    scikit-learn's `f1_score(average="macro")`; trax's `MacroAveragedFScore` counts it as 0.
    For the F1 of the positive class of a binary task take `per_class()[1]`.
    """

    right: jax.Array
    """Weight of the items of each class that were recognised, float32 [C]."""
    predicted: jax.Array
    """Weight of the items that were taken for each class, float32 [C]."""
    actual: jax.Array
    """Weight of the items of each class, float32 [C]."""

    @classmethod
    def from_model_output(
        cls, *, logits: jax.Array, targets: jax.Array, weights: jax.Array, **_: Any
    ) -> Self:
        weights = losses.class_weights(logits, targets, weights)
        predictions = argmax(logits)
        targets = losses.class_numbers(logits, targets)

        def by_class(classes: jax.Array, amounts: jax.Array) -> jax.Array:
            return jnp.zeros(logits.shape[-1]).at[classes].add(amounts)

        return cls(
            right=by_class(targets, weights * (predictions == targets)),
            predicted=by_class(predictions, weights),
            actual=by_class(targets, weights),
        )

    def per_class(self) -> npt.NDArray[np.floating]:
        """The F1 of each class, [C]; 0 for a class that does not occur."""
        occurrences = np.asarray(self.predicted + self.actual)
        return 2 * np.asarray(self.right) / np.where(occurrences > 0, occurrences, 1)

    def compute(self) -> float:
        """The mean over the classes that occur, or a ValueError where nothing has any weight."""
        occurring = int(np.count_nonzero(self.predicted + self.actual))
        return float(self.per_class().sum()) / _nonzero(occurring)


@struct.dataclass
class Entities(Sums):
    """Named entities as a whole: first word, last word and type. A subclass says which figure.

    What an entity is: `entities`. All types count together (seqeval's `average="micro"`).
    """

    right: jax.Array
    """Entities that were found as they are, float32 []."""
    predicted: jax.Array
    """Entities that were found, float32 []."""
    actual: jax.Array
    """Entities that there are, float32 []."""

    @classmethod
    def from_model_output(
        cls,
        *,
        logits: jax.Array,
        targets: jax.Array,
        weights: jax.Array,
        labels: tuple[str, ...],
        **_: Any,
    ) -> Self:
        weights = losses.class_weights(logits, targets, weights)
        return cls(*entities.count(argmax(logits), targets, weights, labels))


@struct.dataclass
class EntityPrecision(Entities):
    """Share of the entities found that are right; 0 where none was found."""

    def compute(self) -> float:
        """right / predicted."""
        return float(self.right) / max(float(self.predicted), 1.0)


@struct.dataclass
class EntityRecall(Entities):
    """Share of the entities there are that were found; 0 where there are none."""

    def compute(self) -> float:
        """right / actual."""
        return float(self.right) / max(float(self.actual), 1.0)


@struct.dataclass
class EntityF1(Entities):
    """The harmonic mean of precision and recall; 0 where both are."""

    def compute(self) -> float:
        """2 · right / (predicted + actual)."""
        return 2 * float(self.right) / max(float(self.predicted + self.actual), 1.0)


def _nonzero(denominator: float) -> float:
    if denominator == 0:
        raise ValueError(
            "nothing to average: no item was counted, or every one had the weight 0; "
            "look for an empty split, or for weights that are all padding"
        )
    return denominator


@struct.dataclass
class _OnHost(metrics.Collection):  # type: ignore[misc]  # CLU ships no types
    """A collection that is fetched from the device in one go when it is computed."""

    def compute(self) -> dict[str, float]:
        """Name -> value of every metric, or a ValueError where nothing has any weight."""
        values: dict[str, float] = super(_OnHost, jax.device_get(self)).compute()
        return values


@struct.dataclass
class Classification(_OnHost):
    """One of C classes an item: logits [..., C], weights [...], targets as in `losses`."""

    loss: Loss
    accuracy: Accuracy
    f1: F1


@struct.dataclass
class LanguageModeling(_OnHost):
    """The next token: logits [B, T, V] or scores, integer targets [B, T], weights [B, T]."""

    loss: Loss
    perplexity: Perplexity
    accuracy: Accuracy


@struct.dataclass
class Tagging(_OnHost):
    """A tag a word: logits [B, T, C], integer targets [B, T], weights [B, T], the tags by name."""

    loss: Loss
    accuracy: Accuracy
    precision: EntityPrecision
    recall: EntityRecall
    f1: EntityF1
