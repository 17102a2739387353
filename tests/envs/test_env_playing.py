"""Episodes played to their ends, and drawn."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image

KEY = jax.random.key(0)


def lean(carry, observation, key):
    """Pushes a CartPole to where it falls; counts its calls."""
    return (observation[:, 2] + 0.3 * observation[:, 3] > 0).astype(jnp.int32), carry + 1


def right(carry, observation, key):
    return jnp.ones(len(observation), jnp.int32), carry


@functools.cache
def create(name):
    from zoo import envs

    return envs.create(name)


def lengths_by_hand(env, act, episodes):
    """The length of each first episode, one after the other."""
    reset_key, _ = jax.random.split(KEY)
    states, observations = env.reset_all(reset_key, episodes)
    step = jax.jit(env.step)
    for i in range(episodes):
        state, observation = jax.tree.map(lambda x, i=i: x[i], (states, observations))
        for count in range(1, 600):
            action, _ = act(0, observation[None], KEY)
            done = step(KEY, state, action[0])
            state, observation = done.state, done.next_observation
            if done.terminated or done.truncated:
                yield count
                break


def test_each_episode_counts_once_to_its_end():
    from zoo import envs

    env = create("cartpole")
    returns = jax.jit(functools.partial(envs.play, env, right, episodes=5))(key=KEY)
    assert returns.dtype == np.float32 and returns.shape == (5,)
    expected = list(lengths_by_hand(env, right, 5))
    assert len(set(expected)) > 1  # they end apart
    np.testing.assert_array_equal(returns, expected)


def test_a_limit_ends_what_does_not_end_and_the_carry_goes_along():
    from zoo import envs

    returns = envs.play(create("cartpole_v0"), lean, episodes=3, key=KEY, carry=jnp.zeros(()))
    np.testing.assert_array_equal(returns, [200, 200, 200])
    short = envs.play(create("cartpole"), right, episodes=2, key=KEY, max_steps=4)
    np.testing.assert_array_equal(short, [4, 4])


def test_episodes_must_be_bounded():
    from zoo import envs

    with pytest.raises(ValueError, match="nothing bounds the episodes of Pendulum: give max_steps"):
        envs.play(envs.Pendulum(), right, episodes=1, key=KEY)
    with pytest.raises(ValueError, match="episodes is 0; it must be 1 or more"):
        envs.play(create("cartpole"), right, episodes=0, key=KEY)


@pytest.mark.parametrize("name", ["cartpole", "acrobot", "mountain_car", "pendulum"])
def test_an_episode_is_recorded_and_drawn(name, tmp_path):
    from zoo import envs

    env = create(name)

    def act(carry, observation, key):
        return env.action_space.sample(key, len(observation)), carry

    episode = envs.record(env, act, key=KEY, max_steps=5)
    assert len(episode.states) == 6 and len(episode.actions) == len(episode.rewards) == 5
    frames = episode.frames(env)
    envs.save_gif(frames, tmp_path / "episode.gif", seconds_per_frame=0.05)
    with Image.open(tmp_path / "episode.gif") as read:
        assert (read.n_frames, read.size, read.info["duration"]) == (6, frames[0].size, 50)
        assert read.info["loop"] == 0
        colours = read.convert("RGB").getcolors(100_000)
    assert len(colours) > 8  # there is something on it


def test_a_colour_that_comes_later_is_kept(tmp_path):
    from zoo import envs

    colours = [(250, 250, 250), (200, 60, 40)]
    frames = [Image.new("RGB", (8, 8), colour) for colour in (colours[0],) * 20 + (colours[1],) * 2]
    envs.save_gif(frames, tmp_path / "two.gif")
    with Image.open(tmp_path / "two.gif") as read:
        read.seek(read.n_frames - 1)
        assert read.convert("RGB").getpixel((4, 4)) == pytest.approx(colours[1], abs=8)


@pytest.mark.parametrize("name", ["acrobot", "pendulum", "cartpole", "mountain_car"])
def test_drawings_show_state_and_action(name):
    env = create(name)
    state, _ = env.reset(KEY)
    first, second = (np.asarray([x]) if name == "pendulum" else x for x in (2, 0))
    pictures = [np.asarray(env.frame(state, action)) for action in (None, first, second)]
    moved = jax.tree.map(lambda x: x + 0.3, state.state)
    pictures.append(np.asarray(env.frame(state._replace(state=moved))))
    different = [(pictures[0] != picture).any() for picture in pictures[1:]]
    assert different == [True, name != "pendulum", True]  # no torque has no arrow


def test_a_recorded_episode_ends_where_it_ends():
    from zoo import envs

    episode = envs.record(create("cartpole"), right, key=KEY)
    assert sum(episode.rewards) == len(episode.actions) < 15
    assert abs(episode.states[-1].state.angle) > 0.2


def test_what_has_no_drawing_is_refused_before_it_is_played():
    from test_env_wrappers import counting

    from zoo import envs

    with pytest.raises(ValueError, match="Counting has no drawing; acrobot, cartpole"):
        envs.record(counting(), None, key=KEY)
    with pytest.raises(ValueError, match="at least one frame"):
        envs.save_gif([], "nothing.gif")
