"""zoo: small, correct, readable models on Flax Linen, their recipes and their weights.

>>> import zoo
>>> zoo.fit("bag_of_embeddings_ag_news", workdir="runs/ag")  # doctest: +SKIP
>>> zoo.load("runs/ag")("Stocks fell on Monday").label  # doctest: +SKIP
'Business'
"""

from typing import TYPE_CHECKING

from zoo.registry import attach

if TYPE_CHECKING:
    from zoo import envs as envs
    from zoo import pipelines as pipelines
    from zoo import predictors as predictors
    from zoo import tokenizers as tokenizers
    from zoo import train as train
    from zoo.config import Mistake as Mistake
    from zoo.config import override as override
    from zoo.hub import card as card
    from zoo.hub import export as export
    from zoo.hub import list_pretrained as list_pretrained
    from zoo.hub import load as load
    from zoo.hub import with_adapter as with_adapter
    from zoo.models import create as create
    from zoo.models.own import module as module
    from zoo.pipelines.arrays import arrays as arrays
    from zoo.registry import list_environments as list_environments
    from zoo.registry import list_models as list_models
    from zoo.registry import list_recipes as list_recipes
    from zoo.train.evaluation import evaluate as evaluate
    from zoo.train.loop import run
    from zoo.train.own import optax as optax
    from zoo.train.own import task as task
    from zoo.train.recipe import Recipe as Recipe
    from zoo.train.recipe_files import get

    fit = run
    recipe = get
else:
    __getattr__, __dir__, __all__ = attach(__name__)

__version__ = "0.1.0"
