"""The mathematics of one update and of one evaluation batch, as compiled functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import Mesh

from zoo.train import accumulation, averaging, sharding
from zoo.train.clu_metrics import collection_of, measure
from zoo.train.state import TrainState
from zoo.train.tasks import Task

Batch: TypeAlias = dict[str, Any]


@struct.dataclass
class Tally:
    """Sums over the steps since the last report. They stay on the device until then."""

    metrics: Any
    """A CLU collection of sums."""
    nonfinite_step: jax.Array | np.int32
    """The first step whose loss was not finite, int32 []; 0: all were."""


TrainStep: TypeAlias = jax.stages.Wrapped
"""(state, tally, batch) -> (state, tally)."""
EvalStep: TypeAlias = Callable[[Any, Any, Batch], Any]
"""(variables, metrics so far, batch) -> metrics."""


@functools.lru_cache(maxsize=4)
def _measured_update(
    module: nn.Module, task: Task, optimizer: optax.GradientTransformation, accumulate: int
) -> jax.stages.Wrapped:
    """(state, batch) -> (state, loss, metrics). It is traced once, for the shapes of the metrics
    and for the step."""

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array, Any]:
        if accumulate > 1:
            return accumulation.update(task, module, optimizer, state, batch, accumulate)
        new, loss, output = task.update(module, optimizer, state, batch)
        return new, loss, measure(task, output, batch, training=True)

    return jax.jit(update)


def added(tally: Tally, step: jax.Array, loss: jax.Array, metrics: Any) -> Tally:
    """A tally with one more step: its number, its loss and its metrics."""
    is_first = (tally.nonfinite_step == 0) & ~jnp.isfinite(loss)
    nonfinite_step = jnp.where(is_first, step, tally.nonfinite_step)
    return Tally(tally.metrics.merge(metrics), nonfinite_step)


def empty_tally(
    module: nn.Module,
    task: Task,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    accumulate: int = 1,
) -> Tally:
    """A tally of no steps, on the host.

    Args:
      module: the model.
      task: the task.
      optimizer: the transformation.
      state: the state, or its shapes.
      batch: a batch, or its shapes.
      accumulate: parts of the batch, see `Recipe.accumulate`.
    """
    update = _measured_update(module, task, optimizer, accumulate)
    _, _, metrics = jax.eval_shape(update, state, batch)
    return Tally(_zeros(metrics), np.int32(0))


def empty_metrics(module: nn.Module, task: Task, variables: Any, batch: Batch) -> Any:
    """The metrics of an evaluation before its first batch, on the host. Arguments: the model, the
    task, and the model's variables and a batch, or their shapes."""

    def metrics_of(variables: Any, batch: Batch) -> Any:
        return measure(task, task.output(module, variables, batch), batch)

    return _zeros(jax.eval_shape(metrics_of, variables, batch))


def _zeros(shapes: Any) -> Any:
    """Metrics are sums, so empty ones are 0."""
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def restored_tally(task: Task, sums: Sequence[Any]) -> Tally | None:
    """The tally of these sums, lists of numbers, on the host; None where they are of other metrics.

    Args:
      task: the task.
      sums: the leaves of an earlier tally.
    """
    leaves, structure = jax.tree.flatten(Tally(collection_of(task, True).empty(), np.int32(0)))
    if len(sums) != len(leaves):
        return None
    filled = [np.asarray(value, leaf.dtype) for leaf, value in zip(leaves, sums, strict=True)]
    tally: Tally = jax.tree.unflatten(structure, filled)
    return tally


class Tallies(dict[str, Tally]):
    """The tallies of the parts of a mixture by name; of other data one, whose name is empty."""

    def compute(self) -> dict[str, float]:
        """The metrics, those of a part as `part/name`."""
        return {
            f"{part}/{name}" if part else name: value
            for part, tally in self.items()
            for name, value in tally.metrics.compute().items()
        }

    @property
    def nonfinite_step(self) -> int:
        """The first step whose loss was not finite; 0: all were."""
        bad = [int(tally.nonfinite_step) for tally in self.values()]
        return min((step for step in bad if step), default=0)

    def sums(self) -> dict[str, list[Any]]:
        """All numbers in them by part, JSON-ready."""
        return {
            part: [leaf.tolist() for leaf in jax.tree.leaves(jax.device_get(tally))]
            for part, tally in self.items()
        }


def make_train_step(
    module: nn.Module,
    task: Task,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    *,
    accumulate: int = 1,
    ema: float | None = None,
) -> TrainStep:
    """One update: (state, tally, batch) -> (state, tally). State and tally are donated.

    Args:
      module, task, optimizer: the run's.
      state: its state, or the placed shapes of it: each array stays where it is.
      accumulate, ema: the recipe's.
    """
    lies = jax.tree.map(lambda leaf: leaf.sharding, state)
    update = _measured_update(module, task, optimizer, accumulate)

    def train_step(state: TrainState, tally: Tally, batch: Batch) -> tuple[TrainState, Tally]:
        with sharding.fetching(lies.step.mesh):
            state, loss, metrics = update(state, batch)
        if ema is not None:
            state = averaging.updated(state, ema)
        return state, added(tally, state.step, loss, metrics)

    return jax.jit(train_step, donate_argnums=(0, 1), out_shardings=(lies, lies.step))


def make_eval_step(module: nn.Module, task: Task, mesh: Mesh) -> EvalStep:
    """One evaluation batch: (variables, metrics so far, batch) -> metrics. Metrics are donated."""

    def eval_step(variables: Any, metrics: Any, batch: Batch) -> Any:
        with sharding.fetching(mesh):
            output = task.output(module, sharding.fetched(variables), batch)
        return metrics.merge(measure(task, output, batch))

    return jax.jit(eval_step, donate_argnums=1, out_shardings=sharding.replicated(mesh))
