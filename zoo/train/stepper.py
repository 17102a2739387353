"""Training steps of a run: the compiled step, and a warning before one that will not fit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from zoo.train import memory, sharding, update
from zoo.train.start import Run
from zoo.train.state import TrainState
from zoo.train.update import Batch, Tally


class Stepper:
    """Takes one step at each call. The step is compiled once for each shape of batch."""

    def __init__(self, run: Run, warn: Callable[[str], None], sums: Sequence[Any] = ()) -> None:
        """
        Args:
          run: the run.
          warn: told of a step that needs more memory than there is.
          sums: the first tally's, if an earlier session took steps after its last report.
        """
        self._run = run
        self._warn = warn
        task = run.recipe.task
        self._step = update.make_train_step(run.module, task, run.optimizer, run.shapes)
        self._empty: Tally | None = None
        self._sums = sums
        self._largest = -1

    def __call__(
        self, state: TrainState, tally: Tally | None, batch: Batch
    ) -> tuple[TrainState, Tally]:
        """The state and the tally after the step.

        Args:
          state: the state before; its arrays are overwritten.
          tally: the sums since the last report, which are overwritten too; None: no steps yet.
          batch: the batch, on the devices.
        """
        tally = tally or self._first_tally(state, batch)
        self._check_memory(state, tally, batch)
        new: tuple[TrainState, Tally] = self._step(state, tally, batch)
        return new

    def _first_tally(self, state: TrainState, batch: Batch) -> Tally:
        run = self._run
        if self._empty is None:
            self._empty = update.empty_tally(
                run.module, run.recipe.task, run.optimizer, state, batch
            )
        begun = update.filled_tally(self._empty, self._sums)
        self._sums = ()
        tally: Tally = sharding.copied(begun, self._run.mesh)
        return tally

    def _check_memory(self, state: TrainState, tally: Any, batch: Batch) -> None:
        """Warns before a step that will not fit. Only a batch larger than all before is checked."""
        size = sum(array.size for array in batch.values())
        if size <= self._largest:
            return
        self._largest = size
        with contextlib.suppress(NotImplementedError):  # not every backend says what a step takes
            estimate = memory.of_step(self._step, state, tally, batch)
            if warning := memory.warning(estimate, self._run.mesh):
                self._warn(warning)
