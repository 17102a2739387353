"""Every registered recipe fits together: data, model, task and optimizer, at its own sizes.

Only shapes are computed, and no data is needed.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import zoo
from zoo.config import ConfigError
from zoo.models.mlp import MLPConfig
from zoo.pipelines.base import Facts
from zoo.train import Control, memory, sharding

FACTS = Facts(
    labels=tuple("OABCDEFGHI"),
    decides={"vocab_size": 100, "num_classes": 10, "input_shape": (32, 32, 3)},
)


def batch_of(recipe):
    """The shapes of a batch, at the sizes of the recipe."""
    inputs = list(recipe.model.example_inputs(recipe.batch_size))
    if length := getattr(recipe.data, "length", None):
        inputs = [jax.ShapeDtypeStruct((recipe.batch_size, length), x.dtype) for x in inputs]
    if isinstance(recipe.task, Control):
        return {}
    output, _ = jax.eval_shape(recipe.model.build().init_with_output, jax.random.key(0), *inputs)
    shape = output.shape[:-1]  # all our tasks choose one of C classes
    return {
        "inputs": inputs[0],
        "targets": jax.ShapeDtypeStruct(shape, np.int32),
        "weights": jax.ShapeDtypeStruct(shape, np.float32),
    }


def step_of(recipe):
    """The shapes of the state before and after a step, and of its tally."""
    recipe = recipe.resolve(recipe.data.open().facts if isinstance(recipe.task, Control) else FACTS)
    mesh = sharding.make_mesh(sharding.MeshConfig(data=1))
    batch = batch_of(recipe)
    train_step, state, tally = memory.step_of(recipe, batch, mesh)
    return state, *jax.eval_shape(train_step, state, tally, batch)


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


def test_int8_models_cannot_be_trained():
    with pytest.raises(ConfigError, match=r"model\.dtype is int8, which cannot be trained"):
        step_of(zoo.override(zoo.recipe("mlp_digits"), {"model.dtype": "int8"}))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mlp_digits", {"eval_every": 0}, "eval_every is 0; it must be 1 or more"),
        ("mlp_digits", {"patience": -1}, "patience is -1; it must be 1 or more"),
        ("mlp_digits", {"model.dropout_rate": 1.0}, "dropout_rate is 1.0; it must be in [0, 1)"),
        ("lstm_imdb", {"model.dropout_rate": -0.1}, "dropout_rate is -0.1; it must be in"),
        ("mlp_digits", {"task.label_smoothing": 10.0}, "task.label_smoothing is 10.0; it must"),
        ("lstm_ner", {"task.label_smoothing": -1.0}, "task.label_smoothing is -1.0; it must be in"),
        ("transformer_copy", {"task.beam_size": 0}, "beam_size is 0; it must be 1 or more"),
        (
            "transformer_multi30k",
            {"task.bleu_sentences": -1},
            "bleu_sentences is -1; it must be",
        ),
    ],
)
def test_what_would_train_to_nonsense_or_fail_at_the_end_is_refused(name, change, message):
    with pytest.raises(ConfigError) as error:
        zoo.override(zoo.recipe(name), change)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": "500"}, "steps: '500' is not of type int"),
        ({"batch_size": 2.5}, "batch_size: 2.5 is not of type int"),
        ({"optimizer": None}, "optimizer: None is not of type Optimizer"),
        ({"init_from": "runs/a"}, "init_from: 'runs/a' is not of type InitFrom | None"),
    ],
)
def test_the_constructor_checks_types(change, message):
    with pytest.raises(ConfigError) as error:
        dataclasses.replace(zoo.recipe("mlp_digits"), **change)
    assert str(error.value) == message


def test_a_list_given_for_a_tuple_becomes_one():
    assert zoo.train.InitFrom(source="a", skip=["head/.*"]).skip == ("head/.*",)
    recipe = dataclasses.replace(zoo.recipe("mlp_digits"), model=MLPConfig(hidden_sizes=(3,)))
    assert hash(recipe) == hash(dataclasses.replace(recipe))
