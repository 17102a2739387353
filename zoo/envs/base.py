"""The protocol of environments, their spaces, and the wrappers that change one.

An environment is a frozen dataclass of constants with two pure functions, `reset` and `step`, that
may be compiled, mapped by `jax.vmap` and repeated by `jax.lax.scan`. What changes is the state: a
pytree of the environment's own. E is the number of environments that are stepped at once.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import jax
from jax import numpy as jnp

from zoo.config import ValueMistake, check_size

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")


@dataclass(frozen=True)
class Discrete:
    """The actions 0 to num - 1: an int32 scalar."""

    num: int

    def __post_init__(self) -> None:
        check_size("num", self.num)

    def __str__(self) -> str:
        return f"{self.num} discrete actions"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one element."""
        return ()

    def sample(self, key: jax.Array, num: int) -> jax.Array:
        """`num` independent elements, int32 [num], each equally likely."""
        return jax.random.randint(key, (num,), 0, self.num, jnp.int32)


@dataclass(frozen=True)
class Box:
    """The float32 arrays of a shape whose entries lie between two bounds, which may be infinite."""

    shape: tuple[int, ...]
    low: float | tuple[float, ...] = -math.inf
    """One number for all entries, or one for each, in C order."""
    high: float | tuple[float, ...] = math.inf

    def __post_init__(self) -> None:
        size = math.prod(self.shape)
        for name, bound in (("low", self.low), ("high", self.high)):
            if isinstance(bound, tuple) and len(bound) != size:
                raise ValueMistake(
                    f"{name} has {len(bound)} numbers; a Box of shape {self.shape} takes one, or "
                    f"{size}"
                )

    def __str__(self) -> str:
        return f"a float32 array of shape {self.shape}"

    @property
    def lows(self) -> jax.Array:
        """The lower bound of each entry, float32 of the space's shape."""
        return self._spread(self.low)

    @property
    def highs(self) -> jax.Array:
        """The upper bound of each entry, float32 of the space's shape."""
        return self._spread(self.high)

    def _spread(self, bound: float | tuple[float, ...]) -> jax.Array:
        if isinstance(bound, tuple):
            return jnp.asarray(bound, jnp.float32).reshape(self.shape)
        return jnp.full(self.shape, bound, jnp.float32)

    def sample(self, key: jax.Array, num: int) -> jax.Array:
        """`num` independent elements, float32 [num, …], uniform between the bounds.

        Raises:
          ValueError: a bound is infinite.
        """
        bounds = (b if isinstance(b, tuple) else (b,) for b in (self.low, self.high))
        if not all(math.isfinite(number) for bound in bounds for number in bound):
            raise ValueMistake(f"no uniform sample between infinite bounds: {self!r}")
        low, high = self.lows.reshape(-1, 1), self.highs.reshape(-1, 1)
        # Rows as long as `num`: a CPU draws short ones, of one element each, four times as slowly.
        drawn = jax.random.uniform(key, (low.size, num), jnp.float32)
        return (low + (high - low) * drawn).T.reshape(num, *self.shape)


Space = Discrete | Box


class Step(NamedTuple):
    """What a step gives. A cut (`truncated`) is no end: what comes after it has a value."""

    state: Any
    """From which the next step goes on."""
    observation: jax.Array
    """What the step reached, float32. At the end of an episode, its last observation."""
    reward: jax.Array
    """float32 []."""
    terminated: jax.Array
    """bool []. The episode is over by the environment's own rules: nothing comes after it."""
    truncated: jax.Array
    """bool []. The episode was cut, such as by a time limit. Never together with `terminated`."""
    next_observation: jax.Array
    """What the next action is chosen by. It differs from `observation` only with auto-reset, at an
    end: the first observation of the new episode."""

    @classmethod
    def reached(
        cls, state: Any, observation: jax.Array, reward: jax.Array, terminated: jax.Array
    ) -> Step:
        """The step of an environment that has no time limit and no auto-reset."""
        return cls(state, observation, reward, terminated, jnp.zeros((), bool), observation)


