"""Losses: trax's values and gradients, and what happens to shapes that do not fit."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.reformer.models import Scores
from zoo.train import losses

FOLDER = Path(__file__).parents[1] / "golden" / "losses"


def smooth(outputs, targets, weights=None):
    return losses.cross_entropy(outputs, targets, weights, label_smoothing=0.1)


def cut(outputs, targets, weights):
    return losses.cross_entropy(outputs, targets, weights, cutoff=0.5)


TRAX = {
    "CategoryAccuracy(logits,targets)": losses.accuracy,
    "WeightedCategoryAccuracy(logits,targets,w01)": losses.accuracy,
    "WeightedCategoryAccuracy(logits,targets,wf)": losses.accuracy,
    "CategoryCrossEntropy()(logits,targets)": losses.cross_entropy,
    "CategoryCrossEntropy(label_smoothing=0.1)(logits,targets)": smooth,
    "WeightedCategoryCrossEntropy()(logits,targets,w01)": losses.cross_entropy,
    "WeightedCategoryCrossEntropy()(logits,targets,wf)": losses.cross_entropy,
    "WeightedCategoryCrossEntropy(label_smoothing=0.1)(logits,targets,wf)": smooth,
    "WeightedCategoryCrossEntropy(cutoff=0.5)(logits,targets,wf)": cut,
    "WeightedCategoryCrossEntropy()(logits,targets,wzero)": losses.cross_entropy,
    "WeightedCategoryCrossEntropy()(log_probs,targets,w01)": losses.cross_entropy,
    "CategoryCrossEntropy()(logits2,targets2)": losses.cross_entropy,
    "MaskedSequenceAccuracy(logits,targets,w01)": losses.sequence_accuracy,
    "MaskedSequenceAccuracy(logits,targets,wf)": losses.sequence_accuracy,
    "SequenceAccuracy(logits,targets,w01)": losses.sequence_accuracy,
    "SequenceAccuracy(logits,targets,wf)": losses.sequence_accuracy,
    "Accuracy(logits,targets,w01)": losses.accuracy,
    "CrossEntropyLoss(log_probs,targets,w01)": losses.cross_entropy,
    "CrossEntropyLossWithLogSoftmax(logits,targets,wf)": losses.cross_entropy,
    "BinaryCrossEntropy(bin_x,bin_t)": losses.binary_cross_entropy,
    "L2Loss(reg_y,reg_t,reg_w)": losses.l2,
    "SmoothL1Loss(reg_y,reg_t,reg_w)": losses.smooth_l1,
}
"""trax's expression in the golden file -> the loss here. Not here: `CrossEntropyLoss(logits, …)`,
which takes logits for log-probabilities; `CrossEntropySum`, which is the sum alone (below); the
F-scores (test_metrics.py)."""


@pytest.fixture
def arrays():
    return {name: jnp.asarray(array) for name, array in np.load(FOLDER / "losses.npz").items()}


@pytest.mark.parametrize("expression", TRAX)
def test_values_and_gradients_are_those_of_trax(expression, arrays):
    loss, names = TRAX[expression], expression[expression.rindex("(") + 1 : -1].split(",")
    outputs, *rest = (arrays[name] for name in names)

    @jax.jit
    @jax.value_and_grad
    def mean(outputs, *rest):
        total, denominator = loss(outputs, *rest)
        return total / denominator

    value, gradient = mean(outputs, *rest)
    expected = json.loads((FOLDER / "losses.json").read_text())[expression]
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    # CrossEntropyLoss does not normalise its log-probabilities, so its gradient is another one.
    if f"grad_{expression}" in arrays and "CrossEntropyLoss(" not in expression:
        np.testing.assert_allclose(gradient, arrays[f"grad_{expression}"], rtol=1e-5, atol=1e-7)


def test_the_sum_is_trax_s_cross_entropy_sum(arrays):
    total, _ = losses.cross_entropy(arrays["log_probs"], arrays["targets"], arrays["wf"])
    assert total == pytest.approx(9.422005653381348, rel=1e-6)


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    targets = jnp.array([0, 2])
    total, denominator = losses.cross_entropy(logits, targets, jnp.array([1.0, 3.0]))
    assert float(total) == pytest.approx(-math.log(0.5) - 3 * math.log(0.8))
    assert denominator == 4
    total, _ = losses.cross_entropy(logits[:1], targets[:1], label_smoothing=0.3)
    assert float(total) == pytest.approx(-(0.8 * math.log(0.5) + 0.2 * math.log(0.25)))


def test_sums_of_parts_add_up_to_the_whole(arrays):
    logits, targets, weights = arrays["logits"], arrays["targets"], arrays["wf"]
    loss = jax.jit(losses.cross_entropy)
    parts = [loss(logits[i], targets[i], weights[i]) for i in range(3)]
    whole = loss(logits, targets, weights)
    np.testing.assert_allclose(np.sum(parts, axis=0), whole, rtol=1e-6)


def test_bfloat16_logits_are_added_up_in_float32():
    """In bfloat16 a sum of ones ends at 256."""
    logits = jnp.zeros((1000, 2), jnp.bfloat16)
    total, denominator = losses.cross_entropy(logits, jnp.zeros(1000, jnp.int32))
    assert (total.dtype, denominator.dtype) == (jnp.float32, jnp.float32)
    assert float(total) == pytest.approx(1000 * math.log(2), rel=1e-6)
    weights = jnp.ones(1000, jnp.bfloat16)
    assert losses.accuracy(logits, jnp.zeros(1000, jnp.int32), weights) == (1000, 1000)


def test_a_padded_sequence_counts_nowhere():
    logits = jax.nn.one_hot(jnp.array([[1, 2], [1, 1], [0, 0]]), 3)
    targets = jnp.array([[1, 2], [1, 2], [0, 0]])
    weights = jnp.array([[1.0, 1.0], [0.5, 0.5], [0.0, 0.0]])
    assert losses.sequence_accuracy(logits, targets, weights) == (1, 2)
    assert losses.sequence_accuracy(logits, targets, weights.at[1, 1].set(0)) == (2, 2)


def test_a_target_beyond_the_classes_is_not_clipped():
    total, _ = losses.cross_entropy(jnp.zeros((2, 3)), jnp.array([0, 3]))
    assert jnp.isnan(total)


CLASS_LOSSES = [losses.cross_entropy, losses.accuracy, losses.sequence_accuracy]
ITEM_LOSSES = [losses.binary_cross_entropy, losses.l2, losses.smooth_l1]


@pytest.mark.parametrize("loss", CLASS_LOSSES)
@pytest.mark.parametrize("shape", [(2,), (3, 2), (3, 1), (1, 5), ()])
def test_weights_are_never_broadcast(loss, shape):
    """(3, 1) and (1, 5) would broadcast to the targets without a word."""
    with pytest.raises(ValueError) as error:
        loss(jnp.zeros((3, 5, 7)), jnp.zeros((3, 5), int), jnp.ones(shape))
    assert str(error.value) == (
        f"weights have the shape {shape} and targets (3, 5); they must be the same, "
        "one weight for each target (or no weights at all)"
    )


@pytest.mark.parametrize("loss", CLASS_LOSSES)
@pytest.mark.parametrize("shape", [(3,), (5, 3), (3, 5, 1), ()])
def test_targets_that_do_not_fit_the_logits_are_refused(loss, shape):
    with pytest.raises(ValueError) as error:
        loss(jnp.zeros((3, 5, 7)), jnp.zeros(shape, int))
    assert str(error.value) == (
        f"logits have the shape (3, 5, 7) and targets {shape}; logits must have the shape of the "
        "targets and one more axis, the classes, at the end"
    )


def test_shares_of_classes_are_targets_too(arrays):
    """One class with the share 1 is that class; otherwise the loss is the mean by the shares."""
    logits, targets, weights = (arrays[name] for name in ("logits", "targets", "wf"))
    classes = logits.shape[-1]
    whole = jax.nn.one_hot(targets, classes)
    for loss in (losses.cross_entropy, smooth, losses.accuracy, losses.sequence_accuracy):
        expected = loss(logits, targets, weights)
        np.testing.assert_allclose(loss(logits, whole, weights), expected, rtol=1e-6)
    mixed = 0.7 * whole + 0.3 * jax.nn.one_hot((targets + 1) % classes, classes)
    first, _ = losses.cross_entropy(logits, targets, weights)
    second, _ = losses.cross_entropy(logits, (targets + 1) % classes, weights)
    found, _ = losses.cross_entropy(logits, mixed, weights)
    np.testing.assert_allclose(found, 0.7 * first + 0.3 * second, rtol=1e-6)
    assert losses.accuracy(logits, mixed, weights) == losses.accuracy(logits, targets, weights)


def test_targets_of_floats_are_refused():
    with pytest.raises(TypeError, match="targets must be class numbers, integers, not float32"):
        losses.cross_entropy(jnp.zeros((3, 7)), jnp.zeros(3))


@pytest.mark.parametrize("loss", ITEM_LOSSES)
def test_predictions_and_weights_of_another_shape_are_refused(loss):
    with pytest.raises(ValueError) as error:
        loss(jnp.zeros((3, 1)), jnp.zeros((3, 4)))
    assert str(error.value) == (
        "predictions have the shape (3, 1) and targets (3, 4); they must be equal"
    )
    with pytest.raises(ValueError, match=r"weights have the shape \(3, 1\) and targets \(3, 4\)"):
        loss(jnp.zeros((3, 4)), jnp.zeros((3, 4)), jnp.ones((3, 1)))


def test_scores_of_tokens_count_as_their_logits_would():
    logits = jnp.array([[[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [1.0, 1.0, 5.0]]])
    targets, weights = jnp.array([[0, 2, 2]]), jnp.array([[1.0, 2.0, 0.0]])
    own = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
    scores = Scores(log_probability=own, best=jnp.array([[True, False, True]]))
    for loss in (losses.cross_entropy, losses.accuracy):
        np.testing.assert_allclose(
            loss(scores, targets, weights), loss(logits, targets, weights), rtol=1e-6
        )
    with pytest.raises(ValueError, match="label_smoothing and cutoff need logits"):
        losses.cross_entropy(scores, targets, weights, label_smoothing=0.1)
