"""Optimizers: frozen configs that build Optax transformations.

A config says everything about the update: `build(total_steps)` returns the
`optax.GradientTransformation`, `schedule_fn(total_steps)` the learning rate of each step. An
optimizer of your own subclasses `Optimizer`.

    optimizer = Adam(learning_rate=1e-3, schedule=Linear(warmup_steps=100), clip_norm=1.0)
    update = optimizer.build(total_steps=2_000)
    state = update.init(params)
    updates, state = update.update(gradients, state, params)
    params = optax.apply_updates(params, updates)

The optimizers of trax (git HEAD 7c189c2c) correspond to these. Each is tested against trax's own
trajectory over five steps, from step number 0 and from 1.

    trax                 here
    SGD(lr)              Sgd(learning_rate=lr)
    Momentum(lr)         Momentum(learning_rate=lr, **decay)
    Adam(lr)             Adam(learning_rate=lr, eps=1e-5, **decay)
    RMSProp(lr)          RMSProp(learning_rate=lr, initial_scale=1.0)
    Adafactor(lr)        Adafactor(learning_rate=lr, eps=1e-16, min_dim_size_to_factor=0, **decay)
    SM3(lr)              SM3(learning_rate=lr)
    clip_grad_norm=c     clip_norm=c

    decay = dict(weight_decay=1e-5, decay_with_learning_rate=False)

* trax's weight decay multiplies the weights by `1 - weight_decay`, whatever the learning rate:
  `decay_with_learning_rate=False`.
* trax counts steps from 0 in `trainer_lib.Trainer` and from 1 in `training.Loop`. The number enters
  the schedule, Adam's bias correction and Adafactor's decay. `first_step=1` counts as the Loop
  does.
* trax's Adafactor factors the last two axes of an array, Optax's the two largest: the same axes in
  a matrix, and wherever the last two are the largest. trax adds `eps` to the averages of the
  squares, Optax to the squares; the difference shows only where gradients are as small as √eps.
* Not reproduced: `SM3(second_moment_averaging=…)` below 1. trax then rescales each update to the
  norm that plain SM3 would have given it, for which Optax has nothing.
* Not a field: `SM3(weight_decay=…, momentum_type=…)`, which decays before the momentum, while
  `optax.scale_by_sm3` contains its averaging momentum. Written by hand it is `optax.chain(
  scale_by_sm3(b1=0, b2=1, eps=0), add_decayed_weights(decay), trace(momentum), scale(-lr))`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import optax

from zoo.config import ConfigError, check_fields, check_not_negative
from zoo.train.patterns import check_matches, check_patterns, map_paths, matches, paths_of
from zoo.train.schedules import Constant, Schedule

Params: TypeAlias = Any
"""A tree of arrays, such as `variables["params"]`."""


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """The steps of all optimizers: clipping, then the optimizer's own rule, then weight decay.

    A subclass implements `rule`, or `build` as a whole. Patterns are regular expressions for the
    whole slash path of a parameter, such as `".*/bias"` or `"embedding/.*"`. One that matches no
    parameter is an error that lists the paths.
    """

    learning_rate: float
    """The peak of the schedule."""
    schedule: Schedule = field(default_factory=Constant)
    """How the learning rate changes over the run."""
    clip_norm: float | None = None
    """Largest norm of the gradients of all trainable parameters together; None: no clipping."""
    weight_decay: float = 0.0
    """Fraction of each weight that is subtracted at each step; see `decay_with_learning_rate`."""
    decay_with_learning_rate: bool = True
    """Multiply the decay by the learning rate of the step (AdamW); False: do not (trax)."""
    no_decay: tuple[str, ...] = ()
    """Patterns of the parameters without weight decay."""
    freeze: tuple[str, ...] = ()
    """Patterns of the parameters that do not train: no update, no optimizer state."""
    rates: tuple[tuple[str, float], ...] = ()
    """Patterns of parameters with the factor of their learning rate, such as `(("encoder/.*",
    0.1),)`. The first that matches counts; it multiplies the whole update, weight decay included.
    """
    first_step: int = 0
    """Number of the first update in schedule and bias correction; trax's Loop counted from 1."""

    elementwise: ClassVar[bool] = False
    """Whether the rule treats each weight by itself, whatever array it is in; then parameters of
    several layers may be stacked in one array (`Recipe.scan_layers`)."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("learning_rate", "weight_decay", "first_step"):
            check_not_negative(name, getattr(self, name))
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ConfigError(
                f"clip_norm is {self.clip_norm}; it must be above 0, or None for no clipping"
            )
        check_patterns("optimizer.no_decay", self.no_decay)
        check_patterns("optimizer.freeze", self.freeze)
        check_patterns("optimizer.rates", [pattern for pattern, _ in self.rates])
        for pattern, factor in self.rates:
            check_not_negative(f"the factor of {pattern!r} in optimizer.rates", factor)

    def schedule_fn(self, total_steps: int) -> optax.Schedule:
        """Number of updates made so far -> learning rate of the next one."""
        schedule = self.schedule.build(self.learning_rate, total_steps)
        return lambda step: schedule(step + self.first_step)

    def build(self, total_steps: int) -> optax.GradientTransformation:
        """The transformation for a run of `total_steps`. Its `update` needs the parameters.

        Its `init` raises a ConfigError where a pattern matches no parameter, or `freeze` all of
        them.
        """
        learning_rate = self.schedule.build(self.learning_rate, total_steps)
        # The state has a place for clipping where there is none: a run may clip from some step on.
        clip = optax.identity() if self.clip_norm is None else _clip_by_global_norm(self.clip_norm)
        steps = [clip, *self.scaled_rule(learning_rate)]
        if self.applied_decay:
            steps = [*steps, optax.add_decayed_weights(self._decay(learning_rate), self.decays)]
        update = _count_from(self.first_step, optax.chain(*steps, self._descent()))
        if self.freeze:
            # The clipping is inside, so that the norm is that of the trainable gradients.
            update = optax.partition({"train": update, "freeze": optax.set_to_zero()}, self._labels)

        def init(params: Params) -> optax.OptState:
            self._check_against(params)
            return update.init(params)

        return optax.GradientTransformationExtraArgs(init, update.update)

    @abstractmethod
    def rule(self) -> optax.GradientTransformation:
        """Gradients -> the direction to be multiplied by the learning rate and subtracted."""

    def scaled_rule(self, learning_rate: optax.Schedule) -> list[optax.GradientTransformation]:
        """`rule`, then the multiplication by the learning rate."""
        return [self.rule(), optax.scale_by_schedule(learning_rate)]

    @property
    def applied_decay(self) -> float:
        """The weight decay that `build` adds to the rule."""
        return self.weight_decay

    def decays(self, params: Params) -> Params:
        """Whether weight decay applies, for each parameter: a tree of bools."""
        return map_paths(
            lambda path: not matches(self.no_decay, path), params, "optimizer.no_decay"
        )

    def _descent(self) -> optax.GradientTransformation:
        """The sign of a descent, and the factor of each parameter's rate."""

        def scale(updates: optax.Updates, params: Params | None) -> optax.Updates:
            return jax.tree.map(lambda update, by: -by * update, updates, self._factors(updates))

        return optax.stateless(scale) if self.rates else optax.scale(-1.0)

    def _factors(self, params: Params) -> Params:
        def factor(path: str) -> float:
            return next((rate for name, rate in self.rates if matches((name,), path)), 1.0)

        return map_paths(factor, params, "optimizer.rates")

    def _decay(self, learning_rate: optax.Schedule) -> float | optax.Schedule:
        if not self.decay_with_learning_rate:
            return self.weight_decay
        return lambda step: self.weight_decay * learning_rate(step)

    def _labels(self, params: Params) -> Params:
        def label(path: str) -> str:
            return "freeze" if matches(self.freeze, path) else "train"

        return map_paths(label, params, "optimizer.freeze")

    def _check_against(self, params: Params) -> None:
        paths = paths_of(params)
        check_matches("optimizer.no_decay", self.no_decay, paths)
        check_matches("optimizer.freeze", self.freeze, paths)
        check_matches("optimizer.rates", [pattern for pattern, _ in self.rates], paths)
        if paths and all(matches(self.freeze, path) for path in paths):
            raise ConfigError(
                f"optimizer.freeze={self.freeze} leaves nothing to train; "
                f"the parameters are {', '.join(paths)}"
            )
        self._factors(params)  # raises where layers that are stacked have different ones


