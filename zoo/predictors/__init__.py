"""What `zoo.load` returns: one predictor a task, a frozen dataclass called with an item or a list.

A language model is not called: `generate` and `score` ask it.

An answer does not depend on what else is in the batch, on padding, or on how often the predictor
was called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zoo.predictors.base import Predictor
from zoo.predictors.classifiers import ImageClassifier, Prediction, TextClassifier
from zoo.predictors.generation import Scored
from zoo.predictors.language_model import LanguageModel
from zoo.predictors.tagger import Tag, Tagger
from zoo.predictors.translator import Translator
from zoo.tokenizers import Tokenizer

if TYPE_CHECKING:
    from zoo.storage.cards import Card

__all__ = [
    "PREDICTORS",
    "ImageClassifier",
    "LanguageModel",
    "Prediction",
    "Predictor",
    "Scored",
    "Tag",
    "Tagger",
    "TextClassifier",
    "Translator",
    "create",
]

PREDICTORS: Mapping[str, type[Predictor]] = {
    "text_classification": TextClassifier,
    "image_classification": ImageClassifier,
    "language_modeling": LanguageModel,
    "tagging": Tagger,
    "translation": Translator,
}


def create(card: Card, variables: Mapping[str, Any], tokenizer: Tokenizer | None) -> Predictor:
    """The predictor of the card's task."""
    if card.task not in PREDICTORS:
        raise ValueError(
            f"the card {card.name!r} is for the task {card.task!r}; "
            f"known are {', '.join(PREDICTORS)}"
        )
    return PREDICTORS[card.task](
        module=card.config.build(), variables=variables, tokenizer=tokenizer, card=card
    )
