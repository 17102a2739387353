"""Finding a recipe: by its registered name, in a file of the user's, or in the folder of a run."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoo import config as configs
from zoo import models, pipelines, registry
from zoo.config import ConfigError, FileMistake, LookupMistake
from zoo.storage.remote import place
from zoo.train import tasks
from zoo.train.recipe import Recipe

FILE = "recipe.json"
"""Name of the resolved recipe in a run's folder."""


def get(source: str, **parameters: Any) -> Recipe:
    """The recipe of a registered name, of `FILE.py:FUNCTION`, or of a run's `recipe.json`.

    Args:
      source: the name, the file and function, or the path.
      parameters: arguments of the recipe's function.

    Raises:
      UnknownNameError: no recipe has that name.
      FileNotFoundError, LookupError: there is no such file, or no such function in it.
      ConfigError: the file cannot be run, or holds something else than a recipe.
    """
    if source.endswith(".json"):
        return read(place(source))
    function = find(source)
    return named(function(**parameters), function)


def named(recipe: Any, function: Callable[..., Any]) -> Recipe:
    """The result of a recipe function, with the function's name where it has none.

    Raises:
      ConfigError: the result is not a recipe.
    """
    if not isinstance(recipe, Recipe):
        raise ConfigError(
            f"{function.__name__} returned {type(recipe).__name__}; "
            "a recipe function returns a zoo.Recipe"
        )
    return recipe if recipe.name else dataclasses.replace(recipe, name=function.__name__)


def read(path: Path) -> Recipe:
    """The recipe in a run's folder.

    Raises:
      FileNotFoundError: there is no such file.
      ConfigError: it is not a recipe of this version.
    """
    if not path.is_file():
        raise FileMistake(f"{path} does not exist; the folder of a run has a {FILE}")
    models.import_families()
    pipelines.import_all()
    tasks.import_all()
    importlib.import_module("zoo.train.own")  # tasks and optimizers of the user's
    return configs.from_json(Recipe, path.read_text(encoding="utf-8"))


def find(source: str) -> Callable[..., Any]:
    """The function of a registered name or of `FILE.py:FUNCTION`.

    Raises:
      UnknownNameError, FileNotFoundError, LookupError: there is none.
      ConfigError: the file fails, or later the function; the message says in which line.
    """
    if not source.rpartition(":")[0].endswith(".py"):
        return registry.recipes.get(source)
    return function_in(source)


def function_in(source: str) -> Callable[..., Any]:
    """The function of `FILE.py:FUNCTION`, whose errors name their line.

    Raises:
      FileNotFoundError, LookupError: there is no such file, or no such function in it.
      ConfigError: the source is written otherwise, or the file fails.
    """
    path, _, name = source.rpartition(":")
    if not path.endswith(".py"):
        raise ConfigError(f"{source!r} is not of the form FILE.py:FUNCTION")
    module = configs.load_file(path)
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value)]
        raise LookupMistake(f"{path} has no function {name!r}{configs.did_you_mean(name, known)}")

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with configs.running(path):
            return function(*args, **kwargs)

    call.__name__ = name  # a functools.partial has none
    return call
