"""Several seeds of one recipe in one program, from the first step to the folder of each.

One checkpoint holds the states of all, so that what was interrupted resumes bit for bit. At the end
each seed is an ordinary run, in a folder of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo.hub import compilation
from zoo.storage import checkpoints, weights
from zoo.storage.cards import Card
from zoo.storage.checkpoints import Checkpoints
from zoo.storage.files import make_folder
from zoo.train import folder, intervals, learning_curve, reporting, saving, sharding
from zoo.train.learning_curve import METRICS
from zoo.train.outcome import Interrupted, NonFiniteError
from zoo.train.recipe import Recipe
from zoo.train.reporting import Reporter, prefixed
from zoo.train.setup import Setup, set_up
from zoo.train.signals import Signals
from zoo.train.start import keep_schedule
from zoo.train.state import Progress, TrainState, all_finite
from zoo.train.team import Best, Team, packed, row, unpacked
from zoo.train.update import Tallies, Tally

FOLDER = "seeds"
"""Where the checkpoints of all seeds are, inside the workdir."""


def train(
    recipe: Recipe,
    workdir: Path,
    runs: Mapping[int, Path],
    *,
    allow_change: Sequence[str],
    quiet: bool,
) -> None:
    """Trains all seeds from the start, or from where they were interrupted, to the end.

    Args:
      recipe: the recipe.
      workdir: the folder of all seeds, locked.
      runs: seed -> the folder of its run.
      allow_change: fields of the recipe that may differ from those that the seeds began with.
      quiet: print nothing.

    Raises:
      As `run`.
    """
    compilation.use_cache()
    with contextlib.ExitStack() as stack:
        reporter = Reporter(workdir, recipe.steps, quiet=quiet)
        stack.callback(reporter.close)
        resumes = checkpoints.any_in(workdir / FOLDER)
        earlier = folder.earlier_recipe(workdir) if resumes else None
        setup, changed = set_up(recipe), {}
        if earlier is not None:
            kept = keep_schedule(setup.recipe, earlier, reporter.say)
            setup = dataclasses.replace(setup, recipe=kept)
            changed = folder.check_recipe(workdir, earlier, kept, allow_change)
        team = Team(setup, list(runs))
        fresh = team.begin()
        store = Checkpoints(workdir / FOLDER, warn=reporter.say)
        stack.callback(store.close)
        restored = saving.restore(store, fresh, recipe.seed, setup.mesh)
        state, progress = fresh, Progress()
        if restored is not None:
            state, progress = restored
            step = jax.device_put(np.full(len(runs), progress.step, np.int32), team.lies)
            state = dataclasses.replace(state, step=step, key=fresh.key)
        folder.write_recipe(workdir, setup.recipe)
        cards = _begin_folders(setup, runs, progress.step, changed)
        if all(card.training.get("steps") == progress.step and card.metrics for card in cards):
            reporter.say(
                f"{workdir} is already finished (step {progress.step}); there is nothing to do"
            )
            return
        reporter.begin(progress.step)
        state, best, progress = _steps(setup, team, store, state, progress, runs, reporter)
        _conclude(setup, team, state, best, progress, runs, cards, reporter)


def _begin_folders(
    setup: Setup, runs: Mapping[int, Path], step: int, changed: Mapping[str, tuple[object, object]]
) -> list[Card]:
    """Writes recipe and card of each seed; the cards."""
    cards = []
    for seed, path in runs.items():
        make_folder(path)
        own = dataclasses.replace(setup.recipe, seed=seed)
        folder.write_recipe(path, own)
        card = folder.earlier_card(path, own_rows=False) if step else None
        card = card or folder.write_card(path, own, setup.data.facts, own_rows=False)
        card = folder.note_changes(path, card, step, changed)
        cards.append(card if step >= own.steps else folder.clear_results(path, card))
        reporting.drop_after(path / METRICS, step)
    return cards


def _steps(
    setup: Setup,
    team: Team,
    store: Checkpoints,
    state: TrainState,
    progress: Progress,
    runs: Mapping[int, Path],
    reporter: Reporter,
) -> tuple[TrainState, Best, Progress]:
    """Step after step to the end: the loop of `loop.run` for all seeds at once."""
    recipe, signals = setup.recipe, Signals()
    state, best = unpacked(state)
    tally = team.filled_tally(state, progress.sums) if progress.sums else None
    began = time.monotonic() - progress.seconds
    number = weights.count(row(state.params, 0))[0]
    if progress.step < recipe.steps:
        reporter.say(
            f"{recipe.name or 'unnamed recipe'}: {len(runs)} seeds in one program, {number:,} "
            f"parameters each, steps {progress.step} to {recipe.steps} in {store.folder.parent}"
        )

    def due(every: int | None) -> bool:
        ended = progress.step >= recipe.steps
        return ended or progress.step % (every or max(1, recipe.steps // 10)) == 0

    def noted(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
        for path, metrics in zip(runs.values(), each, strict=True):
            reporting.append(path / METRICS, progress.step, metrics)
        return intervals.summary(each)

    with signals.noted():
        while progress.step < recipe.steps:
            state, tally = team.step(state, tally)
            progress = progress.after_step()
            reporter.after_step(progress.step)
            if due(recipe.log_every):
                _check_finite(store, progress.step, tally, None, runs)
                means = noted([prefixed("train", one) for one in team.values(tally.metrics)])
                reporter.train(progress.step, means, recipe.learning_rate(progress.step - 1))
                tally = None
            if due(recipe.eval_every):
                _check_finite(store, progress.step, tally, None, runs)
                with reporter.pause():
                    each = team.evaluate(state.variables, "validation", recipe.eval_examples)
                    values = [metrics[recipe.task.best.metric] for metrics in each]
                    best = team.improved(best, state.variables, values, progress.step)
                reporter.evaluation(progress.step, noted(each))
            stop = signals.received
            if stop or due(recipe.checkpoint_every):
                _check_finite(store, progress.step, tally, state.variables, runs)
                tallies = Tallies({"": tally}) if tally is not None else None
                with reporter.pause():
                    progress = dataclasses.replace(progress, seconds=time.monotonic() - began)
                    saving.save(store, packed(state, best), progress, tallies, None)
            if stop:
                learning_curve.draw_seeds(
                    store.folder.parent, list(runs.values()), recipe.task.best.metric
                )
                raise Interrupted(
                    f"interrupted at step {progress.step} of {recipe.steps}; saved to "
                    f"{store.folder.parent}. The same command again resumes from there",
                    stop,
                )
    return state, best, progress


def _check_finite(
    store: Checkpoints, step: int, tally: Tally | None, variables: Any, runs: Mapping[int, Path]
) -> None:
    """Stops all where something of one seed is not finite.

    Raises:
      NonFiniteError: a loss or a parameter is not finite.
    """
    bad = np.zeros(len(runs), int) if tally is None else np.asarray(tally.nonfinite_step)
    what = "the loss of step {}"
    if not bad.any() and variables is not None:
        bad = np.where(jax.vmap(all_finite)(variables), 0, step)
        what = "a parameter after step {}"
    if not bad.any():
        return
    listed = ", ".join(
        f"seed {seed}: {what.format(at)}" for seed, at in zip(runs, bad, strict=True) if at
    )
    saved = store.steps()
    raise NonFiniteError(
        f"not finite: {listed}; "
        + (f"the checkpoint of step {saved[-1]} is good. " if saved else "nothing was saved yet. ")
        + "A lower optimizer.learning_rate or optimizer.clip_norm may help"
    )


def _conclude(
    setup: Setup,
    team: Team,
    state: TrainState,
    best: Best,
    progress: Progress,
    runs: Mapping[int, Path],
    cards: Sequence[Card],
    reporter: Reporter,
) -> None:
    """Evaluates the best weights of each seed on the test split, and completes its folder."""
    task = setup.recipe.task
    tested: list[dict[str, float]] = [{} for _ in runs]
    if "test" in setup.data.facts.num_examples:
        tested = team.evaluate(best.variables, "test")
        for path, metrics in zip(runs.values(), tested, strict=True):
            reporting.append(path / METRICS, progress.step, metrics)
        note = "the best weights of each seed"
        reporter.evaluation(progress.step, intervals.summary(tested), note)
    state, best = jax.device_get((state, best))
    for i, (seed, path) in enumerate(runs.items()):
        measured = {task.best.metric: float(best.value[i])}
        own = dataclasses.replace(progress, best=measured, sums={})
        with contextlib.closing(Checkpoints(path / checkpoints.FOLDER, task.best)) as store:
            last, at = sharding.copied(row(state, i), setup.mesh), int(best.step[i])
            if at != progress.step and at not in store.steps():
                # Only its weights were kept: it is read, and never resumed from.
                of_best = dataclasses.replace(last, variables=row(best.variables, i))
                of_best = dataclasses.replace(of_best, optimizer=(), carry=())
                saving.save(store, of_best, dataclasses.replace(own, step=at), None, measured)
            if progress.step not in store.steps():
                saving.save(store, last, own, None, measured if at == progress.step else None)
        recipe = dataclasses.replace(setup.recipe, seed=seed)
        folder.write_results(path, cards[i], recipe, measured | tested[i], own)
