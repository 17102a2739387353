"""Tasks: where models and pipelines meet, in a batch with keys `inputs`, `targets` and `weights`.

A task knows which arguments the model takes, the loss, the metrics, and which
predictor the result becomes.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
from flax import linen as nn

from zoo.checkpoints import Best
from zoo.train import losses, metrics

Batch = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Task(abc.ABC):
    """What is learnt, and how it is judged."""

    name: ClassVar[str]
    """The card's `task`: which predictor the trained model becomes."""
    best: ClassVar[Best]
    """The metric of the validation split by which the best checkpoint is chosen."""

    def arguments(self, batch: Batch) -> tuple[Any, ...]:
        """What the model is called with."""
        return (batch["inputs"],)

    def logits(self, module: nn.Module, variables: Any, batch: Batch) -> jax.Array:
        """The model's answer, as a predictor would have it."""
        logits: jax.Array = module.apply(variables, *self.arguments(batch), train=False)  # type: ignore[assignment]
        return logits

    def train_logits(
        self, module: nn.Module, variables: Any, batch: Batch, rngs: Any
    ) -> tuple[jax.Array, Any]:
        """The model's answer in training, and the collections that it changed."""
        mutable = [name for name in variables if name != "params"]
        return module.apply(
            variables, *self.arguments(batch), train=True, rngs=rngs, mutable=mutable
        )

    @abc.abstractmethod
    def loss(self, logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """What is minimised, as (sum, denominator)."""

    @abc.abstractmethod
    def measure(self, logits: jax.Array, batch: Batch) -> Any:
        """The metrics of one batch, as a CLU collection."""


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """One of C classes an example: logits [B, C], targets [B], weights [B]."""

    best: ClassVar[Best] = Best("validation/accuracy", "max")

    label_smoothing: float = 0.0
    """Share of the target's probability spread over all classes; in the minimised loss only."""

    def loss(self, logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return losses.cross_entropy(
            logits, batch["targets"], batch["weights"], label_smoothing=self.label_smoothing
        )

    def measure(self, logits: jax.Array, batch: Batch) -> Any:
        return metrics.Classification.single_from_model_output(
            logits=logits, targets=batch["targets"], weights=batch["weights"]
        )


@dataclass(frozen=True, kw_only=True)
class TextClassification(Classification):
    """Texts -> classes."""

    name: ClassVar[str] = "text_classification"


@dataclass(frozen=True, kw_only=True)
class ImageClassification(Classification):
    """Images -> classes."""

    name: ClassVar[str] = "image_classification"
