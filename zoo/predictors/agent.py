"""The predictor of a policy: an agent that acts, values and plays."""

from __future__ import annotations

import functools
import json
import numbers
import operator
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo import envs
from zoo.config import TypeMistake, ValueMistake, check_not_negative, check_size, shown
from zoo.envs.playing import Act
from zoo.models.policy import Memory, PolicyConfig
from zoo.predictors.base import Predictor
from zoo.predictors.batching import Array
from zoo.predictors.outputs import as_numbers, read_numbers

RAMP = "ramp: i / 10 - 0.2"
"""The first sample observation, as a card describes it."""


@dataclass(frozen=True)
class Returns:
    """The undiscounted returns of episodes."""

    each: tuple[float, ...]
    """Of each episode."""

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.each)

    @property
    def std(self) -> float:
        """Their standard deviation (of the population)."""
        return statistics.pstdev(self.each)

    def __str__(self) -> str:
        return f"{self.mean:.1f} \N{PLUS-MINUS SIGN} {self.std:.1f}"

    def __repr__(self) -> str:
        return f"<Returns of {len(self.each)} episodes: {self}>"


class Agent(Predictor):
    """Observations -> actions.

    A policy with a memory acts by the episode so far: `begin` and `step` carry its memory, `act`
    and `value` take an observation for the first one of an episode.
    """

    task: ClassVar[str] = "control"
    command: ClassVar[str] = "predict"

    def act(self, observation: Any, *, temperature: float = 0.0, seed: int = 0) -> Any:
        """The action for one observation, or an array of them for a batch.

        Args:
          observation: numbers of the environment's shape, or [N, …] of a batch.
          temperature: 0 takes the likeliest action; 1 draws one from the policy's distribution,
            above that more freely.
          seed: of the draw. A draw depends on it and on the place in the batch.

        Returns:
          An int, or float32 of the shape of an action, within its bounds; [N, …] of a batch.

        Raises:
          ValueError: an observation has another shape, or the temperature is negative.
        """
        rows, single = self._observations(observation)
        actions, _ = self._step(rows, self.module.begin(len(rows)), temperature, seed)
        return _plain(actions[0]) if single else actions

    def value(self, observation: Any) -> Any:
        """The discounted return that the policy expects: a float, or float32 [N] of a batch."""
        rows, single = self._observations(observation)
        values = self.checked(_first_output(self.module, self.variables, rows).value)
        return float(values[0]) if single else values

    def begin(self, number: int = 1) -> Memory:
        """The memory of a policy before `number` episodes."""
        check_size("number", _integer("number", number))
        return self.module.begin(number)

    def step(
        self, observations: Any, memory: Memory, *, temperature: float = 0.0, seed: int = 0
    ) -> tuple[Array, Memory]:
        """The actions for a batch of observations [N, …], and the memory after them.

        Arguments as for `act`; `memory` is that of `begin(N)`, or of the step before.
        """
        rows, single = self._observations(observations)
        if single:
            raise ValueMistake("step takes a batch of observations; give [observation] of one")
        expected, given = (
            jax.tree.map(np.shape, tree) for tree in (self.module.begin(len(rows)), memory)
        )
        if given != expected:
            raise ValueMistake(
                f"the memory is not one of {len(rows)} episodes of this policy; begin({len(rows)}) "
                "gives the first"
            )
        return self._step(rows, memory, temperature, seed)

    def play(
        self,
        episodes: int = 100,
        *,
        seed: int = 0,
        temperature: float = 0.0,
        environment: str | envs.Environment | None = None,
    ) -> Returns:
        """Plays whole episodes.

        Args:
          episodes: their number.
          seed: of the environments, and of draws.
          temperature: as for `act`.
          environment: the environment, or its name; None: that of the training.

        Raises:
          ValueError: the policy is for other observations or actions, or the temperature is
            negative.
        """
        check_size("episodes", _integer("episodes", episodes))
        key, played = _key(seed), self.environment(environment)
        heat = _temperature(temperature)
        with envs.gym_errors():
            found = _play(played, self.module, self.variables, key, int(episodes), heat)
            return Returns(tuple(self.checked(found).tolist()))

    def record(
        self,
        *,
        seed: int = 0,
        temperature: float = 0.0,
        environment: str | envs.Environment | None = None,
    ) -> envs.Episode:
        """Plays one episode and keeps it, to be drawn.

            env = agent.environment()
            zoo.envs.save_gif(agent.record().frames(env), "episode.gif")

        Arguments as for `play`.

        Raises:
          ValueError: the environment has no drawing.
        """
        key, played = _key(seed), self.environment(environment)
        act = acting(self.module, self.variables, _temperature(temperature))
        with envs.gym_errors():
            return envs.record(played, act, key=key, carry=self.module.begin(1))

    def printed(self, items: Sequence[str], *, top_k: int | None = None) -> Iterator[str]:
        """See `Predictor.printed`. An item is an observation: numbers between commas or spaces, a
        JSON array, or the path of a .npy file."""
        if top_k is not None:
            raise ValueMistake(f"top_k is for classifiers; {self.card.name} gives actions")
        for item in items:
            action = self.act(read_numbers(item))
            yield json.dumps(action if isinstance(action, int) else action.tolist())

    def sample_inputs(self) -> dict[str, Any]:
        shape = self._config.observation_shape or ()
        ramp = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape) / 10 - 0.2
        return {RAMP: ramp, "the same, negative": -ramp, "zeros": 0 * ramp}

    def plain_answers(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        rows, _ = self._observations(np.stack(inputs))
        output = _first_output(self.module, self.variables, rows)
        actions = self.act(rows)
        return [
            {
                "action": np.asarray(action).tolist(),
                "value": float(value),
                "logits": np.asarray(logits).tolist(),
            }
            for action, value, logits in zip(actions, output.value, output.logits, strict=True)
        ]

    @property
    def _config(self) -> PolicyConfig:
        config: PolicyConfig = self.module.config
        return config

    def _step(
        self, rows: Array, memory: Memory, temperature: float, seed: int
    ) -> tuple[Array, Memory]:
        act = acting(self.module, self.variables, _temperature(temperature))
        actions, memory = act(memory, jnp.asarray(rows), _key(seed))
        return self.checked(actions), memory

    def _observations(self, value: Any) -> tuple[Array, bool]:
        """Observations [N, *shape], and whether it was one that was not in a batch."""
        shape = self._config.observation_shape or ()
        array = as_numbers(value, "float32")
        axes = len(shape)
        if array.ndim not in (axes, axes + 1) or array.shape[array.ndim - axes :] != shape:
            listed = ", ".join(map(str, shape))
            raise ValueMistake(
                f"an observation has the shape {list(array.shape)}; {self.card.name} takes one "
                f"[{listed}] or a batch [N, {listed}]"
            )
        if not np.isfinite(array).all():
            raise ValueMistake("an observation has an entry that is NaN or infinite")
        return (array, False) if array.ndim > axes else (array[None], True)

    @property
    def environment_name(self) -> str:
        """Of the environment of the training.

        Raises:
          ValueError: the card does not say it.
        """
        name: str | None = self.card.preprocessing.get("environment")
        if name is None:
            raise ValueMistake(f"{self.card.name} does not say its environment; name one")
        return name

    def environment(self, wanted: str | envs.Environment | None = None) -> envs.Environment:
        """An environment that the policy fits.

        Args:
          wanted: the environment, or its name; None: that of the training.

        Raises:
          UnknownNameError: there is none of that name.
          ValueError: the policy is for other observations or actions.
        """
        name = self.environment_name if wanted is None else wanted
        found = envs.create(name) if isinstance(name, str) else name
        if not isinstance(found, envs.Environment):
            raise TypeMistake(
                f"environment is {shown(name)}; it must be a name or a zoo.envs.Environment"
            )
        check_spaces(self._config, found)
        return found


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeMistake(f"{name} is {shown(value)}; it must be an integer") from None


def _key(seed: Any) -> jax.Array:
    number = _integer("seed", seed)
    if not -(2**63) <= number < 2**63:
        raise ValueMistake(f"seed is {shown(seed)}; it must be an integer of 64 bits")
    return jax.random.key(number)


def _temperature(value: Any) -> float:
    if not isinstance(value, numbers.Real):
        raise TypeMistake(f"temperature is {shown(value)}; it must be a number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueMistake(f"temperature is {shown(value)}, which is too large") from None
    check_not_negative("temperature", number)
    return number


def check_spaces(config: PolicyConfig, environment: envs.Environment) -> None:
    """Refuses a policy for another environment.

    Raises:
      ValueError: observations or actions are others; the message has both.
    """
    space = environment.action_space
    theirs = (
        (f"observations of shape {environment.observation_space.shape}"),
        f"{space.num} actions"
        if isinstance(space, envs.Discrete)
        else f"continuous actions of shape {space.shape}",
    )
    ours = (
        f"observations of shape {config.observation_shape}",
        f"continuous actions of shape {config.action_shape}"
        if config.action_shape is not None
        else f"{config.num_actions} actions",
    )
    if ours != theirs:
        raise ValueMistake(
            f"the policy takes {ours[0]} and has {ours[1]}; {environment.name} gives {theirs[0]} "
            f"and takes {theirs[1]}"
        )


def acting(module: nn.Module, variables: Any, temperature: float | jax.Array = 0.0) -> Act:
    """A policy as `envs.play` takes it; what it carries is its memory."""

    def act(memory: Memory, observations: jax.Array, key: jax.Array) -> tuple[jax.Array, Memory]:
        chosen: tuple[jax.Array, Memory] = _act(
            module, variables, memory, observations, key, temperature
        )
        return chosen

    return act


@functools.partial(jax.jit, static_argnums=0)
def _act(
    module: nn.Module,
    variables: Any,
    memory: Memory,
    observations: jax.Array,
    key: jax.Array,
    temperature: float | jax.Array,
) -> tuple[jax.Array, Memory]:
    config: PolicyConfig = module.config
    output, memory = module.apply(variables, observations, memory, method="step")
    positive = jnp.maximum(temperature, 1e-6)
    drawn = config.distribution.sample(output.logits, key, positive)
    likeliest = config.distribution.mode(output.logits)
    action = jnp.where(temperature > 0, drawn, likeliest)
    return config.bounded(action), memory


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def _play(
    environment: envs.Environment,
    module: nn.Module,
    variables: Any,
    key: jax.Array,
    episodes: int,
    temperature: float | jax.Array,
) -> jax.Array:
    act = acting(module, variables, temperature)
    return envs.play(environment, act, episodes=episodes, key=key, carry=module.begin(episodes))


def play(
    environment: envs.Environment, module: nn.Module, variables: Any, key: jax.Array, episodes: int
) -> jax.Array:
    """The returns of episodes that are greedily played, float32 [episodes]."""
    found: jax.Array = _play(environment, module, variables, key, episodes, 0.0)
    return found


@functools.partial(jax.jit, static_argnums=0)
def _first_output(module: nn.Module, variables: Any, observations: jax.Array) -> Any:
    return module.apply(variables, observations)


def _plain(action: Array) -> Any:
    """An action as Python has it: an int, or an array."""
    return int(action) if action.ndim == 0 and action.dtype.kind == "i" else action
