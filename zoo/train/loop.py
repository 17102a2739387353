"""The training loop: from a recipe to a folder that `zoo.load` reads."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from zoo.train import folder, heap, reporting, sharding, step
from zoo.train.job import Job, assemble, plan_of
from zoo.train.recipe import InitFrom, Recipe
from zoo.train.state import TrainState


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM: a checkpoint was saved; the message says how to go on."""


@dataclass(frozen=True)
class Report:
    """What a callback sees after each report and each evaluation."""

    step: int
    metrics: Mapping[str, float]
    """As `train/loss` or `validation/accuracy`."""
    state: TrainState


Callback = Callable[[Report], bool | None]
"""Sees a report; answering True ends the run as if this had been its last step."""


@dataclass(frozen=True)
class Result:
    """What a run gives back."""

    metrics: Mapping[str, float]
    """`test/…` with the weights that `zoo.load` takes, and `validation/…` where they were best."""
    state: TrainState
    """After the last step."""
    workdir: Path


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
    """Trains by a recipe, or goes on with a run that was interrupted. Also `zoo.fit`.

    Args:
      source: a recipe, its name, `FILE.py:FUNCTION`, or the path of a run's `recipe.json`.
      workdir: the run's folder; `runs/NAME` by default. The same call on the same folder resumes,
        and a resumed run gives bit for bit the parameters of one that was never interrupted.
      init_from: fine-tune these weights: a published name, a run, an exported
        folder, or an `InitFrom`.
      data: the examples themselves, instead of those that the recipe names: an iterable of tuples,
        a mapping of arrays, or a tf.data.Dataset.
      callbacks: called after each report and each evaluation; one that answers True ends the run.
      profile_at: take a profile of five steps from this one on (for TensorBoard).
      quiet: print nothing.

    Raises:
      NonFiniteError: the loss is not finite; the last good checkpoint stays.
      Interrupted: on Ctrl-C or SIGTERM, after saving.
      ConfigError: the folder holds a run of another recipe, another process trains in it, or the
        recipe does not fit the data.
      OSError: a checkpoint could not be written; the one before stays. Or none can be read.
    """
    heap.keep()
    plan = plan_of(source, init_from)
    path = Path(workdir) if workdir is not None else Path("runs") / (plan.name or "unnamed")
    with folder.held(path):
        job = assemble(plan, path, data)
        reporter = reporting.Reporter(
            path,
            start=job.progress.step,
            steps=plan.steps,
            profile_at=profile_at,
            quiet=quiet,
        )
        return _train(job, reporter, callbacks)


def _train(job: Job, reporter: reporting.Reporter, callbacks: Sequence[Callback]) -> Result:
    """Step after step to the end, with reports, evaluations and checkpoints when they are due."""
    plan, progress = job.plan, job.progress
    train_step = step.make_train_step(job.module, plan.task, job.transformation, job.mesh)
    with (
        contextlib.closing(reporter),
        contextlib.closing(job.checkpoints),
        _signals() as interrupted,
    ):
        if not job.finished:
            job.introduce(reporter)
        batches = sharding.on_device(job.batches(), job.mesh)
        window = None
        began, start = time.monotonic() - progress.seconds, progress.step
        while not job.finished:
            with reporter.waiting():
                batch = next(batches)
            window = window or job.empty_window(batch)
            job.check_memory(train_step, window, batch, reporter)
            job.state, window = train_step(job.state, window, batch)
            progress.step += 1
            reporter.after_step(progress.step)

            # The order below is fixed: what is not finite is neither reported nor saved, a
            # checkpoint carries the metrics of its own step, and whoever ends the run does
            # so before it is saved.
            if job.due(plan.log_every):
                job.check_finite(window)
                metrics = reporting.prefixed("train", window.metrics.compute())
                reporter.train(progress.step, metrics, job.learning_rate())
                _call(callbacks, Report(progress.step, metrics, job.state), job, reporter)
                window = None

            measured = None
            if job.validates and job.due(plan.eval_every):
                job.check_finite(window)
                with reporter.pause():
                    measured, note = job.evaluate(
                        job.state.variables, "validation", plan.eval_batches
                    )
                reporter.evaluation(progress.step, measured, note)
                job.note(measured)
                _call(callbacks, Report(progress.step, measured, job.state), job, reporter)

            stop = _interrupted(interrupted, job)
            if job.improved(measured) or job.finished or stop or job.due(plan.checkpoint_every):
                # It waits for the steps under way, whose time is the training's.
                job.check_finite(window, job.state.variables)
                with reporter.pause():
                    progress.seconds = time.monotonic() - began
                    job.save(measured)
            if stop and not job.finished:
                raise Interrupted(
                    f"interrupted at step {progress.step} of {plan.steps}; saved to {job.workdir}. "
                    "The same command again goes on from there"
                )

        metrics = job.conclude(reporter, trained=progress.step > start)
    return Result(metrics, job.state, job.workdir)


def _call(
    callbacks: Sequence[Callback], report: Report, job: Job, reporter: reporting.Reporter
) -> None:
    with reporter.pause():
        for callback in callbacks:
            if callback(report):
                job.progress.stopped = "a callback ended the run"


def _interrupted(event: threading.Event, job: Job) -> bool:
    """Whether this run is to end: of several processes they all must, after the same step.

    They ask one another when reports are due: each step would be too often.
    """
    if jax.process_count() == 1:
        return event.is_set()
    if not job.due(job.plan.log_every):
        return False
    return bool(multihost_utils.process_allgather(np.array(event.is_set())).any())


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a run ends between two steps.

    A second one ends it at once.
    """
    interrupted = threading.Event()
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only the main thread may handle signals
        yield interrupted
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        interrupted.set()
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
