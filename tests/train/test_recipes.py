"""Every registered recipe fits together: data, model, task and optimizer, at its own sizes.

Shapes alone: nothing is computed, and no data is needed.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

import zoo
from zoo.config import ConfigError
from zoo.pipelines.base import Facts
from zoo.train import memory, sharding

FACTS = Facts(
    labels=tuple("OABCDEFGHI"),
    decides={"vocab_size": 100, "num_classes": 10, "input_shape": (32, 32, 3)},
)


def batch_of(recipe):
    """The shapes of a batch, at the sizes of the recipe's data."""
    size, data = recipe.batch_size, recipe.data
    longest = recipe.model.max_positions
    length = getattr(data, "length", None) or min(longest or 32, 32)
    tokens = jax.ShapeDtypeStruct((size, length), np.int32)
    each = jax.ShapeDtypeStruct((size,), np.int32)
    if recipe.task.name == "image_classification":
        shape = recipe.model.example_inputs(size)[0].shape
        return {"inputs": jax.ShapeDtypeStruct(shape, np.float32), "targets": each}
    return {"inputs": tokens, "targets": each if "classif" in recipe.task.name else tokens}


def step_of(recipe):
    """The shapes of a step's results: the next state and the metrics so far."""
    plan = recipe.resolve(FACTS)
    batch = batch_of(plan)
    weights = jax.ShapeDtypeStruct(batch["targets"].shape, np.float32)
    batch = {**batch, "weights": weights}
    mesh = sharding.make_mesh(sharding.MeshConfig(data=1))
    train_step, state, window = memory.step_of(plan, batch, mesh)
    return state, *jax.eval_shape(train_step, state, window, batch)


@pytest.mark.parametrize("name", zoo.list_recipes())
def test_a_step_has_shapes(name):
    before, after, _ = step_of(zoo.recipe(name))
    jax.tree.map(
        lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype) or pytest.fail(), before, after
    )


@pytest.mark.parametrize("name", zoo.list_recipes())
def test_the_learning_rate_is_never_negative_and_reaches_its_peak(name):
    recipe = zoo.recipe(name)
    schedule = jax.vmap(recipe.optimizer.schedule_fn(recipe.steps))
    rates = schedule(np.arange(recipe.steps))
    assert rates.min() >= 0
    np.testing.assert_allclose(rates.max(), recipe.optimizer.learning_rate, rtol=1e-2)


def test_nothing_is_learnt_in_int8():
    with pytest.raises(ConfigError, match=r"model\.dtype is int8, in which nothing can be learnt"):
        step_of(zoo.override(zoo.recipe("mlp_digits"), {"model.dtype": "int8"}))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mlp_digits", {"model.dropout_rate": 1.0}, "dropout_rate is 1.0; it must be in [0, 1)"),
        ("lstm_imdb", {"model.dropout_rate": -0.1}, "dropout_rate is -0.1; it must be in"),
        ("mlp_digits", {"task.label_smoothing": 10.0}, "task.label_smoothing is 10.0; it must"),
        ("lstm_ner", {"task.label_smoothing": -1.0}, "task.label_smoothing is -1.0; it must be in"),
        ("transformer_copy", {"task.beam_size": 0}, "task.beam_size is 0; it is 1 or more"),
        ("transformer_multi30k", {"task.bleu_sentences": -1}, "task.bleu_sentences is -1; it is 1"),
    ],
)
def test_what_would_train_to_nonsense_or_fail_at_the_end_is_refused(name, change, message):
    with pytest.raises(ConfigError) as error:
        zoo.override(zoo.recipe(name), change)
    assert message in str(error.value)
