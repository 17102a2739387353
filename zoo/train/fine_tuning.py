"""Fine-tuning: what a model that exists already decides, and what of it starts afresh."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo import hub
from zoo.config import ConfigError
from zoo.hub import StoredModel
from zoo.models.base import ModelConfig
from zoo.storage import weights
from zoo.storage.cards import Card
from zoo.tokenizers import Tokenizer
from zoo.train.patterns import matches
from zoo.train.recipe import InitFrom, Recipe


@dataclass(frozen=True)
class Reading:
    """How an existing model reads its input. New data is read in the same way."""

    tokenizer: Tokenizer | None = None
    labels: tuple[str, ...] | None = None
    """Its classes; None: those of the data."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, card: Card, tokenizer: Tokenizer | None) -> Reading:
        """The reading that a card describes."""
        return cls(tokenizer, card.labels or None, card.preprocessing)


@dataclass(frozen=True)
class Source:
    """The model that is fine-tuned."""

    model: StoredModel
    fresh_head: bool
    """Whether everything that depends on the classes starts afresh, so that they may be others."""

    @property
    def reading(self) -> Reading:
        """How the fine-tuned model reads its input."""
        reading = Reading.of(self.model.card, self.model.tokenizer)
        return dataclasses.replace(reading, labels=None) if self.fresh_head else reading

    def with_architecture(self, recipe: Recipe) -> Recipe:
        """The recipe with the architecture of this model, and with a fresh head its own number of
        classes. Raises as `with_architecture_of`."""
        adapted = with_architecture_of(self.model.card, recipe)
        if not (self.fresh_head and hasattr(recipe.model, "num_classes")):
            return adapted
        own = {"num_classes": recipe.model.num_classes}
        return dataclasses.replace(adapted, model=dataclasses.replace(adapted.model, **own))

    def other_labels(self, error: Exception) -> ConfigError:
        """The error for data whose classes are not those of this model."""
        card = self.model.card
        parents = [path.rpartition("/")[0] for path in _head(card.config)]
        patterns = tuple(f"{parent}/.*" for parent in dict.fromkeys(parents))
        flags = " ".join(map(repr, patterns))
        return ConfigError(
            f"{error}. Those are the classes of {card.name!r}; for others start its head afresh: "
            f"InitFrom(source=…, skip={patterns}), or --skip {flags}"
        )


def with_architecture_of(card: Card, recipe: Recipe) -> Recipe:
    """The recipe with the architecture of a model. Its own config keeps the fields that no weight
    depends on.

    Raises:
      ConfigError: the recipe is for another family of models.
    """
    own = recipe.model
    if type(card.config) is not type(own):
        raise ConfigError(
            f"the recipe trains a {type(own).__name__}, but {card.name!r} is a "
            f"{type(card.config).__name__}; take a recipe of that family"
        )
    fields = {name: getattr(own, name) for name in own.fields_without_weights()}
    return dataclasses.replace(recipe, model=dataclasses.replace(card.config, **fields))


def load_source(init_from: InitFrom | None) -> Source | None:
    """Loads the model that a recipe starts from; None: it starts from random weights."""
    if init_from is None:
        return None
    model = hub.open_model(init_from.source, dtype="float32")
    head = _head(model.card.config) if init_from.skip else []
    fresh_head = bool(head) and all(matches(init_from.skip, path) for path in head)
    return Source(model, fresh_head)


def _head(config: ModelConfig) -> list[str]:
    """The parameters whose shapes depend on the number of classes."""
    number = getattr(config, "num_classes", None)
    if number is None:
        return []
    shapes, others = (
        weights.flatten(each.variable_shapes()["params"])
        for each in (config, dataclasses.replace(config, **{"num_classes": number + 1}))
    )
    return [path for path, leaf in shapes.items() if leaf.shape != others[path].shape]
