"""Running text, in windows of equal length, for language models.

Shapes: B windows in a batch, L the length of each. A batch has `inputs` int32 [B, L]; `targets`,
which are the same, because a model shifts them right itself; and `weights` float32 [B, L].

The documents of a split are joined by an end of sequence (1) and lie in one array of N tokens.
"""

from __future__ import annotations

import array
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from zoo.config import ConfigError
from zoo.pipelines import files, folders, sources
from zoo.pipelines.base import Array, Batch, DataConfig, Facts
from zoo.pipelines.delivery import GlobalBatch, deliver, generator
from zoo.pipelines.rows import IndexedRows, Splits, endless
from zoo.pipelines.sources import Source
from zoo.tokenizers import Tokenizer, TokenizerConfig

TEXT = "text"
"""The column of the user's own rows."""

EOS = 1
"""The id between two documents."""

TABLES = (".csv", ".tsv", ".jsonl")
"""Files whose rows are documents."""

Documents: TypeAlias = Callable[[], Iterator[str]]
"""Gives the documents of a split from the first on, at each call."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelingData(DataConfig):
    """Running text: a TFDS data set, the user's files, or rows that are handed over.

    A file of plain text is one document; of the others each row is one. Where there is no split for
    validation, `holdout` is the share of the characters, the last ones of the training text.
    """

    name: str | None = None
    """A TFDS data set, as `lm1b`; None: the files named below."""
    train: tuple[str, ...] = ()
    """Training files, or TFDS's expressions for splits; (): `train`."""
    validation: tuple[str, ...] = ()
    """Those for validation, likewise; (): TFDS's split of that name, else `holdout`."""
    test: tuple[str, ...] = ()
    """Those for the test, likewise; (): TFDS's split of that name, else none."""
    text_column: str = TEXT
    """Column of the text in a TFDS data set and in CSV, TSV and JSONL files."""
    per_line: bool = False
    """Each line of a file of plain text is a document; empty ones are left out."""
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(kind="chars"))
    """What turns the text into ids; a vocabulary without a file is trained on the training text.
    SentencePiece makes line ends into spaces."""
    length: int = 256
    """Tokens of a window."""
    contiguous: bool = False
    """In training each row of a batch goes on where the same row of the batch before ended, save at
    the start of an epoch; else windows come in random order."""
    overlap: int = 1
    """Tokens that a window of an evaluation repeats from the one before. They are context, and have
    weight 0: each token of the split but the first is predicted once, from this many before it or
    more. 0: each is predicted once, but the first of each window from nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_tuples("train", "validation", "test")
        if not self.cache:
            raise ConfigError(
                "cache is False; the tokens of running text lie in memory: leave it at True"
            )
        if self.length < 1:
            raise ConfigError(f"length is {self.length}; it must be 1 or more")
        if not 0 <= self.overlap < self.length:
            raise ConfigError(
                f"overlap is {self.overlap}; it must be 0 or more and below length, which is "
                f"{self.length}"
            )

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> RunningText:
        """See `DataConfig.open`. Rows are texts, each a document; a mapping has a column `text`.

        Raises:
          ValueError: a split has fewer than two tokens.
        """
        if rows is None:
            found = self._files()
        else:
            found = {"train": _documents(sources.from_user(rows, (TEXT,)), TEXT)}
        if "validation" not in found and self.holdout:
            found["train"], found["validation"] = split_characters(found["train"], self.holdout)
        tokenizer = tokenizer or self.tokenizer.build(found["train"])
        tokens = {split: encode(documents(), tokenizer) for split, documents in found.items()}
        for split, ids in tokens.items():
            if len(ids) < 2:
                raise ValueError(
                    f"the {split} text has {len(ids)} token(s); it must have 2 or more"
                )
        return RunningText(self, tokenizer, tokens)

    def _files(self) -> dict[str, Documents]:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if self.name is not None:
            expressions = {split: "+".join(parts) for split, parts in splits.items()}
            wanted = (self.text_column,)
            found = sources.from_splits(self.name, expressions, wanted, self.data_dir)
            return {split: _documents(source, *wanted) for split, source in found.items()}
        if not self.train:
            raise ConfigError(
                "no training data: give data.name, a TFDS data set, or data.train, files of text"
            )
        return {split: self._chained(paths) for split, paths in splits.items() if paths}

    def _chained(self, paths: Iterable[str]) -> Documents:
        found = [folders.find_file(path, self.data_dir) for path in paths]
        return lambda: itertools.chain.from_iterable(map(self._read, found))

    def _read(self, path: Path) -> Iterable[str]:
        if path.suffix.lower() in TABLES:
            return sources.from_file(path, (self.text_column,)).texts(self.text_column)
        if self.per_line:
            return filter(None, files.lines(path))
        return [files.content(path)]


class RunningText:
    """`LanguageModelingData`, opened."""

    def __init__(
        self, config: LanguageModelingData, tokenizer: Tokenizer, tokens: Mapping[str, Array]
    ) -> None:
        self._config = config
        self._tokens = Splits(tokens, tokens.__getitem__)
        windows = {split: len(self._starts(split)) for split in tokens}
        self.facts = Facts(
            tokenizer=tokenizer,
            decides={"vocab_size": tokenizer.vocab_size},
            num_examples={**windows, "train": self._per_epoch},
            # Where no document ends, a model cannot learn that one does.
            preprocessing={"eos": bool((tokens["train"] == EOS).any())},
        )

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: slice | None = None
    ) -> Iterator[Batch]:
        """See `Data.train`. Each epoch cuts the text at other places; all tokens have weight 1.

        Raises:
          ConfigError: the text is shorter than a window.
        """
        length, per_epoch = self._config.length, self._per_epoch
        tokens = self._tokens["train"]
        least = batch_size if self._config.contiguous else 1
        if per_epoch < least:
            raise ConfigError(
                f"the training text has {len(tokens)} tokens; a window has length={length}"
                + (f", and a contiguous batch {batch_size} of them" if least > 1 else "")
            )
        if self._config.contiguous:
            per_epoch -= per_epoch % batch_size

        def cut(epoch: int) -> Array:
            """Where the windows of an epoch begin, in the order in which they come."""
            random = generator(seed, epoch)
            offset = random.integers(len(tokens) - per_epoch * length + 1)
            if self._config.contiguous:
                order = np.arange(per_epoch).reshape(batch_size, -1).T.ravel()
            else:
                order = random.permutation(per_epoch)
            return offset + length * order

        starts = endless(per_epoch, cut)

        def planned(number: int) -> GlobalBatch:
            places = starts(number * batch_size, batch_size)
            return GlobalBatch(
                batch_size, lambda wanted: _batch(*_windows(tokens, places[wanted], length))
            )

        return deliver(map(planned, itertools.count(start)), batch_size, rows)

    def evaluate(
        self, split: str, batch_size: int, *, rows: slice | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `Data.evaluate`. Here it is each token that counts once; `overlap` says how."""
        overlap, tokens, starts = self._config.overlap, self._tokens[split], self._starts(split)

        def fetch(numbers: Array, wanted: slice) -> Batch:
            places = starts[numbers[wanted]]
            ids, real = _windows(tokens, places, self._config.length)
            # Before the first window there is nothing: only its first token is not predicted.
            context = np.where(places == 0, min(overlap, 1), overlap)
            return _batch(ids, real & (np.arange(self._config.length) >= context[:, None]))

        batches = IndexedRows(len(starts), fetch).batches(batch_size, limit=limit)
        return deliver(batches, batch_size, rows, fill=True)

    @property
    def _per_epoch(self) -> int:
        """The number of training windows of an epoch.

        So many that the first may begin at any of `length` places.
        """
        number, length = len(self._tokens["train"]), self._config.length
        return max((number - length + 1) // length, int(number >= length))

    def _starts(self, split: str) -> Array:
        """Where the windows of an evaluation begin."""
        config = self._config
        end = len(self._tokens[split]) - config.overlap
        return np.arange(0, max(end, 1), config.length - config.overlap)


def _windows(tokens: Array, starts: Array, length: int) -> tuple[Array, Array]:
    """Windows of the tokens: int32 [B, L], 0 beyond their end; and which are not beyond: bool."""
    places = starts[:, None] + np.arange(length)
    real = places < len(tokens)
    ids = np.where(real, tokens[np.minimum(places, len(tokens) - 1)], 0)
    return ids.astype(np.int32), real


def _batch(ids: Array, counts: Array) -> Batch:
    return {"inputs": ids, "targets": ids, "weights": counts.astype(np.float32)}


def encode(documents: Iterable[str], tokenizer: Tokenizer) -> Array:
    """The tokens of all documents, EOS between two of them: [N], uint16 if the ids are that small.

    A document without tokens is left out.

    >>> from zoo.tokenizers import ByteTokenizer
    >>> encode(["ab", "", "c"], ByteTokenizer()).tolist()
    [99, 100, 1, 101]
    """
    small = tokenizer.vocab_size <= 2**16
    tokens = array.array("H" if small else "i")
    for ids in filter(None, map(tokenizer.encode, documents)):
        if tokens:
            tokens.append(EOS)
        tokens.extend(ids)
    return np.array(tokens, np.uint16 if small else np.int32)


def split_characters(documents: Documents, share: float) -> tuple[Documents, Documents]:
    """The documents before and in the last `share` of their characters; one may be cut in two.

    >>> first, last = split_characters(lambda: iter(["abc", "defgh", "ij"]), 0.5)
    >>> list(first()), list(last())
    (['abc', 'de'], ['fgh', 'ij'])
    """
    kept = int(sum(map(len, documents())) * (1 - share))

    def before() -> Iterator[str]:
        place = 0
        for text in documents():
            if place >= kept:
                return
            yield text[: kept - place]
            place += len(text)

    def after() -> Iterator[str]:
        place = 0
        for text in documents():
            if place + len(text) > kept:
                yield text[max(kept - place, 0) :]
            place += len(text)

    return before, after


def _documents(source: Source, column: str) -> Documents:
    return lambda: source.texts(column)
