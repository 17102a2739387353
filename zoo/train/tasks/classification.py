"""One class per example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from zoo.predictors import ImageClassifier, TextClassifier
from zoo.storage.checkpoints import Best
from zoo.train import metrics
from zoo.train.metrics import Metric, MetricFunction
from zoo.train.tasks.base import CrossEntropy


@dataclass(frozen=True, kw_only=True)
class Classification(CrossEntropy):
    """One of C classes: logits [B, C], targets [B] or shares [B, C] (see `losses`), weights [B]."""

    best: ClassVar[Best] = Best("validation/accuracy", "max")

    def metrics(self) -> Mapping[str, MetricFunction | Metric]:
        """Cross-entropy, accuracy, and the mean F1 of the classes."""
        return {
            "loss": metrics.cross_entropy,
            "accuracy": metrics.accuracy,
            "f1": metrics.macro_f1,
        }


@dataclass(frozen=True, kw_only=True)
class TextClassification(Classification):
    """A class for each text."""

    predictor = TextClassifier


@dataclass(frozen=True, kw_only=True)
class ImageClassification(Classification):
    """A class for each image."""

    predictor = ImageClassifier
