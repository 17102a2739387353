"""Any environment of gymnasium, by its id. Extra `[rl]`; gymnasium is imported when one is used.

Gymnasium's vector environments begin a new episode by themselves, and by default one call late: the
call after an end ignores its action and gives a reward of 0. A learner that does not leave these
calls out learns from transitions that never happened. Here a new episode begins in the call that
ends the old one (`AutoresetMode.SAME_STEP`), so every action is done, and the last observation of
the old episode is given beside the first of the new one.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib.util
import logging
import secrets
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jax.experimental import io_callback

from zoo.config import LookupMistake, Mistake, PackageMistake, ValueMistake
from zoo.envs.base import Box, Discrete, Environment, Space, Step
from zoo.registry import UnknownNameError

if TYPE_CHECKING:
    from PIL import Image

EXTRA = 'pip install "flax-zoo[rl]"'

MOST_LIVE = 8
"""Vectors that compiled programs hold at once; the one unused for longest is closed."""


class Outside(NamedTuple):
    """What a program knows of environments that live outside of it."""

    token: Any
    """int32 []. Which vector of this process it is."""
    steps: Any
    """int32 []. Its steps until now."""
    observation: Any
    """float32 [E, …]. What the next action is chosen by."""


class Stepped(NamedTuple):
    """What a step of a vector gives, as NumPy arrays with a leading axis E."""

    observation: np.ndarray
    """float32 [E, …]. What the step reached; at an end, the last of the old episode."""
    next_observation: np.ndarray
    """float32 [E, …]. The same, or at an end the first of the new episode."""
    reward: np.ndarray
    """float32 [E]."""
    terminated: np.ndarray
    """bool [E]."""
    truncated: np.ndarray
    """bool [E]. Never together with `terminated`."""


@dataclass(frozen=True, kw_only=True)
class GymEnvironment(Environment):
    """An environment of gymnasium, stepped by Python outside of the compiled program.

    Compared with the environments in JAX this loses:

    * exact resume: its state is not in a checkpoint, so a resumed run begins new episodes;
    * `vmap` over seeds: several seeds train one after the other;
    * speed: each step is Python, and the device waits for it;
    * programs over several devices.

    Observations must be a `Box`; actions a `Box` or `Discrete`. Actions are not clipped.

    >>> zoo.envs.GymEnvironment(id="LunarLander-v3", kwargs=(("gravity", -9.0),))  # doctest: +SKIP
    """

    id: str
    """Such as `LunarLander-v3`, or `ale_py:ALE/Pong-v5` with the module that registers it."""
    kwargs: tuple[tuple[str, bool | int | float | str], ...] = ()
    """Given to `gymnasium.make`, such as `(("max_episode_steps", 500),)`."""

    @property
    def name(self) -> str:
        return self.id

    @property
    def observation_space(self) -> Box:
        return _facts(self).observation_space

    @property
    def action_space(self) -> Space:
        return _facts(self).action_space

    @property
    def max_steps(self) -> int | None:
        return _facts(self).max_steps

    @property
    def is_pure(self) -> bool:
        return False

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        """Refuses: these environments are stepped by `reset_all` and `step_all`, or by a vector."""
        raise ValueMistake(f"{self.id} is stepped by reset_all and step_all, or by vector(num)")

    def step(self, key: jax.Array, state: Any, action: jax.Array) -> Step:
        """Refuses, as `reset` does."""
        raise ValueMistake(f"{self.id} is stepped by reset_all and step_all, or by vector(num)")

    def vector(self, num: int, seed: int, *, drawn: bool = False) -> GymVector:
        """`num` environments to be stepped by Python.

        Args:
          num: E, how many.
          seed: of the first; the others have those that follow.
          drawn: whether `frames` is wanted.
        """
        return GymVector(self, num, seed, drawn=drawn)

    def reset_all(self, key: jax.Array, num: int) -> tuple[Outside, jax.Array]:
        seed = jax.random.bits(key, dtype=jnp.uint32)
        shapes = self._state_shapes(num)
        state = io_callback(functools.partial(_begin, self, num), shapes, seed, ordered=True)
        return state, state.observation

    def step_all(self, key: jax.Array, state: Outside, action: jax.Array) -> Step:
        """Does an action in each of the E environments that `reset_all` began, outside.

        Where the vector is no longer there or has gone on without this program (a run resumed from
        a checkpoint), no action is done: all episodes count as cut where they were, with a reward
        of 0, and new ones begin.
        """
        num = action.shape[0]
        flags = jax.ShapeDtypeStruct((num,), bool)
        observation = jax.ShapeDtypeStruct(state.observation.shape, jnp.float32)
        reward = jax.ShapeDtypeStruct((num,), jnp.float32)
        shapes = self._state_shapes(num), (observation, reward, flags, flags)
        seed = jax.random.bits(key, dtype=jnp.uint32)
        advance = functools.partial(_advance, self, num)
        state, stepped = io_callback(advance, shapes, seed, state, action, ordered=True)
        reached, rewards, terminated, truncated = stepped
        return Step(state, reached, rewards, terminated, truncated, state.observation)

    def _state_shapes(self, num: int) -> Outside:
        number = jax.ShapeDtypeStruct((), jnp.int32)
        shape = (num, *self.observation_space.shape)
        return Outside(number, number, jax.ShapeDtypeStruct(shape, jnp.float32))

    @property
    def has_drawing(self) -> bool:
        return _facts(self).is_drawn

    def frame(self, state: Any, action: Any = None) -> Image.Image:
        """The picture that gymnasium drew: of these environments `record` keeps no states.

        Args:
          state: uint8 [height, width, 3].
          action: not shown.
        """
        from PIL import Image

        if not self.has_drawing:
            return super().frame(state, action)
        return Image.fromarray(state)


class GymVector:
    """E environments of gymnasium of one kind, stepped together; see `Stepped`."""

    def __init__(self, env: GymEnvironment, num: int, seed: int, *, drawn: bool = False) -> None:
        """Takes what `GymEnvironment.vector` does."""
        self._name = env.id
        self._seed: int | None = seed
        self._is_discrete = isinstance(env.action_space, Discrete)
        gymnasium = _gymnasium(env.id)
        more = {"render_mode": "rgb_array"} if drawn else {}
        with _as_mistakes(env):
            self._vector = gymnasium.make_vec(
                env.id,
                num_envs=num,
                vectorization_mode="sync",
                vector_kwargs={"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP},
                **{"disable_env_checker": True, **dict(env.kwargs), **more},
            )

    def reset(self) -> np.ndarray:
        """Begins an episode in each; the seed counts at the first call.

        Returns:
          Their first observations, float32 [E, …].
        """
        seed, self._seed = self._seed, None
        observation, _ = self._vector.reset(seed=seed)
        return self._sound("an observation with", observation)

    def step(self, action: Any) -> Stepped:
        """Does an action in each, and begins a new episode where one is over.

        Args:
          action: [E, …].

        Raises:
          ValueError: an environment gave an observation or a reward that is NaN.
        """
        space = self._vector.single_action_space
        action = np.asarray(action).astype(space.dtype)
        if self._is_discrete:
            action = action + space.start
        following, reward, terminated, truncated, info = self._vector.step(action)
        following = self._sound("an observation with", following)
        reached = following
        over = terminated | truncated
        if over.any():
            reached = following.copy()
            reached[over] = np.stack([info["final_obs"][i] for i in np.flatnonzero(over)])
            self._sound("an observation with", reached)
        reward = self._sound("the reward", reward)
        return Stepped(reached, following, reward, terminated, truncated & ~terminated)

    def _sound(self, what: str, values: Any) -> np.ndarray:
        """The values as float32, unless one is NaN."""
        numbers: np.ndarray = np.array(values, np.float32)
        for i, row in enumerate(numbers if np.isnan(numbers).any() else ()):
            if np.isnan(row).any():
                raise ValueMistake(
                    f"{self._name} gave {what} NaN in environment {i} of {len(numbers)}; "
                    "look at that environment, or at the actions that it gets"
                )
        return numbers

    def frames(self) -> tuple[np.ndarray, ...]:
        """A picture of each, uint8 [height, width, 3]."""
        return tuple(np.asarray(frame) for frame in self._vector.render())

    def close(self) -> None:
        """Frees what the environments hold."""
        self._vector.close()


@contextlib.contextmanager
def gym_errors() -> Iterator[None]:
    """Raises an environment's error as itself where a compiled program failed by it.

    JAX makes another error of what a callback raises, and writes its traceback to the log. The
    program's results must be waited for inside (`jax.block_until_ready`).
    """

    def other(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], Mistake))

    log = logging.getLogger("jax._src.callback")
    log.addFilter(other)
    _failures.clear()
    try:
        yield
    except jax.errors.JaxRuntimeError:
        if _failures:
            raise _failures.pop() from None
        raise
    finally:
        log.removeFilter(other)


class _Live:
    """A vector that compiled programs step, and its steps until now."""

    def __init__(self, vector: GymVector) -> None:
        self.vector, self.steps = vector, 0


_live: collections.OrderedDict[int, _Live] = collections.OrderedDict()
"""By token, which is drawn at random: that of another process, in a checkpoint, is not found."""

_failures: list[Mistake] = []


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Keeps a mistake for `gym_errors`."""
    try:
        yield
    except Mistake as error:
        _failures.append(error)
        raise


