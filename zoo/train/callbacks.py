"""Functions of the user's that watch a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from zoo.train.state import TrainState


@dataclass(frozen=True)
class Report:
    """What a callback sees after each report of training metrics and after each evaluation."""

    step: int
    """Number of updates so far."""
    metrics: Mapping[str, float]
    """`train/…` or `validation/…`."""
    state: TrainState
    """The state on the devices. The next step overwrites its arrays: copy what you keep
    (`jax.device_get`)."""


Callback: TypeAlias = Callable[[Report], bool | None]
"""Sees a report. If it returns True, the run ends as if this had been its last step."""
