"""The checkpoints of a run: Orbax behind one small class.

A checkpoint is a folder `checkpoints/STEP` of items: `variables` (the module's), `optimizer` (its
state), `progress` (JSON), and where a run averages its weights `ema`. A predictor reads only the
first, or the last. Orbax writes a
checkpoint under another name and renames it at the end, so a process killed while saving leaves the
one before it intact.

It writes in the background: `save` returns when the arrays are copied to the host, so that the
next step may overwrite them. Whatever reads checkpoints waits until the last one is whole.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

from zoo.config import ConfigError, FileMistake, is_url
from zoo.storage import failures
from zoo.storage.files import absolute, free_space

FOLDER = "checkpoints"
"""Name of the folder inside a run's folder."""

LATEST = "latest_checkpoints"
"""Entry of a checkpoint's progress: the number of latest ones that the run keeps."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be read, and an older one was used."""


Step: TypeAlias = int | Literal["best", "latest", "average", "ema"]
"""Which checkpoint of a run: the best (the latest if the run keeps no best one), the latest, the
mean of the latest ones that are kept (`Recipe.keep_checkpoints`), the moving average in the latest
(`Recipe.ema`), or that of a step."""


@dataclass(frozen=True)
class Best:
    """The metric that decides which checkpoint is the best."""

    metric: str
    mode: Literal["max", "min"]

    def better(self, value: float, than: float | None) -> bool:
        """Whether `value` improves on the best so far (None: there was none).

        Of equally good ones the first is the best, everywhere: only it is saved with its metrics,
        `patience` counts from it, and its metrics are the run's. What is not finite never does,
        and anything finite improves on it.
        """
        if not math.isfinite(value):
            return False
        if than is None or not math.isfinite(than):
            return True
        return value > than if self.mode == "max" else value < than


def _warn(text: str) -> None:
    warnings.warn(text, CheckpointWarning, stacklevel=4)


def _alone(flag: bool) -> bool:
    return flag


