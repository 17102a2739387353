"""A loss, metrics and an optimizer of one's own, as values of a recipe.

    task = zoo.task(squared_error, metrics={"absolute_error": absolute_error})
    optimizer = zoo.optax(optax.adamw, learning_rate=1e-3, b2=0.99)

Both hold functions by their names (`my_recipes:squared_error`), so that a recipe can be written to
JSON, compared and changed by flags. A function must be at the top level of a file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import optax as optax_library

from zoo.config import ConfigError, reference, resolve, wrapping
from zoo.predictors import Outputs
from zoo.storage.checkpoints import Best
from zoo.train.losses import Sums
from zoo.train.metrics import Batch, MetricFunction
from zoo.train.optimizers import Optimizer
from zoo.train.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class OwnTask(Task):
    """A loss and metrics of one's own; the predictor gives the module's outputs."""

    predictor = Outputs

    loss_function: str
    """The loss, (output, batch) -> (sum, denominator), by its name."""
    metric_functions: tuple[tuple[str, str], ...] = ()
    """Pairs of a metric's name and of the name of its function, which is one like the loss."""
    best_metric: str = "loss"
    """The metric that chooses the best checkpoint …"""
    best_mode: Literal["min", "max"] = "min"
    """… and whether less or more of it is better."""
    argument_keys: tuple[str, ...] = ("inputs",)
    """The arrays of a batch that are the arguments of the module."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = ["loss", *(name for name, _ in self.metric_functions)]
        if self.best_metric not in known:
            raise ConfigError(
                f"task.best_metric is {self.best_metric!r}; the metrics are {', '.join(known)}"
            )

    @property
    def best(self) -> Best:  # type: ignore[override]  # of other tasks it is one for all
        return Best(f"validation/{self.best_metric}", self.best_mode)

    def loss(self, output: Any, batch: Batch) -> Sums:
        sums: Sums = resolve(self.loss_function)(output, batch)
        return sums

    def metrics(self) -> Mapping[str, MetricFunction]:
        return {"loss": self.loss} | {
            name: resolve(function) for name, function in self.metric_functions
        }

    def arguments(self, batch: Batch) -> tuple[Any, ...]:
        return tuple(batch[key] for key in self.argument_keys)


def task(
    loss: Callable[[Any, Batch], Sums],
    *,
    metrics: Mapping[str, Callable[[Any, Batch], Sums]] | None = None,
    best: tuple[str, Literal["min", "max"]] = ("loss", "min"),
    arguments: tuple[str, ...] = ("inputs",),
) -> OwnTask:
    """A task for a recipe from functions.

    Args:
      loss: (output, batch) -> (sum, denominator). The output is what the module returned; the batch
        has `inputs`, `targets` and `weights`, of which the weights are 0 at padding: multiply by
        them, and divide by their sum.
      metrics: name -> a function like the loss. The loss itself is always measured.
      best: the metric of the validation split that chooses the best checkpoint, and `min` or `max`.
      arguments: the arrays of a batch that are the arguments of the module.

    Raises:
      ConfigError: a function is defined inside another one, or `best` names no metric.
    """
    metric, mode = best
    return OwnTask(
        loss_function=named(loss),
        metric_functions=tuple((name, named(f)) for name, f in (metrics or {}).items()),
        best_metric=metric,
        best_mode=mode,
        argument_keys=arguments,
    )


def named(function: Callable[..., Any]) -> str:
    """The name under which a recipe holds a function.

    Raises:
      ConfigError: no other process could find it under its name.
    """
    qualname = getattr(function, "__qualname__", repr(function))
    if "<" in qualname:
        raise ConfigError(
            f"{qualname} has no name that another process could find; define it with `def` at the "
            "top level of a file"
        )
    return reference(function)


@dataclass(frozen=True, kw_only=True)
class OwnOptimizer(Optimizer):
    """A function of Optax, or one like it, that takes a learning rate: the part of its config that
    all have in common. Clipping, `freeze` and the schedule are those of `Optimizer`."""

    thing: ClassVar[Any]
    """The function."""
    parameters: ClassVar[tuple[str, ...]]
    """Its parameters that are fields of this config."""

    def rule(self) -> optax_library.GradientTransformation:
        return self._made(1.0)

    def scaled_rule(
        self, learning_rate: optax_library.Schedule
    ) -> list[optax_library.GradientTransformation]:
        return [self._made(learning_rate)]

    @property
    def applied_decay(self) -> float:
        """Weight decay that `Optimizer.build` adds: none where the function has its own."""
        return 0.0 if "weight_decay" in self.parameters else self.weight_decay

    def _made(self, learning_rate: Any) -> optax_library.GradientTransformation:
        """The function's transformation, whose updates are subtracted as those of a `rule` are."""
        arguments = {name: getattr(self, name) for name in self.parameters}
        made = self.thing(learning_rate=learning_rate, **arguments)
        return optax_library.chain(made, optax_library.scale(-1.0))


def optax(function: Callable[..., Any], *, learning_rate: float, **fields: Any) -> Optimizer:
    """An optimizer for a recipe from a function of Optax.

    >>> zoo.optax(optax.lion, learning_rate=1e-4, schedule=Linear(), b1=0.95)  # doctest: +SKIP

    Args:
      function: such as `optax.adamw`: takes `learning_rate`, which is given a schedule, and options
        that are numbers, strings or booleans.
      learning_rate: the peak of the schedule.
      fields: options of the function, and fields of `Optimizer` such as `schedule`, `clip_norm` and
        `freeze`.

    Raises:
      ConfigError: there is no such option, or the function cannot be used like this.
    """
    made = optimizer_class(function)
    return wrapping.make(made, {"learning_rate": learning_rate, **fields})


def optimizer_class(function: Any) -> type[OwnOptimizer]:
    """The config class of an optimizer function.

    Raises:
      ConfigError: it is no function that takes a learning rate, or has no name.
    """
    if not callable(function) or isinstance(function, type):
        raise ConfigError(f"{function!r} is not an optimizer; give a function such as optax.adamw")
    name = named(function)
    parameters = dict(inspect.signature(function).parameters)
    if parameters.pop("learning_rate", None) is None:
        raise ConfigError(f"{name} takes no learning_rate; give a function such as optax.adamw")
    options = {
        option: (_type_of(item.default), item.default)
        for option, item in parameters.items()
        if item.default is not item.empty
    }
    if missing := sorted(parameters.keys() - options.keys()):
        raise ConfigError(
            f"{name} needs {missing[0]!r}; write a function of your own that gives it a default"
        )
    return wrapping.wrap(OwnOptimizer, function, options)


def _type_of(default: Any) -> Any:
    """The type of an option by its default: Optax's annotations allow arrays and functions too."""
    return float | None if default is None else type(default)


wrapping.adapt(Optimizer, optimizer_class)
