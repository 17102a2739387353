"""Rows of two sequences of ids, padded to few lengths: what pairs and tagged sentences share.

Shapes: B rows in a batch, L their padded length, N rows of a split. A batch has `inputs` int32
[B, L] and `targets` int32 [B, L], padded, and `weights` float32 [B, L], 1 at the targets and
0 at their padding.
"""

from __future__ import annotations

import abc
import array
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from zoo.config import ConfigError
from zoo.pipelines.base import Array, Batch, Example, Facts, Rows
from zoo.pipelines.delivery import GlobalBatch, deliver
from zoo.pipelines.lengths import boundary_of, check_buckets, default_lengths, extended
from zoo.pipelines.rows import IndexedRows, LazySplits
from zoo.pipelines.sources.source import Source
from zoo.pipelines.stored import FileData, StoredData

C = TypeVar("C", bound="PairedData")


@dataclass(frozen=True, kw_only=True)
class PairedData(StoredData, FileData):
    """Rows of two sequences of ids, `inputs` and `targets`, which a batch pads to one length.

    A row that is empty or too long is evaluated, but not trained on.
    """

    max_len: int = 256
    """Longest sequence of a training row, in ids."""
    boundaries: tuple[int, ...] = ()
    """Lengths that training batches are padded to, besides `max_len`; (): 8, 12, 16, 24, 32, …"""

    row: ClassVar[str] = "row"
    """The name of a row in messages, such as `pair` or `sentence`."""
    unit: ClassVar[str] = "ids"
    """The unit of `max_len` in messages."""
    shortest: ClassVar[Mapping[str, int]] = {"inputs": 1, "targets": 1}
    """Length of the shortest sequences that are trained on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_len < max(self.shortest.values()):
            raise ConfigError(
                f"max_len is {self.max_len}; it must be {max(self.shortest.values())} or more"
            )
        check_buckets(self.boundaries, None)
        if self.boundaries and self.boundaries[-1] > self.max_len:
            raise ConfigError(
                f"boundaries end with {self.boundaries[-1]}, but max_len is {self.max_len}; "
                f"no training {self.row} is that long"
            )

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths that training batches are padded to, `max_len` last."""
        if not self.boundaries:
            return default_lengths(self.max_len)
        return tuple(dict.fromkeys((*self.boundaries, self.max_len)))

    def batch_sizes(self, batch_size: int) -> list[int]:
        """The number of rows of a training batch of each of the `lengths`."""
        return [batch_size] * len(self.lengths)


class PackedSequences:
    """Sequences of ids in one array. A list for each would take ten times as much memory."""

    def __init__(self, sequences: Iterable[Sequence[int]], pad_id: int = 0) -> None:
        self._pad_id = pad_id
        ids, ends = array.array("i"), array.array("q", [0])
        for sequence in sequences:
            ids.extend(sequence)
            ends.append(len(ids))
        self.ids = np.array(ids, np.int32)
        """The ids of all sequences."""
        self._starts = np.array(ends[:-1], np.int64)
        self.lengths = np.diff(np.array(ends, np.int64))
        """The length of each sequence: [N]."""

    def __getitem__(self, row: int) -> Array:
        """One sequence: int32 [its length]."""
        start = self._starts[row]
        ids: Array = self.ids[start : start + self.lengths[row]]
        return ids

    def padded(self, rows: Array, length: int) -> tuple[Array, Array]:
        """Some sequences, padded: int32 [B, length]; and where they have ids: bool."""
        places = np.arange(length)
        real = places < self.lengths[rows, None]
        ids = np.full(real.shape, self._pad_id, np.int32)
        ids[real] = self.ids[(self._starts[rows, None] + places)[real]]
        return ids, real


