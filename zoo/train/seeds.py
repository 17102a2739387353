"""Several seeds of one recipe: a run for each, their means with intervals, and one that is loaded.

Whatever a single run reached may be luck. Reinforcement learning in an environment of JAX trains
all seeds in one program (`vmapped`); everything else trains them one after another by `run`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

from zoo import envs
from zoo.config import ConfigError, check_size, pictures
from zoo.storage.cards import RUN_CARD, Card
from zoo.storage.files import replacing
from zoo.storage.remote import place
from zoo.storage.seeds import Seeds
from zoo.train import folder, intervals, learning_curve, recipe_files, reporting, vmapped
from zoo.train.learning_curve import METRICS
from zoo.train.loop import run
from zoo.train.malloc import keep_freed_memory
from zoo.train.precision import in_32_bits
from zoo.train.recipe import Recipe
from zoo.train.tasks import Control


@dataclass(frozen=True, repr=False)
class SeedResults:
    """The result of `zoo.train.run_seeds`."""

    each: tuple[Mapping[str, float], ...]
    """The metrics of each seed, as those of a `Result`."""
    folders: tuple[Path, ...]
    """The run of each seed."""
    chosen: Path
    """The run that `zoo.load` takes: that of the seed of median validation metric."""
    workdir: Path
    """The folder of all."""

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of each metric over the seeds; as `NAME_interval`, half the width of its 95 %
        interval."""
        return intervals.summary(self.each)

    def __str__(self) -> str:
        found, half = self.metrics, intervals.HALF_WIDTH
        return "  ".join(
            f"{name} {value:.4g} \N{PLUS-MINUS SIGN} {found[name + half]:.2g}"
            for name, value in found.items()
            if not name.endswith(half)
        )

    def __repr__(self) -> str:
        return f"<SeedResults {self.workdir}: {len(self.each)} seeds, {self}>"

    def _repr_html_(self) -> str:
        """The metrics as a table, above the learning curve."""
        entries = {"seeds": len(self.each), "folder": self.workdir, "metrics": self.metrics}
        curve = self.workdir / learning_curve.CURVE
        drawn = pictures.image(curve.read_bytes(), "learning curve") if curve.is_file() else ""
        return pictures.table(entries) + drawn


def run_seeds(
    source: str | Recipe,
    workdir: str | Path | None = None,
    *,
    seeds: int = 10,
    allow_change: Sequence[str] = (),
    quiet: bool = False,
) -> SeedResults:
    """Trains a recipe with several seeds, or resumes that: the recipe's seed and those after it.

    The folder has a run for each seed (`seed_0`, …), and their means with 95 % intervals in
    `metrics.jsonl` and `learning_curve.png`. `zoo.load(workdir)` takes the seed of median
    validation metric.

    Args:
      source: a recipe, its name, `FILE.py:FUNCTION`, or the path of a run's `recipe.json`.
      workdir: the folder; `runs/NAME_seeds` by default. The same call on the same folder resumes.
      seeds: their number.
      allow_change: as for `run`.
      quiet: print nothing.

    Where all seeds train in one program, `patience` ends none of them, and each device takes an
    equal share; on a CPU set JAX_NUM_CPU_DEVICES to the number of its cores before JAX starts, as
    the command does by itself. What was interrupted resumes bit for bit on as many devices.

    Raises:
      ConfigError: the folder holds a run of one seed, or of another number of seeds; or as `run`.
      NonFiniteError: the loss of a seed is not finite; the message says which.
      Interrupted: as `run`.
      OSError: as `run`.
    """
    check_size("seeds", seeds)
    if jax.process_count() > 1:
        raise ConfigError(
            f"several seeds train in one process, and this job has {jax.process_count()}; train "
            "one seed in each run, with --seed"
        )
    keep_freed_memory()
    recipe = recipe_files.get(source) if isinstance(source, str) else source
    path = (
        place(workdir)
        if workdir is not None
        else Path("runs") / f"{recipe.name or 'unnamed'}_seeds"
    )
    runs = {seed: path / f"seed_{seed}" for seed in range(recipe.seed, recipe.seed + seeds)}
    with contextlib.ExitStack() as stack:
        stack.enter_context(in_32_bits())
        stack.enter_context(folder.locked(path))
        _claim(path, runs)
        if trains_together(recipe):
            vmapped.train(recipe, path, runs, allow_change=allow_change, quiet=quiet)
        else:
            for seed, one in runs.items():
                own = dataclasses.replace(recipe, seed=seed)
                run(own, one, allow_change=allow_change, quiet=quiet)
            _write_metrics(path, list(runs.values()))
        results = _conclude(recipe, path, list(runs.values()))
    if not quiet:
        print(f"{path}: {results}\nzoo.load takes {results.chosen}", flush=True)
    return results


def trains_together(recipe: Recipe) -> bool:
    """Whether all seeds can be one program."""
    if not isinstance(recipe.task, Control):
        return False
    if recipe.init_from is not None or recipe.ema is not None:  # these are the loop's alone
        return False
    environment = envs.create(recipe.data.environment)  # type: ignore[attr-defined]
    return environment.is_pure


def _claim(path: Path, runs: Mapping[int, Path]) -> None:
    """Notes that the folder is that of these seeds. One that was chosen before stays so until the
    next end.

    Raises:
      ConfigError: it holds a run of one seed, or of other seeds.
    """
    if (path / RUN_CARD).is_file():
        raise ConfigError(f"{path} holds a run of one seed; use another workdir for several")
    earlier = Seeds.read(path)
    names = tuple(one.name for one in runs.values())
    if earlier is not None and earlier.folders == names:
        return
    if earlier is not None and any((path / name).is_dir() for name in earlier.folders):
        raise ConfigError(
            f"{path} holds {len(earlier.folders)} seeds, {earlier.folders[0]} to "
            f"{earlier.folders[-1]}, and not {names[0]} to {names[-1]}; ask for these again, or "
            "use another workdir"
        )
    Seeds(folders=names).save(path)


def _write_metrics(path: Path, runs: Sequence[Path]) -> None:
    """Writes the means of runs that ended one after another: a record for each step and split."""
    with replacing(path / METRICS) as temporary:
        for step, each in learning_curve.aligned([one / METRICS for one in runs]):
            reporting.append(temporary, step, intervals.summary(each))


def _conclude(recipe: Recipe, path: Path, runs: Sequence[Path]) -> SeedResults:
    """Chooses the run that is loaded, and draws the learning curve."""
    each = tuple(dict(Card.read(one / RUN_CARD).metrics) for one in runs)
    metric = recipe.task.best.metric
    chosen, why = runs[0], "the first one, for nothing was validated"
    found = {one: metrics.get(metric, math.nan) for one, metrics in zip(runs, each, strict=True)}
    ordered = sorted(
        (value, i, one) for i, (one, value) in enumerate(found.items()) if value == value
    )
    if ordered:
        value, _, chosen = ordered[(len(ordered) - 1) // 2]
        why = f"median {metric} of {len(runs)} seeds, {value:.4g}"
    Seeds(folders=tuple(one.name for one in runs), chosen=chosen.name, why=why).save(path)
    learning_curve.draw_seeds(path, runs, metric)
    return SeedResults(each, tuple(runs), chosen, path)
