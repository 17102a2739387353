"""Pendulum: a motor too weak to lift a pole at once must swing it up and hold it there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from jax import numpy as jnp

from zoo import registry
from zoo.envs.base import Box, Step, TimeLimit, UniformStart, wrap

if TYPE_CHECKING:
    from PIL import Image


class PendulumState(NamedTuple):
    """float32 [] each."""

    angle: jax.Array
    """To the vertical, counterclockwise, in rad; 0 is upright."""
    velocity: jax.Array
    """rad/s."""


@dataclass(frozen=True, kw_only=True)
class Pendulum(UniformStart):
    """A pole that a motor turns about its end.

    The pole has mass m and length l; the action is the torque u, clipped to its bounds:

        θ'' = 3 g / (2 l) sin θ + 3 / (m l²) u

    One semi-implicit Euler step integrates it; the velocity is bounded. A step costs
    θ² + 0.1 θ'² + 0.001 u², with the angle in [-π, π) and the velocity before it. The episode never
    terminates. At the beginning the angle is uniform in ±π and the velocity in ±1.

    Observation: cos θ, sin θ, velocity. Action: float32 [1], the torque, positive counterclockwise.

    Source: the equations and numbers are those of gymnasium's Pendulum-v1.
    """

    gravity: float = 10.0
    """m/s²."""
    mass: float = 1.0
    """kg."""
    length: float = 1.0
    """m."""
    time_step: float = 0.05
    """s."""
    max_velocity: float = 8.0
    """rad/s."""
    max_torque: float = 2.0
    """N m."""
    reset_angle: float = math.pi
    reset_velocity: float = 1.0

    @property
    def observation_space(self) -> Box:
        high = (1.0, 1.0, self.max_velocity)
        return Box((3,), tuple(-bound for bound in high), high)

    @property
    def action_space(self) -> Box:
        return Box((1,), -self.max_torque, self.max_torque)

    @property
    def start_space(self) -> Box:
        high = (self.reset_angle, self.reset_velocity)
        return Box((2,), tuple(-bound for bound in high), high)

    def begin(self, start: jax.Array) -> tuple[PendulumState, jax.Array]:
        state = PendulumState(*start)
        return state, self._observation(state)

    def _observation(self, state: PendulumState) -> jax.Array:
        return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.velocity])

    def step(self, key: jax.Array, state: PendulumState, action: jax.Array) -> Step:
        torque = jnp.clip(jnp.asarray(action, jnp.float32)[0], -self.max_torque, self.max_torque)
        angle, velocity = state
        cost = wrap(angle) ** 2 + 0.1 * velocity**2 + 0.001 * torque**2
        turn = 3 * self.gravity / (2 * self.length) * jnp.sin(angle)
        turn += 3 / (self.mass * self.length**2) * torque
        velocity = velocity + self.time_step * turn
        velocity = jnp.clip(velocity, -self.max_velocity, self.max_velocity)
        state = PendulumState(wrap(angle + self.time_step * velocity), velocity)
        return Step.reached(state, self._observation(state), -cost, jnp.zeros((), bool))

    @property
    def has_drawing(self) -> bool:
        return True

    def frame(self, state: PendulumState, action: Any = None) -> Image.Image:
        from zoo.envs import drawing

        return drawing.pendulum(self, state, action)


@registry.environments.register
def pendulum() -> TimeLimit:
    """A pole to be swung up and held by a weak motor for 200 steps (Pendulum-v1)."""
    return TimeLimit(env=Pendulum(), limit=200)
