"""A tag for each word of a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from zoo.config import ConfigError
from zoo.predictors import Tagger
from zoo.storage.checkpoints import Best
from zoo.train import entities, metrics
from zoo.train.metrics import Metric, MetricFunction
from zoo.train.tasks.base import CrossEntropy


@dataclass(frozen=True, kw_only=True)
class Tagging(CrossEntropy):
    """A tag for each word: logits [B, T, C], targets [B, T], weights [B, T]."""

    predictor = Tagger
    best: ClassVar[Best] = Best("validation/f1", "max")

    labels: tuple[str, ...] | None = None
    """The tags by name, which say where an entity begins; None: those of the data."""

    @property
    def remark(self) -> str:
        """See `Task.remark`: the scheme of the tags, by which entities are counted."""
        if self.labels is None:
            return ""
        scheme = entities.scheme(self.labels)
        types = sorted({kind for prefix, kind in scheme.tags if prefix != "O"})
        named = f"entities of {len(types)} type(s)" if any(types) else "entities without a type"
        return f"tags: {scheme.name}, {len(self.labels)} of them; {named}"

    def metrics(self) -> Mapping[str, MetricFunction | Metric]:
        """Cross-entropy and accuracy of words; precision, recall and F1 of entities."""
        if self.labels is None:
            raise ConfigError(
                "task.labels is not set: resolve the recipe first, which takes them from its data"
            )
        return {
            "loss": metrics.cross_entropy,
            "accuracy": metrics.accuracy,
            **metrics.entity_metrics(self.labels),
        }
