"""Several seeds of one recipe in one program: the state of each is a row of one stacked state.

The update, the evaluation and the choice of the best weights are those of a single run under
`jax.vmap`. One checkpoint holds everything, so that what was interrupted resumes bit for bit. At
the end each seed is an ordinary run, in a folder of its own. S is the number of seeds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from zoo.hub import compilation
from zoo.storage import checkpoints, weights
from zoo.storage.cards import Card
from zoo.storage.checkpoints import Checkpoints
from zoo.train import folder, intervals, learning_curve, reporting, saving, sharding, update
from zoo.train.clu_metrics import measure
from zoo.train.learning_curve import METRICS
from zoo.train.outcome import Interrupted, NonFiniteError
from zoo.train.recipe import Recipe
from zoo.train.reporting import Reporter, prefixed
from zoo.train.setup import Setup, set_up
from zoo.train.signals import Signals
from zoo.train.start import keep_schedule
from zoo.train.state import Progress, TrainState, all_finite, create_state
from zoo.train.update import Tally

FOLDER = "seeds"
"""Where the checkpoints of all seeds are, inside the workdir."""


@struct.dataclass
class Best:
    """The best weights of each seed so far."""

    variables: Any
    """[S, …]."""
    value: Float[Array, "S"]
    """The metric that chose them."""
    step: Int[Array, "S"]
    """0: nothing was measured yet."""


class Team:
    """The compiled functions of all seeds. Each device takes its share of them."""

    def __init__(self, setup: Setup, seeds: Sequence[int]) -> None:
        """
        Args:
          setup: the recipe with its data.
          seeds: one for each row of the state.
        """
        self._setup, self._seeds = setup, seeds
        self._optimizer = setup.recipe.transformation()
        self._empty: dict[tuple[str, int | None], Any] = {}
        mesh = _devices(len(seeds))
        self.lies = NamedSharding(mesh, PartitionSpec("seeds"))
        """Where the rows of the state are."""
        module, task = setup.module, setup.recipe.task

        def step(state: TrainState, tally: Tally) -> tuple[TrainState, Tally]:
            new, loss, output = task.update(module, self._optimizer, state, {})
            is_first = (tally.nonfinite_step == 0) & ~jnp.isfinite(loss)
            bad = jnp.where(is_first, new.step, tally.nonfinite_step)
            metrics = measure(task, output, {}, training=True)
            return new, Tally(tally.metrics.merge(metrics), bad)

        def judge(variables: Any, totals: Any, batch: update.Batch) -> Any:
            return totals.merge(measure(task, task.output(module, variables, batch), batch))

        rows, same = self.lies.spec, PartitionSpec()
        shared = functools.partial(jax.shard_map, mesh=mesh, out_specs=rows, check_vma=False)
        self._step = jax.jit(shared(jax.vmap(step), in_specs=rows), donate_argnums=(0, 1))
        self._judge = jax.jit(
            shared(jax.vmap(judge, (0, 0, None)), in_specs=(rows, rows, same)), donate_argnums=1
        )

    def begin(self) -> TrainState:
        """The states before the first step, which also carry a `Best`: see `packed`."""
        recipe = self._setup.recipe
        one_device = sharding.make_mesh(sharding.MeshConfig(data=1))

        def begin(seed: Any) -> TrainState:
            carry = recipe.task.initial_carry(recipe.model, recipe.batch_size, seed)
            return create_state(
                self._setup.module, recipe.model, self._optimizer, seed, one_device, carry=carry
            )

        state = jax.jit(jax.vmap(begin))(jnp.asarray(self._seeds, jnp.int32))
        zeros = jnp.zeros(len(self._seeds), jnp.int32)
        nothing = Best(state.variables, jnp.full(len(zeros), jnp.nan), zeros)
        # Over the host: a step overwrites its state, so the best weights must be a copy.
        begun: TrainState = jax.device_put(jax.device_get(packed(state, nothing)), self.lies)
        return begun

    def step(self, state: TrainState, tally: Tally | None) -> tuple[TrainState, Tally]:
        """One step of each seed. State and tally are overwritten."""
        if tally is None:
            tally = self.filled_tally(state, ())
        new: tuple[TrainState, Tally] = self._step(state, tally)
        return new

    def filled_tally(self, state: TrainState, sums: Sequence[Any]) -> Tally:
        """The tally of each seed with the sums of an earlier session, if there are any."""
        setup, first = self._setup, _row(state, 0)
        one = update.empty_tally(setup.module, setup.recipe.task, self._optimizer, first, {})
        filled: Tally = update.filled_tally(self._stacked(one), sums)
        return filled

    def evaluate(
        self, variables: Any, split: str, limit: int | None = None
    ) -> list[dict[str, float]]:
        """The metrics of a split for each seed, as `split/name`."""
        setup, totals = self._setup, None
        for batch in setup.data.evaluate(split, setup.recipe.batch_size, limit=limit):
            if totals is None:
                totals = self._nothing(variables, batch, (split, limit))
            totals = self._judge(variables, totals, batch)
        return [prefixed(split, metrics) for metrics in self.values(totals)]

    def _nothing(self, variables: Any, batch: update.Batch, key: tuple[str, int | None]) -> Any:
        """The metrics of a split before its first batch."""
        if key not in self._empty:
            task, first = self._setup.recipe.task, _row(variables, 0)
            one = update.empty_metrics(self._setup.module, task, first, batch)
            self._empty[key] = self._stacked(one)
        return self._empty[key]

    def values(self, metrics: Any) -> list[dict[str, float]]:
        """The values of a stacked collection of metrics, for each seed."""
        on_host = jax.device_get(metrics)
        return [_row(on_host, i).compute() for i in range(len(self._seeds))]

    def improved(self, best: Best, variables: Any, values: Sequence[float], step: int) -> Best:
        """The best weights after an evaluation."""
        sign = 1 if self._setup.recipe.task.best.mode == "max" else -1
        new: Best = _improved(best, variables, jnp.asarray(values, jnp.float32), step, sign)
        return new

    def _stacked(self, tree: Any) -> Any:
        number = len(self._seeds)
        return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (number, *leaf.shape)), tree)


@jax.jit
def _improved(best: Best, variables: Any, values: Array, step: int, sign: int) -> Best:
    better = jnp.isfinite(values) & ~(sign * values <= sign * best.value)
    better |= best.step == 0

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return Best(
        jax.tree.map(choose, variables, best.variables),
        choose(values, best.value),
        choose(jnp.full_like(best.step, step), best.step),
    )


def _devices(number: int) -> Mesh:
    """The most devices that can share a number of seeds equally."""
    devices = jax.devices()
    share = next(n for n in range(len(devices), 0, -1) if number % n == 0)
    return jax.make_mesh((share,), ("seeds",), devices=devices[:share], axis_types=(AxisType.Auto,))


def use_cores() -> None:
    """Makes a device of each core, among which seeds are shared, if JAX has not started yet.

    XLA:CPU computes the small products of a policy on one core.
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    affinity = getattr(os, "sched_getaffinity", None)  # of Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count()
    with contextlib.suppress(RuntimeError):  # JAX has started: its devices stay
        jax.config.update("jax_num_cpu_devices", cores or 1)


