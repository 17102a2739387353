"""Examples that are drawn at random: trax's copy task.

Shapes: B examples in a batch, M the longest sequence, S and T the lengths that `CopyData` says. A
batch has `inputs` int32 [B, S], `targets` int32 [B, T] and `weights` float32 [B, T].
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.config import ConfigError, LookupMistake
from zoo.pipelines.base import Array, Batch, DataConfig, Example, Facts, Rows
from zoo.pipelines.delivery import GlobalBatch, deliver, generator, sample
from zoo.pipelines.rows import IndexedRows
from zoo.tokenizers import IdTokenizer, Tokenizer

EOS = 1
"""The id that ends a target."""

EVALUATION_SEED = -1
"""Seed of the examples that are evaluated: no run has it."""

SPLITS = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class CopyData(DataConfig):
    """Random sequences that a model must repeat. No files are needed, and no example comes twice.

    For an encoder and decoder, `inputs` is a sequence and `targets` the same followed by 1: S is M,
    and T is M + 1. For a language model, `two_times`, both are a 0, the sequence, a 0 and the
    sequence again; only the repetition has weights, and S and T are 2 M + 2. All are padded with 0.
    """

    vocab_size: int = 13
    """Number of ids; those from 2 on occur in sequences."""
    min_len: int = 1
    """Length of the shortest sequence."""
    max_len: int = 16
    """Length of the longest, M."""
    two_times: bool = False
    """Give each sequence twice, as trax's language model learnt it."""
    num_examples: int = 500
    """Number of examples of each split; they are always the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocab_size < 3:
            raise ConfigError(f"vocab_size is {self.vocab_size}; it must be 3 or more")
        if not 1 <= self.min_len <= self.max_len:
            raise ConfigError(
                f"min_len is {self.min_len} and max_len is {self.max_len}; they must be 1 or more, "
                "and min_len not above max_len"
            )
        if self.num_examples < 1:
            raise ConfigError(f"num_examples is {self.num_examples}; it must be 1 or more")

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
        pad_id: int = 0,
    ) -> DrawnSequences:
        """See `DataConfig.open`.

        Raises:
          ConfigError: rows are handed over.
        """
        if rows is not None:
            raise ConfigError("the copy task draws its examples; it takes no data")
        tokenizer = tokenizer or IdTokenizer(self.vocab_size)
        facts = Facts(
            tokenizer=tokenizer,
            decides={"vocab_size": tokenizer.vocab_size},
            num_examples=dict.fromkeys(SPLITS, self.num_examples),
            preprocessing={"eos": not self.two_times},
        )
        return DrawnSequences(self, facts)


class DrawnSequences:
    """`CopyData`, opened."""

    def __init__(self, config: CopyData, facts: Facts) -> None:
        self.facts = facts
        self._config = config

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: Rows | None = None
    ) -> Iterator[Batch]:
        """See `Data.train`."""

        def draw(step: int) -> GlobalBatch:
            batch = self._draw(generator(seed, step), batch_size)
            return GlobalBatch(batch_size, lambda wanted: _rows(batch, wanted))

        return deliver(map(draw, itertools.count(start)), batch_size, rows)

    def pairs(self, split: str, limit: int | None = None) -> tuple[list[str], list[str]]:
        """The sequences that `evaluate` takes as text, and what each should become: the same."""
        inputs = self._examples(split)["inputs"]
        texts = [" ".join(map(str, row[row > 0])) for row in inputs[sample(len(inputs), limit)]]
        return texts, texts

    def evaluate(
        self, split: str, batch_size: int, *, rows: Rows | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `Data.evaluate`."""
        examples = self._examples(split)

        def fetch(numbers: Array, wanted: slice) -> Batch:
            return _rows(examples, numbers[wanted])

        indexed = IndexedRows(self._config.num_examples, fetch)
        return deliver(indexed.batches(batch_size, limit=limit), batch_size, rows, fill=True)

    def examples(self, split: str, number: int) -> list[Example]:
        """See `Data.examples`. Training draws its examples: these are of no run."""
        batch = (
            self._draw(generator(EVALUATION_SEED, len(SPLITS)), number)
            if split == "train"
            else self._examples(split)
        )
        found = []
        for row in range(min(number, len(batch["inputs"]))):
            arrays = {key: array[row] for key, array in batch.items()}
            last = np.flatnonzero(arrays["targets"])[-1] + 1
            arrays = {key: array[:last] for key, array in arrays.items()}
            text = " ".join(map(str, arrays["inputs"][arrays["inputs"] > 0]))
            found.append(Example(raw={"text": text}, arrays=arrays))
        return found

    def _examples(self, split: str) -> Batch:
        if split not in SPLITS:
            raise LookupMistake(f"the copy task has no split {split!r}; it has {', '.join(SPLITS)}")
        random = generator(EVALUATION_SEED, SPLITS.index(split))
        return self._draw(random, self._config.num_examples)

    def _draw(self, random: np.random.Generator, number: int) -> Batch:
        config = self._config
        lengths = random.integers(config.min_len, config.max_len + 1, (number, 1))
        ids = random.integers(2, config.vocab_size, (number, config.max_len), np.int32)
        ids *= np.arange(config.max_len) < lengths
        return _twice(ids, lengths) if config.two_times else _ended(ids, lengths)


def _rows(batch: Batch, wanted: slice | Array) -> Batch:
    return {key: values[wanted] for key, values in batch.items()}


def _ended(ids: Array, lengths: Array) -> Batch:
    """The sequences, and the same followed by EOS.

    Args:
      ids: [B, M].
      lengths: [B, 1].
    """
    places = np.arange(ids.shape[1] + 1)
    targets = np.pad(ids, ((0, 0), (0, 1)))
    targets[places == lengths] = EOS
    return {"inputs": ids, "targets": targets, "weights": (places <= lengths).astype(np.float32)}


def _twice(ids: Array, lengths: Array) -> Batch:
    """The sequences between zeros, then once more: `0 w 0 w`. Arguments as in `_ended`."""
    longest = ids.shape[1]
    places = np.arange(2 * longest + 2)
    second = (places >= lengths + 2) & (places < 2 * lengths + 2)
    tokens = np.pad(ids, ((0, 0), (1, longest + 1)))
    tokens[second] = ids[ids > 0]
    return {"inputs": tokens, "targets": tokens, "weights": second.astype(np.float32)}
