"""Tiny environments, and experience without any."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@functools.cache
def _chain():
    from zoo.envs import Box, Discrete, Environment, Step

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Chain(Environment):
        """Two states; action a leads to state a, and pays more in one than in the other.

        An episode ends after `length` steps: it is cut there with `is_cut`.
        """

        length: int = 3
        rewards: tuple[tuple[float, float], ...] = ((0.0, 1.0), (3.0, -1.0))
        is_cut: bool = False
        spoilt: str = ""
        """`observation` or `reward`: which is NaN at the end of an episode."""

        @property
        def observation_space(self):
            return Box((2,), 0.0, 1.0)

        @property
        def action_space(self):
            return Discrete(2)

        @property
        def max_steps(self):
            return self.length

        def reset(self, key):
            where = jnp.int32(0)
            return (where, jnp.int32(0)), jax.nn.one_hot(where, 2)

        def step(self, key, state, action):
            where, steps = state
            reward = jnp.asarray(self.rewards)[where, action]
            over = steps + 1 >= self.length
            observation = jax.nn.one_hot(action, 2)
            if self.spoilt == "observation":
                observation = jnp.where(over, jnp.nan, observation)
            if self.spoilt == "reward":
                reward = jnp.where(over, jnp.nan, reward)
            step = Step.reached((action, steps + 1), observation, reward, over & (not self.is_cut))
            return step._replace(truncated=over & self.is_cut)

    return Chain


@pytest.fixture
def chain():
    """Makes an environment of two states."""
    return _chain()


@pytest.fixture
def registered(monkeypatch):
    """Gives an environment a name. One name is for one environment in all tests."""
    from zoo import registry

    def register(name, environment):
        monkeypatch.setitem(registry.environments._modules, name, __name__)
        monkeypatch.setitem(registry.environments._functions, name, lambda: environment)
        return name

    return register


@pytest.fixture
def experienced():
    """Makes random experience [T, E, …] of a policy; some episodes end, others are cut."""
    from zoo.train.reinforcement.rollouts import Experience

    def experience(module, steps=6, number=4, seed=0):
        random, config = np.random.default_rng(seed), module.config
        shape, over = (steps, number), np.random.default_rng(seed).random((2, steps, number)) < 0.2
        observed = random.normal(size=(2, *shape, *config.observation_shape)).astype(np.float32)
        memory = jax.tree.map(
            lambda part: random.normal(size=part.shape).astype(np.float32), module.begin(number)
        )
        if config.action_shape is None:
            action = random.integers(config.num_actions, size=shape, dtype=np.int32)
        else:
            action = random.normal(size=(*shape, *config.action_shape)).astype(np.float32)
        terminated, truncated = over[0], over[1] & ~over[0]
        first = np.concatenate([np.zeros((1, number), bool), (terminated | truncated)[:-1]])
        made = Experience(
            observation=observed[0],
            first=first,
            action=action,
            reward=random.normal(size=shape).astype(np.float32),
            reached=observed[1],
            terminated=terminated,
            truncated=truncated,
            weights=np.ones(shape, np.float32),
            memory=memory,
        )
        return jax.tree.map(jnp.asarray, made)

    return experience


@pytest.fixture(scope="session")
def agent():
    """An agent for CartPole with random weights."""
    from helpers import toy_predictor

    from zoo.models.policy import PolicyMLPConfig

    config = PolicyMLPConfig(observation_shape=(4,), num_actions=2, hidden_sizes=(4,))
    return toy_predictor(config, "control", lambda: jax.random.key(0), {"environment": "cartpole"})
