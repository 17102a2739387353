"""The mathematics of one update and of one evaluation batch, as compiled functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import Mesh

from zoo.train.sharding import replicated
from zoo.train.state import TrainState
from zoo.train.tasks import Task


@struct.dataclass
class Window:
    """What the steps since the last report have summed up; it stays on the device until then."""

    metrics: Any
    """A CLU collection of sums."""
    nonfinite_step: jax.Array | np.int32
    """int32 []: the first step whose loss was not finite; 0 while there is none."""


TrainStep = jax.stages.Wrapped
"""(state, window, batch) -> (state, window), compiled at its first call for each shape."""
EvalStep = Callable[[Any, Any, dict[str, Any]], Any]


def empty_window(module: nn.Module, task: Task, variables: Any, batch: dict[str, Any]) -> Window:
    """A window with nothing in it, on the host: metrics are sums, so all is zero."""

    def measure(variables: Any, batch: dict[str, Any]) -> Any:
        return task.measure(task.logits(module, variables, batch), batch)

    shapes = jax.eval_shape(measure, variables, batch)
    sums = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return Window(sums, np.int32(0))


def make_train_step(
    module: nn.Module, task: Task, transformation: optax.GradientTransformation, mesh: Mesh
) -> TrainStep:
    """One update: (state, window, batch) -> (state, window).

    State and window are consumed (donated).
    """

    def train_step(
        state: TrainState, window: Window, batch: dict[str, Any]
    ) -> tuple[TrainState, Window]:
        rngs = {"dropout": jax.random.fold_in(state.key, state.step)}
        collections = {name: value for name, value in state.variables.items() if name != "params"}

        def loss_of(params: Any) -> tuple[jax.Array, tuple[Any, Any, Any]]:
            logits, changed, carry = task.train_logits(
                module, {"params": params, **collections}, state.carry, batch, rngs
            )
            total, denominator = task.loss(logits, batch)
            return total / denominator, (logits, changed, carry)

        (loss, (logits, changed, carry)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            state.params
        )
        updates, optimizer = transformation.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        step = state.step + 1

        bad = (window.nonfinite_step == 0) & ~jnp.isfinite(loss)
        window = Window(
            window.metrics.merge(task.measure(logits, batch)),
            jnp.where(bad, step, window.nonfinite_step),
        )
        return TrainState(
            step, {**collections, **changed, "params": params}, optimizer, state.key, carry
        ), window

    return jax.jit(train_step, donate_argnums=(0, 1), out_shardings=replicated(mesh))


def make_eval_step(module: nn.Module, task: Task, mesh: Mesh) -> EvalStep:
    """One evaluation batch: (variables, metrics so far, batch) -> metrics."""

    def eval_step(variables: Any, metrics: Any, batch: dict[str, Any]) -> Any:
        return metrics.merge(task.measure(task.logits(module, variables, batch), batch))

    return jax.jit(eval_step, donate_argnums=1, out_shardings=replicated(mesh))


@jax.jit
def all_finite(tree: Any) -> jax.Array:
    """Whether every floating-point value in a tree is finite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