@dataclass(frozen=True)
class EncodedPairs:
    """The encoded rows of a split."""

    inputs: PackedSequences
    targets: PackedSequences

    @property
    def lengths(self) -> Array:
        """The length of the longer sequence of each row: [N]."""
        longer: Array = np.maximum(self.inputs.lengths, self.targets.lengths)
        return longer

    @property
    def longest(self) -> int:
        """The length of the longest sequence."""
        return int(self.lengths.max(initial=0))

    def indexed(self, lengths: Sequence[int], rows: Array | None = None) -> IndexedRows:
        """The rows in batches.

        Args:
          lengths: that batches are padded to, rising; the last one reaches the longest row.
          rows: the numbers of only some rows, [M], which are numbered from 0 to M - 1 then.
        """
        numbers = np.arange(len(self.lengths)) if rows is None else rows
        sizes = self.lengths[numbers]

        def fetch(places: Array, wanted: slice) -> Batch:
            length = boundary_of(int(sizes[places].max()), lengths) or lengths[-1]
            chosen = numbers[places[wanted]]
            inputs, _ = self.inputs.padded(chosen, length)
            targets, real = self.targets.padded(chosen, length)
            return {"inputs": inputs, "targets": targets, "weights": real.astype(np.float32)}

        def lengths_of(places: Array) -> Array:
            found: Array = sizes[places]
            return found

        return IndexedRows(len(numbers), fetch, lengths_of)


class OpenedPairs(abc.ABC, Generic[C]):
    """Opened data whose rows are two sequences of ids."""

    def __init__(self, config: C, facts: Facts, splits: Mapping[str, Source]) -> None:
        self.facts, self.config = facts, config
        self.sources = LazySplits(splits, splits.__getitem__)
        self.encoded = LazySplits(splits, lambda split: self.encode(splits[split]))

    @abc.abstractmethod
    def encode(self, source: Source) -> EncodedPairs:
        """The ids of all rows of a split."""

    @abc.abstractmethod
    def raw(self, source: Source) -> list[dict[str, Any]]:
        """The rows by column, as `Example.raw` has them."""

    def altered(
        self, batches: Iterator[GlobalBatch], seed: int, start: int
    ) -> Iterator[GlobalBatch]:
        """Training batches with the changes that training makes at random: here none."""
        return batches

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: Rows | None = None
    ) -> Iterator[Batch]:
        """See `Data.train`. The rows of a batch have similar lengths."""
        config, pairs = self.config, self.encoded["train"]
        fit = (
            (pairs.inputs.lengths >= config.shortest["inputs"])
            & (pairs.targets.lengths >= config.shortest["targets"])
            & (pairs.lengths <= config.max_len)
        )
        if not fit.any():
            raise ConfigError(
                f"no training {config.row} has between 1 and max_len={config.max_len} {config.unit}"
            )
        if unfit := int((~fit).sum()):
            logging.getLogger(__name__).info(
                "%d training %ss are left out: empty, or longer than max_len=%d %s",
                *(unfit, config.row, config.max_len, config.unit),
            )
        indexed = pairs.indexed(config.lengths, np.flatnonzero(fit))
        sizes = config.batch_sizes(batch_size)
        batches = indexed.grouped(config.lengths[:-1], sizes, seed=seed, start=start)
        return deliver(self.altered(batches, seed, start), batch_size, rows)

    def evaluate(
        self, split: str, batch_size: int, *, rows: Rows | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `Data.evaluate`. The rows of a batch have similar lengths."""
        pairs = self.encoded[split]
        lengths = extended(self.config.lengths, pairs.longest)
        sizes = [batch_size] * len(lengths)
        batches = pairs.indexed(lengths).grouped(lengths[:-1], sizes, limit=limit)
        return deliver(batches, batch_size, rows, fill=True)

    def longest(self, split: str) -> int:
        """The length to which evaluation pads the longest row of a split: a model must reach it."""
        longest = self.encoded[split].longest
        lengths = extended(self.config.lengths, longest)
        return boundary_of(longest, lengths) or lengths[-1]

    def examples(self, split: str, number: int) -> list[Example]:
        """See `Data.examples`."""
        source = self.sources[split].head(number)
        pairs = self.encode(source)
        return [
            Example(
                raw=raw,
                arrays={
                    "inputs": pairs.inputs[row],
                    "targets": pairs.targets[row],
                    "weights": np.ones(len(pairs.targets[row]), np.float32),
                },
            )
            for row, raw in enumerate(self.raw(source))
        ]
