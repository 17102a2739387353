"""A recipe: one frozen value that says everything a run depends on."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from zoo import config as configs
from zoo import models, pipelines, registry
from zoo.config import ConfigError
from zoo.models.base import ModelConfig
from zoo.pipelines.base import DataConfig, Facts
from zoo.train.optimizers import OptimizerConfig
from zoo.train.sharding import MeshConfig
from zoo.train.tasks import Task


@dataclass(frozen=True, kw_only=True)
class InitFrom:
    """Where the first weights come from, instead of chance."""

    source: str
    """A published name, a run's or exported folder. Gives architecture, tokenizer, labels too."""
    skip: tuple[str, ...] = ()
    """Patterns of parameters to leave fresh, as `head/.*` (regexes on slash paths, whole match)."""

    def __post_init__(self) -> None:
        for pattern in self.skip:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"skip has {pattern!r}, which is no regular expression ({error}); 'head/.*' is "
                    "one"
                ) from error


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a run depends on. Equal recipes and seeds give equal runs."""

    name: str = ""
    """The recipe's registered name."""
    model: ModelConfig
    """The model. What is None in it, the data decides."""
    data: DataConfig
    """The input pipeline."""
    task: Task
    """Loss, metrics and predictor."""
    optimizer: OptimizerConfig
    """The optimizer with its schedule."""
    steps: int
    """Updates in all."""
    batch_size: int
    """Examples an update, over all devices. Data bucketed by length may have sizes of its own."""
    eval_every: int
    """Evaluate on the validation split every so many steps."""
    checkpoint_every: int
    """Save every so many steps; a better validation metric is saved at once."""
    keep_checkpoints: int = 1
    """Latest checkpoints to keep; their mean is often better (`zoo export --step average`)."""
    eval_batches: int | None = None
    """Evaluate on that many batches only, during training; None: on the whole split."""
    log_every: int = 100
    """Report the training metrics every so many steps."""
    patience: int | None = None
    """Stop after so many evaluations without a better validation metric."""
    seed: int = 0
    """Of the initial weights, the order of the data and dropout."""
    init_from: InitFrom | None = None
    """Fine-tune instead of starting afresh."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """How the work is divided over devices."""

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "eval_every",
            "checkpoint_every",
            "keep_checkpoints",
            "log_every",
            "eval_batches",
            "patience",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be 1 or more")
        if getattr(self.task, "carry_state", False) and not getattr(self.data, "contiguous", False):
            raise ConfigError(
                "task.carry_state is True, but the batches do not go on where those before them "
                "ended; set data.contiguous too"
            )

    def resolve(self, facts: Facts | None = None) -> Recipe:
        """This recipe with the open fields (None) of model and task filled in from the data.

        Args:
          facts: what the data decides; None: opens the data to ask.
        """
        facts = facts if facts is not None else self.data.open().facts
        known = {**facts.decides, "labels": facts.labels or None}
        model, task = _filled(self.model, known), _filled(self.task, known)
        return dataclasses.replace(self, model=model, task=task)


C = TypeVar("C", ModelConfig, Task)


def _filled(config: C, known: Mapping[str, Any]) -> C:
    """A config with the values that are known for the fields that are None."""
    open_fields = {
        name: value
        for name, value in known.items()
        if value is not None and getattr(config, name, "absent") is None
    }
    return dataclasses.replace(config, **open_fields)


FILE = "recipe.json"
"""Name of the resolved recipe in a run's folder."""

MAY_CHANGE = (
    "steps",
    "eval_every",
    "checkpoint_every",
    "keep_checkpoints",
    "data.data_dir",
    "data.folder",
    "data.tokenizer.vocab",
)
"""Fields in which the recipe of a resumed run may differ from the one it began with."""


def get(source: str, **parameters: Any) -> Recipe:
    """The recipe of a registered name, of `FILE.py:FUNCTION`, or of a run's `recipe.json`.

    Args:
      source: which.
      parameters: arguments of the recipe's function.

    Raises:
      UnknownNameError: no recipe has that name.
      FileNotFoundError, LookupError, ConfigError: the file, or what it should hold, is
        not there or does not fit.
    """
    if source.endswith(".json"):
        return read(Path(source))
    function = find(source)
    return named(function(**parameters), function)


def named(recipe: Any, function: Any) -> Recipe:
    """What a recipe function returned, with the function's name."""
    if not isinstance(recipe, Recipe):
        raise ConfigError(
            f"{function.__name__} returned {type(recipe).__name__}; "
            "a recipe function returns a zoo.train.Recipe"
        )
    return recipe if recipe.name else dataclasses.replace(recipe, name=function.__name__)


def find(source: str) -> Any:
    """The function behind a registered name or `FILE.py:FUNCTION`.

    Raises:
      UnknownNameError, FileNotFoundError, LookupError: there is none.
      ConfigError: the file cannot be run, and so from the function that is returned: the message
        says in which line.
    """
    path, _, function = source.rpartition(":")
    if not path.endswith(".py"):
        return registry.recipes.get(source)
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path} does not exist; a recipe of your own is given as FILE.py:FUNCTION"
        )
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[Path(path).stem] = module  # dataclasses defined there look their module up by name
    with _mistakes_in(path):
        spec.loader.exec_module(module)
    if not callable(getattr(module, function, None)):
        known = [
            name
            for name, value in vars(module).items()
            if callable(value) and not name.startswith("_")
        ]
        raise LookupError(
            f"{path} has no function {function!r}{configs.did_you_mean(function, known)}"
        )
    found = getattr(module, function)

    @functools.wraps(found)
    def run(*args: Any, **kwargs: Any) -> Any:
        with _mistakes_in(path):
            return found(*args, **kwargs)

    run.__name__ = function  # a partial has none of its own
    return run


@contextlib.contextmanager
def _mistakes_in(path: str) -> Iterator[None]:
    """Whatever a file of the user's raises becomes one line that says where."""
    try:
        yield
    except ConfigError:  # says more than the line would
        raise
    except Exception as error:
        own = Path(path).absolute()
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == own]
        if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == own:
            lines.append(error.lineno)
        where = f"{path}:{lines[-1]}" if lines else path
        raise ConfigError(f"{where}: {type(error).__name__}: {error}") from error


def read(path: Path) -> Recipe:
    """The recipe that a run's folder holds."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; the folder of a run has a recipe.json")
    models.import_families()
    pipelines.import_all()
    return configs.from_json(Recipe, path.read_text(encoding="utf-8"))


def differences(old: Recipe, new: Recipe) -> dict[str, tuple[object, object]]:
    """Where two recipes differ in what a resumed run may not change."""
    return {
        path: values for path, values in configs.diff(old, new).items() if path not in MAY_CHANGE
    }


def with_data_dir(recipe: Recipe, data_dir: str) -> Recipe:
    """The recipe with its data sets looked for in another folder."""
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, data_dir=data_dir))
