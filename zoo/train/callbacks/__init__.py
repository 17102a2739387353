"""Callbacks: what watches a run. `base` has the interface; the others come with the zoo."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from zoo.config import ConfigError, did_you_mean
from zoo.train import recipe_files
from zoo.train.callbacks.base import Callback, Callbacks, Report, Watcher
from zoo.train.callbacks.samples import Samples
from zoo.train.callbacks.tracking import MLflow, WeightsAndBiases

__all__ = [
    "STOCK",
    "Callback",
    "Callbacks",
    "MLflow",
    "Report",
    "Samples",
    "Watcher",
    "WeightsAndBiases",
    "named",
]

STOCK: dict[str, Callable[[], Callback]] = {
    "mlflow": MLflow,
    "samples": Samples,
    "wandb": WeightsAndBiases,
}
"""Those that the command line knows by name."""


def named(name: str) -> Watcher:
    """The callback of a name in `STOCK`, or of `FILE.py:NAME`, a function or a subclass of
    `Callback` without arguments.

    Raises:
      FileNotFoundError, LookupError: there is no such file, or nothing of the name in it.
      ConfigError: it is neither.
    """
    if name in STOCK:
        return STOCK[name]()
    if ".py:" not in name:
        raise ConfigError(
            f"there is no callback {name!r}{did_you_mean(name, STOCK)} (known: "
            f"{', '.join(STOCK)}, and your own as FILE.py:FUNCTION)"
        )
    found: Any = recipe_files.function_in(name)
    watcher: Watcher = found() if inspect.isclass(inspect.unwrap(found)) else found
    return watcher
