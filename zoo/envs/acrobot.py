"""Acrobot: two links hang from a joint; a motor between them must swing the tip above a line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from jax import numpy as jnp

from zoo import registry
from zoo.envs.base import Box, Discrete, Step, TimeLimit, UniformStart, wrap

if TYPE_CHECKING:
    from PIL import Image


class AcrobotState(NamedTuple):
    """float32 [] each, in rad and rad/s."""

    angle1: jax.Array
    """Of the upper link; 0 hangs down."""
    angle2: jax.Array
    """Of the lower link relative to the upper one."""
    velocity1: jax.Array
    velocity2: jax.Array


@dataclass(frozen=True, kw_only=True)
class Acrobot(UniformStart):
    """A double pendulum with a motor in its elbow.

    Both links have length l, mass m and moment of inertia I; their centres of mass are at c. With
    the angles θ1, θ2 of `AcrobotState` and the torque τ of -1, 0 or 1 N m:

        d1   = m c² + m (l² + c² + 2 l c cos θ2) + 2 I
        d2   = m (c² + l c cos θ2) + I
        φ2   = m c g sin(θ1 + θ2)
        φ1   = -m l c θ2' (θ2' + 2 θ1') sin θ2 + m (c + l) g sin θ1 + φ2
        θ2'' = (τ + φ1 d2/d1 - m l c θ1'² sin θ2 - φ2) / (m c² + I - d2²/d1)
        θ1'' = -(d2 θ2'' + φ1) / d1

    One Runge-Kutta step of fourth order integrates them. Then the angles are wrapped and the
    velocities bounded. The episode terminates when the tip is higher than one length above the
    joint, -cos θ1 - cos(θ1 + θ2) > 1; each step before costs 1. At the beginning all four numbers
    are uniform in ±0.1.

    Observation: cos θ1, sin θ1, cos θ2, sin θ2 and both velocities. Actions: 0, 1, 2 are torques of
    -1, 0, 1.

    Source: Sutton, Generalization in reinforcement learning, 1996, with the equations of Sutton and
    Barto's book; the numbers are those of gymnasium's Acrobot-v1.
    """

    gravity: float = 9.8
    """m/s²."""
    length: float = 1.0
    """m."""
    mass: float = 1.0
    """kg."""
    centre: float = 0.5
    """m, from a link's upper joint to its centre of mass."""
    inertia: float = 1.0
    """kg m²."""
    torque: float = 1.0
    """N m."""
    time_step: float = 0.2
    """s."""
    max_velocity1: float = 4 * math.pi
    """rad/s."""
    max_velocity2: float = 9 * math.pi
    """rad/s."""
    reset_bound: float = 0.1

    @property
    def observation_space(self) -> Box:
        high = (1.0, 1.0, 1.0, 1.0, self.max_velocity1, self.max_velocity2)
        return Box((6,), tuple(-bound for bound in high), high)

    @property
    def action_space(self) -> Discrete:
        return Discrete(3)

    @property
    def start_space(self) -> Box:
        return Box((4,), -self.reset_bound, self.reset_bound)

    def begin(self, start: jax.Array) -> tuple[AcrobotState, jax.Array]:
        state = AcrobotState(*start)
        return state, self._observation(state)

    def _observation(self, state: AcrobotState) -> jax.Array:
        one, two, velocity1, velocity2 = state
        angles = jnp.cos(one), jnp.sin(one), jnp.cos(two), jnp.sin(two)
        return jnp.stack([*angles, velocity1, velocity2])

    def step(self, key: jax.Array, state: AcrobotState, action: jax.Array) -> Step:
        torque = self.torque * (jnp.asarray(action) - 1).astype(jnp.float32)
        dt = self.time_step
        k1 = self._slope(state, torque)
        k2 = self._slope(_ahead(state, k1, dt / 2), torque)
        k3 = self._slope(_ahead(state, k2, dt / 2), torque)
        k4 = self._slope(_ahead(state, k3, dt), torque)
        slopes = zip(k1, k2, k3, k4, strict=True)
        mean = AcrobotState(*((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in slopes))
        one, two, velocity1, velocity2 = _ahead(state, mean, dt)
        state = AcrobotState(
            wrap(one),
            wrap(two),
            jnp.clip(velocity1, -self.max_velocity1, self.max_velocity1),
            jnp.clip(velocity2, -self.max_velocity2, self.max_velocity2),
        )
        terminated = -jnp.cos(state.angle1) - jnp.cos(state.angle1 + state.angle2) > 1
        reward = jnp.where(terminated, 0.0, -1.0).astype(jnp.float32)
        return Step.reached(state, self._observation(state), reward, terminated)

    def _slope(self, state: AcrobotState, torque: jax.Array) -> AcrobotState:
        """The derivative of the state."""
        one, two, w1, w2 = state
        m, length, c, inertia, g = self.mass, self.length, self.centre, self.inertia, self.gravity
        sin2, cos2 = jnp.sin(two), jnp.cos(two)
        d1 = m * c**2 + m * (length**2 + c**2 + 2 * length * c * cos2) + 2 * inertia
        d2 = m * (c**2 + length * c * cos2) + inertia
        phi2 = m * c * g * jnp.sin(one + two)
        phi1 = -m * length * c * w2 * (w2 + 2 * w1) * sin2 + m * (c + length) * g * jnp.sin(one)
        phi1 += phi2
        turn2 = (torque + d2 / d1 * phi1 - m * length * c * w1**2 * sin2 - phi2) / (
            m * c**2 + inertia - d2**2 / d1
        )
        return AcrobotState(w1, w2, -(d2 * turn2 + phi1) / d1, turn2)

    @property
    def has_drawing(self) -> bool:
        return True

    def frame(self, state: AcrobotState, action: Any = None) -> Image.Image:
        from zoo.envs import drawing

        return drawing.acrobot(self, state, action)


def _ahead(state: AcrobotState, slope: AcrobotState, seconds: float) -> AcrobotState:
    return AcrobotState(*(s + seconds * d for s, d in zip(state, slope, strict=True)))


@registry.environments.register
def acrobot() -> TimeLimit:
    """Two links to be swung up within 500 steps (Acrobot-v1)."""
    return TimeLimit(env=Acrobot(), limit=500)
