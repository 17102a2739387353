"""Policies for reinforcement learning: an observation -> a distribution of actions, and a value.

Two networks, one for the policy and one for the value, or one body with two heads. `PolicyMLP` sees
one observation at a time; `PolicyLSTM` remembers the episode so far. Both are asked in the same
three ways, so that a roll-out and a loss know neither:

    memory = module.begin(batch)                                  # before an episode; () of an MLP
    output, memory = module.step(observation, memory)             # one step of each environment
    output, memories = module.unroll(observations, memory, first) # T steps; `first` begins episodes

A policy does not know its environment, only what that decides: the shape of an observation, the
number of actions or the shape and the bounds of one.

Shapes: `B` environments, `T` steps, `N` inputs of the distribution, `D` units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Num

from zoo import registry
from zoo.config import ConfigError
from zoo.models.base import ModelConfig
from zoo.models.distributions import Categorical, Distribution, Gaussian, Spread
from zoo.models.layers import ACTIVATIONS, Activation
from zoo.models.recurrent import RecurrentLayer

Memory = Any
"""What a policy remembers of an episode: a tree of arrays whose first axis is B."""

STATISTICS = "statistics"
"""The collection of the observations' mean and variance."""

CLIP = 10.0
"""Normalised observations are cut to -CLIP … CLIP."""


@struct.dataclass
class PolicyOutput:
    """What a policy says of observations."""

    logits: Any
    """Inputs of the distribution of actions, float32 [..., N]: the logits of a categorical one."""
    value: Any
    """The discounted sum of the rewards to come, float32 [...]."""


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(ModelConfig):
    """The fields of every policy. The environment decides those that are None."""

    observation_shape: tuple[int, ...] | None = None
    """Shape of one observation, which is flattened."""
    num_actions: int | None = None
    """Number of actions, where they are discrete."""
    action_shape: tuple[int, ...] | None = None
    """Shape of one action, where they are continuous."""
    action_bounds: tuple[tuple[float, float], ...] | None = None
    """Lowest and highest value of each entry of a continuous action; None: it has none."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    activation: Activation = "tanh"
    """After each hidden layer."""
    shared: bool = False
    """Whether policy and value share their hidden layers."""
    normalize_observations: bool = False
    """Subtract the mean of the observations seen in training and divide by their standard
    deviation; both are part of the weights."""
    spread: Spread = "log"
    """How the standard deviation of a continuous action is learnt, see `Gaussian`; that of `log`
    does not depend on the observation."""
    std: float = 1.0
    """The first standard deviation of a continuous action."""
    outside: Literal["clip", "squash"] = "clip"
    """What keeps a continuous action inside its bounds. `clip` cuts it off there; `squash` takes
    tanh and stretches it over them. In both the distribution is that of the unbounded action, in
    probabilities and entropies too: the factor between the two densities does not depend on the
    weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_actions is not None and self.action_shape is not None:
            raise ConfigError(
                f"num_actions is {self.num_actions} and action_shape is {self.action_shape}; "
                "actions are discrete or continuous, which the environment decides: leave both out"
            )
        if self.spread in ("fixed", "log") and not 0 < self.std < math.inf:
            raise ConfigError(f"std is {self.std}; a standard deviation is above 0")
        if self.outside == "squash" and self.action_shape and self.action_bounds is None:
            raise ConfigError(
                "outside is 'squash', but the actions have no bounds (action_bounds is None); "
                "take 'clip'"
            )

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        if self.observation_shape is None:
            raise ConfigError(
                f"{type(self).__name__}.observation_shape is not set: give the shape of one "
                "observation, such as (4,), or train by a recipe, whose environment decides it"
            )
        return (jax.ShapeDtypeStruct((batch, *self.observation_shape), jnp.float32),)

    @property
    def distribution(self) -> Distribution:
        """The distribution of actions.

        Raises:
          ConfigError: neither `num_actions` nor `action_shape` is set.
        """
        if self.action_shape is not None:
            return Gaussian(self.action_shape, self.std, self.spread)
        return Categorical(self.size_of("num_actions"))

    def bounded(self, action: Num[Array, "B *shape"]) -> Num[Array, "B *shape"]:
        """An action of the distribution as the environment takes it."""
        if self.action_shape is None or self.action_bounds is None:
            return action
        bounds = jnp.asarray(self.action_bounds, jnp.float32).reshape(1, *self.action_shape, 2)
        low, high = bounds[..., 0], bounds[..., 1]
        if self.outside == "clip":
            return jnp.clip(action, low, high)
        return low + (jnp.tanh(action) + 1) / 2 * (high - low)


