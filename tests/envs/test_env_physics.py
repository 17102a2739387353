"""The environments in JAX beside gymnasium's in NumPy: the same steps, the same beginnings."""

from __future__ import annotations

import functools

import gymnasium
import jax
import numpy as np
import pytest

STEPS = 1000

GYMNASIUM = {
    "cartpole": "CartPole-v1",
    "cartpole_v0": "CartPole-v0",
    "acrobot": "Acrobot-v1",
    "mountain_car": "MountainCar-v0",
    "pendulum": "Pendulum-v1",
}


@functools.cache
def create(name):
    from zoo import envs

    return envs.create(name)


@functools.cache
def compiled(name):
    """The step of an environment without its time limit."""
    return jax.jit(create(name).env.step)


def made(name):
    """Gymnasium's environment itself, without its wrappers."""
    return gymnasium.make(GYMNASIUM[name]).unwrapped


@pytest.mark.parametrize("name", ["cartpole", "acrobot", "mountain_car", "pendulum"])
def test_a_thousand_random_steps_agree_with_gymnasium(name):
    """Each from our state, through ends and beginnings of episodes."""
    env, theirs = create(name).env, made(name)
    step, reset = compiled(name), jax.jit(env.reset)
    theirs.reset(seed=0)
    actions = np.asarray(env.action_space.sample(jax.random.key(0), STEPS))
    key = jax.random.key(1)
    state, _ = reset(key)
    ends, walls, pairs = 0, 0, []
    for i, action in enumerate(actions):
        if name == "mountain_car" and i % 7:  # mostly with the motion: up both hills, to the wall
            action = 2 if state.velocity > 0 else 0
        theirs.state = np.array(state, np.float64)
        theirs.steps_beyond_terminated = None
        observation, reward, terminated, _, _ = theirs.step(action)
        ours = step(key, state, action)
        ours = jax.device_get(ours)
        pairs.append(((*ours.observation, ours.reward), (*observation, reward)))
        assert ours.terminated == terminated and not ours.truncated
        assert ours.reward.dtype == ours.observation.dtype == np.float32
        walls += name == "mountain_car" and ours.state == (np.float32(-1.2), 0)
        ends += bool(terminated)
        state = reset(jax.random.fold_in(key, i))[0] if terminated else ours.state
    np.testing.assert_allclose(*np.array(pairs).swapaxes(0, 1), rtol=1e-5, atol=1e-5)
    assert ends or name in ("acrobot", "pendulum")
    assert walls or name != "mountain_car"


def states(name, number):
    """States all over, not only those that random actions reach."""
    random = np.random.default_rng(0)
    high = {
        "cartpole": (2.4, 3, 0.2, 3),
        "acrobot": (np.pi, np.pi, 4 * np.pi, 9 * np.pi),
        "mountain_car": (0.6, 0.07),
        "pendulum": (3 * np.pi, 8),
    }[name]
    found = random.uniform(-1, 1, (number, len(high))) * high
    if name == "mountain_car":
        found[:, 0] = random.uniform(-1.2, 0.6, number)
        found[:4] = [(-1.2, -0.07), (-1.19, -0.07), (0.49, 0.07), (0.6, 0.07)]
    return found


@pytest.mark.parametrize("name", ["cartpole", "acrobot", "mountain_car", "pendulum"])
def test_steps_from_anywhere_agree_with_gymnasium(name):
    """In float64: the fastest Acrobots turn so far in a step that float32 is too coarse."""
    env, theirs = create(name).env, made(name)
    starts = states(name, 200)
    actions = np.asarray(env.action_space.sample(jax.random.key(0), len(starts)))
    if name == "pendulum":
        actions = 2 * actions  # half of them are to be clipped
    state = type(env.reset(jax.random.key(0))[0])(*starts.T)
    with jax.enable_x64(True):
        ours = jax.jit(jax.vmap(env.step, (None, 0, 0)))(jax.random.key(0), state, actions)
    ours = jax.device_get(ours)
    theirs.reset(seed=0)
    ends, pairs = 0, []
    for i, (start, action) in enumerate(zip(starts, actions, strict=True)):
        theirs.state, theirs.steps_beyond_terminated = start, None
        observation, reward, terminated, _, _ = theirs.step(action)
        pairs.append(((*ours.observation[i], ours.reward[i]), (*observation, reward)))
        assert ours.terminated[i] == terminated
        ends += terminated
    np.testing.assert_allclose(*np.array(pairs).swapaxes(0, 1), rtol=1e-6, atol=1e-6)
    assert ends or name == "pendulum"


@pytest.mark.parametrize("name", ["cartpole", "acrobot", "mountain_car", "pendulum"])
def test_beginnings_are_distributed_as_gymnasiums(name):
    env, theirs = create(name), made(name)
    _, observations = env.reset_all(jax.random.key(0), 4000)
    expected = np.stack([theirs.reset(seed=0 if i == 0 else None)[0] for i in range(1000)])
    assert observations.shape == (4000, *expected.shape[1:]) and observations.dtype == np.float32
    for ours, other in zip(np.asarray(observations).T, expected.T, strict=True):
        spread = float(other.std()) + 1e-6
        assert abs(ours.mean() - other.mean()) < 0.15 * spread
        assert 0.9 < (ours.std() + 1e-6) / spread < 1.1
        assert ours.min() == pytest.approx(other.min(), abs=0.1 * spread)
        assert ours.max() == pytest.approx(other.max(), abs=0.1 * spread)


@pytest.mark.filterwarnings("ignore:.*CartPole-v0 is out of date:DeprecationWarning")
@pytest.mark.parametrize("name", GYMNASIUM)
def test_spaces_and_limits_are_gymnasiums(name):
    from zoo import envs

    ours = create(name)
    theirs = envs.GymEnvironment(id=GYMNASIUM[name])
    assert ours.max_steps == theirs.max_steps
    np.testing.assert_allclose(ours.observation_space.lows, theirs.observation_space.lows)
    np.testing.assert_allclose(ours.observation_space.highs, theirs.observation_space.highs)
    assert ours.action_space == theirs.action_space
    assert hash(ours) == hash(envs.create(name)) and ours == envs.create(name)
