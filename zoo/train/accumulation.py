"""Gradient accumulation: an update on a batch whose parts pass through the model one by one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from zoo.train.clu_metrics import measure
from zoo.train.metrics import Batch
from zoo.train.state import TrainState

if TYPE_CHECKING:
    from zoo.train.tasks import Task


def update(
    task: Task,
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    parts: int,
) -> tuple[TrainState, jax.Array, Any]:
    """`Task.update` in the memory of a part of the batch.

    Numerators and denominators of the loss are summed over the parts, so the gradient is that of
    the whole batch, however unevenly its weights lie. A denominator counts as a constant: it is a
    sum of weights.

    Args:
      task, module, optimizer, state, batch: as for `Task.update`.
      parts: number of parts of equal size. Rows of zeros, whose weight is zero, fill up the batch.

    Returns:
      The new state, the loss (float32 []), and the training metrics of the whole batch.
    """
    key = jax.random.fold_in(state.key, state.step)
    collections = {name: value for name, value in state.variables.items() if name != "params"}

    def add(sums: tuple[Any, Any], part: tuple[jax.Array, Batch]) -> tuple[tuple[Any, Any], Any]:
        (gradients, collections), (number, rows) = sums, part
        rngs = {"dropout": jax.random.fold_in(key, number)}

        def total_of(params: Any) -> tuple[jax.Array, Any]:
            variables = {"params": params, **collections}
            output, changed, _ = task.training_output(module, variables, state.carry, rows, rngs)
            total, denominator = task.loss(output, rows)
            return total, (denominator, {**collections, **changed}, output)

        (total, (denominator, changed, output)), more = jax.value_and_grad(total_of, has_aux=True)(
            state.params
        )
        gradients = jax.tree.map(jnp.add, gradients, more)
        metrics = measure(task, output, rows, training=True)
        return (gradients, changed), (total, denominator, metrics)

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    (gradients, collections), sums = jax.lax.scan(
        add, (zeros, collections), (jnp.arange(parts), _divided(batch, parts))
    )
    total, denominator, metrics = jax.tree.map(lambda values: values.sum(axis=0), sums)
    gradients = jax.tree.map(lambda gradient: gradient / denominator, gradients)
    updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    variables = {**collections, "params": params}
    new = dataclasses.replace(
        state, step=state.step + 1, variables=variables, optimizer=optimizer_state
    )
    return new, total / denominator, metrics


def _divided(batch: Batch, parts: int) -> dict[str, jax.Array]:
    """A batch [B, …] as its parts [parts, B / parts, …].

    A part takes every n-th row, so that the rows of a device stay where they are.
    """

    def divide(array: jax.Array) -> jax.Array:
        missing = -len(array) % parts
        filled = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        return filled.reshape(-1, parts, *array.shape[1:]).swapaxes(0, 1)

    return {key: divide(array) for key, array in batch.items()}
