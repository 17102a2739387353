"""Inputs on which a model is checked: for a card's check values, and for `zoo verify`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from zoo.tokenizers import IdTokenizer, Tokenizer, WordTokenizer

TEXTS = (
    "It is nice to learn new things today!",
    "",
    "No.",
    "The old man and his dog walked slowly along the river, talked to nobody, and went home late.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich; 数 and 🦓.",
)
IDS = ((3, 4, 5), (), (2,), (2, 3, 4, 5, 6, 7, 8, 9, 10, 9, 8, 7, 6, 5, 4, 3, 2))
"""For a model whose text is ids."""

RAMP = "ramp: (7 · i) mod 256 over all bytes"
"""The first of `images`, as a card describes it."""


def texts(tokenizer: Tokenizer, max_len: int) -> dict[str, str]:
    """Texts that a tokenizer takes, each cut so that it is at most half as long as the model reads.

    The other half is for what the model writes.
    """
    chosen: tuple[str, ...] = TEXTS
    if isinstance(tokenizer, IdTokenizer):
        last = tokenizer.vocab_size - 1
        chosen = tuple(" ".join(str(min(id_, last)) for id_ in ids) for ids in IDS)
    elif isinstance(tokenizer, WordTokenizer) and tokenizer.unknown is None:
        middle = tokenizer.vocab_size // 2
        words = tokenizer.decode(range(middle, min(middle + 3, tokenizer.vocab_size)))
        chosen = (words, "", words.split()[0])  # it refuses words that it does not know
    most = max(max_len // 2, 1)
    return {text: text for text in (_cut(text, tokenizer, most) for text in chosen)}


def _cut(text: str, tokenizer: Tokenizer, most: int) -> str:
    while (length := len(tokenizer.encode(text))) > most:
        text = text[: len(text) * most // length]
    return text


def images(height: int, width: int, channels: int) -> dict[str, Any]:
    """Images uint8 [height, width, channels]."""
    shape = (height, width, channels)
    ramp = (np.arange(math.prod(shape)) * 7 % 256).astype(np.uint8).reshape(shape)
    return {RAMP: ramp, "the same, inverted": 255 - ramp, "zeros": np.zeros_like(ramp)}
