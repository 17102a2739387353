"""A sentence in another language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from zoo.config import check_size
from zoo.pipelines.base import Data
from zoo.predictors import Predictor, Translator
from zoo.storage.checkpoints import Best
from zoo.train import bleu
from zoo.train.metrics import Batch
from zoo.train.tasks.language_modeling import NextToken


@dataclass(frozen=True, kw_only=True)
class Translation(NextToken):
    """Sentences of one language to sentences of another."""

    predictor = Translator
    best: ClassVar[Best] = Best("validation/bleu", "max")

    label_smoothing: float = 0.1
    target_language: str | None = None
    """Code of the language of the targets, by which BLEU splits them into words: Chinese, Japanese
    and other languages without spaces have tokenizers of their own. None: the data's."""
    bleu_sentences: int | None = None
    """Sentences of the validation split that are translated during training; None: all."""
    beam_size: int = 4
    """Beams for the test split and in later evaluations. During training the validation split,
    which only chooses a checkpoint, is translated greedily."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("bleu_sentences", self.bleu_sentences)
        check_size("beam_size", self.beam_size)

    def arguments(self, batch: Batch) -> tuple[Any, ...]:
        return batch["inputs"], batch["targets"]

    def measure_answers(
        self,
        predictor: Callable[[], Predictor],
        data: Data,
        split: str,
        *,
        limit: int | None = None,
        quick: bool = False,
    ) -> tuple[dict[str, float], str]:
        """BLEU of the translations, with sacrebleu's signature as the note."""
        limits = [limit, self.bleu_sentences if quick else None]
        number = min((each for each in limits if each is not None), default=None)
        sources, references = data.pairs(split, number)  # type: ignore[attr-defined]  # parallel data
        beam_size = 1 if quick else self.beam_size
        answers = predictor()(sources, beam_size=beam_size)  # type: ignore[operator]
        score, signature = bleu.corpus_bleu(answers, references, self.target_language)
        return {"bleu": score}, signature
