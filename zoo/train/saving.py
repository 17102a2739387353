"""A run's checkpoints: how its state and progress lie in one, there and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jax.sharding import Mesh

from zoo.storage.checkpoints import Checkpoints
from zoo.train import sharding
from zoo.train.state import Progress, TrainState


def save(
    store: Checkpoints,
    state: TrainState,
    progress: Progress,
    metrics: Mapping[str, float] | None,
) -> None:
    """Writes a checkpoint.

    Args:
      store: the run's checkpoints.
      state: the state.
      progress: the progress.
      metrics: those of this step if they are the best so far, else None.

    Raises:
      OSError: it could not be written; the one before stays.
    """
    store.save(
        progress.step,
        variables=state.variables,
        optimizer=(state.optimizer, state.carry),
        progress=dataclasses.asdict(progress),
        metrics=metrics,
    )


def restore(store: Checkpoints, state: TrainState, mesh: Mesh) -> tuple[TrainState, Progress]:
    """State and progress of the latest readable checkpoint; where there is none, as given.

    Raises:
      OSError: there are checkpoints and none can be read.
    """
    restored = store.restore(variables=state.variables, optimizer=(state.optimizer, state.carry))
    if restored is None:
        return state, Progress()
    number, variables, (optimizer, carry), progress = restored
    step = sharding.put_state(np.int32(number), mesh)
    return TrainState(step, variables, optimizer, state.key, carry), Progress(**progress)
