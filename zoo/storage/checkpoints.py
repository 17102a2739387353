"""The checkpoints of a run: Orbax behind one small class.

A checkpoint is a folder `checkpoints/STEP` with three items: `variables` (the module's),
`optimizer` (its state) and `progress` (JSON). A predictor reads only the first. Orbax writes a
checkpoint under another name and renames it at the end, so a process killed while saving leaves the
one before it intact.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import shutil
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

from zoo.config import FileMistake

FOLDER = "checkpoints"
"""Name of the folder inside a run's folder."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be read, and an older one was used."""


Step: TypeAlias = int | Literal["best", "latest", "average"]
"""Which checkpoint of a run: the best (the latest if the run keeps no best one), the latest, the
mean of all that are kept (`Recipe.keep_checkpoints`), or that of a step."""


@dataclass(frozen=True)
class Best:
    """The metric that decides which checkpoint is the best."""

    metric: str
    mode: Literal["max", "min"]

    def better(self, value: float, than: float | None) -> bool:
        """Whether `value` improves on the best so far (None: there was none)."""
        return than is None or (value > than if self.mode == "max" else value < than)


class Checkpoints:
    """Saves and restores. Keeps the latest checkpoints and, if `best` is given, the best one.

    Orbax's `max_to_keep` with `best_fn` would delete the newest checkpoint if it is not among the
    best, and a resumed run would lose work. A preservation policy keeps both.
    """

    def __init__(
        self,
        folder: Path,
        best: Best | None = None,
        *,
        latest: int = 1,
        read_only: bool = False,
    ) -> None:
        self.folder = folder
        self.best = best
        keep: list[policies.PreservationPolicy] = [policies.LatestN(latest)]
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
        with _quiet(), _naming_broken_metrics(folder):
            self._manager = ocp.CheckpointManager(
                folder.absolute(),
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=policies.AnyPreservationPolicy(keep),
                    best_fn=score,
                    best_mode=best.mode if best else "max",
                    # An error, such as a full disk, must be raised by the step that saves.
                    enable_async_checkpointing=False,
                    cleanup_tmp_directories=not read_only,
                    read_only=read_only,
                ),
            )

    def steps(self) -> tuple[int, ...]:
        """The steps that have a complete checkpoint, ascending."""
        return tuple(sorted(self._manager.all_steps()))

    def best_step(self) -> int | None:
        """The step of the best checkpoint; None if no metric was ever saved."""
        return self._manager.best_step() if self.best else None

    def save(
        self,
        step: int,
        *,
        variables: Any,
        optimizer: Any,
        progress: Mapping[str, Any],
        metrics: Mapping[str, float] | None,
    ) -> None:
        """Writes the checkpoint of a step.

        Args:
          step: its number.
          variables, optimizer: trees of arrays.
          progress: JSON-ready values.
          metrics: those measured at this very step; None if none were.

        Raises:
          OSError: it could not be written; earlier checkpoints are intact.
        """
        # Orbax's threads print tracebacks when the disk fills up, so check before.
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves((variables, optimizer)))
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise self._not_written(
                step,
                f"No space left on the device: {needed / 1e6:.1f} MB are needed, "
                f"{free / 1e6:.1f} MB are free",
            )
        try:
            with _quiet():
                self._manager.save(
                    step,
                    args=ocp.args.Composite(
                        variables=ocp.args.StandardSave(variables),
                        optimizer=ocp.args.StandardSave(optimizer),
                        progress=ocp.args.JsonSave(dict(progress)),
                    ),
                    metrics=dict(metrics) if metrics is not None else None,
                    force=True,
                )
        except Exception as error:  # TensorStore raises a ValueError with the system's message
            if not _is_write_error(error):
                raise
            raise self._not_written(step, _reason(error)) from error

    def _not_written(self, step: int, reason: str) -> OSError:
        last = self.steps()[-1:]
        kept = f"the checkpoint of step {last[0]} is intact" if last else "there was no earlier one"
        return OSError(
            f"the checkpoint of step {step} could not be written to {self.folder}: "
            f"{reason}; {kept}. Free some space and run the same command again"
        )

    def restore(
        self, *, variables: Any, optimizer: Any
    ) -> tuple[int, Any, Any, dict[str, Any]] | None:
        """The latest checkpoint that can be read, or None if there is none.

        Args:
          variables, optimizer: trees of arrays, or of shapes with shardings: what to restore, and
            where to.

        Returns:
          step, variables, optimizer state, progress. Later checkpoints, which cannot be read, are
          renamed to `STEP.unreadable` with a warning, so that the run can save those steps again.

        Raises:
          OSError: there are checkpoints, but none can be read.
        """
        args = ocp.args.Composite(
            variables=ocp.args.StandardRestore(_abstract(variables)),
            optimizer=ocp.args.StandardRestore(_abstract(optimizer)),
            progress=ocp.args.JsonRestore(),
        )
        steps = self.steps()
        for step in reversed(steps):
            restored = self._try(step, args)
            # All processes go on from the same checkpoint.
            if multihost_utils.process_allgather(np.array(restored is not None)).all():
                self._set_aside([later for later in steps if later > step])
                return step, restored["variables"], restored["optimizer"], restored["progress"]
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
        multihost_utils.sync_global_devices("checkpoints are read")
        if jax.process_index() == 0:
            for step in steps:
                names = itertools.chain([""], (f".{number}" for number in itertools.count(2)))
                aside = (self.folder / f"{step}.unreadable{suffix}" for suffix in names)
                (self.folder / str(step)).rename(next(path for path in aside if not path.exists()))
        multihost_utils.sync_global_devices("checkpoints are set aside")
        self._manager.reload()

    def variables(self, target: Any, step: Step = "best") -> tuple[int, Any]:
        """The step and the variables of a checkpoint, for a predictor.

        Args:
          target: a tree of arrays, or of shapes with shardings.
          step: `best` means the latest if the run keeps no best one. `average` is the mean of all
            checkpoints (Vaswani et al. 2017, section 6.1), with the step of the latest. If the
            checkpoint cannot be read, another one is used, unless its number was given.

        Raises:
          FileNotFoundError: there is no readable checkpoint, or not of that step.
        """
        steps = self.steps()
        if isinstance(step, int):
            if step not in steps:
                raise FileMistake(
                    f"{self.folder} has no checkpoint of step {step}; it has {_listed(steps)}"
                )
            candidates = [step]
        else:
            best = self.best_step() if step == "best" else None
            candidates = ([best] if best is not None else []) + [
                s for s in reversed(steps) if s != best
            ]
        args = ocp.args.Composite(variables=ocp.args.StandardRestore(_abstract(target)))
        if step == "average":
            all_restored = [self._try(candidate, args) for candidate in candidates]
            trees = [restored["variables"] for restored in all_restored if restored is not None]
            if trees:
                return steps[-1], jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *trees)
        for candidate in candidates:
            restored = self._try(candidate, args)
            if restored is not None:
                return candidate, restored["variables"]
        raise FileMistake(f"{self.folder} has no readable checkpoint; found {_listed(steps)}")

    def _try(self, step: int, args: Any) -> Any:
        try:
            with _quiet():
                return self._manager.restore(step, args=args)
        except Exception as error:  # half-written files raise whatever their reader raises
            warnings.warn(
                f"the checkpoint of step {step} in {self.folder} cannot be read ({_reason(error)})",
                CheckpointWarning,
                stacklevel=3,
            )
            return None

    def close(self) -> None:
        """Ends Orbax's threads."""
        self._manager.close()


