"""Recipes for reinforcement learning."""

from __future__ import annotations

from zoo import registry
from zoo.models.policy import PolicyLSTMConfig, PolicyMLPConfig
from zoo.train import A2C, AWR, PPO, Adam, Linear, Recipe, Reinforce
from zoo.train.reinforcement.episodes import Episodes


@registry.recipes.register
def ppo_cartpole() -> Recipe:
    """CartPole-v1 with PPO."""
    return Recipe(
        model=PolicyMLPConfig(),
        data=Episodes(environment="cartpole"),
        task=PPO(num_steps=32, gamma=0.98, lambda_=0.8),
        optimizer=Adam(learning_rate=2e-3, eps=1e-5, clip_norm=0.5, schedule=Linear()),
        steps=390,
        batch_size=8,
        log_every=39,
    )


@registry.recipes.register
def a2c_cartpole() -> Recipe:
    """CartPole-v1 with A2C."""
    return Recipe(
        model=PolicyMLPConfig(),
        data=Episodes(environment="cartpole"),
        task=A2C(num_steps=8),
        optimizer=Adam(learning_rate=1e-3, eps=1e-5, clip_norm=0.5, schedule=Linear()),
        steps=6_000,
        batch_size=8,
        log_every=600,
    )


@registry.recipes.register
def reinforce_cartpole() -> Recipe:
    """CartPole-v1 with REINFORCE and a learnt baseline."""
    return Recipe(
        model=PolicyMLPConfig(),
        data=Episodes(environment="cartpole"),
        task=Reinforce(num_steps=500, value_coefficient=1e-4),
        optimizer=Adam(learning_rate=3e-3, eps=1e-5, clip_norm=0.5, schedule=Linear()),
        steps=160,
        batch_size=8,
        log_every=16,
    )


@registry.recipes.register
def reinforce_cartpole_trax() -> Recipe:
    """CartPole-v0 with REINFORCE as in trax's learning test."""
    return Recipe(
        model=PolicyMLPConfig(hidden_sizes=(64,)),
        data=Episodes(environment="cartpole_v0"),
        task=Reinforce(num_steps=200, baseline="mean", value_coefficient=0.0),
        optimizer=Adam(learning_rate=1e-2, eps=1e-5, schedule=Linear()),
        steps=200,
        batch_size=2,
        log_every=20,
    )


@registry.recipes.register
def awr_cartpole() -> Recipe:
    """CartPole-v1 with AWR."""
    return Recipe(
        model=PolicyMLPConfig(),
        data=Episodes(environment="cartpole"),
        task=AWR(num_steps=64, replay=20, minibatches=16, epochs=2),
        optimizer=Adam(learning_rate=1e-3, eps=1e-5, clip_norm=0.5),
        steps=200,
        batch_size=8,
        log_every=20,
    )


@registry.recipes.register
def ppo_acrobot() -> Recipe:
    """Acrobot-v1 with PPO."""
    return Recipe(
        model=PolicyMLPConfig(normalize_observations=True),
        data=Episodes(environment="acrobot"),
        task=PPO(num_steps=256, gamma=0.99, lambda_=0.94, epochs=4, minibatches=16),
        optimizer=Adam(learning_rate=1e-3, eps=1e-5, clip_norm=0.5, schedule=Linear()),
        steps=240,
        batch_size=16,
        log_every=24,
    )


@registry.recipes.register
def ppo_pendulum() -> Recipe:
    """Pendulum-v1 with PPO."""
    return Recipe(
        model=PolicyMLPConfig(),
        data=Episodes(environment="pendulum"),
        task=PPO(num_steps=256, gamma=0.95, lambda_=0.95, epochs=10, minibatches=16),
        optimizer=Adam(learning_rate=1e-3, eps=1e-5, clip_norm=0.5, schedule=Linear()),
        steps=100,
        batch_size=16,
        log_every=10,
    )


@registry.recipes.register
def ppo_mountain_car() -> Recipe:
    """MountainCar-v0 with PPO."""
    return Recipe(
        model=PolicyMLPConfig(normalize_observations=True),
        data=Episodes(environment="mountain_car"),
        task=PPO(
            num_steps=64, gamma=0.99, lambda_=0.98, epochs=4, minibatches=16, normalize_rewards=True
        ),
        optimizer=Adam(learning_rate=1e-3, eps=1e-5, clip_norm=0.5, schedule=Linear()),
        steps=1_000,
        batch_size=16,
        log_every=100,
    )


@registry.recipes.register
def awr_pendulum() -> Recipe:
    """Pendulum-v1 with AWR."""
    return Recipe(
        model=PolicyMLPConfig(),
        data=Episodes(environment="pendulum"),
        task=AWR(num_steps=200, gamma=0.9, replay=20, minibatches=64, beta=0.3),
        optimizer=Adam(learning_rate=1e-3, eps=1e-5, clip_norm=0.5),
        steps=200,
        batch_size=8,
        log_every=20,
    )


@registry.recipes.register
def ppo_cartpole_masked_lstm() -> Recipe:
    """CartPole-v1 without velocities, with PPO and a policy with an LSTM."""
    return Recipe(
        model=PolicyLSTMConfig(normalize_observations=True),
        data=Episodes(environment="cartpole_masked"),
        task=PPO(num_steps=32, gamma=0.98, lambda_=0.9, epochs=8),
        optimizer=Adam(learning_rate=2e-3, eps=1e-5, clip_norm=0.5, schedule=Linear()),
        steps=700,
        batch_size=32,
        log_every=70,
    )


@registry.recipes.register
def ppo_lunar_lander() -> Recipe:
    """LunarLander-v3 of gymnasium with PPO."""
    return Recipe(
        model=PolicyMLPConfig(),
        data=Episodes(environment="LunarLander-v3"),
        task=PPO(
            num_steps=1024,
            gamma=0.999,
            lambda_=0.98,
            epochs=4,
            minibatches=64,
            entropy_coefficient=0.01,
        ),
        optimizer=Adam(learning_rate=1e-3, eps=1e-5, clip_norm=0.5, schedule=Linear()),
        steps=60,
        batch_size=16,
        log_every=6,
        eval_every=6,
    )