def _begin(env: GymEnvironment, num: int, seed: Any) -> Outside:
    """On the host: makes a vector and begins its episodes."""
    with _kept():
        vector = env.vector(num, int(seed) >> 1)
        token = secrets.randbits(31)
        _live[token] = _Live(vector)
        while len(_live) > MOST_LIVE:
            _live.popitem(last=False)[1].vector.close()
        return Outside(np.int32(token), np.int32(0), vector.reset())


def _advance(env: GymEnvironment, num: int, seed: Any, state: Outside, action: Any) -> Any:
    """On the host: a step of the vector that the state names, or new episodes if it is gone."""
    token = int(state.token)
    live = _live.get(token)
    if live is None or live.steps != int(state.steps):
        cut = np.ones(num, bool)
        here = np.asarray(state.observation)
        return _begin(env, num, seed), (here, np.zeros(num, np.float32), ~cut, cut)
    with _kept():
        _live.move_to_end(token)
        stepped = live.vector.step(action)
        live.steps += 1
    after = Outside(state.token, np.int32(live.steps), stepped.next_observation)
    return after, (stepped.observation, stepped.reward, stepped.terminated, stepped.truncated)


class _Facts(NamedTuple):
    """What one environment of an id says of all of them."""

    observation_space: Box
    action_space: Space
    max_steps: int | None
    is_drawn: bool