class RunningMoments(nn.Module):
    """Mean and variance of the observations so far, and observations normalised by them.

    Variables: `mean`, `variance` [*shape] and `count` [] of the collection `statistics`.
    """

    shape: tuple[int, ...]

    def setup(self) -> None:
        self.mean = self.variable(STATISTICS, "mean", jnp.zeros, self.shape, jnp.float32)
        self.variance = self.variable(STATISTICS, "variance", jnp.ones, self.shape, jnp.float32)
        self.count = self.variable(STATISTICS, "count", jnp.zeros, (), jnp.float32)

    def __call__(self, x: Float[Array, "... *shape"]) -> Float[Array, "... *shape"]:
        """(x - mean) / (standard deviation + 1e-5), cut to ±CLIP."""
        axes = range(x.ndim - len(self.shape))
        mean, variance = (jnp.expand_dims(y.value, axes) for y in (self.mean, self.variance))
        return jnp.clip((x - mean) / (jnp.sqrt(variance) + 1e-5), -CLIP, CLIP)

    def add(self, x: Float[Array, "N *shape"]) -> None:
        """Takes N more observations in; `statistics` must be mutable."""
        moments = self.mean.value, self.variance.value, self.count.value
        self.mean.value, self.variance.value, self.count.value = merged_moments(*moments, x)


def merged_moments(
    mean: Float[Array, "*shape"],
    variance: Float[Array, "*shape"],
    count: Float[Array, ""],
    x: Float[Array, "N *shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"], Float[Array, ""]]:
    """Mean, population variance and number of `count` values and N more (Chan et al. 1979)."""
    number = x.shape[0]
    total = count + number
    difference = jnp.mean(x, axis=0) - mean
    squares = variance * count + jnp.var(x, axis=0) * number
    squares += difference**2 * count * number / total
    return mean + difference * number / total, squares / total, total


def forget(memory: Memory, over: Bool[Array, "B"]) -> Memory:
    """The memory, empty where an episode is over."""

    def emptied(part: Array) -> Array:
        return jnp.where(over.reshape(-1, *[1] * (part.ndim - 1)), 0.0, part)

    return jax.tree.map(emptied, memory)


class Body(nn.Module):
    """The hidden layers: orthogonal kernels of gain √2, bias 0 (Andrychowicz et al. 2021, B.8)."""

    config: PolicyConfig

    @nn.compact
    def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... D"]:
        for i, size in enumerate(self.config.hidden_sizes):
            x = ACTIVATIONS[self.config.activation](orthogonal(size, 2**0.5, f"hidden_{i}")(x))
        return x


class Heads(nn.Module):
    """The last layers: inputs of the distribution (gain 0.01) and value (gain 1).

    Parameters: `policy`, `value` (`kernel`, `bias`); `log_std` [A] where `spread` is log.
    """

    config: PolicyConfig

    @nn.compact
    def __call__(
        self, for_policy: Float[Array, "... D"], for_value: Float[Array, "... D"]
    ) -> PolicyOutput:
        distribution = self.config.distribution
        value = orthogonal(1, 1.0, "value")(for_value)[..., 0]
        if not (isinstance(distribution, Gaussian) and distribution.spread == "log"):
            logits = orthogonal(distribution.num_inputs, 0.01, "policy")(for_policy)
            return PolicyOutput(logits, value)
        size = math.prod(distribution.shape)
        mean = orthogonal(size, 0.01, "policy")(for_policy)
        log_std = self.param("log_std", nn.initializers.zeros, (size,), jnp.float32)
        return PolicyOutput(
            jnp.concatenate([mean, jnp.broadcast_to(log_std, mean.shape)], axis=-1), value
        )


def orthogonal(features: int, gain: float, name: str) -> nn.Dense:
    """A dense layer whose kernel is orthogonal at first, and whose bias is 0."""
    return nn.Dense(features, kernel_init=nn.initializers.orthogonal(gain), name=name)


class Policy(nn.Module):
    """What both modules share: reading an observation, and the statistics of observations."""

    config: PolicyConfig

    def setup(self) -> None:
        self.body = Body(self.config)
        self.heads = Heads(self.config)
        if self.config.normalize_observations:
            self.moments = RunningMoments(self.config.observation_shape or ())

    def _read(self, observation: Float[Array, "..."]) -> Float[Array, "... I"]:
        """Observations [..., *shape], normalised and flattened."""
        shape = self.config.observation_shape or ()
        batch = observation.shape[: observation.ndim - len(shape)]
        if self.config.normalize_observations:
            observation = self.moments(observation)
        return observation.reshape(*batch, math.prod(shape))

    def observe(self, observations: Float[Array, "..."]) -> None:
        """Takes observations [..., *shape] into the statistics, which must be mutable."""
        if self.config.normalize_observations:
            shape = self.config.observation_shape or ()
            self.moments.add(observations.reshape(-1, *shape))


