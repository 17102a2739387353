"""Training: recipes, the loop, evaluation. `zoo.train.run` is also `zoo.fit`."""

from typing import TYPE_CHECKING

from zoo.lazy import attach

if TYPE_CHECKING:
    from zoo.train.evaluation import evaluate
    from zoo.train.job import NonFiniteError
    from zoo.train.loop import Callback, Interrupted, Report, Result, run
    from zoo.train.recipe import InitFrom, Recipe

__all__ = [
    "Callback",
    "InitFrom",
    "Interrupted",
    "NonFiniteError",
    "Recipe",
    "Report",
    "Result",
    "evaluate",
    "run",
]

__getattr__ = attach(
    __name__,
    {
        "Callback": "zoo.train.loop:Callback",
        "InitFrom": "zoo.train.recipe:InitFrom",
        "Interrupted": "zoo.train.loop:Interrupted",
        "NonFiniteError": "zoo.train.job:NonFiniteError",
        "Recipe": "zoo.train.recipe:Recipe",
        "Report": "zoo.train.loop:Report",
        "Result": "zoo.train.loop:Result",
        "evaluate": "zoo.train.evaluation:evaluate",
        "run": "zoo.train.loop:run",
    },
)
