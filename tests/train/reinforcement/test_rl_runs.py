"""Runs of reinforcement learning: interrupted and resumed, loaded, exported, evaluated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from rl_recipes import RUNS, ppo, tiny

import zoo
from zoo.hub import verification
from zoo.storage.cards import Card
from zoo.train import Interrupted
from zoo.train.seeds import trains_together

CHECKOUT = Path(__file__).parents[3]


def interrupted_and_resumed(recipe, folder):
    """A run without a break, and one that a signal stopped after two steps."""

    def terminate(report):
        if report.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = zoo.fit(recipe, folder / "whole", quiet=True)
    with pytest.raises(Interrupted, match="interrupted at step 2 of 4"):
        zoo.fit(recipe, folder / "halves", callbacks=[terminate], quiet=True)
    return whole, zoo.fit(recipe, folder / "halves", quiet=True)


def assert_same(whole, halves):
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(halves.state), strict=True):
        if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(a, b)
    assert dict(whole.metrics) == dict(halves.metrics)


@pytest.mark.parametrize(
    "name",
    ["normalised", *(pytest.param(name, marks=pytest.mark.slow) for name in ("replay", "lstm"))],
)
def test_a_run_that_was_interrupted_ends_as_if_it_was_not(name, tmp_path):
    whole, halves = interrupted_and_resumed(RUNS[name](), tmp_path)
    assert_same(whole, halves)
    carry = whole.state.carry
    assert int(carry.actors.steps) == 4 * 4 * 8
    assert not carry.spoilt.any()
    for leaf in jax.tree.leaves(carry.replay and carry.replay.experience.weights):
        np.testing.assert_array_equal(leaf, 1)  # all three slots are full


EIGHT = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path

import jax
from rl_recipes import RUNS
from test_rl_runs import assert_same, interrupted_and_resumed

assert len(jax.devices()) == 8
for name, recipe in RUNS.items():
    recipe = recipe(batch_size=8)
    assert_same(*interrupted_and_resumed(recipe, Path(sys.argv[1]) / name))
"""


@pytest.mark.slow
def test_eight_devices(tmp_path):
    folders = [str(Path(__file__).parent), str(CHECKOUT)]
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    subprocess.run(
        [sys.executable, "-c", EIGHT, str(tmp_path), *folders],
        env={**os.environ, **flags},
        check=True,
        timeout=900,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on CartPole."""
    return zoo.fit(tiny(ppo()), tmp_path_factory.mktemp("runs") / "run", quiet=True)


def test_a_run_becomes_an_agent(run, tmp_path):
    agent = zoo.load(run.workdir)
    observations = np.array([[0.1, 0, 0.2, 0], [0, -1, 0, 1]])
    actions = agent.act(observations)
    assert actions.shape == (2,)
    assert [agent.act(row) for row in observations] == actions.tolist()
    assert isinstance(agent.act(observations[0]), int)
    values = agent.value(observations)
    assert agent.value(observations[0]) == pytest.approx(values[0], rel=1e-5)
    drawn = {agent.act(observations[0], temperature=1.0, seed=seed) for seed in range(20)}
    assert drawn == {0, 1}
    returns = agent.play(3, seed=2)  # the episodes of the test split
    assert len(returns.each) == 3
    mean = pytest.approx(returns.mean, rel=1e-5)
    assert run.metrics["test/return"] == mean
    assert Card.read(run.workdir / "card.toml").metrics["test/return"] == mean
    assert zoo.evaluate(run.workdir)["test/return"] == mean

    zoo.export(run.workdir, tmp_path / "exported")
    proofs = list(verification.verify(tmp_path / "exported"))
    assert all(proof.holds for proof in proofs), [*map(str, proofs)]
    assert zoo.load(tmp_path / "exported").play(3, seed=2) == returns


def test_an_agent_goes_on_learning_where_it_fits(run, tmp_path):
    """Fine-tuning begins with its weights, in an environment of the same spaces."""
    other = tiny(ppo(), environment="cartpole_v0", **{"optimizer.learning_rate": 0.0})
    tuned = zoo.fit(other, tmp_path / "tuned", init_from=str(run.workdir), quiet=True)
    assert Card.read(tuned.workdir / "card.toml").preprocessing["environment"] == "cartpole_v0"
    agent = zoo.load(run.workdir)
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.device_get(tuned.state.params),
        jax.device_get(agent.variables["params"]),
    )


def test_a_policy_has_a_moving_average(tmp_path):
    recipe = tiny(ppo(), ema=0.5, steps=1, eval_every=1, checkpoint_every=1)
    result = zoo.fit(recipe, tmp_path / "run", quiet=True)
    assert np.isfinite(result.metrics["test/ema/return"])
    assert jax.tree.structure(result.state.ema["params"]) == jax.tree.structure(result.state.params)
    assert not trains_together(recipe)  # several seeds in one program keep no averages


@pytest.mark.slow
def test_an_environment_of_gymnasium_trains_and_goes_on(tmp_path):
    pytest.importorskip("gymnasium")
    recipe = tiny(ppo(), environment="CartPole-v1", steps=2, eval_every=2, checkpoint_every=1)
    first = zoo.fit(recipe, tmp_path / "run", quiet=True)
    assert first.state.step == 2
    agent = zoo.load(tmp_path / "run")
    assert agent.play(2, seed=1).mean >= 8
    assert agent.card.preprocessing["environment"] == "CartPole-v1"
    again = zoo.fit(zoo.override(recipe, {"steps": 3}), tmp_path / "run", quiet=True)
    assert again.state.step == 3
    assert int(again.state.carry.actors.steps) == 3 * 4 * 8
    assert np.isfinite(again.metrics["test/return"])
