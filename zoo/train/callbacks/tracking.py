"""Callbacks that send metrics to trackers of experiments: Weights & Biases, MLflow.

Their packages are imported when a run begins: `pip install 'flax-zoo[wandb]'`, or `[mlflow]`.
"""

from __future__ import annotations

import abc
import hashlib
import importlib
import math
from collections.abc import Mapping
from typing import Any

from zoo import config as configs
from zoo.config import PackageMistake, is_url
from zoo.storage.files import absolute
from zoo.train.callbacks.base import Callback, Report
from zoo.train.processes import writes


class Tracker(Callback, abc.ABC):
    """Sends the recipe once, then all metrics. Of several processes only the first one sends."""

    package: str
    """The package that speaks to the tracker."""

    def __init__(self) -> None:
        self._begun = False

    @abc.abstractmethod
    def begin(self, package: Any, report: Report, recipe: Mapping[str, Any]) -> None:
        """Opens the tracker's record of the run.

        Args:
          package: the module.
          report: the first one.
          recipe: its fields by dotted path.
        """

    @abc.abstractmethod
    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds finite metrics to the record."""

    @abc.abstractmethod
    def end(self) -> None:
        """Closes the record."""

    def on_report(self, report: Report) -> None:
        self._send(report)

    def on_eval(self, report: Report) -> None:
        self._send(report)

    def on_end(self, report: Report) -> None:
        self._send(report)
        if self._begun:
            self.end()
            self._begun = False

    def _send(self, report: Report) -> None:
        if not writes():
            return
        if not self._begun:
            recipe = configs.flatten(configs.to_dict(report.run.recipe))
            self.begin(self._imported(), report, recipe)
            self._begun = True
        finite = {name: value for name, value in report.metrics.items() if math.isfinite(value)}
        if finite:
            self.log(finite, report.step)

    def _imported(self) -> Any:
        try:
            return importlib.import_module(self.package)
        except ImportError as error:
            raise PackageMistake(
                f"the callback {self.package} needs the package {self.package} ({error}); "
                f"pip install 'flax-zoo[{self.package}]'"
            ) from error


class WeightsAndBiases(Tracker):
    """Metrics to Weights & Biases. A run that is resumed goes on in the same record.

    Without a network set `WANDB_MODE=offline`; the files are in the run's folder.
    """

    package = "wandb"

    def __init__(self, project: str = "zoo", **options: Any) -> None:
        """
        Args:
          project: its project there.
          options: more arguments of `wandb.init`, such as `name`, `group` or `tags`.
        """
        super().__init__()
        self._options = {"project": project, **options}

    def begin(self, package: Any, report: Report, recipe: Mapping[str, Any]) -> None:
        """See `Tracker.begin`."""
        folder = absolute(report.run.workdir)
        known = {
            "name": folder.name,
            "id": hashlib.sha256(str(folder).encode()).hexdigest()[:16],
            "resume": "allow",
            "dir": None if is_url(folder) else str(folder),
            "config": dict(recipe),
        }
        self._record = package.init(**(known | self._options))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker.log`."""
        self._record.log(dict(metrics), step=step)

    def end(self) -> None:
        """See `Tracker.end`."""
        self._record.finish()


class MLflow(Tracker):
    """Metrics to MLflow: where `MLFLOW_TRACKING_URI` says, else into the folder `mlruns`."""

    package = "mlflow"

    def __init__(self, experiment: str = "zoo", **options: Any) -> None:
        """
        Args:
          experiment: its experiment there.
          options: more arguments of `mlflow.start_run`, such as `run_name` or `tags`.
        """
        super().__init__()
        self._experiment, self._options = experiment, options

    def begin(self, package: Any, report: Report, recipe: Mapping[str, Any]) -> None:
        """See `Tracker.begin`."""
        self._mlflow = package
        package.set_experiment(self._experiment)
        package.start_run(**({"run_name": report.run.workdir.name} | self._options))
        package.log_params({name: str(value)[:500] for name, value in recipe.items()})

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker.log`."""
        self._mlflow.log_metrics(dict(metrics), step=step)

    def end(self) -> None:
        """See `Tracker.end`."""
        self._mlflow.end_run()
