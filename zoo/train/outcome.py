"""How a run can end: with a result, interrupted, or because something is no longer finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.config import Mistake
from zoo.train.state import TrainState


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM. A checkpoint was saved; the message says how to resume."""


class NonFiniteError(Mistake, ArithmeticError):
    """The loss or a parameter became infinite or NaN.

    The message names the step and the last good checkpoint.
    """


@dataclass(frozen=True)
class Result:
    """What `zoo.fit` returns."""

    metrics: Mapping[str, float]
    """`test/…` of the weights that `zoo.load` takes, and `validation/…` of the best evaluation."""
    state: TrainState
    """The state after the last step."""
    workdir: Path
    """The run's folder."""
