"""Gymnasium's environments by their ids."""

from __future__ import annotations

import builtins
import functools

import gymnasium
import jax
import numpy as np
import pytest
from jax import numpy as jnp

KEY = jax.random.key(0)


@functools.cache
def create(name):
    from zoo import envs

    return envs.create(name)


class Odd(gymnasium.Env):
    """Its actions begin at 5, its third step ends, and then `broken` is NaN."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(0, 9, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(2, start=5)

    def __init__(self, broken=""):
        self.broken, self.seen = broken, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1), {}

    def step(self, action):
        assert action in (5, 6)
        self.count += 1
        end = self.count == 3
        nan = {self.broken: np.nan} if end else {}
        observation = np.array([nan.get("observation", self.count)])
        return observation, nan.get("reward", 1.0), end, end, {}


gymnasium.register("Odd-v0", entry_point=Odd, max_episode_steps=7)


def test_a_step_that_ends_gives_the_last_observation_and_the_first():
    """The same as gymnasium's environment by itself, driven by hand; no action is ignored."""
    vector, single = create("CartPole-v1").vector(2, seed=3), gymnasium.make("CartPole-v1")
    observation = vector.reset()
    expected, _ = single.reset(seed=3)
    np.testing.assert_array_equal(observation[0], expected)
    ends = 0
    for i in range(60):
        step = vector.step(np.array([i % 3 % 2, 1]))
        expected, reward, terminated, _, _ = single.step(i % 3 % 2)
        np.testing.assert_array_equal(step.observation[0], expected)
        assert (step.reward[0], step.terminated[0]) == (reward, terminated)
        assert not step.truncated.any()
        if terminated:
            expected, _ = single.reset()
            ends += 1
        np.testing.assert_array_equal(step.next_observation[0], expected)
    vector.close()
    assert ends > 1


def test_a_compiled_roll_out_steps_the_same_environments():
    env = create("Odd-v0")

    @jax.jit
    def roll(key):
        state, observation = env.reset_all(key, 2)

        def body(state, key):
            step = env.step_all(key, state, jnp.array([0, 1]))
            return step.state, step._replace(state=None)

        return observation, jax.lax.scan(body, state, jax.random.split(key, 7))

    first, (state, steps) = roll(KEY)
    np.testing.assert_array_equal(first, np.zeros((2, 1)))
    np.testing.assert_array_equal(steps.observation[:, 0, 0], [1, 2, 3, 1, 2, 3, 1])
    np.testing.assert_array_equal(steps.next_observation[:, 1, 0], [1, 2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(steps.terminated[:, 0], [0, 0, 1, 0, 0, 1, 0])
    assert not steps.truncated.any()  # gymnasium's said both
    assert (state.steps, steps.reward.dtype) == (7, np.float32)


def test_a_state_from_elsewhere_counts_as_cut_and_new_episodes_begin():
    env = create("Odd-v0")
    state, _ = env.reset_all(KEY, 2)
    action = jnp.zeros(2, jnp.int32)
    later = env.step_all(KEY, state, action)
    env.step_all(KEY, later.state, action)
    for old in (later.state, later.state._replace(token=jnp.int32(-1))):
        step = env.step_all(KEY, old, action)
        assert step.truncated.all() and not step.terminated.any() and not step.reward.any()
        np.testing.assert_array_equal(step.observation, later.observation)
        np.testing.assert_array_equal(step.next_observation, np.zeros((2, 1)))
        after = env.step_all(KEY, step.state, action)
        np.testing.assert_array_equal(after.observation, np.ones((2, 1)))


def test_few_vectors_stay_open(monkeypatch):
    from zoo.envs import gym

    monkeypatch.setattr(gym, "MOST_LIVE", 2)
    for _ in range(4):
        create("Odd-v0").reset_all(KEY, 1)
    assert len(gym._live) == 2


@pytest.mark.parametrize("broken", ["observation", "reward"])
def test_nan_is_an_error_with_the_name_of_the_environment(broken):
    from zoo import envs

    env = envs.GymEnvironment(id="Odd-v0", kwargs=(("broken", broken),))

    def act(carry, observation, key):
        return jnp.zeros(2, jnp.int32), carry

    with pytest.raises(ValueError, match=rf"Odd-v0 gave .*{broken}.* NaN in environment 0 of 2"):
        envs.play(env, act, episodes=2, key=KEY)


def test_an_error_inside_a_compiled_program_stays_itself(caplog):
    from zoo import envs

    env = envs.GymEnvironment(id="Odd-v0", kwargs=(("broken", "reward"),))

    @jax.jit
    def roll(key):
        state, _ = env.reset_all(key, 2)

        def body(state, key):
            step = env.step_all(key, state, jnp.zeros(2, jnp.int32))
            return step.state, step.reward

        return jax.lax.scan(body, state, jax.random.split(key, 4))[1]

    with pytest.raises(envs.base.ValueMistake, match="Odd-v0 gave the reward"), envs.gym_errors():
        jax.block_until_ready(roll(KEY))
    assert not caplog.records


def test_play_counts_the_first_episode_of_each():
    from zoo import envs

    def act(carry, observation, key):
        return jnp.zeros(len(observation), jnp.int32), carry

    np.testing.assert_array_equal(envs.play(create("Odd-v0"), act, episodes=3, key=KEY), [3] * 3)
    np.testing.assert_array_equal(
        envs.play(create("Odd-v0"), act, episodes=2, key=KEY, max_steps=2), [2, 2]
    )


def test_actions_of_a_box_keep_their_shape():
    env = create("Pendulum-v1")
    vector = env.vector(3, seed=0)
    vector.reset()
    step = vector.step(jnp.ones((3, 1)))
    assert step.observation.shape == (3, 3) and (step.reward < 0).all()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CartPole-v9", r"no gymnasium environment named .*; did you mean 'CartPole-v1'\?"),
        ("Blackjack-v1", "observations of Blackjack-v1 are a Tuple; supported: Box"),
        ("no_such_module:Thing-v0", "needs a package that is not there"),
    ],
)
def test_what_cannot_be_had_is_said(name, says):
    from zoo.config import Mistake

    with pytest.raises(Mistake, match=says):
        create(name)