@dataclass(frozen=True, kw_only=True)
class Environment(abc.ABC):
    """An environment. Its fields are constants; equal constants make equal environments."""

    @property
    def name(self) -> str:
        """For messages."""
        return type(self).__name__

    @property
    @abc.abstractmethod
    def observation_space(self) -> Box:
        """Of one observation."""

    @property
    @abc.abstractmethod
    def action_space(self) -> Space:
        """Of one action."""

    @property
    def max_steps(self) -> int | None:
        """Of an episode; None if nothing cuts it."""
        return None

    @property
    def is_pure(self) -> bool:
        """Whether `reset` and `step` are pure functions: all of the state is in their values."""
        return True

    @abc.abstractmethod
    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        """Begins an episode.

        Returns:
          Its state and its first observation, float32.
        """

    @abc.abstractmethod
    def step(self, key: jax.Array, state: Any, action: jax.Array) -> Step:
        """Does an action.

        Args:
          key: for what is random in the environment; the four of the zoo have nothing.
          state: of an episode that is not over.
          action: an element of the action space.
        """

    def reset_all(self, key: jax.Array, num: int) -> tuple[Any, jax.Array]:
        """Begins an episode in each of `num` environments.

        Returns:
          States with a leading axis E, and observations float32 [E, …].
        """
        return jax.vmap(self.reset)(jax.random.split(key, num))

    def step_all(self, key: jax.Array, state: Any, action: jax.Array) -> Step:
        """Does an action in each of E environments; where an episode is over, a new one begins.

        Args:
          key: one for all.
          state: as `reset_all` or this function gave it.
          action: [E, …].

        Returns:
          A Step whose arrays have a leading axis E, with the auto-reset of `AutoReset`.
        """
        return AutoReset(env=self).step_all(key, state, action)

    @property
    def has_drawing(self) -> bool:
        """Whether `frame` can draw a state."""
        return False

    def frame(self, state: Any, action: Any = None) -> Image.Image:
        """A picture of one state (no leading axis).

        Args:
          state: to be drawn.
          action: that is done in it, if that is to be seen.

        Raises:
          ValueError: this environment has no drawing; `has_drawing` asks.
        """
        raise ValueMistake(
            f"{self.name} has no drawing; acrobot, cartpole, mountain_car and pendulum have one"
        )


@dataclass(frozen=True, kw_only=True)
class UniformStart(Environment):
    """An environment whose episodes begin with numbers that are uniform in a box.

    Those of all environments are drawn at once: with a key for each, a step of 1,024 CartPoles
    takes three times as long.
    """

    @property
    @abc.abstractmethod
    def start_space(self) -> Box:
        """Where the numbers lie."""

    @abc.abstractmethod
    def begin(self, start: jax.Array) -> tuple[Any, jax.Array]:
        """The state and first observation that an element of `start_space` makes."""

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        return self.begin(self.start_space.sample(key, 1)[0])

    def reset_all(self, key: jax.Array, num: int) -> tuple[Any, jax.Array]:
        return jax.vmap(self.begin)(self.start_space.sample(key, num))


@dataclass(frozen=True, kw_only=True)
class Wrapper(Environment):
    """An environment that changes another, and is like it in all else."""

    env: Environment

    def __post_init__(self) -> None:
        if not self.env.is_pure:
            raise ValueMistake(
                f"{type(self).__name__} takes environments of pure functions; {self.env.name} "
                "steps outside of the program: use gymnasium's wrappers"
            )

    @property
    def name(self) -> str:
        return self.env.name

    @property
    def observation_space(self) -> Box:
        return self.env.observation_space

    @property
    def action_space(self) -> Space:
        return self.env.action_space

    @property
    def max_steps(self) -> int | None:
        return self.env.max_steps

    def begun(self, state: Any, observation: jax.Array) -> tuple[Any, jax.Array]:
        """What becomes of the state and first observation of the other environment.

        Both `reset` and `reset_all` pass here.
        """
        return state, observation

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        return self.begun(*self.env.reset(key))

    def reset_all(self, key: jax.Array, num: int) -> tuple[Any, jax.Array]:
        return jax.vmap(self.begun)(*self.env.reset_all(key, num))

    def step(self, key: jax.Array, state: Any, action: jax.Array) -> Step:
        return self.env.step(key, state, action)

    @property
    def has_drawing(self) -> bool:
        return self.env.has_drawing

    def frame(self, state: Any, action: Any = None) -> Image.Image:
        return self.env.frame(state, action)


