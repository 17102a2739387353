"""Environments by name: those that are registered, and gymnasium's ids."""

from __future__ import annotations

import importlib
import re

from zoo import registry
from zoo.envs.base import Environment

GYMNASIUM_ID = re.compile(r"([\w.]+:)?([\w.:-]+/)?[\w.:-]+-v\d+|[\w.]+:[\w./:-]+")
"""`LunarLander-v3`, `ALE/Pong-v5`, or `ale_py:ALE/Pong-v5` with the module that registers it."""


def create(name: str) -> Environment:
    """The environment of a name: a registered one, or one of gymnasium by its id.

    >>> zoo.envs.create("cartpole")  # doctest: +SKIP
    >>> zoo.envs.create("LunarLander-v3")  # doctest: +SKIP

    Raises:
      UnknownNameError: there is none of that name.
      PackageMistake: an id of gymnasium, which is not installed.
      ValueError: gymnasium's environment has a space that is not supported.
    """
    env: Environment
    if name not in registry.environments.names() and GYMNASIUM_ID.fullmatch(name):
        from zoo.envs.gym import GymEnvironment

        env = GymEnvironment(id=name)
        _ = env.action_space  # makes one: an unknown id is found here
    else:
        env = registry.environments.get(name)()
    return env


def import_environments() -> None:
    """Imports all modules of environments, so that `config.from_dict` finds the classes by name."""
    for name in registry.environments.names():
        registry.environments.get(name)
    importlib.import_module("zoo.envs.gym")
