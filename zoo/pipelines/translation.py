"""Pairs of sentences, one the translation of the other.

Shapes: B pairs in a batch, S source and T target length, which are the same number. A batch has
`inputs` int32 [B, S], padded with 0; `targets` int32 [B, T], each ended by 1 (end of sequence) and
padded with 0; and `weights` float32 [B, T], 1 at real targets and 0 at padding.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from zoo.config import ConfigError
from zoo.pipelines import files, folders, ops, sources
from zoo.pipelines.base import Batch, DataConfig, Facts
from zoo.pipelines.delivery import deliver, sample
from zoo.pipelines.rows import Aligned, Sequences, Splits
from zoo.pipelines.sources import Source
from zoo.tokenizers import Tokenizer, TokenizerConfig

SOURCE, TARGET = "source", "target"
"""The columns of the user's own rows."""

EOS = 1
"""The id that ends a target."""

Pairs: TypeAlias = tuple[list[str], list[str]]
"""The sources, and the target of each."""


@dataclass(frozen=True, kw_only=True)
class TranslationData(DataConfig):
    """Pairs of sentences: a TFDS data set, the user's files, or rows that are handed over.

    A file is either a pair of plain text files, whose n-th lines belong together, written with the
    two endings in braces, source first: `multi30k/train.{en,de}`; or one CSV, TSV or JSONL file
    that has both sides as columns.

    A pair with a side that is empty or too long is evaluated but not trained on.
    """

    name: str | None = None
    """A TFDS data set, as `wmt14_translate/de-en`; None: the files named below."""
    train: tuple[str, ...] = ()
    """Training files, or TFDS's expressions for splits; (): `train`."""
    validation: tuple[str, ...] = ()
    """Those for validation, likewise; (): TFDS's split of that name, else `holdout`."""
    test: tuple[str, ...] = ()
    """Those for the test, likewise; (): TFDS's split of that name, else none."""
    source_language: str = "en"
    """Column of the source: TFDS calls columns by their language."""
    target_language: str = "de"
    """Column of the target."""
    source_column: int | str | None = None
    """Column of the source in files with both sides. By number, from 0, where they have no line of
    names: then tabs separate the columns. None: `source_language`."""
    target_column: int | str | None = None
    """That of the target, likewise."""
    exclude: tuple[str, ...] = ()
    """Files, as in `train`, whose sentences must not be trained on: pairs of the training files
    with one of them on either side are left out. Case, punctuation and spaces make no difference.
    """
    unique: bool = False
    """Take a pair that the training files have several times only once."""
    tokenizer: TokenizerConfig = field(
        default_factory=lambda: TokenizerConfig(kind="sentencepiece", byte_fallback=True)
    )
    """One vocabulary for both languages. Without a file it is trained on the training pairs."""
    max_len: int = 256
    """Longest side of a training pair in tokens, end of sequence included."""
    boundaries: tuple[int, ...] = ()
    """Lengths that training batches are padded to, besides `max_len`; (): 8, 12, 16, 24, 32, …"""
    batch_tokens: int | None = None
    """Most tokens on one side of a training batch, padding included. A batch of length T then has
    `batch_tokens // T` pairs, rounded down to a multiple of 8; None: the recipe's batch size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cache:
            raise ConfigError("cache is False; translation data lie in memory: leave it at True")
        self.check_tuples("train", "validation", "test", "exclude")
        if isinstance(self.columns[0], int) is not isinstance(self.columns[1], int):
            raise ConfigError(
                f"source_column is {self.columns[0]!r} and target_column is {self.columns[1]!r}; "
                "both are names, or both are numbers"
            )
        if self.max_len < 2:
            raise ConfigError(f"max_len is {self.max_len}; it must be 2 or more")
        ops.check_buckets(self.boundaries, None)
        if self.boundaries and self.boundaries[-1] > self.max_len:
            raise ConfigError(
                f"boundaries end with {self.boundaries[-1]}, but max_len is {self.max_len}; "
                "no training pair is that long"
            )
        if self.batch_tokens is not None and self.batch_tokens < self.max_len:
            raise ConfigError(
                f"batch_tokens is {self.batch_tokens}, too few for one pair of max_len "
                f"{self.max_len}; raise it or lower max_len"
            )

    @property
    def columns(self) -> tuple[int | str, int | str]:
        """Source and target column of files that have both."""
        source, target = self.source_column, self.target_column
        return (
            self.source_language if source is None else source,
            self.target_language if target is None else target,
        )

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths that training batches are padded to, `max_len` last."""
        if not self.boundaries:
            return ops.ladder(self.max_len)
        return tuple(dict.fromkeys((*self.boundaries, self.max_len)))

    def batch_sizes(self, batch_size: int) -> list[int]:
        """The number of pairs of a training batch of each of the `lengths`."""
        if self.batch_tokens is None:
            return [batch_size] * len(self.lengths)
        sizes = [self.batch_tokens // length for length in self.lengths]
        return [size - size % 8 if size > 8 else size for size in sizes]

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> ParallelData:
        """See `DataConfig.open`. Tuples are (source, target); a mapping has columns of these names.

        Of rows that are handed over none is excluded, and all repetitions are taken.
        """
        left_out: dict[str, int] = {}
        if rows is None:
            found = self._files()
            found["train"], left_out = self._cleaned(found["train"])
        else:
            found = {"train": _pairs(sources.from_user(rows, (SOURCE, TARGET)), SOURCE, TARGET)}
        if "validation" not in found and self.holdout and len(found["train"][0]) > 1:
            held_out = sources.held_out(len(found["train"][0]), self.holdout)
            found["validation"] = _masked(found["train"], held_out)
            found["train"] = _masked(found["train"], ~held_out)
        if tokenizer is None:
            tokenizer = self.tokenizer.build(lambda: itertools.chain(*found["train"]))
        facts = Facts(
            tokenizer=tokenizer,
            decides={"vocab_size": tokenizer.vocab_size},
            num_examples={split: len(pairs[0]) for split, pairs in found.items()},
            left_out=left_out,
        )
        return ParallelData(self, facts, tokenizer, found)

    def _files(self) -> dict[str, Pairs]:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        languages = self.source_language, self.target_language
        if self.name is not None:
            expressions = {split: "+".join(parts) for split, parts in splits.items()}
            found = sources.from_splits(self.name, expressions, languages, self.data_dir)
            return {split: _pairs(source, *languages) for split, source in found.items()}
        if not self.train:
            raise ConfigError(
                "no training data: give data.name, a TFDS data set, or data.train, files such as "
                f"'train.{{{','.join(languages)}}}'"
            )
        return {split: self._read(paths) for split, paths in splits.items() if paths}

    def _read(self, paths: Iterable[str]) -> Pairs:
        """The pairs of some files, one file after the other."""
        both: Pairs = ([], [])
        for path in paths:
            pairs = _read_two(path, self.data_dir) if "{" in path else self._read_one(path)
            for side, more in zip(both, pairs, strict=True):
                side.extend(more)
        return both

    def _read_one(self, path: str) -> Pairs:
        source, target = map(str, self.columns)
        if not isinstance(self.columns[0], int):
            return _pairs(sources.from_file(path, (source, target), self.data_dir), source, target)
        found = folders.find_file(path, self.data_dir)
        return _pairs(sources.from_arrays(files.read_unnamed(found), str(found)), source, target)

    def _cleaned(self, pairs: Pairs) -> tuple[Pairs, dict[str, int]]:
        """Training pairs without those that are not wanted, and how many these were, by reason."""
        left_out = {}
        if self.exclude:
            excluded = {_essence(text) for side in self._read(self.exclude) for text in side} - {""}
            wanted = [
                _essence(source) not in excluded and _essence(target) not in excluded
                for source, target in zip(*pairs, strict=True)
            ]
            left_out["excluded"] = wanted.count(False)
            pairs = _masked(pairs, wanted)
        if self.unique:
            rows = dict.fromkeys(zip(*pairs, strict=True))
            left_out["repeated"] = len(pairs[0]) - len(rows)
            pairs = [source for source, _ in rows], [target for _, target in rows]
        if not pairs[0]:
            raise ConfigError("no training pair is left: all have a sentence of data.exclude")
        return pairs, left_out


class ParallelData:
    """`TranslationData`, opened."""

    def __init__(
        self,
        config: TranslationData,
        facts: Facts,
        tokenizer: Tokenizer,
        found: Mapping[str, Pairs],
    ) -> None:
        self.facts = facts
        self._config, self._tokenizer = config, tokenizer
        self._pairs = Splits(found, found.__getitem__)
        self._encoded = Splits(found, self._encode)

    def pairs(self, split: str, limit: int | None = None) -> Pairs:
        """The sentences of a split as they came, the sources and the target of each, in order.

        Args:
          split: name of the split.
          limit: only those that `evaluate` takes with this limit.

        Raises:
          LookupError: there is no such split.
        """
        sources, targets = self._pairs[split]
        numbers = sample(len(sources), limit).tolist()
        return [sources[number] for number in numbers], [targets[number] for number in numbers]

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: slice | None = None
    ) -> Iterator[Batch]:
        """See `Data.train`. `batch_tokens` goes before `batch_size`.

        Raises:
          ConfigError: each pair has a side that is empty or too long.
        """
        config, encoded = self._config, self._encoded["train"]
        whole = (encoded.inputs.lengths > 0) & (encoded.targets.lengths > 1)
        fit = np.flatnonzero(whole & (encoded.lengths <= config.max_len))
        if not len(fit):
            raise ConfigError(
                f"no training pair has between 1 and max_len={config.max_len} tokens on each side"
            )
        if unfit := len(encoded.lengths) - len(fit):
            logging.getLogger(__name__).info(
                "%d training pairs with a side that is empty or longer than max_len=%d tokens are "
                "left out",
                unfit,
                config.max_len,
            )
        sizes = config.batch_sizes(batch_size)
        return deliver(encoded.some(fit, config.lengths, sizes, seed, start), batch_size, rows)

    def evaluate(
        self, split: str, batch_size: int, *, rows: slice | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `Data.evaluate`. The pairs of a batch have similar lengths."""
        return self._encoded[split].all(self._config.lengths, batch_size, rows, limit)

    def longest(self, split: str) -> int:
        """What evaluation pads the longest side of a split to: a model must reach it."""
        return self._encoded[split].longest(self._config.lengths)

    def _encode(self, split: str) -> Aligned:
        sources, targets = self._pairs[split]
        encode = self._tokenizer.encode
        return Aligned(
            Sequences(map(encode, sources)), Sequences([*encode(target), EOS] for target in targets)
        )


def _read_two(path: str, data_dir: str | None) -> Pairs:
    """The lines of two files, written as `train.{en,de}`."""
    match = re.fullmatch(r"([^{}]*)\{([^{},]+),([^{},]+)\}([^{}]*)", path)
    if match is None:
        raise ConfigError(
            f"{path!r} is not a pair of files; put two endings in braces, source first: "
            "'train.{en,de}'"
        )
    before, *endings, after = match.groups()
    source, target = (folders.find_file(before + end + after, data_dir) for end in endings)
    pairs = files.lines(source), files.lines(target)
    if not pairs[0]:
        raise ValueError(f"{source} is empty: it has no lines")
    if len(pairs[0]) != len(pairs[1]):
        raise ValueError(
            f"{source} has {len(pairs[0])} lines, but {target} has {len(pairs[1])}; line n of one "
            "must be the translation of line n of the other"
        )
    return pairs


def _pairs(source: Source, source_column: str, target_column: str) -> Pairs:
    cached = source.select((source_column, target_column)).cached()
    return list(cached.texts(source_column)), list(cached.texts(target_column))


def _masked(pairs: Pairs, mask: Iterable[Any]) -> Pairs:
    wanted = list(mask)
    return list(itertools.compress(pairs[0], wanted)), list(itertools.compress(pairs[1], wanted))


def _essence(text: str) -> str:
    """What two sentences share that differ only in case, punctuation and spaces.

    >>> _essence("A dog, running!") == _essence("a dog running")
    True
    """
    return re.sub(r"[\W_]+", "", text.casefold())