@functools.lru_cache(maxsize=64)
def _facts(env: GymEnvironment) -> _Facts:
    gymnasium = _gymnasium(env.id)
    with _as_mistakes(env), warnings.catch_warnings():
        # Box2D's bindings give these while they are imported, and crash where they are errors.
        warnings.filterwarnings("ignore", "builtin type .* has no __module__", DeprecationWarning)
        made = gymnasium.make(env.id, **{"disable_env_checker": True, **dict(env.kwargs)})
    spec, modes = made.spec, made.metadata.get("render_modes") or ()
    observations, actions = made.observation_space, made.action_space
    made.close()
    if not isinstance(observations, gymnasium.spaces.Box):
        raise _refused(env, "observations", observations, "Box")
    if isinstance(actions, gymnasium.spaces.Discrete):
        action_space: Space = Discrete(int(actions.n))
    elif isinstance(actions, gymnasium.spaces.Box):
        action_space = _box(actions)
    else:
        raise _refused(env, "actions", actions, "Box or Discrete")
    drawn = "rgb_array" in modes and importlib.util.find_spec("pygame") is not None
    return _Facts(_box(observations), action_space, spec and spec.max_episode_steps, drawn)


def _box(space: Any) -> Box:
    def bound(values: np.ndarray) -> float | tuple[float, ...]:
        numbers = values.astype(np.float32).ravel()
        if numbers.size and (numbers == numbers[0]).all():
            return float(numbers[0])
        return tuple(map(float, numbers))

    return Box(tuple(space.shape), bound(space.low), bound(space.high))


def _refused(env: GymEnvironment, what: str, space: Any, supported: str) -> Mistake:
    kind = type(space).__name__
    return ValueMistake(
        f"the {what} of {env.id} are a {kind}; supported: {supported} (gymnasium has wrappers that "
        "flatten others: register an environment that is wrapped)"
    )


def _gymnasium(name: str) -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise PackageMistake(f"{name!r} needs gymnasium ({error}): {EXTRA}") from error
    return gymnasium


@contextlib.contextmanager
def _as_mistakes(env: GymEnvironment) -> Iterator[None]:
    """What gymnasium raises while it makes an environment, in words of the user's."""
    from gymnasium import error, registry

    try:
        yield
    except error.UnregisteredEnv:
        raise UnknownNameError("gymnasium environment", env.id, tuple(registry)) from None
    except error.DeprecatedEnv as problem:
        raise LookupMistake(f"{env.id}: {problem}") from None
    except (error.DependencyNotInstalled, ImportError) as problem:
        hint = f": {EXTRA}" if "box2d" in str(problem).lower() else ""
        raise PackageMistake(
            f"{env.id} needs a package that is not there ({problem}){hint}"
        ) from problem
    except TypeError as problem:
        raise ValueMistake(f"{env.id} does not take {dict(env.kwargs)}: {problem}") from problem