@dataclass(frozen=True, kw_only=True)
class Sgd(Optimizer):
    """Plain gradient descent; no state."""

    elementwise = True

    def rule(self) -> optax.GradientTransformation:
        return optax.identity()


@dataclass(frozen=True, kw_only=True)
class Momentum(Optimizer):
    """Gradient descent with momentum (Sutskever et al. 2013, in the form of Bengio et al. 2012)."""

    elementwise = True

    mass: float = 0.9
    """Fraction of the velocity that is kept from step to step."""
    nesterov: bool = True
    """Nesterov's momentum, the default of trax."""

    def rule(self) -> optax.GradientTransformation:
        return optax.trace(self.mass, self.nesterov)


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), or with `weight_decay` AdamW (Loshchilov & Hutter 2019)."""

    elementwise = True

    b1: float = 0.9
    """Decay of the average of the gradients."""
    b2: float = 0.999
    """Decay of the average of their squares."""
    eps: float = 1e-8
    """Added to the root of that average; trax has 1e-5."""

    def rule(self) -> optax.GradientTransformation:
        return optax.scale_by_adam(self.b1, self.b2, self.eps)


@dataclass(frozen=True, kw_only=True)
class RMSProp(Optimizer):
    """Gradients divided by the root of the mean of their squares (Hinton 2012, lecture 6e)."""

    elementwise = True

    decay: float = 0.9
    """Decay of the average; trax calls it gamma."""
    eps: float = 1e-8
    """Added to the root of the average."""
    initial_scale: float = 0.0
    """The average before the first step; trax has 1, which keeps the first steps small."""

    def rule(self) -> optax.GradientTransformation:
        return optax.scale_by_rms(self.decay, self.eps, self.initial_scale, eps_in_sqrt=False)


@dataclass(frozen=True, kw_only=True)
class Adafactor(Optimizer):
    """A factored second moment (Shazeer & Stern 2018, algorithms 4 and 5)."""

    factored: bool = True
    """Average the squares of a matrix by row and by column; False: for each weight."""
    min_dim_size_to_factor: int = 128
    """Factor arrays whose two largest axes have at least this size; 0: all matrices, as in trax."""
    decay_rate: float = 0.8
    """The average's decay at step t is 1 - (t + 1) ** -decay_rate."""
    momentum: float | None = None
    """Decay of an average of the updates, trax's beta1; None: no average."""
    clipping_threshold: float | None = 1.0
    """Largest root mean square of the update of one array; None: no limit."""
    multiply_by_parameter_scale: bool = True
    """Multiply each array's learning rate by its root mean square, or by 1e-3 if that is less."""
    eps: float = 1e-30
    """Added to the squared gradients; trax has 1e-16, added to their average."""
    weight_decay_steps: int | None = None
    """Steps in which weight decay falls linearly to 0, trax's weight_decay_n_steps; None: never."""

    def rule(self) -> optax.GradientTransformation:
        return optax.scale_by_factored_rms(
            self.factored,
            self.decay_rate,
            min_dim_size_to_factor=self.min_dim_size_to_factor,
            epsilon=self.eps,
        )

    def scaled_rule(self, learning_rate: optax.Schedule) -> list[optax.GradientTransformation]:
        # The momentum averages updates already scaled by the learning rate.
        steps = [self.rule()]
        if self.clipping_threshold is not None:
            steps.append(optax.clip_by_block_rms(self.clipping_threshold))
        steps.append(optax.scale_by_schedule(learning_rate))
        if self.multiply_by_parameter_scale:
            steps.append(optax.scale_by_param_block_rms())
        if self.momentum is not None:
            steps.append(optax.ema(self.momentum, debias=False))
        return steps

    def _decay(self, learning_rate: optax.Schedule) -> float | optax.Schedule:
        decay = super()._decay(learning_rate)
        if self.weight_decay_steps is None:
            return decay
        left = optax.linear_schedule(1.0, 0.0, self.weight_decay_steps)
        return lambda step: left(step) * (decay(step) if callable(decay) else decay)