def _row(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], tree)


def packed(state: TrainState, best: Best) -> TrainState:
    """The state as it is saved: with the best weights in its carry."""
    return dataclasses.replace(state, carry=(state.carry, best))


def unpacked(state: TrainState) -> tuple[TrainState, Best]:
    """The state as it is stepped, and the best weights."""
    carry, best = state.carry
    return dataclasses.replace(state, carry=carry), best


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
        path.mkdir(exist_ok=True)
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
    number = weights.count(_row(state.params, 0))[0]
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
                with reporter.pause():
                    progress = dataclasses.replace(progress, seconds=time.monotonic() - began)
                    saving.save(store, packed(state, best), progress, tally, None)
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
        own = dataclasses.replace(progress, best=measured, sums=())
        with contextlib.closing(Checkpoints(path / checkpoints.FOLDER, task.best)) as store:
            last, at = _row(state, i), int(best.step[i])
            if at != progress.step and at not in store.steps():
                # Only its weights were kept: it is read, and never resumed from.
                of_best = dataclasses.replace(last, variables=_row(best.variables, i))
                of_best = dataclasses.replace(of_best, optimizer=(), carry=())
                saving.save(store, of_best, dataclasses.replace(own, step=at), None, measured)
            if progress.step not in store.steps():
                saving.save(store, last, own, None, measured if at == progress.step else None)
        recipe = dataclasses.replace(setup.recipe, seed=seed)
        folder.write_results(path, cards[i], recipe, measured | tested[i], own)
