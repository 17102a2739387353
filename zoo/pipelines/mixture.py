"""Several data sets in one run: each training batch is of one part, drawn by weight.

Which part a step belongs to is a function of (seed, step), as its batch is, so a run is resumed at
any step. The names of a batch's arrays begin with the part's, `captions/inputs`, `captions/targets`
and `captions/weights`: so what is compiled for one part is not taken for another.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.config import ConfigError, LookupMistake, check_fields, check_not_negative
from zoo.pipelines.base import Batch, Data, DataConfig, Example, Facts, Rows, quoted
from zoo.pipelines.delivery import generator

if TYPE_CHECKING:
    from zoo.tokenizers import Tokenizer

TURNS = 4096
"""Turns that are drawn together."""

TURN_SEED = 17
"""Tells the draws of turns from those of other things."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A data set of a mixture."""

    name: str
    """Its name in logs and metrics."""
    data: DataConfig
    """The data."""
    weight: float = 1.0
    """Its share of the steps is this over the sum of all weights; 0: it is only evaluated."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_not_negative(f"the weight of {self.name!r}", self.weight)
        if not self.name or "/" in self.name:
            raise ConfigError(f"a part is named {self.name!r}; a name has a character, and no '/'")


@dataclass(frozen=True, kw_only=True)
class Mixture(DataConfig):
    """Several data sets for one model. How each is read is set in it, and not here.

    All are read with the tokenizer and the classes of the first one.
    """

    parts: tuple[Part, ...]
    """The data sets."""

    @classmethod
    def of(
        cls, data: Mapping[str, DataConfig], weights: Mapping[str, float] | None = None
    ) -> Mixture:
        """A mixture of data sets by name.

        Args:
          data: the data sets.
          weights: see `Part.weight`; a name that is left out has the weight 1.

        Raises:
          ConfigError: a weight is for no part.
        """
        weights = weights or {}
        if unknown := [name for name in weights if name not in data]:
            raise ConfigError(
                f"there is a weight for {unknown[0]!r}, but the parts are {quoted([*data])}"
            )
        parts = (
            Part(name=name, data=each, weight=weights.get(name, 1.0)) for name, each in data.items()
        )
        return cls(parts=tuple(parts))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self)
        names = [part.name for part in self.parts]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ConfigError(f"two parts are named {twice[0]!r}; each has a name of its own")
        if not any(part.weight for part in self.parts):
            raise ConfigError(
                f"no part of {quoted(names)} has a weight above 0, so there is nothing to train on"
            )

    def matching(self, preprocessing: Mapping[str, Any]) -> Mixture:
        """See `DataConfig.matching`."""
        return self._each(lambda data: data.matching(preprocessing))

    def keeping_all_rows(self) -> Mixture:
        """See `DataConfig.keeping_all_rows`."""
        return self._each(lambda data: data.keeping_all_rows())

    def _each(self, change: Any) -> Mixture:
        parts = (dataclasses.replace(part, data=change(part.data)) for part in self.parts)
        return dataclasses.replace(self, parts=tuple(parts))

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
        pad_id: int = 0,
    ) -> MixedData:
        """See `DataConfig.open`; `rows` is a mapping of the names of parts to rows.

        Raises:
          ConfigError: rows are not by part, or the parts are for models of different sizes.
        """
        names = [part.name for part in self.parts]
        if rows is not None and not (isinstance(rows, Mapping) and set(rows) == set(names)):
            raise ConfigError(
                f"the data is a mixture of {quoted(names)}; hand over the rows of each: a mapping "
                "of these names"
            )
        opened: dict[str, Data] = {}
        for part in self.parts:
            data = part.data
            if self.data_dir is not None:
                data = dataclasses.replace(data, data_dir=self.data_dir)
            given = rows[part.name] if rows is not None else None
            opened[part.name] = data.open(given, tokenizer=tokenizer, labels=labels, pad_id=pad_id)
            tokenizer = tokenizer or opened[part.name].facts.tokenizer
            labels = labels or opened[part.name].facts.labels or None
        return MixedData(self, opened)


class MixedData:
    """An opened mixture. See `Data` for its methods."""

    def __init__(self, config: Mixture, parts: Mapping[str, Data]) -> None:
        self.parts = parts
        """The opened data sets by name."""
        self._weights = {part.name: part.weight for part in config.parts}
        self.facts = _facts(parts, self._weights)

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: Rows | None = None
    ) -> Iterator[Batch]:
        """See `Data.train`. Each part goes on where its last turn left it."""
        turns = self.turns(seed)
        before = Counter(itertools.islice(turns, start))
        streams: dict[str, Iterator[Batch]] = {}
        for name in turns:
            if name not in streams:
                streams[name] = self.parts[name].train(
                    batch_size, seed=seed, start=before[name], rows=rows
                )
            yield _marked(name, next(streams[name]))

    def turns(self, seed: int) -> Iterator[str]:
        """The name of the part of each step, without end."""
        names = [name for name, weight in self._weights.items() if weight]
        shares = np.cumsum([self._weights[name] for name in names])
        for block in itertools.count():
            drawn = generator(seed, TURN_SEED, block).random(TURNS) * shares[-1]
            for number in np.searchsorted(shares, drawn, side="right"):
                yield names[number]

    def evaluate(
        self, split: str, batch_size: int, *, rows: Rows | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `Data.evaluate`: all of one part, then of the next; `limit` is that of each."""
        for name, data in self.having(split).items():
            for batch in data.evaluate(split, batch_size, rows=rows, limit=limit):
                yield _marked(name, batch)

    def examples(self, split: str, number: int) -> list[Example]:
        """See `Data.examples`: some of each part."""
        parts = self.having(split).values()
        some = -(-number // len(parts))
        return [example for data in parts for example in data.examples(split, some)][:number]

    def longest(self, split: str) -> int:
        """The length to which evaluation pads the longest row of a split; 0: rows have none."""
        lengths = [
            data.longest(split) for data in self.having(split).values() if hasattr(data, "longest")
        ]
        return max(lengths, default=0)

    def having(self, split: str) -> dict[str, Data]:
        """The parts that have a split.

        Raises:
          LookupError: none has it.
        """
        found = {
            name: data for name, data in self.parts.items() if split in data.facts.num_examples
        }
        if not found:
            known = dict.fromkeys(
                name for data in self.parts.values() for name in data.facts.num_examples
            )
            raise LookupMistake(f"no part has a split {split!r}; they have {quoted([*known])}")
        return found


def part_of(batch: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The part that a batch is of, empty if it is of no mixture, and its arrays.

    >>> part_of({"news/inputs": 1, "news/targets": 2})
    ('news', {'inputs': 1, 'targets': 2})
    """
    name = next((key.rpartition("/")[0] for key in batch), "")
    if not name:
        return "", dict(batch)
    return name, {key.rpartition("/")[2]: array for key, array in batch.items()}


def _marked(name: str, batch: Batch) -> Batch:
    return {f"{name}/{key}": array for key, array in batch.items()}


def _facts(parts: Mapping[str, Data], weights: Mapping[str, float]) -> Facts:
    """What is known of all parts together."""
    first = next(iter(parts.values())).facts
    decides: dict[str, Any] = {}
    decided_by: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name, data in parts.items():
        for key, value in data.facts.decides.items():
            if key in decides and value is not None and decides[key] != value:
                raise ConfigError(
                    f"the parts are for different models: {key} is {decides[key]} of "
                    f"{decided_by[key]!r}, and {value} of {name!r}"
                )
            if decides.get(key) is None:
                decides[key], decided_by[key] = value, name
        for split, count in data.facts.num_examples.items():
            if split != "train" or weights[name]:
                counts[split] += count
    return Facts(
        tokenizer=first.tokenizer,
        labels=next((data.facts.labels for data in parts.values() if data.facts.labels), ()),
        decides=decides,
        preprocessing=first.preprocessing,
        num_examples=dict(counts),
        fingerprints={
            f"{name}/{split}": found
            for name, data in parts.items()
            for split, found in data.facts.fingerprints.items()
        },
        left_out={
            f"{name}: {reason}": count
            for name, data in parts.items()
            for reason, count in data.facts.left_out.items()
        },
    )
