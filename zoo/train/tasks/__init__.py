"""Tasks: what is learnt. Each has a file: the arguments of the model, loss, metrics, predictor."""

import importlib
import pkgutil

from zoo.train.tasks.base import CrossEntropy, Task
from zoo.train.tasks.classification import (
    Classification,
    ImageClassification,
    TextClassification,
)
from zoo.train.tasks.language_modeling import LanguageModeling, NextToken
from zoo.train.tasks.reinforcement import A2C, AWR, PPO, Control, Reinforce
from zoo.train.tasks.several import Several
from zoo.train.tasks.tagging import Tagging
from zoo.train.tasks.translation import Translation

__all__ = [
    "A2C",
    "AWR",
    "PPO",
    "Classification",
    "Control",
    "CrossEntropy",
    "ImageClassification",
    "LanguageModeling",
    "NextToken",
    "Reinforce",
    "Several",
    "Tagging",
    "Task",
    "TextClassification",
    "Translation",
]


def import_all() -> None:
    """Imports every task, so that `config.from_dict` can find each class by its name."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
