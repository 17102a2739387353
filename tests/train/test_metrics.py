"""Metrics: by hand, added up inside a compiled step from zeros, and never a silent NaN."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.predictors import TextClassifier
from zoo.train import LanguageModeling, Metric, Task, TextClassification, clu_metrics, losses
from zoo.train import metrics as functions

FOLDER = Path(__file__).parents[1] / "golden" / "losses"

TARGETS = jnp.array([0, 0, 0, 1, 1, 2])
GUESSES = jnp.array([0, 0, 1, 1, 0, 2])
ONES = jnp.ones(6)
LOGITS = jnp.log(0.7 * jax.nn.one_hot(GUESSES, 4) + 0.1 * (1 - jax.nn.one_hot(GUESSES, 4)))
"""The guess has probability 0.7, the other three 0.1 each. Class 3 does not occur."""


@partial(jax.jit, static_argnames="task")
def measure(logits=LOGITS, targets=TARGETS, weights=ONES, task=TextClassification()):  # noqa: B008
    return clu_metrics.measure(task, logits, {"targets": targets, "weights": weights})


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


def f1_of_classes(logits, targets):
    batch = {"targets": jnp.asarray(targets), "weights": jnp.ones(len(targets))}
    sums, denominators = map(np.asarray, functions.f1_sums(jnp.asarray(logits), batch))
    return sums / np.maximum(denominators, 1)


def test_f1_is_scikit_learn_s():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    targets, guesses = rng.integers(0, 4, 50), rng.integers(0, 5, 50)
    logits = jax.nn.one_hot(guesses, 9)
    expected = sklearn_metrics.f1_score(targets, guesses, average="macro")
    found = measure(logits, jnp.asarray(targets), jnp.ones(50)).compute()
    assert found["f1"] == pytest.approx(expected)
    expected = sklearn_metrics.f1_score(targets, guesses, average=None)
    np.testing.assert_allclose(f1_of_classes(logits, targets), [*expected, 0, 0, 0, 0], rtol=1e-6)


def test_the_f1_of_the_classes_gives_trax_s_f_scores():
    golden = np.load(FOLDER / "losses.npz")
    values = json.loads((FOLDER / "losses.json").read_text())
    logits, targets = golden["logits2"], golden["targets2"]
    scores = f1_of_classes(logits, targets)
    assert scores.mean() == pytest.approx(values["MacroAveragedFScore()(logits2,targets2)"])
    occurrences = np.bincount(targets, minlength=len(scores))
    weighted = np.average(scores, weights=occurrences)
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


def test_metrics_add_up_inside_a_compiled_step_from_zeros():
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
    logits, targets, weights = LOGITS.reshape(2, 3, 4), TARGETS.reshape(2, 3), ONES.reshape(2, 3)
    values = measure(logits, targets, weights, LanguageModeling())
    loss = -(4 * math.log(0.7) + 2 * math.log(0.1)) / 6
    assert values.compute() == {
        "loss": pytest.approx(loss),
        "perplexity": pytest.approx(math.exp(loss)),
        "accuracy": pytest.approx(4 / 6),
    }


def test_a_perplexity_beyond_floats_is_infinite():
    assert functions.perplexity.value(np.float32(1e6), np.float32(1)) == math.inf


@pytest.mark.parametrize("name", ["loss", "accuracy", "f1"])
def test_nothing_but_padding_is_an_error_and_not_nan(name):
    with pytest.raises(ValueError, match="nothing to average: no item was counted, or every item"):
        found = measure(weights=jnp.zeros(6))
        getattr(found, f"metric_{found.names.index(name)}").compute()


@pytest.mark.parametrize("name", ["loss", "accuracy", "f1"])
def test_weights_of_the_wrong_shape_are_refused(name):
    """CLU's own averages would drop these without an error."""
    metric = TextClassification().metrics()[name]
    function = metric.sums if isinstance(metric, Metric) else metric
    with pytest.raises(ValueError, match=r"weights have the shape \(5,\) and targets \(6,\)"):
        function(LOGITS, {"targets": TARGETS, "weights": jnp.ones(5)})


def test_a_metric_of_one_s_own_is_a_function():
    def top2_accuracy(logits, batch):
        _, best = jax.lax.top_k(logits, 2)
        hits = jnp.any(best == batch["targets"][:, None], axis=-1)
        return jnp.sum(batch["weights"] * hits), jnp.sum(batch["weights"])

    def smallest(total, denominator):
        return float(np.min(total / denominator))

    def by_class(logits, batch):
        members = jax.nn.one_hot(batch["targets"], 4)
        return (members * logits).sum(axis=0), jnp.maximum(members.sum(axis=0), 1)

    @dataclass(frozen=True, kw_only=True)
    class Own(Task):
        predictor = TextClassifier

        def loss(self, output, batch):
            return losses.cross_entropy(output, batch["targets"], batch["weights"])

        def metrics(self):
            own = {"top2": top2_accuracy, "smallest": Metric(by_class, smallest)}
            return {**super().metrics(), **own}

    found = measure(task=Own()).merge(measure(task=Own())).compute()
    assert found == {
        "loss": measure().compute()["loss"],
        "top2": 1.0,  # of the classes that tie, the lowest comes second
        "smallest": pytest.approx((math.log(0.7) + math.log(0.1)) / 2),  # class 1
    }


def test_a_metric_that_was_edited_is_measured_anew():
    """Equal tasks may have different functions, when the file that defines them was edited."""
    values = [1.0]

    @dataclass(frozen=True, kw_only=True)
    class Own(TextClassification):
        def metrics(self):
            value = values[0]
            return {"constant": lambda output, batch: (jnp.array(value), jnp.array(1.0))}

    batch = {"targets": TARGETS, "weights": ONES}
    assert clu_metrics.measure(Own(), LOGITS, batch).compute() == {"constant": 1.0}
    values[0] = 2.0
    assert clu_metrics.measure(Own(), LOGITS, batch).compute() == {"constant": 2.0}


def test_a_metric_that_returns_one_number_is_refused():
    @dataclass(frozen=True, kw_only=True)
    class Wrong(TextClassification):
        def metrics(self):
            return {"wrong": lambda output, batch: 1.0}

    with pytest.raises(TypeError, match=r"the metric 'wrong' returned 1\.0; a metric returns \("):
        measure(task=Wrong())
