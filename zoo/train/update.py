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

from zoo.train import sharding
from zoo.train.clu_metrics import measure
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
    module: nn.Module, task: Task, optimizer: optax.GradientTransformation
) -> jax.stages.Wrapped:
    """(state, batch) -> (state, loss, metrics). It is traced once, for the shapes of the metrics
    and for the step."""

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array, Any]:
        new, loss, output = task.update(module, optimizer, state, batch)
        return new, loss, measure(task, output, batch, training=True)

    return jax.jit(update)


def empty_tally(
    module: nn.Module,
    task: Task,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
) -> Tally:
    """A tally of no steps, on the host.

    Args:
      module: the model.
      task: the task.
      optimizer: the transformation.
      state: the state, or its shapes.
      batch: a batch, or its shapes.
    """
    _, _, metrics = jax.eval_shape(_measured_update(module, task, optimizer), state, batch)
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


def filled_tally(empty: Tally, sums: Sequence[Any]) -> Tally:
    """A tally with the sums of an earlier one, as lists of numbers; empty where those are of other
    metrics."""
    leaves, structure = jax.tree.flatten(empty)
    filled = [np.asarray(value, leaf.dtype) for leaf, value in zip(leaves, sums, strict=False)]
    if [leaf.shape for leaf in filled] != [leaf.shape for leaf in leaves]:
        return empty
    tally: Tally = jax.tree.unflatten(structure, filled)
    return tally


def make_train_step(
    module: nn.Module, task: Task, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainStep:
    """One update: (state, tally, batch) -> (state, tally). State and tally are donated."""
    update = _measured_update(module, task, optimizer)

    def train_step(state: TrainState, tally: Tally, batch: Batch) -> tuple[TrainState, Tally]:
        state, loss, metrics = update(state, batch)
        is_first = (tally.nonfinite_step == 0) & ~jnp.isfinite(loss)
        nonfinite_step = jnp.where(is_first, state.step, tally.nonfinite_step)
        return state, Tally(tally.metrics.merge(metrics), nonfinite_step)

    return jax.jit(train_step, donate_argnums=(0, 1), out_shardings=sharding.of_state(mesh))


def make_eval_step(module: nn.Module, task: Task, mesh: Mesh) -> EvalStep:
    """One evaluation batch: (variables, metrics so far, batch) -> metrics. Metrics are donated."""

    def eval_step(variables: Any, metrics: Any, batch: Batch) -> Any:
        return metrics.merge(measure(task, task.output(module, variables, batch), batch))

    return jax.jit(eval_step, donate_argnums=1, out_shardings=sharding.of_state(mesh))
