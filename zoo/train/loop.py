"""The training loop: from a recipe to a folder that `zoo.load` reads."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.config import ConfigError, is_url
from zoo.storage.remote import place
from zoo.train import folder, recipe_files, saving, sharding
from zoo.train.callbacks import Callbacks, Watcher
from zoo.train.evaluation import Evaluator
from zoo.train.malloc import keep_freed_memory
from zoo.train.outcome import Interrupted, NonFiniteError, Result
from zoo.train.precision import in_32_bits
from zoo.train.processes import Job, together
from zoo.train.recipe import InitFrom, Recipe
from zoo.train.reporting import Reporter, prefixed
from zoo.train.signals import Signals
from zoo.train.start import Run, start
from zoo.train.state import Progress, TrainState, all_finite
from zoo.train.stepper import Stepper
from zoo.train.summary import conclude, introduce
from zoo.train.update import Tallies


def run(
    source: str | Recipe,
    workdir: str | Path | None = None,
    *,
    init_from: str | InitFrom | None = None,
    data: Any = None,
    callbacks: Sequence[Watcher] = (),
    allow_change: Sequence[str] = (),
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
      data: your own examples instead of those that the recipe names: an iterable of tuples or
        dicts, a mapping of columns, a DataFrame or a tf.data.Dataset; or a mapping of the splits
        `train`, `validation` and `test` to such examples.
      callbacks: objects that watch the run (see `zoo.train.Callback`), or functions that are
        called after each report of training metrics and after each evaluation; one that returns
        True then ends the run.
      allow_change: fields of the recipe, such as `optimizer.learning_rate`, that may differ from
        those that the run in the folder began with; the card notes them. Fields that change no
        parameter to come, such as `steps` and `log_every`, always may.
      profile_at: the first of five steps to profile, for TensorBoard.
      quiet: print nothing.

    Raises:
      NonFiniteError: the loss is not finite; the last good checkpoint stays.
      Interrupted: Ctrl-C, SIGTERM or SIGHUP, after a checkpoint was saved.
      ConfigError: the folder holds a run of another recipe, another process trains in it, or the
        recipe does not fit the data.
      OSError: a checkpoint could not be written, and the one before stays; or none can be read.
      OtherProcessError: another process of the same job failed.
    """
    keep_freed_memory()
    with contextlib.ExitStack() as stack:
        stack.enter_context(in_32_bits())
        job = stack.enter_context(together())
        recipe = recipe_files.get(source) if isinstance(source, str) else source
        if isinstance(init_from, str):
            init_from = InitFrom(source=init_from)
        if init_from is not None:
            recipe = dataclasses.replace(recipe, init_from=init_from)
        path = place(workdir) if workdir is not None else Path("runs") / (recipe.name or "unnamed")
        if profile_at is not None and is_url(path):
            raise ConfigError(
                f"a profile is written to a local folder only, and the run is in {path}; leave out "
                "profile_at, or take a local workdir"
            )
        stack.enter_context(folder.locked(path))
        folder.check_one_seed(path)
        reporter = Reporter(path, recipe.steps, profile_at=profile_at, quiet=quiet)
        stack.callback(reporter.close)
        parts, state, progress = start(
            recipe, path, data, allow_change=allow_change, job=job, say=reporter.say
        )
        stack.callback(parts.store.close)
        reporter.begin(progress.step)
        stack.enter_context(parts.recipe.task.failures())
        return _train(parts, state, progress, callbacks, reporter, job)


