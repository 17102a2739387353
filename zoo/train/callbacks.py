"""Functions of the user's that watch a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp

from zoo.train.state import TrainState


class Report:
    """The metrics of a report of training, or of an evaluation, as callbacks get them."""

    step: int
    """Number of updates so far."""
    metrics: Mapping[str, float]
    """`train/…` or `validation/…`."""

    def __init__(self, step: int, metrics: Mapping[str, float], state: TrainState) -> None:
        self.step, self.metrics = step, metrics
        self._state: TrainState | None = state
        self._copy: TrainState | None = None

    @property
    def state(self) -> TrainState:
        """The state on the devices: a copy that is yours to keep, made when it is first read.

        Raises:
          RuntimeError: it is first read after the callback, when the run has overwritten it.
        """
        if self._copy is None:
            if self._state is None:
                raise RuntimeError(
                    f"the state of step {self.step} is gone: read report.state inside the callback"
                )
            self._copy = jax.tree.map(_copy, self._state)
        return self._copy


Callback: TypeAlias = Callable[[Report], bool | None]
"""Sees a report. If it returns True, the run ends as if this had been its last step."""


def call(callbacks: Sequence[Callback], report: Report) -> bool:
    """Calls the callbacks; whether one of them ends the run."""
    try:
        return any([callback(report) for callback in callbacks])  # each sees it
    finally:
        report._state = None


def _copy(array: jax.Array) -> jax.Array:
    """A copy that no other process has to take part in."""
    if jax.process_count() == 1 or jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return array.copy()
    shards = [shard.data.copy() for shard in array.addressable_shards]
    return jax.make_array_from_single_device_arrays(array.shape, array.sharding, shards)
