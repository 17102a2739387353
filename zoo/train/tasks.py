"""Tasks: where models and pipelines meet, in a batch with keys `inputs`, `targets` and `weights`.

A task knows which arguments the model takes, the loss, the metrics, and which
predictor the result becomes.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
from flax import linen as nn

from zoo.config import ConfigError, check_share
from zoo.pipelines.base import Data
from zoo.predictors import Predictor
from zoo.storage.checkpoints import Best
from zoo.train import bleu, losses
from zoo.train.losses import Logits

Batch = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Task(abc.ABC):
    """What is learnt, and how it is judged."""

    name: ClassVar[str]
    """The card's `task`: which predictor the trained model becomes."""
    best: ClassVar[Best]
    """The metric of the validation split by which the best checkpoint is chosen."""

    @property
    def method(self) -> str:
        """The model's method that answers."""
        return "__call__"

    def arguments(self, batch: Batch) -> tuple[Any, ...]:
        """What it is called with."""
        return (batch["inputs"],)

    def logits(self, module: nn.Module, variables: Any, batch: Batch) -> Logits:
        """The model's answer, as a predictor would have it."""
        logits: Logits = module.apply(  # type: ignore[assignment]
            variables, *self.arguments(batch), train=False, method=self.method
        )
        return logits

    def begin(self, module: nn.Module, batch_size: int) -> Any:
        """What is handed on from one training batch to the next, before the first: here nothing."""
        return ()

    def train_logits(
        self, module: nn.Module, variables: Any, carry: Any, batch: Batch, rngs: Any
    ) -> tuple[Logits, Any, Any]:
        """The model's answer in training, the collections that it changed, and what to hand on."""
        mutable = [name for name in variables if name != "params"]
        logits, changed = module.apply(
            variables,
            *self.arguments(batch),
            train=True,
            rngs=rngs,
            mutable=mutable,
            method=self.method,
        )
        return logits, changed, carry

    def examine(
        self,
        predictor: Callable[[], Predictor],
        data: Data,
        split: str,
        limit: int | None = None,
        *,
        quick: bool = False,
    ) -> tuple[dict[str, float], str]:
        """Metrics that need finished answers, and a note on them for the log: here none.

        Args:
          predictor: makes the predictor of the weights that are judged.
          data: where the questions are.
          split: which of them.
          limit: about how many of them; None: all.
          quick: whether the figure is only to choose a checkpoint by.
        """
        return {}, ""

    @abc.abstractmethod
    def loss(self, logits: Logits, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """What is minimised, as (sum, denominator)."""

    @abc.abstractmethod
    def measure(self, logits: Logits, batch: Batch) -> Any:
        """The metrics of one batch, as a CLU collection.

        CLU is imported here: a recipe can be read without it.
        """


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Task):
    """What is right is one class of several, at one place or at many."""

    label_smoothing: float = 0.0
    """Share of the target's probability spread over all classes; in the minimised loss only."""

    def __post_init__(self) -> None:
        check_share("task.label_smoothing", self.label_smoothing)

    def loss(self, logits: Logits, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return losses.cross_entropy(
            logits, batch["targets"], batch["weights"], label_smoothing=self.label_smoothing
        )


@dataclass(frozen=True, kw_only=True)
class Classification(CrossEntropy):
    """One of C classes an example: logits [B, C], targets [B] or [B, C] (`losses`), weights [B]."""

    best: ClassVar[Best] = Best("validation/accuracy", "max")

    def measure(self, logits: Logits, batch: Batch) -> Any:
        from zoo.train import metrics

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


@dataclass(frozen=True, kw_only=True)
class Tokens(CrossEntropy):
    """Each token given those before it: logits [B, T, V], targets [B, T], weights [B, T]."""

    def measure(self, logits: Logits, batch: Batch) -> Any:
        from zoo.train import metrics

        return metrics.LanguageModeling.single_from_model_output(
            logits=logits, targets=batch["targets"], weights=batch["weights"]
        )


@dataclass(frozen=True, kw_only=True)
class LanguageModeling(Tokens):
    """Text -> more text."""

    name: ClassVar[str] = "language_modeling"
    best: ClassVar[Best] = Best("validation/loss", "min")

    carry_state: bool = False
    """Let a recurrent model begin a batch in the state in which it left the one before, with no
    gradient through it (truncated back-propagation through time, Mikolov et al. 2010). The data
    must then be `contiguous`."""
    chunk_len: int | None = None
    """Positions of which there are logits at a time, for texts so long that those of a whole one
    would take too much room; None: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk_len is None:
            return
        if self.chunk_len < 1:
            raise ConfigError(f"task.chunk_len is {self.chunk_len}; it is 1 or more")
        for name in ("carry_state", "label_smoothing"):
            if value := getattr(self, name):
                raise ConfigError(
                    f"task.chunk_len is {self.chunk_len} and task.{name} is {value}; with logits "
                    f"in pieces there is no {name}: leave one of the two out"
                )

    @property
    def method(self) -> str:
        return "__call__" if self.chunk_len is None else "scores"

    def arguments(self, batch: Batch) -> tuple[Any, ...]:
        whole = super().arguments(batch)
        return whole if self.chunk_len is None else (*whole, self.chunk_len)

    def begin(self, module: nn.Module, batch_size: int) -> Any:
        if not hasattr(module, self.method):
            raise ConfigError(
                f"task.chunk_len is {self.chunk_len}, but a {type(module).__name__} gives all "
                "logits at once; leave it out, or take a Reformer, as reformer_lm_long"
            )
        if not self.carry_state:
            return ()
        if not hasattr(module, "unroll"):
            raise ConfigError(
                f"task.carry_state is True, but a {type(module).__name__} has no state; leave it "
                "out, or take a recurrent model, as lstm_lm"
            )
        return module.apply({}, batch_size, method="begin")

    def train_logits(
        self, module: nn.Module, variables: Any, carry: Any, batch: Batch, rngs: Any
    ) -> tuple[Logits, Any, Any]:
        if not self.carry_state:
            return super().train_logits(module, variables, carry, batch, rngs)
        logits, carry = module.apply(
            variables, *self.arguments(batch), carry, train=True, rngs=rngs, method="unroll"
        )
        return logits, {}, carry


@dataclass(frozen=True, kw_only=True)
class Translation(Tokens):
    """Sentences of one language -> sentences of another."""

    name: ClassVar[str] = "translation"
    best: ClassVar[Best] = Best("validation/bleu", "max")

    label_smoothing: float = 0.1
    bleu_sentences: int | None = None
    """Sentences of the validation split that are translated in training; None: all of them."""
    beam_size: int = 4
    """For the test split and in later evaluations. In training the validation split is translated
    greedily: it is only to choose by."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("bleu_sentences", "beam_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"task.{name} is {value}; it is 1 or more")

    def arguments(self, batch: Batch) -> tuple[Any, ...]:
        return batch["inputs"], batch["targets"]

    def examine(
        self,
        predictor: Callable[[], Predictor],
        data: Data,
        split: str,
        limit: int | None = None,
        *,
        quick: bool = False,
    ) -> tuple[dict[str, float], str]:
        """BLEU of the translations, with sacrebleu's signature as the note."""
        number = self.bleu_sentences if quick else limit
        sources, references = data.pairs(split, number)  # type: ignore[attr-defined]  # parallel data
        answers = predictor()(sources, beam_size=1 if quick else self.beam_size)  # type: ignore[operator]
        score, signature = bleu.corpus_bleu(answers, references)
        return {"bleu": score}, signature


@dataclass(frozen=True, kw_only=True)
class Tagging(CrossEntropy):
    """A tag for each word: logits [B, T, C], targets [B, T], weights [B, T]."""

    name: ClassVar[str] = "tagging"
    best: ClassVar[Best] = Best("validation/f1", "max")

    labels: tuple[str, ...] | None = None
    """The tags by name, which say where an entity begins; None: those of the data."""

    def measure(self, logits: Logits, batch: Batch) -> Any:
        """Also precision, recall and F1 of the entities, see `entities`."""
        if self.labels is None:
            raise ConfigError("task.labels is not set: resolve the recipe, whose data has them")
        from zoo.train import metrics

        return metrics.Tagging.single_from_model_output(
            logits=logits,
            targets=batch["targets"],
            weights=batch["weights"],
            labels=self.labels,
        )
