"""Metrics: by hand, added up inside a compiled step from zeros, and never a silent NaN."""

import inspect
import json
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.train import metrics

FOLDER = Path(__file__).parents[1] / "golden" / "losses"

TARGETS = jnp.array([0, 0, 0, 1, 1, 2])
GUESSES = jnp.array([0, 0, 1, 1, 0, 2])
ONES = jnp.ones(6)
LOGITS = jnp.log(0.7 * jax.nn.one_hot(GUESSES, 4) + 0.1 * (1 - jax.nn.one_hot(GUESSES, 4)))
"""The guess has the probability 0.7, the other three 0.1 each. Class 3 does not occur."""


@partial(jax.jit, static_argnames="collection")
def measure(logits=LOGITS, targets=TARGETS, weights=ONES, collection=metrics.Classification):
    return collection.single_from_model_output(logits=logits, targets=targets, weights=weights)


def test_classification_by_hand():
    values = measure().compute()
    assert values == {
        "loss": pytest.approx(-(4 * math.log(0.7) + 2 * math.log(0.1)) / 6),
        "accuracy": pytest.approx(4 / 6),
        # 2 · right / (predicted + actual): 4 / 6, 2 / 4, 2 / 2, over the three classes that occur
        "f1": pytest.approx((4 / 6 + 2 / 4 + 1) / 3),
    }
    assert all(type(value) is float for value in values.values())


def test_of_mixed_examples_the_larger_share_is_the_class():
    shares = 0.8 * jax.nn.one_hot(TARGETS, 4) + 0.2 * jax.nn.one_hot(3, 4)[None]
    expected, found = measure().compute(), measure(targets=shares).compute()
    assert (found["accuracy"], found["f1"]) == (expected["accuracy"], expected["f1"])
    other = -jnp.mean(LOGITS[:, 3])
    assert found["loss"] == pytest.approx(0.8 * expected["loss"] + 0.2 * float(other), rel=1e-6)


def test_f1_is_scikit_learn_s():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    targets, guesses = rng.integers(0, 4, 50), rng.integers(0, 5, 50)
    f1 = measure(jax.nn.one_hot(guesses, 9), jnp.asarray(targets), jnp.ones(50)).f1
    expected = sklearn_metrics.f1_score(targets, guesses, average="macro")
    assert f1.compute() == pytest.approx(expected)
    expected = sklearn_metrics.f1_score(targets, guesses, average=None)
    np.testing.assert_allclose(f1.per_class(), [*expected, 0, 0, 0, 0], rtol=1e-6)


def test_f1_holds_trax_s_f_scores():
    golden, values = (
        np.load(FOLDER / "losses.npz"),
        json.loads((FOLDER / "losses.json").read_text()),
    )
    logits, targets = jnp.asarray(golden["logits2"]), jnp.asarray(golden["targets2"])
    f1 = measure(logits, targets, jnp.ones(3)).f1
    scores = f1.per_class()
    assert scores.mean() == pytest.approx(values["MacroAveragedFScore()(logits2,targets2)"])
    weighted = np.average(scores, weights=f1.actual)
    assert weighted == pytest.approx(values["WeightedFScore()(logits2,targets2)"])


def test_items_of_weight_zero_count_nowhere():
    padded = measure(
        jnp.concatenate([LOGITS, jnp.full((3, 4), 99.0)]),
        jnp.concatenate([TARGETS, jnp.array([3, 0, 1])]),
        jnp.concatenate([ONES, jnp.zeros(3)]),
    )
    assert padded.compute() == pytest.approx(measure().compute())


def test_a_weight_of_two_counts_twice():
    weights = jnp.array([2.0, 1, 1, 1, 1, 1])
    again = measure(LOGITS[:1], TARGETS[:1], ONES[:1]).merge(measure())
    assert measure(weights=weights).compute() == pytest.approx(again.compute())


def test_collections_add_up_inside_a_compiled_step_from_zeros():
    shapes = jax.eval_shape(measure, LOGITS[:2], TARGETS[:2], ONES[:2])
    total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    @jax.jit
    def step(total, logits, targets, weights):
        return total.merge(measure(logits, targets, weights))

    for start in (0, 2, 4):
        part = slice(start, start + 2)
        total = step(total, LOGITS[part], TARGETS[part], ONES[part])
    assert total.compute() == pytest.approx(measure().compute())


def test_language_modeling_by_hand():
    logits = LOGITS.reshape(2, 3, 4)
    values = measure(logits, TARGETS.reshape(2, 3), ONES.reshape(2, 3), metrics.LanguageModeling)
    loss = -(4 * math.log(0.7) + 2 * math.log(0.1)) / 6
    assert values.compute() == {
        "loss": pytest.approx(loss),
        "perplexity": pytest.approx(math.exp(loss)),
        "accuracy": pytest.approx(4 / 6),
    }


def test_a_perplexity_beyond_floats_is_infinite():
    assert metrics.Perplexity(total=jnp.array(1e6), weight=jnp.array(1.0)).compute() == math.inf


@pytest.mark.parametrize("metric", [metrics.Loss, metrics.Accuracy, metrics.F1])
def test_nothing_but_padding_is_an_error_and_not_nan(metric):
    empty = metric.from_model_output(logits=LOGITS, targets=TARGETS, weights=jnp.zeros(6))
    with pytest.raises(ValueError, match="nothing to average: no item was counted, or every one"):
        empty.compute()


@pytest.mark.parametrize("metric", [metrics.Loss, metrics.Accuracy, metrics.F1])
def test_weights_of_the_wrong_shape_are_refused(metric):
    """CLU's own averages would drop these without an error."""
    with pytest.raises(ValueError, match=r"weights have the shape \(5,\) and targets \(6,\)"):
        metric.from_model_output(logits=LOGITS, targets=TARGETS, weights=jnp.ones(5))


def test_the_module_does_without_string_annotations():
    """With them CLU fails only when a collection is used: 'str' has no 'from_model_output'."""
    assert "\nfrom __future__" not in inspect.getsource(metrics)
