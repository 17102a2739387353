"""Tiny recipes of reinforcement learning."""

from __future__ import annotations

import zoo
from zoo.models.policy import PolicyLSTMConfig, PolicyMLPConfig
from zoo.train import AWR, PPO, Adam, Recipe
from zoo.train.reinforcement.episodes import Episodes

MLP = PolicyMLPConfig(hidden_sizes=(8,))
NORMALIZED = PolicyMLPConfig(hidden_sizes=(8,), normalize_observations=True)
LSTM = PolicyLSTMConfig(hidden_sizes=(8,), d_model=8)


def tiny(task, model=MLP, environment="cartpole", **changes):
    """A recipe of 4 iterations, in 4 environments for 8 steps each, with fields changed by path."""
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
    "normalised": lambda **more: tiny(ppo(normalize_rewards=True), NORMALIZED, "pendulum", **more),
    "replay": lambda **more: tiny(AWR(num_steps=8, replay=3, minibatches=2), **more),
    "lstm": lambda **more: tiny(ppo(), LSTM, "cartpole_masked", **more),
}
"""Between them all that a run carries from one iteration to the next."""