@dataclass(frozen=True, kw_only=True)
class SM3(Optimizer):
    """AdaGrad with an accumulator per row and column (Anil et al. 2019, algorithm SM3-II)."""

    momentum: float = 0.9
    """Decay of an average of the updates."""

    def rule(self) -> optax.GradientTransformation:
        # No epsilon: an accumulator of 0 means a gradient of 0, which stays 0.
        return optax.scale_by_sm3(self.momentum, b2=1.0, eps=0.0)


def _clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm`, with one factor for all arrays.

    Optax selects between the gradient and the clipped gradient, so XLA writes the clipped one to
    memory: an Adam step on a table of 1.2 million x 8 then takes 33 ms instead of 17.
    """

    def clip(updates: optax.Updates, params: Params | None) -> optax.Updates:
        factor = jnp.minimum(1.0, max_norm / optax.tree.norm(updates))
        return jax.tree.map(lambda update: update * factor.astype(update.dtype), updates)

    return optax.stateless(clip)


def _count_from(
    first_step: int, update: optax.GradientTransformation
) -> optax.GradientTransformation:
    """`update`, with each of its step counters starting at `first_step`."""

    def start(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        # A new array for each counter: a buffer that occurs twice in a state cannot be donated.
        return leaf + first_step if path[-1] == jax.tree_util.GetAttrKey("count") else leaf

    def init(params: Params) -> optax.OptState:
        return jax.tree_util.tree_map_with_path(start, update.init(params))

    return optax.GradientTransformationExtraArgs(init, update.update)
