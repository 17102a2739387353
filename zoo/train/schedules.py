"""How the learning rate changes over a run: frozen configs that build Optax schedules.

Each docstring says which schedule of trax is the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from zoo.config import ConfigError


@dataclass(frozen=True, kw_only=True)
class _WarmedUp(ABC):
    """A curve over the whole run, behind an optional linear warm-up from 0."""

    warmup_steps: int = 0
    """Steps in which the learning rate rises linearly from 0 at step 0 to its peak; 0 for none."""

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ConfigError(f"warmup_steps must be 0 or more, not {self.warmup_steps}")

    def build(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """Step -> learning rate in a run of `total_steps`, with `learning_rate` as the peak."""
        curve = self._curve(learning_rate, total_steps)
        if self.warmup_steps == 0:
            return curve
        return lambda step: curve(step) * jnp.minimum(1.0, step / self.warmup_steps)

    def _steps_after_warmup(self, total_steps: int) -> int:
        # A run cut short, as in a smoke test, may end inside its warm-up.
        return max(total_steps - self.warmup_steps, 1)

    @abstractmethod
    def _curve(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """The learning rate without the warm-up; steps count from the start of the run."""


@dataclass(frozen=True, kw_only=True)
class Constant(_WarmedUp):
    """The peak throughout. trax: `constant` is 0 at step 0, `warmup(n)` is `warmup_steps=n + 1`."""

    def _curve(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        return optax.constant_schedule(learning_rate)


@dataclass(frozen=True, kw_only=True)
class Linear(_WarmedUp):
    """Falls in a straight line from the peak, after the warm-up, until the end of the run."""

    end_factor: float = 0.0
    """Part of the peak that is left at the end."""

    def _curve(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        return optax.linear_schedule(
            init_value=learning_rate,
            end_value=learning_rate * self.end_factor,
            transition_steps=self._steps_after_warmup(total_steps),
            transition_begin=self.warmup_steps,
        )


@dataclass(frozen=True, kw_only=True)
class Cosine(_WarmedUp):
    """Falls along half a cosine, once or again and again (Loshchilov & Hutter 2017, section 3).

    trax: `multifactor("constant * linear_warmup * cosine_decay")`, where `steps_per_cycle` is
    `cycle_steps`; `_CosineSawtoothTail` is the same with an `end_factor`.
    """

    end_factor: float = 0.0
    """Part of the peak that is left at the end."""
    cycle_steps: int | None = None
    """Start again from the peak every so many steps; None for one fall over the whole run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cycle_steps is not None and self.cycle_steps < 1:
            raise ConfigError(f"cycle_steps must be 1 or more, or None; not {self.cycle_steps}")

    def _curve(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        length = self.cycle_steps or self._steps_after_warmup(total_steps)
        fall = optax.cosine_decay_schedule(learning_rate, length, alpha=self.end_factor)

        def curve(step: jax.typing.ArrayLike) -> jax.Array:
            since = jnp.maximum(step - jnp.asarray(self.warmup_steps), 0)
            rate: jax.Array = fall(since % length if self.cycle_steps else since)
            return rate

        return curve


@dataclass(frozen=True, kw_only=True)
class Staircase(_WarmedUp):
    """Multiplied by a factor every so many steps. trax: `multifactor("constant * decay_every")`."""

    steps_per_stair: int
    """Steps between two falls."""
    factor: float = 0.5
    """What each fall multiplies by."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps_per_stair < 1 or self.factor <= 0:
            raise ConfigError(
                "a staircase needs steps_per_stair of 1 or more and a factor above 0, "
                f"not {self.steps_per_stair} and {self.factor}"
            )

    def _curve(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        return optax.exponential_decay(
            learning_rate, self.steps_per_stair, self.factor, staircase=True
        )


@dataclass(frozen=True, kw_only=True)
class Piecewise(_WarmedUp):
    """Multiplied by a factor at each of the given steps, as ResNets are trained.

    `Piecewise(boundaries=(30_000, 60_000), factors=(0.1, 0.1))` ends at a hundredth of the peak.
    trax: `multifactor("two_constants")`.
    """

    boundaries: tuple[int, ...]
    """Steps from which the next factor holds, rising."""
    factors: tuple[float, ...]
    """One factor for each boundary; they multiply up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = all(a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False))
        if len(self.boundaries) != len(self.factors) or not rising:
            raise ConfigError(
                "Piecewise needs boundaries in rising order and one factor for each, "
                f"not boundaries={self.boundaries} and factors={self.factors}"
            )

    def _curve(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        return optax.piecewise_constant_schedule(
            learning_rate, dict(zip(self.boundaries, self.factors, strict=True))
        )


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Up and down again along two half cosines (Smith & Topin 2019, "Super-Convergence")."""

    warmup_fraction: float = 0.3
    """Part of the run in which the learning rate rises."""
    start_divisor: float = 25.0
    """The first learning rate is the peak divided by this."""
    end_divisor: float = 1e4
    """The last learning rate is the first one divided by this."""

    def __post_init__(self) -> None:
        if not 0 < self.warmup_fraction < 1:
            raise ConfigError(
                f"warmup_fraction must lie between 0 and 1, not {self.warmup_fraction}"
            )

    def build(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """Step -> learning rate in a run of `total_steps`, with `learning_rate` as the peak."""
        return optax.cosine_onecycle_schedule(
            total_steps, learning_rate, self.warmup_fraction, self.start_divisor, self.end_divisor
        )


@dataclass(frozen=True, kw_only=True)
class WarmupRsqrt:
    """A linear warm-up to the peak, then 1 / √step (Vaswani et al. 2017, section 5.3).

    trax: `warmup_and_rsqrt_decay(n, peak)` has `warmup_steps=n + 1`. `multifactor("constant *
    linear_warmup * rsqrt_normalized_decay")` has `constant` as the peak; with `rsqrt_decay`, as in
    its default, the peak is `constant / √warmup_steps`.
    """

    warmup_steps: int
    """Steps in which the learning rate rises linearly from 0 at step 0 to its peak."""
    minimum: float = 0.0
    """The learning rate is never below this, not even in the warm-up."""

    def __post_init__(self) -> None:
        if self.warmup_steps < 1:
            raise ConfigError(f"warmup_steps must be 1 or more, not {self.warmup_steps}")

    def build(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """Step -> learning rate, with `learning_rate` as the peak, however long the run."""

        def schedule(step: jax.typing.ArrayLike) -> jax.Array:
            decay = jnp.sqrt(self.warmup_steps / jnp.maximum(step, 1))
            rate = learning_rate * jnp.minimum(step / jnp.asarray(self.warmup_steps), decay)
            return jnp.maximum(rate, self.minimum)

        return schedule


Schedule = Constant | Linear | Cosine | Staircase | Piecewise | OneCycle | WarmupRsqrt
"""How the learning rate changes over a run."""
