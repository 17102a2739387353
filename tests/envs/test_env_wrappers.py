"""Time limit, auto-reset and mask; spaces; environments by name."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest
from jax import numpy as jnp


@functools.cache
def counting(length=3, reward=2.0):
    """An environment that terminates after `length` steps; it shows its count and its number.

    The number is drawn at the beginning of the episode, so that episodes can be told apart.
    """
    from zoo.envs import Box, Discrete, Environment, Step

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Counting(Environment):
        length: int
        reward: float

        @property
        def observation_space(self):
            return Box((2,), (0.0, 0.0), (math.inf, 1.0))

        @property
        def action_space(self):
            return Discrete(2)

        def reset(self, key):
            state = jnp.stack([jnp.zeros(()), jax.random.uniform(key)])
            return state, state

        def step(self, key, state, action):
            state = state + jnp.array([1.0, 0.0])
            over = state[0] >= self.length
            return Step.reached(state, state, jnp.float32(self.reward), over)

    return Counting(length=length, reward=reward)


KEY = jax.random.key(0)
ACTION = jnp.zeros((), jnp.int32)


def walk(env, steps):
    state, _ = env.reset(KEY)
    for i in range(steps):
        step = env.step(jax.random.fold_in(KEY, i), state, ACTION)
        state = step.state
        yield step


def test_a_limit_cuts_and_an_end_terminates():
    from zoo.envs import TimeLimit

    def ends(limit):
        env = TimeLimit(env=counting(), limit=limit)
        return [(bool(step.terminated), bool(step.truncated)) for step in walk(env, min(limit, 3))]

    assert ends(2) == [(False, False), (False, True)]
    assert ends(3) == [(False, False), (False, False), (True, False)]  # both at once: no cut
    assert ends(4)[-1] == (True, False)


def test_the_lowest_limit_counts():
    from zoo.envs import TimeLimit

    inner = TimeLimit(env=counting(9), limit=2)
    outer = TimeLimit(env=inner, limit=5)
    assert (counting().max_steps, inner.max_steps, outer.max_steps) == (None, 2, 2)
    assert [bool(step.truncated) for step in walk(outer, 2)] == [False, True]


@pytest.mark.parametrize("limit", [2, 3])
def test_auto_reset_gives_the_last_observation_and_the_first_of_the_next_episode(limit):
    from zoo.envs import AutoReset, TimeLimit

    env = AutoReset(env=TimeLimit(env=counting(), limit=limit))
    steps = list(walk(env, 3 * limit))
    for i, step in enumerate(steps):
        over = (i + 1) % limit == 0
        assert bool(step.terminated) == (over and limit == 3)
        assert bool(step.truncated) == (over and limit == 2)
        assert step.observation[0] == i % limit + 1
        if over:
            assert step.next_observation[0] == 0
            assert step.next_observation[1] != step.observation[1]
            np.testing.assert_array_equal(step.state.state, step.next_observation)
            assert step.state.steps == 0
        else:
            np.testing.assert_array_equal(step.observation, step.next_observation)
    assert len({float(step.observation[1]) for step in steps}) == 3


def test_many_environments_reset_by_themselves_and_begin_apart():
    from zoo.envs import TimeLimit

    env = TimeLimit(env=counting(2), limit=5)
    step_all = jax.jit(env.step_all)
    state, observation = env.reset_all(KEY, 6)
    assert len(set(np.asarray(observation[:, 1]).tolist())) == 6
    for i in range(2):
        step = step_all(jax.random.key(i), state, jnp.zeros(6, jnp.int32))
        state = step.state
    assert step.terminated.all() and not step.truncated.any()
    assert (step.observation[:, 0] == 2).all() and (step.next_observation[:, 0] == 0).all()
    np.testing.assert_array_equal(step.observation[:, 1], observation[:, 1])
    assert len(set(np.asarray(step.next_observation[:, 1]).tolist())) == 6
    np.testing.assert_array_equal(state.steps, np.zeros(6))


def test_several_seeds_are_one_program():
    from zoo import envs

    env, keys = envs.create("mountain_car"), jax.random.split(KEY, 3)

    def run(key):
        state, _ = env.reset_all(key, 2)
        return env.step_all(key, state, jnp.zeros(2, jnp.int32)).observation

    together = jax.jit(jax.vmap(run))(keys)
    np.testing.assert_allclose(together[1], jax.jit(run)(keys[1]), rtol=1e-6)
    assert len(np.unique(together[..., 0])) == 6


def test_the_order_of_environments_changes_nothing():
    from zoo import envs

    env, order = envs.create("acrobot"), np.array([3, 0, 4, 1, 2])
    state, _ = jax.device_get(jax.jit(lambda: env.reset_all(KEY, 5))())
    action, step_all = np.array([0, 1, 2, 2, 0]), jax.jit(env.step_all)
    step = step_all(KEY, state, action)
    moved = step_all(KEY, jax.tree.map(lambda x: x[order], state), action[order])
    for one, other in zip(jax.tree.leaves(step), jax.tree.leaves(moved), strict=True):
        np.testing.assert_array_equal(one[order], other)


def test_a_mask_keeps_entries_of_both_observations():
    from zoo.envs import AutoReset, Box, CartPole, Masked

    env = AutoReset(env=Masked(env=CartPole(), kept=(0, 2)))
    bare = AutoReset(env=CartPole())
    assert env.observation_space == Box(
        (2,), (-4.8, -math.pi * 24 / 180), (4.8, math.pi * 24 / 180)
    )
    state, observation = env.reset(KEY)
    np.testing.assert_array_equal(observation, bare.reset(KEY)[1][jnp.array([0, 2])])
    state = state._replace(angle=jnp.float32(0.3))
    step, full = (e.step(KEY, state, ACTION) for e in (env, bare))
    assert step.terminated
    for name in ("observation", "next_observation"):
        np.testing.assert_array_equal(getattr(step, name), getattr(full, name)[jnp.array([0, 2])])


@pytest.mark.parametrize("kept", [(), (0, 4), (-1,)])
def test_a_mask_must_fit(kept):
    from zoo.envs import CartPole, Masked

    with pytest.raises(ValueError, match=r"CartPole has shape \(4,\), so it must be indices"):
        Masked(env=CartPole(), kept=kept)


def test_spaces_are_values():
    from zoo.envs import Box, Discrete

    assert Box((2,), 0.0, (1.0, 2.0)) == Box((2,), 0.0, (1.0, 2.0)) != Box((2,), 0.0, (1.0, 3.0))
    assert len({Discrete(2), Discrete(2), Discrete(3), Box(()), Box(())}) == 3
    sample = np.asarray(Box((2,), 0.0, (1.0, 2.0)).sample(KEY, 500))
    assert sample.shape == (500, 2) and sample.dtype == np.float32 and sample.min() >= 0
    np.testing.assert_allclose(sample.max(axis=0), (1, 2), rtol=0.02)
    assert set(np.asarray(Discrete(3).sample(KEY, 50)).tolist()) == {0, 1, 2}
    with pytest.raises(ValueError, match="takes one, or 2"):
        Box((2,), (0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="infinite bounds"):
        Box((2,)).sample(KEY, 1)


def test_names():
    import zoo
    from zoo.registry import UnknownNameError

    names = zoo.list_environments()
    assert names == (
        *("acrobot", "cartpole", "cartpole_masked", "cartpole_v0", "mountain_car", "pendulum"),
    )
    with pytest.raises(UnknownNameError) as error:
        zoo.envs.create("cartpol")
    assert str(error.value) == "no environment named 'cartpol'; did you mean 'cartpole'? (6 known)"


@pytest.mark.parametrize("name", ["cartpole_masked", "pendulum", "Acrobot-v1"])
def test_an_environment_is_a_configuration(name):
    from zoo import config, envs

    env = envs.create(name)
    envs.import_environments()
    assert config.from_json(envs.Environment, config.to_json(env)) == env


def test_constants_change_the_physics():
    from zoo import config, envs

    heavy = config.override(envs.create("cartpole"), {"env.gravity": 20, "limit": 50})
    assert heavy.max_steps == 50 and heavy != envs.create("cartpole")
    state, _ = heavy.reset(KEY)
    light = envs.create("cartpole").step(KEY, state, ACTION)
    assert (heavy.step(KEY, state, ACTION).observation != light.observation).any()
