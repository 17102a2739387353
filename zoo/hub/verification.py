"""Proofs of `zoo verify` that need no data: a model's files, its check values and its answers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.config import is_url
from zoo.hub import fetching, opening
from zoo.storage.cards import Card
from zoo.storage.files import sha256

if TYPE_CHECKING:
    from zoo.predictors import Predictor

TOLERANCE = 1e-4
"""The difference allowed between two numbers of an answer: relative, or absolute below 1.

On another machine, or in a batch of another shape, float32 sums are added in another order. Texts
and labels must be equal.
"""


@dataclass(frozen=True)
class Proof:
    """The result of one check."""

    what: str
    """The property that was checked, such as `check values`."""
    holds: bool | None
    """None: it could not be checked."""
    detail: str
    """The values that were found."""

    def __str__(self) -> str:
        word = {True: "ok", False: "FAILED", None: "skipped"}[self.holds]
        return f"{word:<8} {self.what}: {self.detail}"


def verify(source: str | Path, *, code: str | Path | None = None) -> Iterator[Proof]:
    """Checks what a card says, one thing after the other; its metric: `zoo.train.verification`.

    Everything is computed in the reference precision, on every device.

    Args:
      source: a published name, a run's folder or an exported folder.
      code: the Python file that defines a model of the user's own.

    Raises:
      UnknownNameError: no such name or folder.
      HubError: a file is missing and cannot be fetched.
      CardError: the card is broken.
    """
    path = opening.find(source)
    card = opening.card(path, code=code)
    yield from _files(card, path.parent)
    try:
        predictor = opening.load(source)
    except (ValueError, fetching.HubError) as error:
        yield Proof("loads", False, " ".join(str(error).split()))
        return
    yield _check_values(predictor)
    with reference():
        answers = list(_answers(predictor))
    yield from answers


def _files(card: Card, folder: Path) -> Iterator[Proof]:
    for file in card.files:
        path = folder / file.name
        if file.format == "trax" or is_url(folder) or not path.is_file():
            path = fetching.path_of(card, file, folder)
        expected, actual = fetching.digest_of(file, path), sha256(path)
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        holds = actual == expected
        detail = f"{size}, sha256 {actual}" + ("" if holds else f" instead of {expected}")
        yield Proof(str(path), holds, detail)


def reference() -> contextlib.AbstractContextManager[Any]:
    """Inside it float32 products are float32 on every device, see `zoo.models.dense`."""
    import jax

    precision: contextlib.AbstractContextManager[Any] = jax.default_matmul_precision("highest")
    return precision


def check_values(predictor: Predictor) -> dict[str, Any]:
    """The first sample input and its answer, for a card's `check`."""
    name, sample = next(iter(predictor.sample_inputs().items()))
    with reference():
        (answer,) = predictor.plain_answers([sample])
    return {"input": name, **answer}


def _check_values(predictor: Predictor) -> Proof:
    expected = predictor.card.check
    if not expected:
        return Proof("check values", None, "the card has none")
    wrong = difference(expected, check_values(predictor))
    return Proof("check values", wrong is None, wrong or f"equal (numbers within {TOLERANCE:g})")


def _answers(predictor: Predictor) -> Iterator[Proof]:
    inputs = list(predictor.sample_inputs().values())
    together = predictor.plain_answers(inputs)
    alone = [answer for item in inputs for answer in predictor.plain_answers([item])]
    wrong = difference(alone, together)
    detail = wrong or f"each of {len(inputs)} inputs has the same answer"
    yield Proof("alone and in a batch", wrong is None, detail)
    wrong = difference(together, predictor.plain_answers(inputs))
    yield Proof("asked twice", wrong is None, wrong or "the same answers")


def difference(expected: Any, actual: Any, at: str = "") -> str | None:
    """The first place where two answers differ, such as `labels.sea: 0.5 became 0.7`, or None.

    Numbers differ if they are further apart than TOLERANCE, anything else if it is not equal.
    """
    pairs: list[tuple[str, Any, Any]]
    if isinstance(expected, Mapping) and isinstance(actual, Mapping) and {*expected} == {*actual}:
        pairs = [(f"{at}.{key}", expected[key], actual[key]) for key in expected]
    elif isinstance(expected, list | tuple) and len(expected) == len(actual):
        pairs = [(f"{at}[{i}]", *pair) for i, pair in enumerate(zip(expected, actual, strict=True))]
    else:
        same = expected == actual or (
            isinstance(expected, float)
            and isinstance(actual, float)
            and math.isclose(expected, actual, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        )
        return None if same else f"{at.lstrip('.') or 'answer'}: {expected!r} became {actual!r}"
    differences = (difference(left, right, place) for place, left, right in pairs)
    return next((text for text in differences if text is not None), None)
