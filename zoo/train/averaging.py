"""The exponential moving average of a run's weights (Polyak & Juditsky 1992), for evaluation.

    average = average + (1 - decay) · (weights - average)

After `t` updates the decay is (1 + t) / (10 + t) where that is below the recipe's, so that an
average over a short run does not remember the random weights that it began with.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from zoo.train.state import TrainState


def begun(state: TrainState) -> TrainState:
    """The state, or the shapes of one, with the average of no updates: the weights as they are."""

    def copy(leaf: Any) -> Any:
        # A buffer that occurs twice in a state cannot be donated.
        return leaf.copy() if isinstance(leaf, jax.Array) else leaf

    return dataclasses.replace(state, ema=jax.tree.map(copy, state.own))


def updated(state: TrainState, decay: float) -> TrainState:
    """The state after an update, with the average moved towards its weights."""
    updates = state.step.astype(jnp.float32)
    share = 1 - jnp.minimum(decay, (1 + updates) / (10 + updates))

    def move(average: jax.Array, weight: jax.Array) -> jax.Array:
        return average + share.astype(average.dtype) * (weight - average)

    return dataclasses.replace(state, ema=jax.tree.map(move, state.ema, state.own))
