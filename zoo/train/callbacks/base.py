"""The interface of callbacks: functions and objects of the user's that watch a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import jax
import jax.numpy as jnp

from zoo.pipelines.base import Array
from zoo.train.state import TrainState

if TYPE_CHECKING:
    from zoo.predictors import Predictor
    from zoo.train.evaluation import Evaluator
    from zoo.train.reporting import Reporter
    from zoo.train.start import Run


class Report:
    """A moment of a run, as callbacks see it."""

    step: int
    """Number of updates so far."""
    metrics: Mapping[str, float]
    """What was measured: `train/…` of a report, `validation/…` of an evaluation, all at the end;
    empty after a step."""
    run: Run
    """The run: its `recipe`, `data`, `card`, `workdir`, …"""

    def __init__(
        self,
        step: int,
        metrics: Mapping[str, float],
        state: TrainState,
        run: Run,
        evaluate: Evaluator,
        reporter: Reporter,
    ) -> None:
        self.step, self.metrics, self.run = step, metrics, run
        self._state: TrainState | None = state
        self._copy: TrainState | None = None
        self._evaluate, self._reporter = evaluate, reporter

    @property
    def state(self) -> TrainState:
        """The state on the devices: a copy that is yours to keep, made when it is first read.

        Raises:
          RuntimeError: it is first read after the callback, when the run has overwritten it.
        """
        if self._copy is None:
            self._copy = jax.tree.map(_copy, self._there)
        return self._copy

    @property
    def _there(self) -> TrainState:
        if self._state is None:
            raise RuntimeError(
                f"the state of step {self.step} is gone: read report.state inside the callback"
            )
        return self._state

    def predictor(self) -> Predictor:
        """A predictor of the weights at this moment: what `zoo.load` would return."""
        return self._evaluate.predictor(self._there.variables)

    def show(
        self, *, texts: Mapping[str, str] | None = None, images: Mapping[str, Array] | None = None
    ) -> None:
        """Adds to the run's event files, for TensorBoard.

        Args:
          texts: Markdown by name.
          images: arrays [N, height, width, channels] by name, uint8 or in [0, 1].
        """
        self._reporter.show(self.step, texts or {}, images or {})

    def say(self, text: str) -> None:
        """A line for a person, on the terminal and in the log."""
        self._reporter.say(text)


class Callback:
    """Watches a run. Every method may be left out.

    Of several processes each has its callbacks, and all must do alike.
    """

    def on_step(self, report: Report) -> None:
        """After each update. The time that it takes is the training's: it should be cheap."""

    def on_report(self, report: Report) -> bool | None:
        """After each report of training metrics. True ends the run, as if this had been its last
        step."""

    def on_eval(self, report: Report) -> bool | None:
        """After each evaluation. True ends the run."""

    def on_checkpoint(self, report: Report) -> None:
        """After each checkpoint; the folder is `report.run.store.folder`."""

    def on_end(self, report: Report) -> None:
        """After the last step, with the metrics of the run; or when it was interrupted, with
        none."""


Watcher: TypeAlias = Callback | Callable[[Report], bool | None]
"""A callback, or a function that is called after each report and each evaluation."""


class _Function(Callback):
    """A function as a callback."""

    def __init__(self, function: Callable[[Report], bool | None]) -> None:
        self._function = function

    def on_report(self, report: Report) -> bool | None:
        return self._function(report)

    def on_eval(self, report: Report) -> bool | None:
        return self._function(report)


class Callbacks:
    """The callbacks of a run."""

    def __init__(
        self, given: Sequence[Watcher], run: Run, evaluate: Evaluator, reporter: Reporter
    ) -> None:
        """
        Args:
          given: the callbacks.
          run, evaluate, reporter: the run's.
        """
        self._all = [each if isinstance(each, Callback) else _Function(each) for each in given]
        self._each_step = [each for each in self._all if type(each).on_step is not Callback.on_step]
        self._parts = run, evaluate, reporter

    def on_step(self, step: int, state: TrainState) -> None:
        """Tells those that watch each step."""
        if self._each_step:
            self._tell(self._each_step, "on_step", step, state, {})

    def tell(
        self, event: str, step: int, state: TrainState, metrics: Mapping[str, float] | None = None
    ) -> bool:
        """Tells all of an event; whether one of them ends the run.

        Args:
          event: a method of `Callback`.
          step: number of updates so far.
          state: the state.
          metrics: what was measured.
        """
        return self._tell(self._all, event, step, state, metrics or {})

    def _tell(
        self,
        watching: Sequence[Callback],
        event: str,
        step: int,
        state: TrainState,
        metrics: Mapping[str, float],
    ) -> bool:
        report = Report(step, metrics, state, *self._parts)
        try:
            return any([getattr(callback, event)(report) for callback in watching])  # each sees it
        finally:
            report._state = None


def _copy(array: jax.Array) -> jax.Array:
    """A copy that no other process has to take part in."""
    if jax.process_count() == 1 or jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return array.copy()
    shards = [shard.data.copy() for shard in array.addressable_shards]
    return jax.make_array_from_single_device_arrays(array.shape, array.sharding, shards)
