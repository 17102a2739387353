"""CartPole: a pole on a cart that is pushed to the left or to the right; it must not fall."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from jax import numpy as jnp

from zoo import registry
from zoo.envs.base import Box, Discrete, Masked, Step, TimeLimit, UniformStart

if TYPE_CHECKING:
    from PIL import Image


class CartPoleState(NamedTuple):
    """float32 [] each."""

    position: jax.Array
    """Of the cart, in m."""
    velocity: jax.Array
    angle: jax.Array
    """Of the pole to the vertical, clockwise, in rad."""
    angular_velocity: jax.Array


@dataclass(frozen=True, kw_only=True)
class CartPole(UniformStart):
    """A pole on a cart.

    The pole of mass m and half length l leans by θ, the cart of mass M is at x, and the action
    pushes it by F = ±10 N. Without friction:

        a   = (F + m l θ'² sin θ) / (M + m)
        θ'' = (g sin θ - a cos θ) / (l (4/3 - m cos² θ / (M + m)))
        x'' = a - m l θ'' cos θ / (M + m)

    One explicit Euler step integrates them. The episode terminates when the cart leaves the track
    or the pole leans by more than 12°; each step gives a reward of 1, the last one too. Episodes
    begin with four numbers that are uniform in ±0.05.

    Observation: position, velocity, angle, angular velocity. Actions: 0 pushes to the left, 1 to
    the right.

    Source: Barto, Sutton and Anderson, Neuronlike adaptive elements that can solve difficult
    learning control problems, 1983; equations by Florian, Correct equations for the dynamics of the
    cart-pole system, 2007; the numbers are those of gymnasium's CartPole-v1.
    """

    gravity: float = 9.8
    """m/s²."""
    cart_mass: float = 1.0
    """kg."""
    pole_mass: float = 0.1
    """kg."""
    half_length: float = 0.5
    """m, from the joint to the pole's centre of mass."""
    force: float = 10.0
    """N."""
    time_step: float = 0.02
    """s."""
    max_position: float = 2.4
    """m, to both sides."""
    max_angle: float = 12 * math.pi / 180
    """rad, to both sides."""
    reset_bound: float = 0.05

    @property
    def observation_space(self) -> Box:
        high = (2 * self.max_position, math.inf, 2 * self.max_angle, math.inf)
        return Box((4,), tuple(-bound for bound in high), high)

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    @property
    def start_space(self) -> Box:
        return Box((4,), -self.reset_bound, self.reset_bound)

    def begin(self, start: jax.Array) -> tuple[CartPoleState, jax.Array]:
        return CartPoleState(*start), start

    def step(self, key: jax.Array, state: CartPoleState, action: jax.Array) -> Step:
        x, v, angle, w = state
        force = jnp.where(action == 1, self.force, -self.force).astype(jnp.float32)
        sin, cos = jnp.sin(angle), jnp.cos(angle)
        mass = self.cart_mass + self.pole_mass
        moment = self.pole_mass * self.half_length
        push = (force + moment * w**2 * sin) / mass
        turn = (self.gravity * sin - push * cos) / (
            self.half_length * (4 / 3 - self.pole_mass * cos**2 / mass)
        )
        acceleration = push - moment * turn * cos / mass

        dt = self.time_step
        state = CartPoleState(x + dt * v, v + dt * acceleration, angle + dt * w, w + dt * turn)
        terminated = (abs(state.position) > self.max_position) | (abs(state.angle) > self.max_angle)
        return Step.reached(state, jnp.stack(state), jnp.ones((), jnp.float32), terminated)

    @property
    def has_drawing(self) -> bool:
        return True

    def frame(self, state: CartPoleState, action: Any = None) -> Image.Image:
        from zoo.envs import drawing

        return drawing.cartpole(self, state, action)


@registry.environments.register
def cartpole() -> TimeLimit:
    """A pole on a cart, balanced for at most 500 steps (CartPole-v1)."""
    return TimeLimit(env=CartPole(), limit=500)


@registry.environments.register
def cartpole_v0() -> TimeLimit:
    """A pole on a cart, balanced for at most 200 steps (CartPole-v0): trax's learning test."""
    return TimeLimit(env=CartPole(), limit=200)


@registry.environments.register
def cartpole_masked() -> TimeLimit:
    """A pole on a cart for at most 500 steps; velocities are not shown, so it takes memory."""
    return TimeLimit(env=Masked(env=CartPole(), kept=(0, 2)), limit=500)