class Timed(NamedTuple):
    """The state of a `TimeLimit`."""

    state: Any
    """Of the environment that is limited."""
    steps: jax.Array
    """int32 []. Steps of this episode until now."""


@dataclass(frozen=True, kw_only=True)
class TimeLimit(Wrapper):
    """Cuts an episode after `limit` steps: `truncated`, unless the last one terminated it."""

    limit: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("limit", self.limit)

    @property
    def max_steps(self) -> int | None:
        inner = self.env.max_steps
        return self.limit if inner is None else min(self.limit, inner)

    def begun(self, state: Any, observation: jax.Array) -> tuple[Timed, jax.Array]:
        return Timed(state, jnp.zeros((), jnp.int32)), observation

    def step(self, key: jax.Array, state: Timed, action: jax.Array) -> Step:
        step = self.env.step(key, state.state, action)
        steps = state.steps + 1
        cut = (steps >= self.limit) & ~step.terminated
        return step._replace(state=Timed(step.state, steps), truncated=step.truncated | cut)

    def frame(self, state: Timed, action: Any = None) -> Image.Image:
        return self.env.frame(state.state, action)


@dataclass(frozen=True, kw_only=True)
class AutoReset(Wrapper):
    """Begins a new episode where one is over.

    The state and `next_observation` of such a step are those of the new episode; `observation` is
    the last of the old one, whose value a learner needs where the episode was cut.
    """

    def step(self, key: jax.Array, state: Any, action: jax.Array) -> Step:
        step_key, reset_key = jax.random.split(key)
        return _begin_where_over(self.env.step(step_key, state, action), self.env.reset(reset_key))

    def step_all(self, key: jax.Array, state: Any, action: jax.Array) -> Step:
        step_key, reset_key = jax.random.split(key)
        num = action.shape[0]
        step = jax.vmap(self.env.step)(jax.random.split(step_key, num), state, action)
        return jax.vmap(_begin_where_over)(step, self.env.reset_all(reset_key, num))


def _begin_where_over(step: Step, begun: tuple[Any, jax.Array]) -> Step:
    """The step, with the state and first observation of a new episode if the old one is over."""
    over = step.terminated | step.truncated
    state, observation = select(over, begun, (step.state, step.next_observation))
    return step._replace(state=state, next_observation=observation)


def select(condition: jax.Array, yes: T, no: T) -> T:
    """One of two pytrees of the same structure, by a bool []."""
    chosen: T = jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
    return chosen


def wrap(angle: jax.Array) -> jax.Array:
    """The same direction in [-π, π)."""
    return (angle + jnp.pi) % (2 * jnp.pi) - jnp.pi


@dataclass(frozen=True, kw_only=True)
class Masked(Wrapper):
    """Shows only some entries of the observation, such as positions without velocities."""

    kept: tuple[int, ...]
    """Their indices, in the order in which they are shown."""

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = self.env.observation_space.shape
        if len(shape) != 1 or not self.kept or not all(0 <= i < shape[0] for i in self.kept):
            raise ValueMistake(
                f"kept is {self.kept}; the observation of {self.env.name} has shape {shape}, so "
                "it must be indices from 0 that lie in it"
            )

    @property
    def observation_space(self) -> Box:
        space = self.env.observation_space
        return Box((len(self.kept),), self._some(space.low), self._some(space.high))

    def _some(self, bound: float | tuple[float, ...]) -> float | tuple[float, ...]:
        return tuple(bound[i] for i in self.kept) if isinstance(bound, tuple) else bound

    def _shown(self, observation: jax.Array) -> jax.Array:
        return observation[jnp.asarray(self.kept)]

    def begun(self, state: Any, observation: jax.Array) -> tuple[Any, jax.Array]:
        return state, self._shown(observation)

    def step(self, key: jax.Array, state: Any, action: jax.Array) -> Step:
        step = self.env.step(key, state, action)
        return step._replace(
            observation=self._shown(step.observation),
            next_observation=self._shown(step.next_observation),
        )
