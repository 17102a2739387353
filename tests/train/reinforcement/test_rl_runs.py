"""Runs of reinforcement learning: interrupted and resumed, loaded, exported, evaluated, refused."""

from __future__ import annotations

import os
import signal

import jax
import numpy as np
import pytest

import zoo
from zoo.config import ConfigError
from zoo.models.policy import PolicyLSTMConfig, PolicyMLPConfig
from zoo.storage.cards import Card
from zoo.train import A2C, AWR, PPO, Adam, Interrupted, NonFiniteError, Recipe
from zoo.train.reinforcement.episodes import Episodes

MLP = PolicyMLPConfig(hidden_sizes=(8,))


def tiny(task, model=MLP, environment="cartpole", **changes):
    """A recipe of 4 iterations, in 4 environments for 8 steps each."""
    made = Recipe(
        name="tiny",
        model=model,
        data=Episodes(environment=environment, episodes=2, test_episodes=3),
        task=task,
        optimizer=Adam(learning_rate=0.01),
        steps=4,
        batch_size=4,
        eval_every=4,
        checkpoint_every=4,
        log_every=1,
    )
    return zoo.override(made, changes)


def ppo(**changes):
    return PPO(num_steps=8, epochs=2, minibatches=2, **changes)


RUNS = {
    "normalised": lambda: tiny(
        ppo(normalize_rewards=True),
        PolicyMLPConfig(hidden_sizes=(8,), normalize_observations=True),
        "pendulum",
    ),
    "replay": lambda: tiny(AWR(num_steps=8, replay=3, minibatches=2)),
    "lstm": lambda: tiny(
        ppo(), PolicyLSTMConfig(hidden_sizes=(8,), d_model=8), "cartpole_masked"
    ),
}


def terminate_at(step):
    def terminate(report):
        if report.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return terminate


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_interrupted_ends_as_if_it_was_not(name, tmp_path):
    recipe = RUNS[name]()
    whole = zoo.fit(recipe, tmp_path / "whole", quiet=True)
    with pytest.raises(Interrupted, match="interrupted at step 2 of 4"):
        zoo.fit(recipe, tmp_path / "halves", callbacks=[terminate_at(2)], quiet=True)
    halves = zoo.fit(recipe, tmp_path / "halves", quiet=True)
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(halves.state), strict=True):
        if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(a, b)
    assert dict(whole.metrics) == dict(halves.metrics)
    assert int(whole.state.carry.actors.steps) == 4 * 4 * 8
    assert not whole.state.carry.spoilt.any()


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
    returns = agent.play(3, seed=2)
    assert len(returns.each) == 3
    assert returns.mean == run.metrics["test/return"]
    assert zoo.evaluate(run.workdir)["test/return"] == returns.mean
    card = Card.read(run.workdir / "card.toml")
    assert card.metrics["test/return"] == pytest.approx(returns.mean)
    zoo.export(run.workdir, tmp_path / "exported")
    assert all(proof.ok for proof in zoo.verify(tmp_path / "exported"))
    again = zoo.load(tmp_path / "exported")
    assert again.play(3, seed=2) == returns
    drawn = {agent.act(observations[0], temperature=1.0, seed=seed) for seed in range(20)}
    assert drawn == {0, 1}
