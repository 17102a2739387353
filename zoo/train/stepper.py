"""Training steps of a run: the compiled step, and a warning before one that will not fit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo.pipelines.mixture import part_of
from zoo.train import memory, sharding, update
from zoo.train.setup import trained
from zoo.train.start import Run
from zoo.train.state import TrainState
from zoo.train.tasks import Task
from zoo.train.update import Batch, Tallies, Tally, TrainStep


class Stepper:
    """Takes one step at each call. The step is compiled once for each task and shape of batch."""

    def __init__(
        self, run: Run, warn: Callable[[str], None], sums: Mapping[str, Sequence[Any]]
    ) -> None:
        """
        Args:
          run: the run.
          warn: told of a step that needs more memory than there is.
          sums: those of the first tallies, if an earlier session took steps after its last report.
        """
        self._run = run
        self._warn = warn
        self._module = trained(run.module, run.recipe)
        self._steps: dict[str, TrainStep] = {}
        self._empty: dict[str, Tally] = {}
        self._largest: dict[str, int] = {}
        begun = {
            name: update.restored_tally(run.recipe.task.part(name), values)
            for name, values in sums.items()
        }
        self._begun = Tallies({name: self._put(tally) for name, tally in begun.items() if tally})

    def __call__(
        self, state: TrainState, tallies: Tallies | None, batch: Batch
    ) -> tuple[TrainState, Tallies]:
        """The state and the tallies after the step.

        Args:
          state: the state before; its arrays are overwritten.
          tallies: the sums since the last report, which are overwritten too; None: no steps yet.
          batch: the batch, on the devices.
        """
        tallies, self._begun = tallies or self._begun, Tallies()
        name, batch = part_of(batch)
        task = self._run.recipe.task.part(name)
        if name not in self._steps:
            self._steps[name] = self._step_of(task)
        tally = tallies.get(name) or self._first_tally(name, task, state, batch)
        self._check_memory(name, state, tally, batch)
        state, tally = self._steps[name](state, tally, batch)
        return state, Tallies({**tallies, name: tally})

    def _step_of(self, task: Task) -> TrainStep:
        run, recipe = self._run, self._run.recipe
        return update.make_train_step(
            self._module,
            task,
            run.optimizer,
            run.shapes,
            accumulate=recipe.accumulate,
            ema=recipe.ema,
        )

    def _first_tally(self, name: str, task: Task, state: TrainState, batch: Batch) -> Tally:
        run = self._run
        if name not in self._empty:
            self._empty[name] = update.empty_tally(
                self._module, task, run.optimizer, state, batch, run.recipe.accumulate
            )
        return self._put(self._empty[name])

    def _put(self, tally: Tally) -> Tally:
        placed: Tally = sharding.copied(tally, self._run.mesh)
        return placed

    def _check_memory(self, name: str, state: TrainState, tally: Tally, batch: Batch) -> None:
        """Warns before a step that will not fit. Only a batch larger than all before is checked."""
        size = sum(array.size for array in batch.values())
        if size <= self._largest.get(name, -1):
            return
        self._largest[name] = size
        with contextlib.suppress(NotImplementedError):  # not every backend says what a step takes
            estimate = memory.of_step(self._steps[name], state, tally, batch)
            if warning := memory.warning(estimate, self._run.mesh):
                self._warn(warning)
