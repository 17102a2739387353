"""Fine-tuning: what comes from the source, and what is left fresh."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from zoo import hub
from zoo.config import ConfigError
from zoo.pipelines.base import Data, LabelError
from zoo.storage import weights
from zoo.storage.cards import Card
from zoo.tokenizers import Tokenizer
from zoo.train.recipe import InitFrom, Recipe

HEAD = "head/kernel"
"""The parameter whose last axis is the classes, in every classifier of the zoo."""


FREE = (
    "dropout_rate",
    "attention_dropout_rate",
    "norm_momentum",
    "dtype",
    "remat",
    "ff_chunk_len",
)
"""Fields of a model's config that no weight depends on."""


@dataclass(frozen=True)
class Origin:
    """The model that is fine-tuned."""

    card: Card
    variables: weights.Tree
    tokenizer: Tokenizer | None
    fresh_head: bool
    """Whether the head is left fresh, so that the classes may be others."""


def open_source(init_from: InitFrom | None) -> Origin | None:
    """Loads what a recipe starts from."""
    if init_from is None:
        return None
    model = hub.open_model(init_from.source, dtype="float32")
    fresh_head = any(re.fullmatch(pattern, HEAD) for pattern in init_from.skip)
    return Origin(model.card, model.variables, model.tokenizer, fresh_head)


def open_data(plan: Recipe, origin: Origin | None, rows: Any) -> Data:
    """The recipe's data, read as the source, if there is one, has it: vocabulary, classes, sizes.

    Raises:
      ConfigError: the data's classes are not those of the source, and its head is not left fresh.
    """
    if origin is None:
        return plan.data.open(rows)
    labels = None if origin.fresh_head else origin.card.labels
    config = plan.data.matching(origin.card.preprocessing)
    try:
        return config.open(rows, tokenizer=origin.tokenizer, labels=labels)
    except LabelError as error:
        raise ConfigError(
            f"{error}. Those are the classes of {origin.card.name!r}; for others leave its head "
            "fresh: InitFrom(source=…, skip=('head/.*',)), or --skip 'head/.*'"
        ) from error


def adopt(plan: Recipe, origin: Origin | None) -> Recipe:
    """The recipe with the architecture of the source.

    Of the recipe's own model config stays what no weight depends on, and what the data decides for
    a fresh head.
    """
    if origin is None:
        return plan
    if type(origin.card.config) is not type(plan.model):
        raise ConfigError(
            f"the recipe trains a model of {type(plan.model).__name__}, but {origin.card.name!r} "
            f"is one of {type(origin.card.config).__name__}; take a recipe of that family"
        )
    changes: dict[str, Any] = {
        field.name: getattr(plan.model, field.name)
        for field in dataclasses.fields(plan.model)
        if field.name in FREE or (origin.fresh_head and field.name == "num_classes")
    }
    return dataclasses.replace(plan, model=dataclasses.replace(origin.card.config, **changes))
