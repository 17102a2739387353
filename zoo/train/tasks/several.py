"""Several tasks in one run, for one model: each has a part of the data, a `Mixture`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zoo.config import ConfigError, did_you_mean
from zoo.models.base import ModelConfig
from zoo.pipelines.base import DataConfig, quoted
from zoo.pipelines.mixture import Mixture
from zoo.predictors import Predictor
from zoo.storage.checkpoints import Best
from zoo.train.losses import Sums
from zoo.train.metrics import Batch
from zoo.train.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Named:
    """A task with the name of its part of the data."""

    name: str
    """The name."""
    task: Task
    """The task."""


@dataclass(frozen=True, kw_only=True)
class Several(Task):
    """A task for each part of a mixture. The predictor is that of the first one.

    A run has the metrics of each, `train/NAME/loss` and `validation/NAME/loss`, and in evaluation
    the mean of those of a name, `validation/loss`. Where all tasks choose the best checkpoint by
    one metric, its mean chooses it; else the mean loss does.
    """

    tasks: tuple[Named, ...]
    """The tasks."""

    @classmethod
    def of(cls, tasks: Mapping[str, Task]) -> Several:
        """The tasks by name."""
        return cls(tasks=tuple(Named(name=name, task=task) for name, task in tasks.items()))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tasks:
            raise ConfigError("there is no task; name one for each part of the data")

    @property
    def predictor(self) -> type[Predictor]:  # type: ignore[override]  # elsewhere a class has it
        """That of the first task."""
        return self.tasks[0].task.predictor

    @property
    def best(self) -> Best:  # type: ignore[override]
        """The metric that all tasks agree on, else the loss."""
        found = {each.task.best for each in self.tasks}
        return found.pop() if len(found) == 1 else Task.best

    @property
    def remark(self) -> str:
        return "; ".join(dict.fromkeys(task.remark for task in self.parts if task.remark))

    @property
    def parts(self) -> tuple[Task, ...]:
        return tuple(each.task for each in self.tasks)

    def part(self, name: str) -> Task:
        known = {each.name: each.task for each in self.tasks}
        if name not in known:
            raise ConfigError(f"there is no task {name!r}{did_you_mean(name, known)}")
        return known[name]

    def mapped(self, function: Callable[[Task], Task]) -> Several:
        tasks = (dataclasses.replace(each, task=function(each.task)) for each in self.tasks)
        return dataclasses.replace(self, tasks=tuple(tasks))

    def check_data(self, config: DataConfig) -> None:
        names = [each.name for each in self.tasks]
        mixed = config.parts if isinstance(config, Mixture) else ()
        parts = {part.name: part.data for part in mixed}
        if sorted(names) != sorted(parts):
            raise ConfigError(
                f"the tasks are {quoted(names)}, but the data has "
                f"{quoted([*parts]) if parts else 'no parts'}; a Mixture has a part for each task"
            )
        for each in self.tasks:
            each.task.check_data(parts[each.name])

    def check_model(self, config: ModelConfig) -> None:
        for task in self.parts:
            task.check_model(config)

    def initial_carry(self, config: ModelConfig, batch_size: int, seed: int) -> Any:
        for each in self.tasks:
            if each.task.initial_carry(config, batch_size, seed):
                raise ConfigError(
                    f"the task {each.name!r} carries a state from batch to batch, and several "
                    "tasks take turns; leave carry_state out"
                )
        return ()

    def loss(self, output: Any, batch: Batch) -> Sums:
        """Not asked for: a batch belongs to one task, which has the loss."""
        raise NotImplementedError