class PolicyMLP(Policy):
    """The module of `PolicyMLPConfig`."""

    def setup(self) -> None:
        super().setup()
        if not self.config.shared:
            self.value_body = Body(self.config)

    def __call__(self, observation: Float[Array, "..."], *, train: bool = False) -> PolicyOutput:
        """Distribution and value for observations [..., *shape], float32."""
        x = self._read(observation)
        hidden = self.body(x)
        return self.heads(hidden, hidden if self.config.shared else self.value_body(x))

    @nn.nowrap
    def begin(self, batch: int) -> Memory:
        """The memory before an episode: none."""
        return ()

    def step(
        self, observation: Float[Array, "B ..."], memory: Memory
    ) -> tuple[PolicyOutput, Memory]:
        """The output for one step, and the memory after it."""
        return self(observation), ()

    def unroll(
        self, observations: Float[Array, "T B ..."], memory: Memory, first: Bool[Array, "T B"]
    ) -> tuple[PolicyOutput, Memory]:
        """The outputs for T steps, and the memory after each, [T, B, …]."""
        return self(observations), ()


class PolicyLSTM(Policy):
    """The module of `PolicyLSTMConfig`."""

    config: PolicyLSTMConfig

    def setup(self) -> None:
        super().setup()
        self.lstm = RecurrentLayer("lstm", self.config.d_model)

    def __call__(self, observation: Float[Array, "B ..."], *, train: bool = False) -> PolicyOutput:
        """Distribution and value for the first observation of an episode, float32."""
        return self.step(observation, self.begin(len(observation)))[0]

    @nn.nowrap
    def begin(self, batch: int) -> Memory:
        """The memory before an episode: the cell and the output of the LSTM, zeros [B, D]."""
        zeros = jnp.zeros((batch, self.config.d_model), jnp.float32)
        return zeros, zeros

    def step(
        self, observation: Float[Array, "B ..."], memory: Memory
    ) -> tuple[PolicyOutput, Memory]:
        """The output for one step, and the memory after it."""
        x, memory = self.lstm(self.body(self._read(observation))[None], memory)
        return self.heads(x[0], x[0]), memory

    def unroll(
        self, observations: Float[Array, "T B ..."], memory: Memory, first: Bool[Array, "T B"]
    ) -> tuple[PolicyOutput, Memory]:
        """The outputs for T steps, and the memory after each, [T, B, …]. The memory is empty again
        where `first` says that an episode begins."""

        def advance(
            lstm: RecurrentLayer, memory: Memory, at: tuple[Array, Array]
        ) -> tuple[Memory, Memory]:
            x, first = at
            _, memory = lstm(x[None], forget(memory, first))
            return memory, memory

        loop = nn.scan(advance, variable_broadcast="params", split_rngs={"params": False})
        _, memories = loop(self.lstm, memory, (self.body(self._read(observations)), first))
        hidden = memories[-1]
        return self.heads(hidden, hidden), memories


@dataclass(frozen=True, kw_only=True)
class PolicyMLPConfig(PolicyConfig):
    """Observations [..., *shape] -> distribution [..., N] and value [...]."""

    def build(self) -> PolicyMLP:
        return PolicyMLP(self)


@dataclass(frozen=True, kw_only=True)
class PolicyLSTMConfig(PolicyConfig):
    """Hidden layers, an LSTM, and two heads: for observations that do not show the whole state."""

    hidden_sizes: tuple[int, ...] = (64,)
    """Widths of the hidden layers below the LSTM."""
    d_model: int = 64
    """D: units of the LSTM."""
    shared: bool = True
    """Policy and value share everything below their heads; there is no other form."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shared:
            raise ConfigError("shared is False, but a policy with an LSTM shares it; leave it out")

    def build(self) -> PolicyLSTM:
        return PolicyLSTM(self)


@registry.models.register
def policy_mlp() -> PolicyMLPConfig:
    """Two networks of two hidden layers of 64 units: policy and value (Schulman et al. 2017)."""
    return PolicyMLPConfig()


@registry.models.register
def policy_mlp_shared() -> PolicyMLPConfig:
    """One network of two hidden layers of 64 units, with a head each for policy and value."""
    return PolicyMLPConfig(shared=True)


@registry.models.register
def policy_lstm() -> PolicyLSTMConfig:
    """A hidden layer and an LSTM of 64 units: for observations that do not show the whole state."""
    return PolicyLSTMConfig()