class Checkpoints:
    """Saves and restores. Keeps the latest checkpoints and, if `best` is given, the best one; and
    for good, if `every` is given, those of its multiples.

    Orbax's `max_to_keep` with `best_fn` would delete the newest checkpoint if it is not among the
    best, and a resumed run would lose work. A preservation policy keeps both.
    """

    def __init__(
        self,
        folder: Path,
        best: Best | None = None,
        *,
        latest: int = 1,
        every: int | None = None,
        read_only: bool = False,
        warn: Callable[[str], None] = _warn,
        agree: Callable[[bool], bool] = _alone,
    ) -> None:
        """
        Args:
          folder: where they are.
          best: the metric that decides which one is the best; None: there is no best one.
          latest: number of latest ones to keep.
          every: keep for good those whose step is a multiple of this.
          read_only: only restore.
          warn: told of a checkpoint that cannot be read; by default a `CheckpointWarning`.
          agree: whether every process that reads or writes these checkpoints says yes; by default
            there is only this one.

        Raises:
          OSError: the folder cannot be read.
        """
        self.folder = folder
        self.best = best
        self._warn, self._agree, self._latest = warn, agree, latest
        self._pending: int | None = None  # the step that is being written
        self._silence = contextlib.ExitStack()
        keep: list[policies.PreservationPolicy] = [policies.LatestN(latest)]
        if every is not None:
            keep.append(policies.EveryNSteps(every))
        score = None
        if best is not None:
            score = lambda metrics: metrics[best.metric]  # noqa: E731
            reverse = best.mode == "min"
            keep.append(
                policies.BestN(
                    get_metric_fn=score,
                    reverse=reverse,
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        with _quiet():
            self._manager = _Manager(
                absolute(folder),
                item_handlers={
                    # Weights hardly compress, and are read twice as fast if they are not.
                    "variables": ocp.PyTreeCheckpointHandler(use_compression=False),
                    "optimizer": ocp.PyTreeCheckpointHandler(use_compression=False),
                    "ema": ocp.PyTreeCheckpointHandler(use_compression=False),
                    "progress": ocp.JsonCheckpointHandler(),
                },
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=policies.AnyPreservationPolicy(keep),
                    best_fn=score,
                    best_mode=best.mode if best else "max",
                    cleanup_tmp_directories=not read_only,
                    read_only=read_only,
                ),
            )

    def steps(self) -> tuple[int, ...]:
        """The steps that have a complete checkpoint, ascending. Raises as `finish`."""
        self.finish()
        return tuple(sorted(self._manager.all_steps()))

    def best_step(self) -> int | None:
        """The step of the best checkpoint; None if no metric was ever saved. Raises as `finish`."""
        self.finish()
        return self._manager.best_step() if self.best else None

    def save(
        self,
        step: int,
        *,
        variables: Any,
        optimizer: Any,
        ema: Any = (),
        progress: Mapping[str, Any],
        metrics: Mapping[str, float] | None,
    ) -> None:
        """Begins to write the checkpoint of a step, when the one before is whole.

        Args:
          step: its number.
          variables, optimizer, ema: trees of arrays; an `ema` without any is left out.
          progress: JSON-ready values.
          metrics: those measured at this very step; None if none were.

        Raises:
          OSError: this one, or the one before, could not be written; earlier ones are intact.
        """
        self.finish()
        # Orbax's threads print tracebacks when the disk fills up, so check before.
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves((variables, optimizer, ema)))
        try:
            free, gone = free_space(self.folder), None
        except OSError as error:  # the folder has vanished
            free, gone = 0, error
        if not self._agree(free >= needed and gone is None):
            if gone is not None:
                raise self._not_written(step, failures.reason(gone)) from gone
            raise self._not_written(
                step,
                f"No space left on the device: {needed / 1e6:.1f} MB are needed, "
                f"{free / 1e6:.1f} MB are free"
                + (" here, and less on the device of another process" if free >= needed else ""),
            )
        try:
            with _quiet():
                self._manager.save(
                    step,
                    args=ocp.args.Composite(
                        variables=ocp.args.PyTreeSave(variables),
                        optimizer=ocp.args.PyTreeSave(optimizer),
                        progress=ocp.args.JsonSave({**progress, LATEST: self._latest}),
                        **({"ema": ocp.args.PyTreeSave(ema)} if jax.tree.leaves(ema) else {}),
                    ),
                    metrics=dict(metrics) if metrics is not None else None,
                    force=True,
                )
        except Exception as error:  # TensorStore raises a ValueError with the system's message
            if not failures.of_writing(error):
                raise
            raise self._not_written(step, failures.reason(error)) from error
        self._pending = step
        self._silence.enter_context(_quiet())

    def check(self) -> None:
        """Raises the error of a checkpoint that could not be written, if that is known by now.

        Raises:
          OSError: as `finish`.
        """
        if self._pending is not None and not self._manager.is_saving_in_progress():
            self.finish()

    def finish(self) -> None:
        """Waits until the checkpoint that is being written, if there is one, is whole.

        Raises:
          OSError: it could not be written; earlier checkpoints are intact.
        """
        if self._pending is None:
            return
        step, self._pending = self._pending, None
        with self._silence:
            try:
                self._manager.wait_until_finished()
                self._manager.check_for_errors()
            except Exception as error:
                if not failures.of_writing(error):
                    raise
                raise self._not_written(step, failures.reason(error)) from error

    def _not_written(self, step: int, reason: str) -> OSError:
        with contextlib.suppress(OSError), _quiet():
            self._manager.reload()  # it has forgotten those that this one would have replaced
        last = sorted(self._manager.all_steps())[-1:]
        kept = f"the checkpoint of step {last[0]} is intact" if last else "there was no earlier one"
        cure = "Look at the bucket and your rights" if is_url(self.folder) else "Free some space"
        return OSError(
            f"the checkpoint of step {step} could not be written to {self.folder}: "
            f"{reason}; {kept}. {cure} and run the same command again"
        )

    def restore(
        self, *, variables: Any, optimizer: Any, ema: Any = ()
    ) -> tuple[int, Any, Any, Any, dict[str, Any]] | None:
        """The latest checkpoint that is whole, or None if there is none.

        Args:
          variables, optimizer, ema: trees of arrays, or of shapes with shardings: what to restore,
            and where to.

        Returns:
          step, variables, optimizer state, ema, progress. Later checkpoints, whose content is
          broken, are renamed to `STEP.unreadable`, so that the run can save those steps again;
          `warn` is told.

        Raises:
          OSError: a checkpoint cannot be read at the moment, and nothing was changed; or there are
            checkpoints, and the content of all is broken.
          ConfigError: a checkpoint holds other arrays than those asked for; the message lists both.
        """
        targets = {"variables": variables, "optimizer": optimizer}
        if jax.tree.leaves(ema):
            targets["ema"] = ema
        steps = self.steps()
        for step in reversed(steps):
            restored = self._content(step, targets, progress=ocp.args.JsonRestore())
            if self._agree(restored is not None):  # all processes go on from the same checkpoint
                self._set_aside([later for later in steps if later > step])
                progress = {k: v for k, v in restored["progress"].items() if k != LATEST}
                trees = (restored["variables"], restored["optimizer"], restored.get("ema", ema))
                return step, *trees, progress
        if steps:
            raise OSError(
                f"none of the checkpoints in {self.folder} (step {_listed(steps)}) can be read; "
                "fix the cause and rerun the same command to resume, or start over in another "
                "workdir"
            )
        return None

    def _set_aside(self, steps: Sequence[int]) -> None:
        """Renames checkpoints that no process reads any more."""
        if not steps:
            return
        if jax.process_index() == 0:
            for step in steps:
                names = itertools.chain([""], (f".{number}" for number in itertools.count(2)))
                aside = (self.folder / f"{step}.unreadable{suffix}" for suffix in names)
                (self.folder / str(step)).rename(next(path for path in aside if not path.exists()))
        self._agree(True)  # they are set aside before anyone lists the folder again
        self._manager.reload()

    def variables(self, target: Any, step: Step = "best") -> tuple[int, Any]:
        """The step and the variables of a checkpoint, for a predictor.

        Args:
          target: a tree of arrays, or of shapes with shardings.
          step: `best` means the latest if the run keeps no best one. `average` is the mean of the
            latest checkpoints (Vaswani et al. 2017, section 6.1), with the step of the last one;
            those that are kept as the best one or for good are left out. `ema` is the moving
            average that the latest checkpoint holds. If the content of a checkpoint is broken,
            another one is used, unless its number was given.

        Raises:
          FileNotFoundError: there is no readable checkpoint, or not of that step.
          OSError: a checkpoint cannot be read at the moment.
          ConfigError: it holds other arrays than those asked for; the message lists both.
        """
        steps = self.steps()
        if step == "average":
            averaged = steps[-self._number_of_latest(steps) :]
            if (mean := self._mean(averaged, target)) is not None:
                return averaged[-1], mean
        item = "ema" if step == "ema" else "variables"
        for candidate in self._candidates(step):
            restored = self._content(candidate, {item: target})
            if self._agree(restored is not None):
                return candidate, restored[item]
        raise FileMistake(f"{self.folder} has no readable checkpoint; found {_listed(steps)}")

    def _candidates(self, step: Step) -> list[int]:
        """The steps of the checkpoints to try, in that order."""
        steps = self.steps()
        if not isinstance(step, int):
            best = self.best_step() if step == "best" else None
            later_first = [other for other in reversed(steps) if other != best]
            if step == "ema":
                later_first = [other for other in later_first if self._has(other, "ema")]
                if not later_first:
                    raise FileMistake(
                        f"{self.folder} holds no moving average of the weights; a run keeps one "
                        "with --ema 0.999 (Recipe.ema)"
                    )
            return later_first if best is None else [best, *later_first]
        if step not in steps:
            raise FileMistake(
                f"{self.folder} has no checkpoint of step {step}; it has {_listed(steps)}"
            )
        return [step]

    def _has(self, step: int, item: str) -> bool:
        return (self.folder / str(step) / item).is_dir()

    def _number_of_latest(self, steps: Sequence[int]) -> int:
        """How many latest checkpoints the run kept, as the last one that is whole says."""
        for step in reversed(steps):
            with contextlib.suppress(Exception), _quiet():
                args = ocp.args.Composite(progress=ocp.args.JsonRestore())
                return int(self._manager.restore(step, args=args)["progress"][LATEST])
        return len(steps)

    def _mean(self, steps: Sequence[int], target: Any) -> Any:
        """The mean of the checkpoints that are whole, read one by one; None: none is."""
        total, number = None, 0
        for step in steps:
            restored = self._content(step, {"variables": target})
            if self._agree(restored is not None):
                tree = restored["variables"]
                total = tree if total is None else jax.tree.map(lambda a, b: a + b, total, tree)
                number += 1
        return None if total is None else jax.tree.map(lambda leaf: leaf / number, total)

    def _content(self, step: int, targets: Mapping[str, Any], **other: Any) -> Any:
        """The items of a checkpoint; None if its content is broken, of which `warn` is told.

        Args:
          step: its number.
          targets: trees of arrays or shapes, by item.
          other: Orbax's arguments for other items.

        Raises:
          OSError: it cannot be read, also not after some retries.
          ConfigError: it holds other arrays.
        """
        args = ocp.args.Composite(
            **{
                item: ocp.args.PyTreeRestore(
                    _abstract(target),
                    restore_args=ocp.checkpoint_utils.construct_restore_args(_abstract(target)),
                )
                for item, target in targets.items()
            },
            **other,
        )
        if differences := self._differences(step, targets):
            raise ConfigError(
                f"the checkpoint of step {step} in {self.folder} holds another model or optimizer: "
                f"{differences}"
            )
        for pause in (*PAUSES, None):
            try:
                with _quiet():
                    return self._manager.restore(step, args=args)
            except Exception as error:
                if not failures.of_reading(error):
                    raise
                reason = failures.reason(error)
                if not failures.may_pass(error):
                    break
                if pause is None:
                    raise OSError(
                        f"the checkpoint of step {step} in {self.folder} cannot be read at the "
                        f"moment ({reason}); nothing was changed. Fix the cause and run the same "
                        "command again"
                    ) from error
            time.sleep(pause)
        self._warn(f"the checkpoint of step {step} in {self.folder} cannot be read ({reason})")
        return None

    def _differences(self, step: int, targets: Mapping[str, Any]) -> str:
        """Where the arrays of a checkpoint are not those asked for; empty if they are, or if the
        checkpoint does not say."""
        try:
            with _quiet():
                found = self._manager.item_metadata(step)
                stored = {
                    item: _shapes(found[item].tree) if self._has(step, item) else {}
                    for item in targets
                }
        except Exception:  # the description is broken too
            return ""
        listed = []
        for item, target in targets.items():
            asked = _shapes(target)
            for path in sorted(asked.keys() | stored[item].keys()):
                here, there = asked.get(path, "missing"), stored[item].get(path, "missing")
                if here != there:
                    listed.append(f"{item}/{path} is {there} there and {here} here")
        shown = "; ".join(listed[:MAX_LISTED])
        return shown + (f"; … {len(listed)} in all" if len(listed) > MAX_LISTED else "")

    def close(self) -> None:
        """Ends Orbax's threads, when the last checkpoint is whole; `warn` is told if it cannot be
        written."""
        try:
            self.finish()
        except OSError as error:
            self._warn(str(error))
        try:
            with _quiet():
                self._manager.close()
        except Exception as error:  # that of the last checkpoint once more, from another thread
            if not failures.of_writing(error):
                raise


