"""Recipes for reinforcement learning."""

from __future__ import annotations

import dataclasses

from zoo import registry
from zoo.models.policy import PolicyLSTMConfig, PolicyMLPConfig
from zoo.train import AWR, A2C, PPO, Adam, Linear, Recipe, Reinforce
from zoo.train.reinforcement.episodes import Episodes


@registry.recipes.register
def ppo_cartpole() -> Recipe:
    """CartPole-v1 with PPO."""
    return Recipe(
        model=PolicyMLPConfig(),
        data=Episodes(environment="cartpole"),
        task=PPO(num_steps=32, gamma=0.98, lambda_=0.8, epochs=20, minibatches=1),
        optimizer=Adam(learning_rate=1e-3, eps=1e-5, clip_norm=0.5, schedule=Linear()),
        steps=390,
        batch_size=8,
        log_every=39,
    )
