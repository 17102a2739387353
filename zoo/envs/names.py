"""Environments by name: those that are registered, and gymnasium's ids."""

from __future__ import annotations

import importlib

from zoo import registry
from zoo.envs.base import Environment


def create(name: str) -> Environment:
    """The environment of a name: a registered one, `registry.list_environments()`.

    Raises:
      UnknownNameError: there is none of that name.
    """
    env: Environment = registry.environments.get(name)()
    return env


def import_environments() -> None:
    """Imports all modules of environments, so that `config.from_dict` finds the classes by name."""
    for _, module in registry.defined_in("zoo.envs", r"^class (\w+)\((?:Environment|Wrapper)\)"):
        importlib.import_module(module)
