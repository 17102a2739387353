"""Whole episodes: played for their returns, and recorded for a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from zoo.config import ValueMistake, check_size
from zoo.envs.base import Environment, Step, select
from zoo.envs.gym import gym_errors

if TYPE_CHECKING:
    from PIL import Image

Act = Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]
"""`act(carry, observation [E, …], key) -> (action [E, …], carry)`. The carry is a policy's own."""


class _Playing(NamedTuple):
    """The carry of the loop in `play`."""

    steps: jax.Array
    key: jax.Array
    state: Any
    observation: jax.Array
    over: jax.Array
    returns: jax.Array
    carry: Any


def play(
    env: Environment,
    act: Act,
    *,
    episodes: int,
    key: jax.Array,
    carry: Any = None,
    max_steps: int | None = None,
) -> jax.Array:
    """Plays episodes side by side, each in an environment of its own, until all are over.

    It may be compiled.

    Args:
      env: whose episodes end.
      act: chooses the actions of all environments. Rows whose episode is over no longer count.
      episodes: E, their number.
      key: for the environments, and for `act`.
      carry: of `act`, at the beginning.
      max_steps: cuts every episode; by default the environment's own limit.

    Returns:
      The sum of rewards of each episode, float32 [E].

    Raises:
      ValueError: nothing bounds the episodes.
    """
    check_size("episodes", episodes)
    limit = _limit(env, max_steps)
    reset_key, key = jax.random.split(key)

    def step_each(key: jax.Array, now: _Playing, action: jax.Array) -> Step:
        if not env.is_pure:  # what is over goes on with new episodes, which do not count
            return env.step_all(key, now.state, action)
        step = jax.vmap(env.step)(jax.random.split(key, episodes), now.state, action)
        # What is over stays as it was: going on could lead to numbers that are not finite.
        state, observation = jax.vmap(select)(
            now.over, (now.state, now.observation), (step.state, step.next_observation)
        )
        return step._replace(state=state, next_observation=observation)

    def go_on(now: _Playing) -> jax.Array:
        return (now.steps < limit) & ~now.over.all()

    def advance(now: _Playing) -> _Playing:
        key, act_key, step_key = jax.random.split(now.key, 3)
        action, carry = act(now.carry, now.observation, act_key)
        step = step_each(step_key, now, action)
        returns = now.returns + jnp.where(now.over, 0.0, step.reward)
        over = now.over | step.terminated | step.truncated
        return _Playing(now.steps + 1, key, step.state, step.next_observation, over, returns, carry)

    state, observation = env.reset_all(reset_key, episodes)
    none = jnp.zeros(episodes, bool)
    zeros = jnp.zeros(episodes, jnp.float32)
    start = _Playing(jnp.zeros((), jnp.int32), key, state, observation, none, zeros, carry)
    with gym_errors():
        final: _Playing = jax.lax.while_loop(go_on, advance, start)
        returns: jax.Array = jax.block_until_ready(final.returns)
        return returns


def _limit(env: Environment, max_steps: int | None) -> int:
    limits = [limit for limit in (max_steps, env.max_steps) if limit is not None]
    if not limits:
        raise ValueMistake(
            f"nothing bounds the episodes of {env.name}: give max_steps, or wrap it in TimeLimit"
        )
    check_size("max_steps", min(limits))
    return min(limits)


def _seed(key: jax.Array) -> int:
    return int(jax.random.bits(key, dtype=jnp.uint32)) >> 1


@dataclass(frozen=True)
class Episode:
    """An episode that was recorded, on the host."""

    states: tuple[Any, ...]
    """Each in which an action was done, and the last."""
    actions: tuple[np.ndarray, ...]
    rewards: tuple[float, ...]

    def frames(self, env: Environment) -> list[Image.Image]:
        """A picture of each state, with the action that is done in it."""
        actions = [*self.actions, *[None] * (len(self.states) - len(self.actions))]
        return [env.frame(*moment) for moment in zip(self.states, actions, strict=True)]


def record(
    env: Environment, act: Act, *, key: jax.Array, carry: Any = None, max_steps: int | None = None
) -> Episode:
    """Plays one episode and keeps its states, for `Episode.frames` and `drawing.save_gif`.

    Of gymnasium's environments it keeps pictures as states, and not the last.

    Args:
      env: that has a drawing.
      act: as for `play`, with E = 1.
      key: for the environment, and for `act`.
      carry: of `act`, at the beginning.
      max_steps: as for `play`.

    Raises:
      ValueError: the environment has no drawing, or nothing bounds the episode.
    """
    if not env.has_drawing:
        env.frame(None)  # raises
    limit = _limit(env, max_steps)
    reset_key, key = jax.random.split(key)
    if not env.is_pure:
        return _record_outside(env, act, reset_key, key, carry, limit)

    @jax.jit
    def advance(state: Any, observation: jax.Array, carry: Any, key: jax.Array) -> Any:
        act_key, step_key = jax.random.split(key)
        action, carry = act(carry, observation[None], act_key)
        return action[0], env.step(step_key, state, action[0]), carry

    states: list[Any] = []
    actions, rewards = [], []
    state, observation = env.reset(reset_key)
    states.append(jax.device_get(state))
    for step_key in jax.random.split(key, limit):
        action, step, carry = advance(state, observation, carry, step_key)
        state, observation = step.state, step.next_observation
        states.append(jax.device_get(state))
        actions.append(np.asarray(action))
        rewards.append(float(step.reward))
        if step.terminated or step.truncated:
            break
    return Episode(tuple(states), tuple(actions), tuple(rewards))


def _record_outside(
    env: Any, act: Act, reset_key: jax.Array, key: jax.Array, carry: Any, limit: int
) -> Episode:
    """`record` for gymnasium's environments, which draw themselves."""
    vector = env.vector(1, _seed(reset_key), drawn=True)
    try:
        pictures, actions, rewards = [], [], []
        observation = vector.reset()
        for step_key in jax.random.split(key, limit):
            pictures.append(vector.frames()[0])  # after an end it would show the next episode
            action, carry = act(carry, jnp.asarray(observation), step_key)
            step = vector.step(action)
            actions.append(np.asarray(action)[0])
            rewards.append(float(step.reward[0]))
            observation = step.next_observation
            if step.terminated[0] or step.truncated[0]:
                break
        return Episode(tuple(pictures), tuple(actions), tuple(rewards))
    finally:
        vector.close()
