"""MountainCar: a car too weak for a hill must first go backwards for a run-up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from jax import numpy as jnp

from zoo import registry
from zoo.envs.base import Box, Discrete, Step, TimeLimit, UniformStart

if TYPE_CHECKING:
    from PIL import Image


class MountainCarState(NamedTuple):
    """float32 [] each. The units are the environment's own."""

    position: jax.Array
    velocity: jax.Array
    """Of the position, for each step."""


@dataclass(frozen=True, kw_only=True)
class MountainCar(UniformStart):
    """A car in a valley whose height is sin 3x.

    A step with the action a, 0 to 2:

        v ← v + f (a - 1) - g cos 3x
        x ← x + v

    Both are bounded; a wall at the left end stops the car. The episode terminates at the goal on
    the right hill; each step costs 1, the last one too. At the beginning the car is at rest, its
    position uniform in [-0.6, -0.4].

    Observation: position and velocity. Actions: 0 accelerates to the left, 1 not, 2 to the right.

    Source: Moore, Efficient memory-based learning for robot control, 1990, as Sutton and Barto have
    it; the numbers are those of gymnasium's MountainCar-v0.
    """

    force: float = 0.001
    gravity: float = 0.0025
    min_position: float = -1.2
    max_position: float = 0.6
    max_speed: float = 0.07
    goal_position: float = 0.5
    goal_velocity: float = 0.0
    """At the goal the car must be at least as fast as this."""
    reset_low: float = -0.6
    reset_high: float = -0.4

    @property
    def observation_space(self) -> Box:
        low = (self.min_position, -self.max_speed)
        return Box((2,), low, (self.max_position, self.max_speed))

    @property
    def action_space(self) -> Discrete:
        return Discrete(3)

    def height(self, position: float) -> float:
        """Of the hill."""
        return math.sin(3 * position)

    @property
    def start_space(self) -> Box:
        return Box((), self.reset_low, self.reset_high)

    def begin(self, start: jax.Array) -> tuple[MountainCarState, jax.Array]:
        state = MountainCarState(start, jnp.zeros((), jnp.float32))
        return state, jnp.stack(state)

    def step(self, key: jax.Array, state: MountainCarState, action: jax.Array) -> Step:
        push = self.force * (jnp.asarray(action) - 1).astype(jnp.float32)
        velocity = state.velocity + push - self.gravity * jnp.cos(3 * state.position)
        velocity = jnp.clip(velocity, -self.max_speed, self.max_speed)
        position = jnp.clip(state.position + velocity, self.min_position, self.max_position)
        at_wall = (position <= self.min_position) & (velocity < 0)
        state = MountainCarState(position, jnp.where(at_wall, 0.0, velocity))
        terminated = (position >= self.goal_position) & (state.velocity >= self.goal_velocity)
        return Step.reached(state, jnp.stack(state), -jnp.ones((), jnp.float32), terminated)

    @property
    def has_drawing(self) -> bool:
        return True

    def frame(self, state: MountainCarState, action: Any = None) -> Image.Image:
        from zoo.envs import drawing

        return drawing.mountain_car(self, state, action)


@registry.environments.register
def mountain_car() -> TimeLimit:
    """A weak car to be driven up a hill within 200 steps (MountainCar-v0)."""
    return TimeLimit(env=MountainCar(), limit=200)