def _abstract(tree: Any) -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None)
        ),
        tree,
    )


def _listed(steps: tuple[int, ...]) -> str:
    return ", ".join(map(str, steps)) if steps else "none"


def _shapes(tree: Any) -> dict[str, str]:
    """The shapes of the arrays in a tree, by slash path; Orbax describes a tree of other nodes."""

    def name(key: Any) -> str:
        return str(next(getattr(key, at) for at in ("key", "name", "idx") if hasattr(key, at)))

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        "/".join(map(name, path)): str(tuple(leaf.shape))
        for path, leaf in leaves
        if hasattr(leaf, "shape") and leaf.shape is not None
    }


MAX_LISTED = 3
"""Most differences that an error message lists."""

PAUSES = (0.5, 2.0)
"""Seconds before each new attempt to read what could not be read."""


class _Manager(ocp.CheckpointManager):  # type: ignore[misc]  # Orbax ships no types
    """Orbax's, which cannot be opened where the metrics of one checkpoint are no JSON."""

    def metrics(self, step: int) -> Any:
        try:
            return super().metrics(step)
        except ValueError:
            return None


def any_in(folder: Path) -> bool:
    """Whether a folder has a complete checkpoint."""
    return any(
        path.name.isdigit() and ocp.utils.is_checkpoint_finalized(epath.Path(path))
        for path in folder.glob("*")
    )


class _Silence(logging.Filter):
    """Drops Orbax's messages below CRITICAL while it is in use, by however many threads."""

    def __init__(self) -> None:
        super().__init__()
        self.users = 0
        self.lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        is_orbax = "orbax" in record.pathname
        return not (self.users and is_orbax) or record.levelno >= logging.CRITICAL


_SILENCE = _Silence()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Orbax, which reports every step to absl's logger, also from threads of its own;
    errors are raised anyway."""
    logging.getLogger("absl").addFilter(_SILENCE)  # a second time has no effect
    with _SILENCE.lock:
        _SILENCE.users += 1
    try:
        yield
    finally:
        with _SILENCE.lock:
            _SILENCE.users -= 1