def _train(
    run: Run,
    state: TrainState,
    progress: Progress,
    callbacks: Sequence[Watcher],
    reporter: Reporter,
    job: Job,
) -> Result:
    """Step after step to the end, with reports, evaluations and checkpoints when they are due."""
    recipe, signals = run.recipe, Signals(run.workdir)
    train_step, evaluate = Stepper(run, reporter.say, progress.sums), Evaluator(run, run.card)
    watchers = Callbacks(callbacks, run, evaluate, reporter)
    began, first_step = time.monotonic() - progress.seconds, progress.step
    tally: Tallies | None = None

    def ended() -> bool:
        return progress.ended(recipe.steps)

    def due(every: int | None) -> bool:
        return ended() or progress.step % (every or max(1, recipe.steps // 10)) == 0

    def tell(event: str, metrics: Mapping[str, float]) -> Progress:
        with reporter.pause():
            ends = watchers.tell(event, progress.step, state, metrics)
        return dataclasses.replace(progress, stopped="callback") if job.any(ends) else progress

    if not ended():
        introduce(run, state, progress, reporter)
    batches = sharding.on_device(
        run.data.train(
            recipe.batch_size,
            seed=recipe.seed,
            start=progress.step,
            rows=sharding.share(run.mesh),
        ),
        run.mesh,
    )
    with signals.noted():
        while not ended():
            with reporter.waiting():
                batch = next(batches)
            state, tally = train_step(state, tally, batch)
            progress = progress.after_step()
            run.store.check()
            reporter.after_step(progress.step)
            watchers.on_step(progress.step, state)

            # The order below is fixed: what is not finite is neither reported nor saved, a
            # checkpoint carries the metrics of its own step, and whoever ends the run does so
            # before it is saved.
            if due(recipe.log_every):
                _check_finite(run, progress, state, tally)
                metrics = prefixed("train", tally.compute())
                reporter.train(progress.step, metrics, recipe.learning_rate(progress.step - 1))
                progress = tell("on_report", metrics)
                tally = None

            best_so_far = None
            if run.validates and due(recipe.eval_every):
                _check_finite(run, progress, state, tally)
                with reporter.pause():
                    metrics, note = evaluate.of_state(
                        state, "validation", limit=recipe.eval_examples, quick=True
                    )
                    metrics = job.share(metrics)
                reporter.evaluation(progress.step, metrics, _judged(run, metrics, note))
                progress = progress.after_evaluation(metrics, recipe.task.best, recipe.patience)
                best_so_far = metrics if progress.evaluations_since_best == 0 else None
                progress = tell("on_eval", metrics)

            stop = job.stop(signals.received)
            keeps = recipe.keep_every is not None and due(recipe.keep_every)
            if best_so_far is not None or stop or keeps or due(recipe.checkpoint_every):
                # This waits for the queued steps before the clock pauses: they count as training.
                _check_finite(run, progress, state, tally, weights=True)
                with reporter.pause():
                    progress = dataclasses.replace(progress, seconds=time.monotonic() - began)
                    saving.save(run.store, state, progress, tally, best_so_far)
                    watchers.tell("on_checkpoint", progress.step, state)
            if stop and not ended():
                run.store.finish()
                job.close()
                reporter.draw()
                watchers.tell("on_end", progress.step, state)
                raise Interrupted(
                    f"interrupted at step {progress.step} of {recipe.steps}; saved to "
                    f"{run.workdir}. The same command again resumes from there",
                    stop,
                )

        run.store.finish()
        trained = progress.step > first_step
        try:
            if job.any(signals.received is not None):
                job.close()
                raise KeyboardInterrupt
            with signals.raising():
                metrics = conclude(run, state, progress, evaluate, reporter, trained=trained)
                watchers.tell("on_end", progress.step, state, metrics)
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"interrupted after the last step; all {progress.step} are saved in {run.workdir}. "
                "The same command again evaluates them",
                signals.received or Interrupted.CTRL_C,
            ) from error
    return Result(metrics, state, run.workdir)


def _judged(run: Run, metrics: Mapping[str, float], note: str) -> str:
    """The note on an evaluation, which says so if it can choose no checkpoint."""
    best = run.recipe.task.best.metric
    if math.isfinite(metrics.get(best, 0.0)):
        return note
    lost = f"{best} is not finite, so this is not the best"
    return f"{note}, {lost}" if note else lost


def _check_finite(
    run: Run, progress: Progress, state: TrainState, tally: Tallies | None, *, weights: bool = False
) -> None:
    """Stops a run in which something is not finite.

    Args:
      run: the run.
      progress: its progress.
      state: its state.
      tally: of the steps since the last report, whose losses must be finite.
      weights: whether the weights, which are to be saved, must be finite too.

    Raises:
      NonFiniteError: a loss or a parameter is not finite.
    """
    bad = tally.nonfinite_step if tally is not None else 0
    if not bad and (not weights or bool(all_finite(state.variables))):
        return
    what = f"the loss of step {bad}" if bad else f"a parameter after step {progress.step}"
    saved = run.store.steps()
    kept = (
        f"the checkpoint of step {saved[-1]} in {run.workdir} is good"
        if saved
        else "nothing was saved yet"
    )
    if reason := run.recipe.task.why_not_finite(state.carry):
        raise NonFiniteError(f"{reason}, in step {bad or progress.step}; {kept}")
    if not saved:
        raise NonFiniteError(
            f"{what} is not finite; {kept}. "
            "A lower optimizer.learning_rate, a warm-up or optimizer.clip_norm may help"
        )
    lower = f"{run.recipe.optimizer.learning_rate / 10:g}"
    raise NonFiniteError(
        f"{what} is not finite; {kept}. A "
        "lower learning rate from there on may help: the same command with "
        f"--optimizer.learning-rate {lower} --allow-change optimizer.learning_rate (zoo.fit: "
        'allow_change=("optimizer.learning_rate",)); so may optimizer.clip_norm, in the same way'
    )