def _abstract(tree: Any) -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None)
        ),
        tree,
    )


def _listed(steps: tuple[int, ...]) -> str:
    return ", ".join(map(str, steps)) if steps else "none"


@contextlib.contextmanager
def _naming_broken_metrics(folder: Path) -> Iterator[None]:
    """Turns Orbax's error about the metrics of a checkpoint, which it reads first of all, into one
    line that says which they are.

    Raises:
      OSError: the metrics of a checkpoint cannot be read.
    """
    try:
        yield
    except ValueError as error:
        for path in sorted(folder.glob("*/metrics/metrics")):
            try:
                json.loads(path.read_bytes())
            except ValueError:
                raise OSError(
                    f"{path} cannot be read ({error}); rename the folder {path.parents[1]}, and "
                    "the other checkpoints are used"
                ) from error
        raise


FULL = ("No space left on device", "File too large", "quota exceeded")
"""The system's words for a disk that takes no more."""


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    for words in FULL:  # they may be at the end of a message that begins with a long path
        if words.lower() in text.lower():
            return words
    return text.splitlines()[0][:200] if text else type(error).__name__


def _is_write_error(error: BaseException) -> bool:
    return isinstance(error, OSError) or _reason(error) in FULL


def any_in(folder: Path) -> bool:
    """Whether a folder has a complete checkpoint."""
    return any(path.name.isdigit() for path in folder.glob("*"))


class _Silence(logging.Filter):
    """Drops what is below CRITICAL while it is in use, by however many threads."""

    def __init__(self) -> None:
        super().__init__()
        self.users = 0
        self.lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        return not self.users or record.levelno >= logging.CRITICAL


_SILENCE = _Silence()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences absl's logger, to which Orbax reports every step; errors are raised anyway.

    Orbax reports from threads of its own, so meanwhile nobody's messages pass.
    """
    logging.getLogger("absl").addFilter(_SILENCE)  # a second time has no effect
    with _SILENCE.lock:
        _SILENCE.users += 1
    try:
        yield
    finally:
        with _SILENCE.lock:
            _SILENCE.users -= 1