def test_wrong_arguments_are_named():
    from zoo import envs

    with pytest.raises(ValueError, match=r"Odd-v0 does not take \{'brokn': 1\}"):
        _ = envs.GymEnvironment(id="Odd-v0", kwargs=(("brokn", 1),)).action_space


def test_limits_are_arguments_of_gymnasium_and_wrappers_refuse():
    from zoo import envs

    env = envs.GymEnvironment(id="Odd-v0", kwargs=(("max_episode_steps", 2),))
    assert (create("Odd-v0").max_steps, env.max_steps) == (7, 2)
    with pytest.raises(ValueError, match="Odd-v0 steps outside of the program"):
        envs.TimeLimit(env=env, limit=3)
    with pytest.raises(ValueError, match="stepped by reset_all"):
        env.reset(KEY)
    with pytest.raises(ValueError, match="Odd-v0 has no drawing"):
        envs.record(env, None, key=KEY)


def test_without_gymnasium_the_message_names_the_extra(monkeypatch):
    from zoo import envs

    real = builtins.__import__

    def missing(name, *rest):
        if name.partition(".")[0] == "gymnasium":
            raise ModuleNotFoundError("No module named 'gymnasium'", name="gymnasium")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"'Absent-v0' needs gymnasium .*flax-zoo\[rl\]"):
        envs.create("Absent-v0")
    assert envs.create("cartpole").max_steps == 500


def test_lunar_lander_is_recorded_by_gymnasiums_own_drawing():
    pytest.importorskip("pygame")
    from zoo import envs
    from zoo.config import PackageMistake

    try:
        env = create("LunarLander-v3")
    except PackageMistake:
        pytest.skip("no Box2D on this Python")

    def act(carry, observation, key):
        return jnp.zeros(1, jnp.int32), carry

    frames = envs.record(env, act, key=KEY, max_steps=2).frames(env)
    assert len(frames) == 2 and frames[0].size == (600, 400)
