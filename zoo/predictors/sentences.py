"""Texts of several sentences, cut into them and joined again."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any


def by_sentence(texts: Sequence[str], translate: Callable[[list[str]], Sequence[str]]) -> list[str]:
    """Each text translated sentence by sentence; line breaks and blank lines are kept.

    Args:
      texts: the texts.
      translate: gives the translations of all their sentences.
    """
    pieces = [_pieces(text) for text in texts]
    answers = iter(translate([piece for each in pieces for piece in each if piece.strip()]))
    return ["".join(next(answers) if piece.strip() else piece for piece in each) for each in pieces]


def _pieces(text: str) -> list[str]:
    """The sentences and the space around them, which join to the text."""
    pieces = []
    for line in re.split(r"(\s*[\r\n]\s*)", text):
        place = 0
        for sentence in _sentences(line):
            start = line.index(sentence, place)
            pieces += [line[place:start], sentence]
            place = start + len(sentence)
        pieces.append(line[place:])
    return [piece for piece in pieces if piece]


def _sentences(line: str) -> list[str]:
    """The sentences of a line, without the space around them."""
    if not line.strip():
        return []
    found = [sentence.strip() for sentence in _segmenter().segment(line)]
    # The rules are heuristic: a line of which they lose a character stays whole.
    whole = "".join("".join(found).split()) == "".join(line.split())
    return [sentence for sentence in found if sentence] if whole else [line.strip()]


@functools.cache
def _segmenter() -> Any:
    with warnings.catch_warnings():
        # Its patterns have escapes that Python warns of when it compiles them, at the first import.
        warnings.simplefilter("ignore")
        import pysbd

    return pysbd.Segmenter(language="en", clean=False)
