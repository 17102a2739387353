"""How the learning rate changes over a run: frozen configs that build Optax schedules.

A schedule of your own subclasses `Schedule`. Each docstring names the equal schedule of trax.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from zoo.config import ConfigError, check_fields, check_not_negative, check_size


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """How the learning rate changes over a run."""

    def __post_init__(self) -> None:
        check_fields(self)

    @abstractmethod
    def build(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """Number of updates made so far -> learning rate of the next one.

        Args:
          learning_rate: the peak.
          total_steps: the length of the run.
        """


@dataclass(frozen=True, kw_only=True)
class _WarmedUp(Schedule):
    """A schedule for the whole run, after an optional linear warm-up from 0."""

    warmup_steps: int = 0
    """Steps in which the learning rate rises linearly from 0 at step 0 to its peak; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative("warmup_steps", self.warmup_steps)

    def build(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """See `Schedule.build`."""
        curve = self._curve(learning_rate, total_steps)
        if self.warmup_steps == 0:
            return curve
        return lambda step: curve(step) * jnp.minimum(1.0, step / self.warmup_steps)

    def _steps_after_warmup(self, total_steps: int) -> int:
        # A short run, such as a smoke test, may end inside its warm-up.
        return max(total_steps - self.warmup_steps, 1)

    @abstractmethod
    def _curve(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """The learning rate without the warm-up. Steps count from the start of the run."""


@dataclass(frozen=True, kw_only=True)
class Constant(_WarmedUp):
    """The peak throughout. trax: `constant` is 0 at step 0, `warmup(n)` is `warmup_steps=n + 1`."""

    def _curve(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        return optax.constant_schedule(learning_rate)


@dataclass(frozen=True, kw_only=True)
class Linear(_WarmedUp):
    """A straight line from the peak, after the warm-up, to the end of the run."""

    end_factor: float = 0.0
    """Fraction of the peak that is left at the end."""

    def _curve(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        return optax.linear_schedule(
            init_value=learning_rate,
            end_value=learning_rate * self.end_factor,
            transition_steps=self._steps_after_warmup(total_steps),
            transition_begin=self.warmup_steps,
        )


@dataclass(frozen=True, kw_only=True)
class Cosine(_WarmedUp):
    """Half a cosine from the peak, once or repeatedly (Loshchilov & Hutter 2017, section 3).

    trax: `multifactor("constant * linear_warmup * cosine_decay")`, where `steps_per_cycle` is
    `cycle_steps`; `_CosineSawtoothTail` is the same with an `end_factor`.
    """

    end_factor: float = 0.0
    """Fraction of the peak that is left at the end."""
    cycle_steps: int | None = None
    """Steps after which it starts from the peak again; None: it falls once, over the whole run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("cycle_steps", self.cycle_steps)

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
    """A factor at regular intervals. trax: `multifactor("constant * decay_every")`."""

    steps_per_stair: int
    """Steps between two changes."""
    factor: float = 0.5
    """The learning rate is multiplied by this at each change."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("steps_per_stair", self.steps_per_stair)
        if not self.factor > 0:
            raise ConfigError(f"factor is {self.factor}; it must be above 0")

    def _curve(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        return optax.exponential_decay(
            learning_rate, self.steps_per_stair, self.factor, staircase=True
        )


@dataclass(frozen=True, kw_only=True)
class Piecewise(_WarmedUp):
    """Multiplied by a factor at each of the given steps, as is usual for ResNets.

    `Piecewise(boundaries=(30_000, 60_000), factors=(0.1, 0.1))` ends at a hundredth of the peak.
    trax: `multifactor("two_constants")`.
    """

    boundaries: tuple[int, ...]
    """Steps at which the learning rate changes, ascending."""
    factors: tuple[float, ...]
    """A factor for each boundary; the learning rate at a step is the peak times all before it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = all(a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False))
        if len(self.boundaries) != len(self.factors) or not rising:
            raise ConfigError(
                f"boundaries is {self.boundaries} and factors is {self.factors}; "
                "boundaries must ascend, and each needs one factor"
            )

    def _curve(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        return optax.piecewise_constant_schedule(
            learning_rate, dict(zip(self.boundaries, self.factors, strict=True))
        )


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up and down again along two half cosines (Smith & Topin 2019, "Super-Convergence")."""

    warmup_fraction: float = 0.3
    """Fraction of the run in which the learning rate rises."""
    start_divisor: float = 25.0
    """The first learning rate is the peak divided by this."""
    end_divisor: float = 1e4
    """The last learning rate is the first one divided by this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.warmup_fraction < 1:
            raise ConfigError(
                f"warmup_fraction is {self.warmup_fraction}; it must be between 0 and 1"
            )

    def build(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """See `Schedule.build`."""
        return optax.cosine_onecycle_schedule(
            total_steps, learning_rate, self.warmup_fraction, self.start_divisor, self.end_divisor
        )


@dataclass(frozen=True, kw_only=True)
class WarmupRsqrt(Schedule):
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
        super().__post_init__()
        check_size("warmup_steps", self.warmup_steps)

    def build(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """See `Schedule.build`. The length of the run changes nothing."""

        def schedule(step: jax.typing.ArrayLike) -> jax.Array:
            decay = jnp.sqrt(self.warmup_steps / jnp.maximum(step, 1))
            rate = learning_rate * jnp.minimum(step / jnp.asarray(self.warmup_steps), decay)
            return jnp.maximum(rate, self.minimum)

        return schedule
