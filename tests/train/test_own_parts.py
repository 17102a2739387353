"""A loss, metrics and an optimizer of the user's as values of a recipe."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import zoo
from zoo import config as configs
from zoo.config import ConfigError
from zoo.train import Linear
from zoo.train.optimizers import Optimizer
from zoo.train.own import optax as own_optimizer
from zoo.train.own import task as own_task
from zoo.train.tasks import Task

PARAMS = {"a": np.array([1.0, -2.0], np.float32), "b": np.array([3.0], np.float32)}


def squared_error(output, batch):
    return jnp.sum(batch["weights"] * (output - batch["targets"]) ** 2), jnp.sum(batch["weights"])


def error(output, batch):
    return jnp.sum(batch["weights"] * abs(output - batch["targets"])), jnp.sum(batch["weights"])


def shrinking(learning_rate, factor=2.0):
    """An optimizer of the user's, as Optax writes them."""
    return optax.scale_by_schedule(lambda step: -learning_rate(step) / factor)


def trajectory(transformation):
    params, state = PARAMS, transformation.init(PARAMS)
    for step in range(4):
        gradients = jax.tree.map(lambda leaf, step=step: np.sin(leaf + step), params)
        updates, state = transformation.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (optax.adamw, {"b1": 0.8, "weight_decay": 0.1}),
        (optax.lion, {"b2": 0.9}),
        (optax.sgd, {"momentum": 0.5, "nesterov": True}),
    ],
)
def test_an_optimizer_of_optax_makes_the_updates_that_optax_makes(function, options):
    made = own_optimizer(function, learning_rate=0.1, schedule=Linear(), **options)
    plain = function(optax.linear_schedule(0.1, 0.0, 10), **options)
    ours, theirs = trajectory(made.build(10)), trajectory(plain)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)


def test_an_optimizer_of_one_s_own_can_be_clipped_and_frozen_and_goes_to_json():
    made = own_optimizer(shrinking, learning_rate=0.1, factor=4.0, freeze=("a",))
    after = trajectory(made.build(10))
    np.testing.assert_array_equal(after["a"], PARAMS["a"])
    assert after["b"] != PARAMS["b"]
    text = configs.to_json(made)
    assert f'"type": "{__name__}:shrinking"' in text
    assert configs.from_json(Optimizer, text) == made
    assert '"type": "optax:adamw"' in configs.to_json(own_optimizer(optax.adamw, learning_rate=1.0))


def test_a_task_of_functions_goes_to_json_and_measures_them():
    made = own_task(squared_error, metrics={"error": error}, best=("error", "min"))
    assert configs.from_json(Task, configs.to_json(made)) == made
    assert (made.best.metric, made.best.mode) == ("validation/error", "min")
    batch = {
        "inputs": jnp.zeros(3),
        "targets": jnp.array([1.0, 2.0, 9.0]),
        "weights": jnp.array([1.0, 1.0, 0.0]),
    }
    assert made.loss(jnp.zeros(3), batch) == (5.0, 2.0)
    assert {name: f(jnp.zeros(3), batch) for name, f in made.metrics().items()} == {
        "loss": (5.0, 2.0),
        "error": (3.0, 2.0),
    }
    (inputs,) = made.arguments(batch)
    assert inputs is batch["inputs"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: own_task(lambda output, batch: 0), "has no name that another process could find"),
        (lambda: own_task(error, best=("f1", "max")), "best_metric is 'f1'; the metrics are loss"),
        (
            lambda: own_optimizer(optax.adamw, learning_rate=1.0, nestrov=True),
            "did you mean 'nesterov'",
        ),
        (lambda: own_optimizer(optax.clip, learning_rate=1.0), "optax:clip takes no learning_rate"),
        (lambda: own_optimizer(3, learning_rate=1.0), "3 is not an optimizer; give a function"),
    ],
)
def test_what_cannot_be_a_part_of_a_recipe_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


class Flat(nn.Module):
    """A module whose parameters depend on the shape of an image."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(10)(x.reshape(len(x), -1))


def test_a_module_of_images_is_initialised_with_their_shape():
    recipe = dataclasses.replace(zoo.recipe("mlp_digits"), model=zoo.module(Flat)).resolve()
    init, examples = recipe.model.build().init, recipe.model.example_inputs(2)
    shapes = jax.tree.leaves(jax.eval_shape(init, jax.random.key(0), *examples))
    assert [leaf.shape for leaf in shapes] == [(10,), (64, 10)]
