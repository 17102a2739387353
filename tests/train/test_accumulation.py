"""A batch that passes through the model in parts gives the update of the whole batch."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import zoo
from zoo.config import ConfigError
from zoo.models.mlp import MLPConfig
from zoo.train import (
    ImageClassification,
    LanguageModeling,
    NonFiniteError,
    Sgd,
    TextClassification,
    accumulation,
    memory,
    sharding,
)
from zoo.train.clu_metrics import measure
from zoo.train.state import TrainState, create_state

SGD = Sgd(learning_rate=0.5).build(10)


def batch_of(rows: int) -> dict[str, jax.Array]:
    """Noise of three classes in which every row has another weight."""
    random = np.random.default_rng(rows)
    return {
        "inputs": jnp.asarray(random.normal(size=(rows, 2, 2, 1)), jnp.float32),
        "targets": jnp.asarray(random.integers(0, 3, rows)),
        "weights": jnp.asarray(random.uniform(0, 2, rows), jnp.float32),
    }


def state_of(config, mesh_size: int = 1) -> tuple[nn.Module, TrainState]:
    mesh = sharding.make_mesh(sharding.MeshConfig(data=mesh_size))
    module = config.build()
    return module, create_state(module, config, SGD, 0, mesh)


@pytest.mark.parametrize(("rows", "parts"), [(8, 4), (7, 2), (3, 5)])
def test_the_update_is_that_of_the_whole_batch(rows, parts):
    """However the weights lie, and where whole parts are filled up with nothing."""
    module, state = state_of(
        MLPConfig(input_shape=(2, 2, 1), hidden_sizes=(4,), num_classes=3, dropout_rate=0.0)
    )
    task, batch = ImageClassification(label_smoothing=0.1), batch_of(rows)
    whole, loss, output = jax.jit(lambda *given: task.update(module, SGD, *given))(state, batch)
    found, sum_of_losses, metrics = jax.jit(
        lambda state, batch: accumulation.update(task, module, SGD, state, batch, parts)
    )(state, batch)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), whole.params, state.params)
    assert max(jax.tree.leaves(moved)) > 1e-3
    for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert float(sum_of_losses) == pytest.approx(float(loss), abs=1e-6)
    expected = measure(task, output, batch, training=True).compute()
    assert metrics.compute() == pytest.approx(expected, abs=1e-6)
    assert int(found.step) == 1


def test_batch_statistics_are_those_of_the_parts_one_after_the_other():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            x = x.reshape(len(x), -1)
            x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
            return nn.Dense(3)(x)

    module, batch = Normed(), batch_of(4)
    variables = dict(module.init(jax.random.key(0), batch["inputs"]))
    state = TrainState(
        jnp.int32(0), variables, SGD.init(variables["params"]), jax.random.key(1), ()
    )
    new, *_ = accumulation.update(ImageClassification(), module, SGD, state, batch, 2)
    flat = np.asarray(batch["inputs"]).reshape(4, -1)
    mean = 0.5 * (0.5 * 0 + 0.5 * flat[::2].mean(0)) + 0.5 * flat[1::2].mean(0)
    np.testing.assert_allclose(new.variables["batch_stats"]["BatchNorm_0"]["mean"], mean, atol=1e-6)


def test_a_run_in_parts_is_the_run_with_whole_batches(run):
    fields = {"model__dropout_rate": 0.0, "steps": 3, "eval_every": 3, "log_every": 3}
    whole = run("whole", **fields)
    parts = run("parts", accumulate=2, **fields)
    for a, b in zip(
        jax.tree.leaves(parts.state.params), jax.tree.leaves(whole.state.params), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert parts.metrics == pytest.approx(whole.metrics, abs=1e-5)


def test_a_step_takes_the_memory_of_a_part(recipe):
    config = MLPConfig(input_shape=(64,), hidden_sizes=(512,), num_classes=2)
    whole = dataclasses.replace(
        recipe(mesh__data=1), model=config, task=ImageClassification(), batch_size=512
    )
    batch = {
        "inputs": jax.ShapeDtypeStruct((512, 64), jnp.float32),
        "targets": jax.ShapeDtypeStruct((512,), jnp.int32),
        "weights": jax.ShapeDtypeStruct((512,), jnp.float32),
    }
    mesh = sharding.make_mesh(whole.mesh)
    needed = [
        memory.of_batch(dataclasses.replace(whole, accumulate=parts), batch, mesh).temporary
        for parts in (1, 8)
    ]
    assert needed[1] < 0.7 * needed[0]


def test_what_has_no_parts_is_refused_in_one_line(recipe, tmp_path):
    with pytest.raises(ConfigError) as error:
        recipe(accumulate=3)
    assert str(error.value) == (
        "accumulate is 3, which does not divide batch_size 4; take a divisor of it"
    )
    with pytest.raises(ConfigError, match="accumulate is 0; it must be 1 or more"):
        recipe(accumulate=0)

    class OwnUpdate(TextClassification):
        def update(self, module, optimizer, state, batch):
            raise NotImplementedError

    with pytest.raises(ConfigError, match="accumulate is 2, but OwnUpdate makes updates of its"):
        recipe(accumulate=2, task=OwnUpdate())


def test_a_state_carried_from_batch_to_batch_has_no_parts(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a rose is a rose is a rose. " * 30)
    carried = zoo.override(
        zoo.recipe("lstm_shakespeare"),
        {
            "data.train": (str(text),),
            "data.name": None,
            "batch_size": 2,
            "accumulate": 2,
            "task": LanguageModeling(carry_state=True),
            "model.d_model": 4,
            "data.length": 8,
            "data.overlap": 4,
        },
    )
    with pytest.raises(ConfigError, match="accumulate is 2, but the task carries a state from"):
        zoo.fit(carried, tmp_path / "run", quiet=True)


def test_a_loss_that_is_not_finite_in_one_part_names_the_step(run, rows):
    with pytest.raises(NonFiniteError, match=r"the loss of step 2 is not finite"):
        run(accumulate=2, optimizer__learning_rate=1e38, log_every=4, eval_every=4)
