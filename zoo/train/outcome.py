"""How a run can end: with a result, interrupted, or because something failed."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from zoo.config import Mistake, pictures
from zoo.train import learning_curve
from zoo.train.state import TrainState


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP. A checkpoint was saved; the message says how to resume."""

    CTRL_C: ClassVar[int] = signal.SIGINT

    def __init__(self, message: str, number: int = CTRL_C) -> None:
        """
        Args:
          message: what happened.
          number: of the signal.
        """
        super().__init__(message)
        self.exit_code = 128 + number
        """Of a command: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""


class NonFiniteError(Mistake, ArithmeticError):
    """The loss or a parameter became infinite or NaN.

    The message names the step and the last good checkpoint.
    """


class OtherProcessError(OSError):
    """Another process of the job failed; the message has its error."""


@dataclass(frozen=True, repr=False)
class Result:
    """The result of `zoo.fit`."""

    metrics: Mapping[str, float]
    """`test/…` of the weights that `zoo.load` takes, and `validation/…` of the best evaluation."""
    state: TrainState
    """The state after the last step."""
    workdir: Path
    """The run's folder."""

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"<Result {self.workdir}: step {int(self.state.step):,}, {metrics or 'no metrics'}>"

    def _repr_html_(self) -> str:
        """The metrics as a table, above the learning curve if the run has drawn one."""
        entries = {"run": self.workdir, "step": int(self.state.step), "metrics": self.metrics}
        curve = self.workdir / learning_curve.CURVE
        drawn = pictures.image(curve.read_bytes(), "learning curve") if curve.is_file() else ""
        return pictures.table(entries) + drawn
