"""What the predictors that write text share: scored answers, and batches of a few fixed shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.decoding import Prefix
from zoo.predictors.base import power_of_two

EOS = 1
"""The end of a sequence, in every vocabulary of the zoo."""

TOKENS = 2048
"""Tokens of a full batch, padding included."""

MOST_ROWS, FEW_ROWS = 64, 8
"""Rows of a full batch of short sequences, and of a small one."""

SHORTEST = 16
"""Shortest padded length."""


@dataclass(frozen=True)
class Scored:
    """A text and its score: the sum of its tokens' log-probabilities, its end, if any, included."""

    text: str
    score: float


class Batch(NamedTuple):
    """Which items go through the model together."""

    indices: list[int]
    rows: int
    """Rows of the batch, of which those after the items repeat the first."""
    length: int
    """Padded length."""

    def pad(self, sequences: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
        """The sequences of the items, int32 [rows, length]; see `padded`."""
        return padded([sequences[index] for index in self.indices], self.rows, self.length)

    def lengths(self, sequences: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
        """How much of each row of `pad` is the sequence: int32 [rows]."""
        own = [len(sequences[index]) for index in self.indices]
        return np.array(own + own[:1] * (self.rows - len(own)), np.int32)


def padded(sequences: Sequence[Sequence[int]], rows: int, length: int) -> np.ndarray[Any, Any]:
    """Sequences as an array int32 [rows, length], with zeros behind each.

    Further rows repeat the first one, so that decoding ends with the others.
    """
    array = np.zeros((rows, length), np.int32)
    for row, sequence in zip(array, sequences, strict=False):
        row[: len(sequence)] = sequence
    array[len(sequences) :] = array[0]
    return array


def batches(lengths: Sequence[int], longest: int, *, exact: bool = False) -> Iterator[Batch]:
    """Every item once, in batches of similar lengths and of a handful of shapes.

    Lengths are padded to powers of two, and rows to 1 or a power of two from `FEW_ROWS` to a full
    batch. An item's padded length is a function of its own length, so that no answer depends on
    what else is in the batch.

    Args:
      lengths: of the items.
      longest: that no padded length exceeds.
      exact: do not pad lengths: for a model whose answers would change with it.
    """
    by_length: dict[int, list[int]] = {}
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[index]
        if not exact:
            length = min(max(power_of_two(length), SHORTEST), longest)
        by_length.setdefault(length, []).append(index)
    for length, indices in by_length.items():
        most = min(max(TOKENS // max(length, 1), 1), MOST_ROWS)
        while indices:
            rows = min(_rows(len(indices)), most)
            yield Batch(indices[:rows], rows, length)
            indices = indices[rows:]


def _rows(items: int) -> int:
    """Rows of the next batch where so many items are left: less than a quarter is padding.

    Only `FEW_ROWS` may hold more.
    """
    if items == 1:
        return 1
    rows = max(power_of_two(items), FEW_ROWS)
    return rows // 2 if rows > FEW_ROWS and 4 * items <= 3 * rows else rows


def prefixes(sequences: Sequence[Sequence[int]], rows: int, each: int) -> Prefix | None:
    """What each of `rows` rows must begin with, `each` times in succession; None for nothing."""
    longest = max(map(len, sequences))
    if not longest:
        return None
    own = [len(sequence) for sequence in sequences]
    lengths = np.array(own + own[:1] * (rows - len(own)), np.int32)
    tokens = padded(sequences, rows, max(power_of_two(longest), SHORTEST))
    return Prefix(jnp.asarray(tokens.repeat(each, axis=0)), jnp.asarray(lengths.repeat(each)))


def row_keys(seed: int, rows: int, each: int) -> jax.Array:
    """Keys for `rows` rows, of which `each` in succession are answers to one item.

    The n-th answer to an item has the n-th key of the seed, whatever else is asked.
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(rows) % each)


def until_end(tokens: np.ndarray[Any, Any]) -> list[int]:
    """The tokens before the first end of sequence (all, if there is none)."""
    ends = np.flatnonzero(tokens == EOS)
    return [int(token) for token in tokens[: ends[0] if len(ends) else None]]
