"""Commands that ask a model: predict, translate, generate."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from zoo.cli.parsing import AsksModel
from zoo.config import ValueMistake

if TYPE_CHECKING:
    from zoo.predictors import AnyPredictor

LINES = 1024
"""Lines of standard input that are answered together: enough to fill batches of similar lengths."""


@dataclass(frozen=True, kw_only=True)
class Predict(AsksModel):
    """Predicts classes of texts or images, or tags of words.

    A classifier prints the class with its probability, a tab and the input; a tagger a line of
    word, tag and probability for each word, and an empty line after each sentence; a model of your
    own its outputs as JSON.
    """

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT …")] = ()
    """Texts, paths of images, or numbers; by default the lines of standard input."""
    top_k: int | None = None
    """Of a classifier, how many classes to show (1 by default)."""

    def run(self) -> None:
        model = _loaded(self, "predict")
        for items in [list(self.inputs)] if self.inputs else _chunks():
            answers = model.printed(items, top_k=self.top_k)
            for item, answer in zip(items, answers, strict=True):
                one_line = answer and "\n" not in answer
                print(f"{answer}\t{item}" if one_line else answer)
            sys.stdout.flush()


@dataclass(frozen=True, kw_only=True)
class Translate(AsksModel):
    """Translates standard input, a sentence a line."""

    beam_size: int = 4
    """Number of beams; 1 is greedy decoding."""
    length_penalty: float = 0.6
    """How strongly longer translations are favoured."""
    num_return: int | None = None
    """Number of translations of each sentence, best first, each a line of score, tab, text."""
    max_new_tokens: int | None = None
    """Length limit of a translation, in tokens."""

    def run(self) -> None:
        translator = _loaded(self, "translate")
        for lines in _chunks():
            answers = translator(
                lines,
                beam_size=self.beam_size,
                length_penalty=self.length_penalty,
                num_return=self.num_return,
                max_new_tokens=self.max_new_tokens,
            )
            for answer in answers:
                if isinstance(answer, str):
                    print(answer)
                else:
                    for scored in answer:
                        print(f"{scored.score:.4f}\t{scored.text}")
            sys.stdout.flush()


@dataclass(frozen=True, kw_only=True)
class Generate(AsksModel):
    """Continues a text, printing it as the tokens come."""

    prompt: str = ""
    """The text; it is printed before its continuation."""
    max_new_tokens: int = 100
    """Length limit of the continuation, in tokens."""
    temperature: float = 1.0
    """Logits are divided by it; 0 takes the most probable token each time."""
    top_k: int | None = None
    """Draw from this many most probable tokens only."""
    top_p: float | None = None
    """Draw from the smallest set of tokens with at least this probability."""
    seed: int = 0
    """Of the draw."""

    def run(self) -> None:
        pieces = _loaded(self, "generate").generate(
            self.prompt,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=self.seed,
            stream=True,
        )
        for piece in itertools.chain([self.prompt], pieces):
            print(piece, end="", flush=True)
        print()


def _loaded(arguments: AsksModel, command: str) -> AnyPredictor:
    """The model, if this command is the one that asks it."""
    from zoo import hub, predictors

    checkpoint = arguments.checkpoint
    task = hub.card(arguments.name, code=arguments.code).task
    known = predictors.PREDICTORS.get(task)
    if known is not None and known.command != command:
        raise ValueMistake(
            f"{arguments.name} is a model of {task}; ask it with `zoo {known.command}`"
        )
    return hub.load(arguments.name, dtype=arguments.dtype, step=checkpoint)


def _chunks() -> Iterator[list[str]]:
    """The lines of standard input, `LINES` at a time."""
    lines = (line.rstrip("\n") for line in sys.stdin)
    while chunk := list(itertools.islice(lines, LINES)):
        yield chunk
