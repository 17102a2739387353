"""Losses and accuracies. Each returns `(sum, denominator)`; the caller divides, once.

The sums of two batches add up to those of both together; means do not. Everything is computed and
summed in float32, whatever the precision of the logits.

Shapes: `...` any number of axes, such as B or B, T; `C` classes. Weights are 0 at padding and
usually 1 elsewhere; without weights every item counts 1. Targets are class numbers, integers [...],
or, where examples are mixed, the share of each class, floats [..., C] that sum to 1.

trax divides inside the loss: `WeightedCategoryCrossEntropy()` is `cross_entropy`, divided, and
`CategoryCrossEntropy()` the same without weights. Its `CrossEntropyLoss` takes log-probabilities,
for which `cross_entropy` gives the same value. Losses of trax that no task of the zoo uses, such as
`l2`, are here for tasks of your own.
"""

from __future__ import annotations

from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from zoo.config import TypeMistake, ValueMistake
from zoo.models.reformer.models import Scores
from zoo.xla import argmax

Logits: TypeAlias = jax.Array | Scores
"""A model's output: logits, or the scores of given tokens."""

Sums: TypeAlias = tuple[jax.Array, jax.Array]
"""A sum and its denominator, both float32 scalars."""


def cross_entropy(
    logits: Logits,
    targets: jax.Array,
    weights: jax.Array | None = None,
    *,
    label_smoothing: float = 0.0,
    cutoff: float = 0.0,
) -> Sums:
    """Cross-entropy of the softmax of `logits`; the denominator is the sum of the weights.

    A target outside [0, C) makes the sum NaN, which stops a run; it is not clipped.

    Args:
      logits: [..., C], or the scores of exactly these targets.
      targets: integers [...], or shares [..., C].
      weights: [...].
      label_smoothing: e in the target distribution (1 - e) · one_hot + e / C (Szegedy et al. 2016,
        section 7; trax's formula).
      cutoff: subtracted from the loss of each item, which does not go below 0 (trax's `cutoff`).

    Raises:
      TypeError: the targets are neither integers nor shares.
      ValueError: the shapes do not fit, or `label_smoothing` or `cutoff` is given with scores.
    """
    if isinstance(logits, Scores):
        if label_smoothing or cutoff:
            raise ValueMistake(
                "label_smoothing and cutoff need logits, not the scores of the tokens"
            )
        return _sum(-logits.log_probability, _item_weights(logits.best, targets, weights))
    weights = class_weights(logits, targets, weights)
    logits = logits.astype(jnp.float32)
    expected = picked = _expected_logits(logits, targets)
    if label_smoothing:
        expected = (1 - label_smoothing) * picked + label_smoothing * logits.mean(axis=-1)
    items = jax.nn.logsumexp(logits, axis=-1) - expected
    if cutoff:
        items = jnp.maximum(items, cutoff) - cutoff
    return _sum(items, weights)


def _expected_logits(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """The logits [..., C] of the targets: [...]."""
    if _are_shares(logits, targets):
        return jnp.sum(targets * logits, axis=-1)
    # A sum over all classes of which one term is not zero. Its gradient merges with the softmax's
    # in one pass; the gradient of `take_along_axis` would be a scatter into an array of zeros.
    classes = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
    picked = jnp.sum(jnp.where(classes == targets[..., None], logits, 0.0), axis=-1)
    known = (targets >= 0) & (targets < logits.shape[-1])
    return jnp.where(known, picked, jnp.nan)


def binary_cross_entropy(
    logits: jax.Array, targets: jax.Array, weights: jax.Array | None = None
) -> Sums:
    """Cross-entropy of the sigmoid of `logits` [...] with targets [...] between 0 and 1."""
    weights = _item_weights(logits, targets, weights)
    items = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), targets)
    return _sum(items, weights)


def l2(predictions: jax.Array, targets: jax.Array, weights: jax.Array | None = None) -> Sums:
    """Squared differences of `predictions` [...] and `targets` [...], without the factor ½."""
    weights = _item_weights(predictions, targets, weights)
    items = optax.squared_error(predictions.astype(jnp.float32), targets)
    return _sum(items, weights)


def smooth_l1(predictions: jax.Array, targets: jax.Array, weights: jax.Array | None = None) -> Sums:
    """½ d² for differences d below 1, |d| - ½ above (Huber 1964), of two arrays [...]."""
    weights = _item_weights(predictions, targets, weights)
    items = optax.huber_loss(predictions.astype(jnp.float32), targets)
    return _sum(items, weights)


def accuracy(logits: Logits, targets: jax.Array, weights: jax.Array | None = None) -> Sums:
    """Weight of the items whose class is right, and of all items. Arguments as in `cross_entropy`.

    Where targets are shares, the class with the largest share is right.
    """
    if isinstance(logits, Scores):
        return _sum(logits.best, _item_weights(logits.best, targets, weights))
    weights = class_weights(logits, targets, weights)
    return _sum(argmax(logits) == class_numbers(logits, targets), weights)


def sequence_accuracy(
    logits: jax.Array, targets: jax.Array, weights: jax.Array | None = None
) -> Sums:
    """Number of sequences right at every position of non-zero weight, and number of sequences.

    A sequence is the last axis of `targets`. A sequence without any weight is padding and counts
    nowhere (trax's `MaskedSequenceAccuracy`, otherwise the same, counts it as right).
    """
    weights = class_weights(logits, targets, weights)
    targets = class_numbers(logits, targets)
    wrong = jnp.any((argmax(logits) != targets) & (weights != 0), axis=-1)
    real = jnp.any(weights != 0, axis=-1)
    return (
        jnp.sum(real & ~wrong, dtype=jnp.float32),
        jnp.sum(real, dtype=jnp.float32),
    )


def _sum(items: jax.Array, weights: jax.Array) -> Sums:
    return jnp.sum(weights * items), jnp.sum(weights)


def _are_shares(logits: jax.Array, targets: jax.Array) -> bool:
    return logits.shape == targets.shape and jnp.issubdtype(targets.dtype, jnp.floating)


def class_numbers(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """The targets as integers [...], whichever form they were given in."""
    return argmax(targets) if _are_shares(logits, targets) else targets


def class_weights(logits: jax.Array, targets: jax.Array, weights: jax.Array | None) -> jax.Array:
    """The weights [...] of targets with logits [..., C]; nothing is broadcast."""
    if _are_shares(logits, targets):
        return _checked(weights, targets[..., 0])
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise TypeMistake(f"targets must be class numbers, integers, not {targets.dtype}")
    if logits.ndim == 0 or logits.shape[:-1] != targets.shape:
        raise ValueMistake(
            f"logits have the shape {logits.shape} and targets {targets.shape}; "
            "logits must have the shape of the targets and one more axis, the classes, at the end"
        )
    return _checked(weights, targets)


def _item_weights(
    predictions: jax.Array, targets: jax.Array, weights: jax.Array | None
) -> jax.Array:
    """The weights [...] of predictions [...] and targets [...]; nothing is broadcast."""
    if predictions.shape != targets.shape:
        raise ValueMistake(
            f"predictions have the shape {predictions.shape} and targets {targets.shape}; "
            "they must be equal"
        )
    return _checked(weights, targets)


def _checked(weights: jax.Array | None, targets: jax.Array) -> jax.Array:
    if weights is None:
        return jnp.ones(targets.shape, jnp.float32)
    if weights.shape != targets.shape:
        raise ValueMistake(
            f"weights have the shape {weights.shape} and targets {targets.shape}; they must be the "
            "same, one weight for each target (or no weights at all)"
        )
    return weights.astype(jnp.float32)
