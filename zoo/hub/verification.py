"""What `zoo verify` proves of a model: its files, its check values, its answers and its metric."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.config import ConfigError
from zoo.hub import exporting, fetching, opening
from zoo.predictors import ImageClassifier, Predictor
from zoo.predictors.base import CHECK_TEXT
from zoo.preprocessing import ImagePreprocessing
from zoo.storage.cards import Card
from zoo.storage.files import sha256
from zoo.tokenizers import IdTokenizer

TOLERANCE = 1e-4
"""By how much two numbers of an answer may differ, relative to the larger or, below 1, as they are.

Float32 on another machine, or in a batch of another shape, adds up in another order. Texts and
labels must be equal.
"""

SLACK = 0.1
"""By which share of the card's figure the metric of a sample may be worse."""

TEXTS = (
    "It is nice to learn new things today!",
    "",
    "No.",
    "The old man and his dog walked slowly along the river, talked to nobody, and went home late.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich; 数 and 🦓.",
)
ID_TEXTS = ("3 4 5", "", "2", "2 3 4 5 6 7 8 9 10 9 8 7 6 5 4 3 2")


@dataclass(frozen=True)
class Proof:
    """One thing that was looked at."""

    what: str
    """As `check values`."""
    holds: bool | None
    """None: it could not be looked at."""
    detail: str
    """What was found."""

    def __str__(self) -> str:
        word = {True: "ok", False: "FAILED", None: "skipped"}[self.holds]
        return f"{word:<8} {self.what}: {self.detail}"


def verify(source: str | Path, *, examples: int = 1000) -> Iterator[Proof]:
    """Proves what a card says, one thing after the other.

    Args:
      source: a published name, a run's folder or an exported folder.
      examples: size of the sample on which the metric is measured; 0 leaves it out.

    Raises:
      UnknownNameError: no such name or folder.
      HubError: a file is not there and cannot be fetched.
      CardError: the card is broken.
    """
    path = opening.find(source)
    card = Card.read(path)
    yield from _files(card, path.parent)
    try:
        predictor = opening.load(source)
    except ValueError as error:
        yield Proof("loads", False, " ".join(str(error).split()))
        return
    yield _check_values(predictor)
    yield from _answers(predictor)
    yield _metric(source, card, path.parent, examples)


def _files(card: Card, folder: Path) -> Iterator[Proof]:
    for file in card.files:
        path = fetching.path_of(card, file, folder)
        expected, found = fetching.digest_of(file, path), sha256(path)
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        holds = found == expected
        detail = f"{size}, sha256 {found}" + ("" if holds else f" instead of {expected}")
        yield Proof(str(path), holds, detail)


def _check_values(predictor: Predictor) -> Proof:
    expected = predictor.card.check
    if not expected:
        return Proof("check values", None, "the card has none")
    wrong = difference(expected, exporting.check_values(predictor))
    return Proof("check values", wrong is None, wrong or f"equal (numbers within {TOLERANCE:g})")


def _answers(predictor: Any) -> Iterator[Proof]:
    inputs = sample_inputs(predictor)
    # A language model is not called: what it says of a text is its score.
    answer = predictor if callable(predictor) else predictor.score
    together = answer(inputs)
    wrong = difference([answer(item) for item in inputs], together)
    found = wrong or f"each of {len(inputs)} inputs has the same answer"
    yield Proof("alone and in a batch", wrong is None, found)
    wrong = difference(together, answer(inputs))
    yield Proof("asked twice", wrong is None, wrong or "the same answers")


def sample_inputs(predictor: Predictor) -> list[Any]:
    """Inputs of several kinds that a predictor takes: texts, texts of ids, or images."""
    if isinstance(predictor, ImageClassifier):
        prepare = ImagePreprocessing(**predictor.card.preprocessing)
        shape = (prepare.height, prepare.width, prepare.channels)
        ramp = (np.arange(math.prod(shape)) * 7 % 256).astype(np.uint8).reshape(shape)
        return [ramp, 255 - ramp, np.zeros_like(ramp)]
    if isinstance(predictor.tokenizer, IdTokenizer):
        return list(ID_TEXTS)
    if (own := predictor.check_text) != CHECK_TEXT:  # it refuses words that it does not know
        return [own, "", own.split()[0]]
    return list(TEXTS)


def _metric(source: str | Path, card: Card, folder: Path, examples: int) -> Proof:
    """The figure by which the recipe judges a model, on a sample, beside that of the card."""
    if not examples or not card.metrics:
        reason = "the card has none" if examples else "not asked for"
        return Proof("metric", None, reason)
    try:
        from zoo.train import evaluation

        best = evaluation.recipe_of(card, folder).task.best
        found = evaluation.evaluate(source, limit=examples)
    except (ImportError, OSError, LookupError, ConfigError) as error:
        return Proof("metric", None, f"cannot be measured here: {error}")
    kind = best.metric.rpartition("/")[2]
    names = [name for name in found if name in card.metrics and name.endswith(f"/{kind}")]
    if not names:
        return Proof("metric", None, f"the card has no {kind} of what was measured")
    (name,) = names
    stated, measured = card.metrics[name], found[name]
    worse = stated - measured if best.mode == "max" else measured - stated
    detail = f"{name} {measured:.5f} on about {examples} examples, {stated:.5f} in the card"
    return Proof("metric", worse <= SLACK * abs(stated), detail)


def difference(expected: Any, found: Any, at: str = "") -> str | None:
    """The first place where two answers differ, as `labels.sea: 0.5 became 0.7`; None: nowhere.

    Numbers differ by more than TOLERANCE, all else if it is not equal. Dataclasses are compared
    field by field.
    """
    if dataclasses.is_dataclass(expected) and type(expected) is type(found):
        return difference(vars(expected), vars(found), at)
    if isinstance(expected, Mapping) and isinstance(found, Mapping) and set(expected) == set(found):
        pairs = [(f"{at}.{key}", expected[key], found[key]) for key in expected]
    elif isinstance(expected, list | tuple) and len(expected) == len(found):
        pairs = [(f"{at}[{i}]", *pair) for i, pair in enumerate(zip(expected, found, strict=True))]
    else:
        same = expected == found or (
            isinstance(expected, float)
            and isinstance(found, float)
            and math.isclose(expected, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        )
        return None if same else f"{at.lstrip('.') or 'answer'}: {expected!r} became {found!r}"
    found_wrong = (difference(left, right, place) for place, left, right in pairs)
    return next((wrong for wrong in found_wrong if wrong is not None), None)
