"""What `zoo.load` returns: a predictor for each task, called with one item or with a list.

A language model is asked with `generate` and `score` instead of a call. An answer does not depend
on what else is in the batch, on padding, or on how often the predictor was called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zoo.config import ValueMistake
from zoo.predictors.agent import Agent, Returns
from zoo.predictors.alignment import Alignment
from zoo.predictors.anything import AnyPredictor
from zoo.predictors.base import PREDICTORS, NoAnswerError, Predictor
from zoo.predictors.classifiers import ImageClassifier, Prediction, TextClassifier
from zoo.predictors.generation import Scored
from zoo.predictors.language_model import LanguageModel
from zoo.predictors.outputs import Outputs
from zoo.predictors.tagger import Tag, TaggedSentence, Tagger
from zoo.predictors.translator import Translator
from zoo.tokenizers import Tokenizer

if TYPE_CHECKING:
    from zoo.storage.cards import Card

__all__ = [
    "PREDICTORS",
    "Agent",
    "Alignment",
    "AnyPredictor",
    "ImageClassifier",
    "LanguageModel",
    "NoAnswerError",
    "Outputs",
    "Prediction",
    "Predictor",
    "Returns",
    "Scored",
    "Tag",
    "TaggedSentence",
    "Tagger",
    "TextClassifier",
    "Translator",
    "create",
]


def create(card: Card, variables: Mapping[str, Any], tokenizer: Tokenizer | None) -> Predictor:
    """The predictor of the card's task.

    Raises:
      ValueError: no predictor is known for it.
    """
    if card.task not in PREDICTORS:
        raise ValueMistake(
            f"the card {card.name!r} is for the task {card.task!r}; "
            f"known are {', '.join(PREDICTORS)}"
        )
    return PREDICTORS[card.task](
        module=card.config.build(), variables=variables, tokenizer=tokenizer, card=card
    )
