"""zoo: small, right, readable models on Flax Linen, the recipes that train them and their weights.

>>> import zoo
>>> zoo.fit("bag_of_embeddings_ag_news", workdir="runs/ag")  # doctest: +SKIP
>>> zoo.load("runs/ag")("Stocks fell on Monday").label  # doctest: +SKIP
'Business'
"""

from typing import TYPE_CHECKING

from zoo.lazy import attach

if TYPE_CHECKING:
    from zoo import pipelines, tokenizers, train
    from zoo.config import override
    from zoo.hub import card, export, list_pretrained, load
    from zoo.models import create
    from zoo.registry import list_models, list_recipes
    from zoo.train.evaluation import evaluate
    from zoo.train.loop import run as fit
    from zoo.train.recipe import get as recipe

__version__ = "0.1.0"

__all__ = [
    "card",
    "create",
    "evaluate",
    "export",
    "fit",
    "list_models",
    "list_pretrained",
    "list_recipes",
    "load",
    "override",
    "pipelines",
    "recipe",
    "tokenizers",
    "train",
]

__getattr__ = attach(
    __name__,
    {
        "card": "zoo.hub:card",
        "create": "zoo.models:create",
        "evaluate": "zoo.train.evaluation:evaluate",
        "export": "zoo.hub:export",
        "fit": "zoo.train.loop:run",
        "list_models": "zoo.registry:list_models",
        "list_pretrained": "zoo.hub:list_pretrained",
        "list_recipes": "zoo.registry:list_recipes",
        "load": "zoo.hub:load",
        "override": "zoo.config:override",
        "pipelines": "zoo.pipelines",
        "recipe": "zoo.train.recipe:get",
        "tokenizers": "zoo.tokenizers",
        "train": "zoo.train",
    },
)
