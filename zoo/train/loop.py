"""The training loop: from a recipe to a folder that `zoo.load` reads."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from zoo.config import local
from zoo.train import folder, recipe_files, saving, sharding, update
from zoo.train.callbacks import Callback, Report
from zoo.train.evaluation import Evaluator
from zoo.train.malloc import keep_freed_memory
from zoo.train.outcome import Interrupted, NonFiniteError, Result
from zoo.train.processes import any_process
from zoo.train.recipe import InitFrom, Recipe
from zoo.train.reporting import Reporter, prefixed
from zoo.train.start import Run, start
from zoo.train.state import Progress, TrainState
from zoo.train.stepper import Stepper
from zoo.train.summary import conclude, introduce
from zoo.train.update import Tally


def run(
    source: str | Recipe,
    workdir: str | Path | None = None,
    *,
    init_from: str | InitFrom | None = None,
    data: Any = None,
    callbacks: Sequence[Callback] = (),
    profile_at: int | None = None,
    quiet: bool = False,
) -> Result:
    """Trains by a recipe, or resumes a run. Also `zoo.fit`.

    Args:
      source: a recipe, its name, `FILE.py:FUNCTION`, or the path of a run's `recipe.json`.
      workdir: the run's folder; `runs/NAME` by default. The same call on the same folder resumes,
        and a resumed run ends with bit for bit the parameters of one that was never interrupted.
      init_from: the model to fine-tune: a published name, the folder of a run or of an exported
        model, or an `InitFrom`.
      data: your own examples instead of those that the recipe names: an iterable of tuples, a
        mapping of arrays, or a tf.data.Dataset.
      callbacks: called after each report of training metrics and after each evaluation; one that
        returns True ends the run.
      profile_at: the first of five steps to profile, for TensorBoard.
      quiet: print nothing.

    Raises:
      NonFiniteError: the loss is not finite; the last good checkpoint stays.
      Interrupted: Ctrl-C or SIGTERM, after a checkpoint was saved.
      ConfigError: the folder holds a run of another recipe, another process trains in it, or the
        recipe does not fit the data.
      OSError: a checkpoint could not be written, and the one before stays; or none can be read.
    """
    keep_freed_memory()
    recipe = recipe_files.get(source) if isinstance(source, str) else source
    if isinstance(init_from, str):
        init_from = InitFrom(source=init_from)
    if init_from is not None:
        recipe = dataclasses.replace(recipe, init_from=init_from)
    path = local(workdir) if workdir is not None else Path("runs") / (recipe.name or "unnamed")
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder.locked(path))
        parts, state, progress = start(recipe, path, data)
        stack.callback(parts.store.close)
        reporter = Reporter(path, progress.step, recipe.steps, profile_at=profile_at, quiet=quiet)
        stack.callback(reporter.close)
        return _train(parts, state, progress, callbacks, reporter)


def _train(
    run: Run,
    state: TrainState,
    progress: Progress,
    callbacks: Sequence[Callback],
    reporter: Reporter,
) -> Result:
    """Step after step to the end, with reports, evaluations and checkpoints when they are due."""
    recipe = run.recipe
    train_step, evaluate = Stepper(run, reporter.say), Evaluator(run, run.card)
    learning_rate = recipe.optimizer.schedule_fn(recipe.steps)
    began, first_step = time.monotonic() - progress.seconds, progress.step
    tally: Tally | None = None

    def ended() -> bool:
        return progress.ended(recipe.steps)

    def due(every: int | None) -> bool:
        return ended() or progress.step % (every or max(1, recipe.steps // 10)) == 0

    if not ended():
        introduce(run, state, progress, reporter)
    batches = sharding.on_device(
        run.data.train(recipe.batch_size, seed=recipe.seed, start=progress.step), run.mesh
    )
    with _signals() as signalled:
        while not ended():
            with reporter.waiting():
                batch = next(batches)
            state, tally = train_step(state, tally, batch)
            progress = progress.after_step()
            reporter.after_step(progress.step)

            # The order below is fixed: what is not finite is neither reported nor saved, a
            # checkpoint carries the metrics of its own step, and whoever ends the run does so
            # before it is saved.
            if due(recipe.log_every):
                _check_finite(run, progress, tally)
                metrics = prefixed("train", tally.metrics.compute())
                reporter.train(progress.step, metrics, float(learning_rate(progress.step - 1)))
                report = Report(progress.step, metrics, state)
                progress = _call(callbacks, report, progress, reporter)
                tally = None

            best_so_far = None
            if run.validates and due(recipe.eval_every):
                _check_finite(run, progress, tally)
                with reporter.pause():
                    metrics, note = evaluate(
                        state.variables, "validation", limit=recipe.eval_examples, quick=True
                    )
                reporter.evaluation(progress.step, metrics, note)
                progress = progress.after_evaluation(metrics, recipe.task.best, recipe.patience)
                best_so_far = metrics if progress.evaluations_since_best == 0 else None
                report = Report(progress.step, metrics, state)
                progress = _call(callbacks, report, progress, reporter)

            stop = _must_stop(signalled, due(recipe.log_every))
            if best_so_far is not None or stop or due(recipe.checkpoint_every):
                # This waits for the queued steps before the clock pauses: they count as training.
                _check_finite(run, progress, tally, state.variables)
                with reporter.pause():
                    progress = dataclasses.replace(progress, seconds=time.monotonic() - began)
                    saving.save(run.store, state, progress, best_so_far)
            if stop and not ended():
                raise Interrupted(
                    f"interrupted at step {progress.step} of {recipe.steps}; saved to "
                    f"{run.workdir}. The same command again resumes from there"
                )

        trained = progress.step > first_step
        metrics = conclude(run, state, progress, evaluate, reporter, trained=trained)
    return Result(metrics, state, run.workdir)


def _call(
    callbacks: Sequence[Callback], report: Report, progress: Progress, reporter: Reporter
) -> Progress:
    """Calls the callbacks; the progress afterwards, as one of them may end the run."""
    with reporter.pause():
        answers = [callback(report) for callback in callbacks]
    if any(answers):
        return dataclasses.replace(progress, stopped="a callback ended the run")
    return progress


def _check_finite(run: Run, progress: Progress, tally: Tally | None, variables: Any = None) -> None:
    """Stops a run in which something is not finite.

    Args:
      run: the run.
      progress: its progress.
      tally: of the steps since the last report, whose losses must be finite.
      variables: the weights to be saved, if any, which must be finite too.

    Raises:
      NonFiniteError: a loss or a parameter is not finite.
    """
    bad = int(tally.nonfinite_step) if tally is not None else 0
    if not bad and (variables is None or bool(update.all_finite(variables))):
        return
    what = f"the loss of step {bad}" if bad else f"a parameter after step {progress.step}"
    saved = run.store.steps()
    kept = (
        f"the checkpoint of step {saved[-1]} in {run.workdir} is good"
        if saved
        else "nothing was saved yet"
    )
    raise NonFiniteError(
        f"{what} is not finite; {kept}. "
        "A lower optimizer.learning_rate, a warm-up or optimizer.clip_norm may help"
    )


def _must_stop(signalled: threading.Event, reporting: bool) -> bool:
    """Whether the run is to end after this step: if one of several processes was signalled, all do.

    They ask each other only when they report: at every step it would take too long.
    """
    if jax.process_count() > 1 and not reporting:
        return False
    return any_process(signalled.is_set())


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a run ends between two steps.

    A second signal ends it at once.
    """
    signalled = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield signalled  # only the main thread may handle signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: Any) -> None:
        signalled.set()
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield signalled
    finally:
        restore()
