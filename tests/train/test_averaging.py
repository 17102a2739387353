"""The moving average of the weights: its values, its checkpoints, its evaluation, its export."""

from __future__ import annotations

import dataclasses
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.config import ConfigError, FileMistake
from zoo.train import Interrupted, averaging, memory
from zoo.train.state import TrainState


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, dict(left), dict(right))


@pytest.fixture(scope="module")
def averaged(recipe, rows, tmp_path_factory):
    """A finished run that averages."""
    folder = tmp_path_factory.mktemp("averaged") / "whole"
    data = {"train": rows[:6], "validation": rows[6:], "test": rows[6:]}
    return zoo.fit(recipe(ema=0.4), folder, data=data, quiet=True), data


def test_the_average_follows_the_weights_sooner_at_first():
    weights, expected = [jnp.array(value) for value in (0.0, 1.0, 3.0, 2.0)], 0.0
    state = averaging.begun(TrainState(jnp.int32(0), {"w": weights[0]}, (), jax.random.key(0)))
    for step, weight in enumerate(weights[1:], 1):
        moved = dataclasses.replace(state, step=jnp.int32(step), variables={"w": weight})
        state = averaging.updated(moved, 0.25)
        decay = min(0.25, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * float(weight)
        assert float(state.ema["w"]) == pytest.approx(expected)


def test_it_is_evaluated_beside_the_weights(averaged):
    result, data = averaged
    lines = (result.workdir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    evaluated = [record for record in records if "validation/loss" in record]
    assert all("validation/ema/loss" in record for record in evaluated)
    assert {"test/loss", "test/ema/loss"} <= result.metrics.keys()
    again = zoo.evaluate(result.workdir, "test", data=data, step="ema")
    assert again["test/loss"] == pytest.approx(result.metrics["test/ema/loss"], rel=1e-5)


def test_it_is_loaded_and_exported_by_its_name(averaged, tmp_path):
    result, _ = averaged
    loaded = zoo.load(result.workdir, step="ema")
    assert_same(loaded.variables, result.state.ema)
    assert loaded.card.metrics == {}, "those of the card are of other weights"
    zoo.export(result.workdir, tmp_path / "out", step="ema")
    assert_same(zoo.load(tmp_path / "out").variables, result.state.ema)


def test_a_resumed_run_ends_with_the_same_average(averaged, recipe, tmp_path):
    whole, data = averaged

    def terminate(report):
        if report.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    for callbacks in ([terminate], []):
        options = {"data": data, "callbacks": callbacks, "quiet": True}
        if callbacks:
            with pytest.raises(Interrupted):
                zoo.fit(recipe(ema=0.4), tmp_path / "halves", **options)
        else:
            halves = zoo.fit(recipe(ema=0.4), tmp_path / "halves", **options)
    assert_same(halves.state.variables, whole.state.variables)
    assert_same(halves.state.ema, whole.state.ema)
    assert dict(halves.metrics) == dict(whole.metrics)


def test_a_run_without_one_says_how_to_keep_one(source):
    with pytest.raises(FileMistake, match=r"no moving average of the weights; a run keeps one wi"):
        zoo.load(source, step="ema")


def test_a_decay_is_a_share(recipe):
    with pytest.raises(ConfigError, match=r"ema is 1.0; it must be in \[0, 1\)"):
        recipe(ema=1.0)


def test_another_decay_may_be_allowed_but_no_average_begins_late(run):
    run("plain", steps=2)
    with pytest.raises(ConfigError, match=r"ema is None there, 0.9 now"):
        run("plain", ema=0.9)


def test_the_estimate_of_memory_counts_it(recipe, tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "a b c,sea\nd e f,sky\n" * 4)
    files = recipe(data__train=(str(path),), mesh__data=1, data__holdout=0.0)
    plain, averaged = (
        next(memory.of_recipe(zoo.override(files, {"ema": ema}))) for ema in (None, 0.9)
    )
    assert averaged.optimizer == plain.optimizer + plain.variables


def test_it_begins_as_the_weights_in_buffers_of_its_own(averaged):
    result, _ = averaged
    state = averaging.begun(result.state)
    for a, b in zip(jax.tree.leaves(state.ema), jax.tree.leaves(state.variables), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.unsafe_buffer_pointer() != b.unsafe_buffer_pointer()
