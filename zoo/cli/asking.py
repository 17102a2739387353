"""Commands that ask a model: predict, translate, generate."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

import tyro

from zoo.cli import streams
from zoo.cli.parsing import AsksModel
from zoo.config import Mistake, ValueMistake, say

if TYPE_CHECKING:
    from zoo.predictors import AnyPredictor

LINES = 1024
"""Lines of standard input that are answered together: enough to fill batches of similar lengths."""

Ask: TypeAlias = Callable[[list[str]], list[str]]
"""Several inputs to the answer to each as it is printed, without the end of its last line."""


@dataclass(frozen=True, kw_only=True)
class Predict(AsksModel):
    """Predicts classes, tags of words, or actions.

    A classifier prints the class with its probability, a tab and the input; a tagger a line of
    word, tag and probability for each word, and an empty line after each sentence; an agent the
    action for an observation (numbers between commas), a tab and the observation; a model of your
    own its outputs as JSON. An input that the model refuses has an empty line; a message on
    standard error says why, and the exit code is 2.
    """

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT …")] = ()
    """Texts, paths of images, or numbers; by default the lines of standard input."""
    top_k: int | None = None
    """Of a classifier, how many classes to show (1 by default)."""

    def run(self) -> int:
        model = _loaded(self, "predict")

        def ask(items: list[str]) -> list[str]:
            answers = model.printed(items, top_k=self.top_k)
            return [
                f"{answer}\t{item}" if answer and "\n" not in answer else answer
                for item, answer in zip(items, answers, strict=True)
            ]

        if self.inputs:
            return _answer_inputs(ask, self.inputs)
        return _answer_lines(ask)


@dataclass(frozen=True, kw_only=True)
class Translate(AsksModel):
    """Translates standard input, a sentence a line.

    A sentence that the model refuses has an empty line; a message on standard error says why, and
    the exit code is 2.
    """

    beam_size: int = 4
    """Number of beams; 1 is greedy decoding."""
    length_penalty: float = 0.6
    """How strongly longer translations are favoured."""
    num_return: int | None = None
    """Number of translations of each sentence, best first, each a line of score, tab, text."""
    max_new_tokens: int | None = None
    """Length limit of a translation, in tokens."""
    suppress: tuple[str, ...] = ()
    """Tokens that are never written."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that the translation has already become less probable."""
    no_repeat_ngram: int | None = None
    """No sequence of this many tokens is written twice."""
    min_new_tokens: int = 0
    """A translation does not end before it has this many tokens."""
    split: bool = False
    """A line is a text of several sentences, which are translated one by one."""

    def run(self) -> int:
        translator = _loaded(self, "translate")

        def ask(sentences: list[str]) -> list[str]:
            answers = translator(
                sentences,
                beam_size=self.beam_size,
                length_penalty=self.length_penalty,
                num_return=self.num_return,
                max_new_tokens=self.max_new_tokens,
                split=self.split,
                suppress=self.suppress,
                repetition_penalty=self.repetition_penalty,
                no_repeat_ngram=self.no_repeat_ngram,
                min_new_tokens=self.min_new_tokens,
            )
            return [
                answer
                if isinstance(answer, str)
                else "\n".join(f"{scored.score:.4f}\t{scored.text}" for scored in answer)
                for answer in answers
            ]

        # Every sentence has equally many lines, also one without a translation.
        return _answer_lines(ask, refused="\n" * ((self.num_return or 1) - 1))


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
    suppress: tuple[str, ...] = ()
    """Tokens that are never written."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that the text has already become less probable."""
    no_repeat_ngram: int | None = None
    """No sequence of this many tokens is written twice."""
    min_new_tokens: int = 0
    """The text does not end before it has this many new tokens."""
    stop: tuple[str, ...] = ()
    """Strings; the continuation ends before the first of them."""

    def run(self) -> None:
        pieces = _loaded(self, "generate").generate(
            self.prompt,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=self.seed,
            suppress=self.suppress,
            repetition_penalty=self.repetition_penalty,
            no_repeat_ngram=self.no_repeat_ngram,
            min_new_tokens=self.min_new_tokens,
            stop=self.stop,
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


def _answer_inputs(ask: Ask, inputs: Sequence[str]) -> int:
    """Prints the answers to what the command line gives; the exit code."""
    if len(inputs) == 1:
        print(ask(list(inputs))[0])
        return 0
    return _print([(f"input {n}", item) for n, item in enumerate(inputs, start=1)], ask, "")


def _answer_lines(ask: Ask, refused: str = "") -> int:
    """Prints the answers to the lines of standard input; the exit code.

    Args:
      ask: answers several lines.
      refused: what is printed for a line that has no answer.
    """
    ask([])  # refuses wrong options before the first line is awaited
    code, numbers = 0, itertools.count(1)
    for chunk in streams.lines(LINES):
        named = [(f"line {next(numbers)}", line) for line in chunk]
        code = _print(named, ask, refused) or code
    return code


def _print(named: Sequence[tuple[str, str | Mistake]], ask: Ask, refused: str) -> int:
    """Prints the answers to inputs that have names; 2 if one of them has none."""
    answers = iter(_each(ask, [item for _, item in named if isinstance(item, str)]))
    code = 0
    for name, item in named:
        answer = next(answers) if isinstance(item, str) else item
        if isinstance(answer, str):
            print(answer)
        else:
            code = 2
            print(refused)
            say(f"{name}: {answer}")
    sys.stdout.flush()
    return code


def _each(ask: Ask, items: list[str]) -> list[str | Exception]:
    """The answer to each item, or why it has none. An answer never depends on the other items."""
    if not items:
        return []
    try:
        return list(ask(items))
    except (Mistake, OSError) as error:
        if len(items) == 1:
            return [error]
        half = len(items) // 2
        return [*_each(ask, items[:half]), *_each(ask, items[half:])]
