"""Roll-outs: what a policy does in its environments, and what comes of it.

Shapes: `T` steps of a roll-out, `E` environments, `S` sequences that are learnt from.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from zoo.envs import Environment
from zoo.models.policy import PolicyConfig, forget, merged_moments


@struct.dataclass
class Experience:
    """The steps of a roll-out. Their first axis is time, the second one the environments."""

    observation: Float[Array, "T E ..."]
    """What the policy saw …"""
    first: Bool[Array, "T E"]
    """… and whether an episode began with it."""
    action: Array
    """What it did, [T, E, …], as its distribution gave it, before bounds."""
    reward: Float[Array, "T E"]
    reached: Float[Array, "T E ..."]
    """The observation that the step led to; at an episode's end, its last one."""
    terminated: Bool[Array, "T E"]
    truncated: Bool[Array, "T E"]
    weights: Float[Array, "T E"]
    """0 where a step is not to be learnt from."""
    memory: Any
    """The policy's memory before the first step, [E, …]."""

    def spoilt(self) -> Int[Array, "2"]:
        """The numbers of observations and of rewards that have NaN or infinity in them."""
        axes = tuple(range(2, self.reached.ndim))
        sound = jnp.isfinite(self.observation) & jnp.isfinite(self.reached)
        bad = ~sound.all(axis=axes), ~jnp.isfinite(self.reward)
        return jnp.stack([jnp.sum(each, dtype=jnp.int32) for each in bad])


@struct.dataclass
class Actors:
    """The environments and what the policy remembers of them, from one roll-out to the next."""

    environment: Any
    """The state of each environment."""
    observation: Float[Array, "E ..."]
    """What the next action is chosen by …"""
    first: Bool[Array, "E"]
    """… and whether an episode begins with it."""
    memory: Any
    """The policy's memory of each episode."""
    rewards: Float[Array, "E"]
    """The sum of the rewards of each episode so far."""
    steps: Int[Array, ""]
    """Steps taken in all environments together."""


@struct.dataclass
class Ended:
    """The episodes that ended during a roll-out."""

    rewards: Float[Array, ""]
    """Sum of their returns, undiscounted."""
    number: Float[Array, ""]


def begin(module: nn.Module, environment: Environment, number: int, key: PRNGKeyArray) -> Actors:
    """`number` environments, each at the beginning of an episode."""
    state, observation = environment.reset_all(key, number)
    memory = module.begin(number)
    zeros = jnp.zeros(number)
    return Actors(
        state, observation, jnp.ones(number, bool), memory, zeros, jnp.zeros((), jnp.int32)
    )


def collect(
    module: nn.Module,
    variables: Any,
    environment: Environment,
    actors: Actors,
    steps: int,
    key: PRNGKeyArray,
    *,
    whole_episodes: bool = False,
) -> tuple[Experience, Actors, Ended]:
    """Lets a policy act for a number of steps.

    Args:
      module: the policy.
      variables: its variables.
      environment: the environment.
      actors: where the roll-out before ended.
      steps: T.
      key: of all that is drawn.
      whole_episodes: begin new episodes, and learn only from the first one of each environment.
    """
    config: PolicyConfig = module.config
    distribution = config.distribution
    number = len(actors.first)
    if whole_episodes:
        key, begin_key = jax.random.split(key)
        fresh = begin(module, environment, number, begin_key)
        actors = dataclasses.replace(fresh, steps=actors.steps)

    def step(at: tuple[Actors, Array], key: PRNGKeyArray) -> Any:
        actors, weights = at
        act_key, step_key = jax.random.split(key)
        output, memory = module.apply(variables, actors.observation, actors.memory, method="step")
        action = distribution.sample(output.logits, act_key)
        now = environment.step_all(step_key, actors.environment, config.bounded(action))
        over = now.terminated | now.truncated
        rewards = actors.rewards + now.reward
        taken = Experience(
            observation=actors.observation,
            first=actors.first,
            action=action,
            reward=now.reward,
            reached=now.observation,
            terminated=now.terminated,
            truncated=now.truncated,
            weights=weights,
            memory=(),
        )
        following = Actors(
            environment=now.state,
            observation=now.next_observation,
            first=over,
            memory=forget(memory, over),
            rewards=jnp.where(over, 0.0, rewards),
            steps=actors.steps + jnp.sum(weights).astype(jnp.int32),
        )
        counted = over * weights
        ended = Ended(jnp.sum(counted * rewards), jnp.sum(counted))
        if whole_episodes:
            weights = jnp.where(over, 0.0, weights)
        return (following, weights), (taken, ended)

    (following, _), (taken, ended) = jax.lax.scan(
        step, (actors, jnp.ones(number)), jax.random.split(key, steps)
    )
    return (
        dataclasses.replace(taken, memory=actors.memory),
        following,
        jax.tree.map(lambda each: jnp.sum(each, axis=0), ended),
    )


@struct.dataclass
class RewardScale:
    """The running spread of the discounted returns, by which rewards are divided."""

    returns: Float[Array, "E"]
    """Discounted sum of the rewards of each episode so far."""
    mean: Float[Array, ""]
    variance: Float[Array, ""]
    count: Float[Array, ""]

    @classmethod
    def begin(cls, number: int) -> RewardScale:
        """Before the first step of `number` environments."""
        zero = jnp.zeros(())
        return cls(jnp.zeros(number), zero, jnp.ones(()), zero)

    def scaled(self, experience: Experience, gamma: float) -> tuple[RewardScale, Experience]:
        """Takes the rewards of a roll-out in, and divides them by the standard deviation."""

        def add(returns: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
            reward, first = at
            returns = jnp.where(first, 0.0, returns) * gamma + reward
            return returns, returns

        steps = experience.reward, experience.first
        returns, seen = jax.lax.scan(add, self.returns, steps)
        moments = merged_moments(self.mean, self.variance, self.count, seen.ravel())
        scale = jnp.sqrt(moments[1]) + 1e-8
        reward = jnp.clip(experience.reward / scale, -10.0, 10.0)
        return RewardScale(returns, *moments), dataclasses.replace(experience, reward=reward)


@struct.dataclass
class Replay:
    """The experience of the last R roll-outs, as if of R times as many environments."""

    experience: Experience
    """[T, R E, …]."""
    slot: Int[Array, ""]
    """Which of the R is overwritten next."""

    @classmethod
    def begin(cls, like: Experience, size: int) -> Replay:
        """A replay of `size` roll-outs with nothing in it: all weights are 0."""

        def empty(part: Any) -> Array:
            steps, number, *rest = part.shape
            return jnp.zeros((steps, size * number, *rest), part.dtype)

        return cls(jax.tree.map(empty, like), jnp.zeros((), jnp.int32))

    def with_new(self, experience: Experience) -> Replay:
        """With a roll-out in place of the oldest."""
        number = experience.reward.shape[1]
        size = self.experience.reward.shape[1] // number

        def put(all_: Array, new: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(all_, new, self.slot * number, axis=1)

        merged = jax.tree.map(put, self.experience, experience)
        return Replay(merged, (self.slot + 1) % size)
