"""Training: recipes, the loop, evaluation. `zoo.train.run` is also `zoo.fit`."""

from typing import TYPE_CHECKING

from zoo.registry import attach

if TYPE_CHECKING:
    from zoo.train.evaluation import evaluate as evaluate
    from zoo.train.job import NonFiniteError as NonFiniteError
    from zoo.train.loop import Callback as Callback
    from zoo.train.loop import Interrupted as Interrupted
    from zoo.train.loop import Report as Report
    from zoo.train.loop import Result as Result
    from zoo.train.loop import run as run
    from zoo.train.recipe import InitFrom as InitFrom
    from zoo.train.recipe import Recipe as Recipe

__getattr__, __dir__, __all__ = attach(
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
