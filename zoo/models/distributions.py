"""Distributions of actions, given by the outputs of a policy's last layer.

A distribution is a frozen value without arrays; its inputs, [..., N], come from the model. The
layouts of `Categorical` and of `Gaussian` with `spread` fixed, shared or separate are trax's
(`trax.rl.distributions`), whose values the tests compare; the entropies, which are wrong there, are
those of the definition.

Shapes: `...` any axes, `N` inputs, `*shape` that of one action.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PRNGKeyArray

from zoo import xla

Spread = Literal["fixed", "shared", "separate", "log"]


class Distribution(abc.ABC):
    """A family of distributions over actions, one for each vector of N inputs."""

    @property
    @abc.abstractmethod
    def num_inputs(self) -> int:
        """N."""

    @abc.abstractmethod
    def log_prob(
        self, inputs: Float[Array, "... N"], action: Num[Array, "... *shape"]
    ) -> Float[Array, "..."]:
        """The logarithm of the probability, or of the density, of an action."""

    @abc.abstractmethod
    def entropy(self, inputs: Float[Array, "... N"]) -> Float[Array, "..."]:
        """The entropy in nats; of a continuous distribution the differential one."""

    @abc.abstractmethod
    def mode(self, inputs: Float[Array, "... N"]) -> Num[Array, "... *shape"]:
        """The likeliest action."""

    @abc.abstractmethod
    def sample(
        self,
        inputs: Float[Array, "... N"],
        key: PRNGKeyArray,
        temperature: float | Float[Array, ""] = 1.0,
    ) -> Num[Array, "... *shape"]:
        """A random action. A temperature below 1 draws nearer to the mode; it is above 0."""


@dataclass(frozen=True)
class Categorical(Distribution):
    """One of n categories for each entry of an action; inputs are logits, [..., *shape * n]."""

    num: int
    """n."""
    shape: tuple[int, ...] = ()
    """Shape of one action: its entries are independent of each other."""

    @property
    def num_inputs(self) -> int:
        return math.prod(self.shape) * self.num

    def _log_probs(self, inputs: Float[Array, "... N"]) -> Float[Array, "... n"]:
        logits = inputs.reshape(*inputs.shape[:-1], *self.shape, self.num)
        return jax.nn.log_softmax(logits)

    def _summed(self, values: Float[Array, "... *shape"]) -> Float[Array, "..."]:
        return jnp.sum(values, axis=tuple(range(-len(self.shape), 0))) if self.shape else values

    def log_prob(
        self, inputs: Float[Array, "... N"], action: Num[Array, "... *shape"]
    ) -> Float[Array, "..."]:
        chosen = jax.nn.one_hot(action, self.num, dtype=inputs.dtype)
        return self._summed(jnp.sum(chosen * self._log_probs(inputs), axis=-1))

    def entropy(self, inputs: Float[Array, "... N"]) -> Float[Array, "..."]:
        log_probs = self._log_probs(inputs)
        return self._summed(-jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1))

    def mode(self, inputs: Float[Array, "... N"]) -> Num[Array, "... *shape"]:
        return xla.argmax(self._log_probs(inputs))

    def sample(
        self,
        inputs: Float[Array, "... N"],
        key: PRNGKeyArray,
        temperature: float | Float[Array, ""] = 1.0,
    ) -> Num[Array, "... *shape"]:
        log_probs = self._log_probs(inputs)
        noise = jax.random.gumbel(key, log_probs.shape, log_probs.dtype)
        return xla.argmax(log_probs / temperature + noise)


@dataclass(frozen=True)
class Gaussian(Distribution):
    """Independent normal distributions, one for each entry of an action.

    Inputs are the means, then what `spread` adds to them.
    """

    shape: tuple[int, ...]
    """Shape of one action."""
    std: float = 1.0
    """The standard deviation, or where it is learnt its offset."""
    spread: Spread = "fixed"
    """The standard deviation. `fixed`: `std`; `shared`: softplus(s + std), with one more input s
    for all entries; `separate`: the same, with an s for each entry; `log`: std * exp(s), with an s
    for each entry."""

    @property
    def num_inputs(self) -> int:
        size = math.prod(self.shape)
        return size + {"fixed": 0, "shared": 1, "separate": size, "log": size}[self.spread]

    def mean_and_std(
        self, inputs: Float[Array, "... N"]
    ) -> tuple[Float[Array, "... A"], Float[Array, "... A"]]:
        """Mean and standard deviation of each entry; the entries of an action lie on one axis."""
        size = math.prod(self.shape)
        mean, more = inputs[..., :size], inputs[..., size:]
        if self.spread == "fixed":
            std = jnp.full_like(mean, self.std)
        elif self.spread == "log":
            std = self.std * jnp.exp(more)
        else:
            std = jnp.broadcast_to(jax.nn.softplus(more + self.std), mean.shape)
        return mean, std

    def log_prob(
        self, inputs: Float[Array, "... N"], action: Num[Array, "... *shape"]
    ) -> Float[Array, "..."]:
        mean, std = self.mean_and_std(inputs)
        distance = (action.reshape(mean.shape) - mean) / std
        each = -0.5 * distance**2 - jnp.log(std) - 0.5 * math.log(2 * math.pi)
        return jnp.sum(each, axis=-1)

    def entropy(self, inputs: Float[Array, "... N"]) -> Float[Array, "..."]:
        _, std = self.mean_and_std(inputs)
        return jnp.sum(jnp.log(std) + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    def mode(self, inputs: Float[Array, "... N"]) -> Num[Array, "... *shape"]:
        mean, _ = self.mean_and_std(inputs)
        return mean.reshape(*mean.shape[:-1], *self.shape)

    def sample(
        self,
        inputs: Float[Array, "... N"],
        key: PRNGKeyArray,
        temperature: float | Float[Array, ""] = 1.0,
    ) -> Num[Array, "... *shape"]:
        mean, std = self.mean_and_std(inputs)
        drawn = mean + temperature * std * jax.random.normal(key, mean.shape, mean.dtype)
        return drawn.reshape(*mean.shape[:-1], *self.shape)
