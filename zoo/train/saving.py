"""A run's checkpoints: how its state and progress lie in one, there and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from zoo.config import ConfigError
from zoo.storage import weights
from zoo.storage.checkpoints import Checkpoints
from zoo.storage.files import free_space
from zoo.train import sharding, stacking
from zoo.train.state import Progress, TrainState, run_key
from zoo.train.update import Tallies


def save(
    store: Checkpoints,
    state: TrainState,
    progress: Progress,
    tally: Tallies | None,
    metrics: Mapping[str, float] | None,
) -> None:
    """Writes a checkpoint.

    Args:
      store: the run's checkpoints.
      state: the state.
      progress: the progress.
      tally: of the steps since the last report, so that the next report of a resumed run is that of
        one that was never interrupted.
      metrics: those of this step if they are the best so far, else None.

    Raises:
      OSError: it could not be written; the one before stays.
    """
    sums = tally.sums() if tally is not None else {}
    mesh = dict(state.step.sharding.mesh.shape)  # type: ignore[attr-defined]  # a NamedSharding
    store.save(
        progress.step,
        variables=stacking.apart(state.own),
        optimizer=(stacking.apart(state.optimizer), state.carry),
        ema=stacking.apart(state.ema),
        progress=dataclasses.asdict(dataclasses.replace(progress, sums=sums, mesh=mesh)),
        metrics=metrics,
    )


def check_room(folder: Path, shapes: TrainState) -> None:
    """Refuses a run that keeps checkpoints for good where there is no room for two.

    Raises:
      ConfigError: there is not.
    """
    _, size = weights.count((shapes.own, shapes.optimizer, shapes.carry, shapes.ema))
    free = free_space(folder)
    if free < 2 * size:
        raise ConfigError(
            f"keep_every keeps checkpoints for good; each takes {size / 1e6:.1f} MB, and "
            f"{free / 1e6:.1f} MB are free in {folder}, too little for two"
        )


def restore(
    store: Checkpoints, shapes: TrainState, seed: int, mesh: Mesh
) -> tuple[TrainState, Progress] | None:
    """State and progress of the latest checkpoint; None where there is none. Adapters come without
    their base.

    Args:
      store: the run's checkpoints.
      shapes: those of the state, with the places of its arrays. Only the restored arrays are made,
        so that resuming a run takes no more memory than the run.
      seed: the run's seed.
      mesh: the devices.

    Raises:
      OSError: there are checkpoints and none can be read.
      ConfigError: the checkpoint holds another model or optimizer.
    """
    wanted = {"variables": shapes.own, "optimizer": (shapes.optimizer, shapes.carry)}
    wanted["ema"] = shapes.ema
    restored = store.restore(**stacking.apart(wanted))
    if restored is None:
        return None
    number, *trees, progress = restored
    variables, (optimizer, carry), ema = stacking.as_in(wanted, trees)
    step = sharding.copied(np.int32(number), mesh)
    state = TrainState(step, variables, optimizer, run_key(seed, mesh), carry, ema)
    return state, Progress.of_checkpoint(progress)
