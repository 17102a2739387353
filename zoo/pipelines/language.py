"""Running text, in windows of equal length, for language models.

Shapes: B windows in a batch, L the length of each. A batch has `inputs` int32 [B, L]; `targets`,
which are the same, because a model shifts them right itself; and `weights` float32 [B, L].

The documents of a split are joined by an end of sequence (1) into one array of N tokens.
"""

from __future__ import annotations

import array
import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np

from zoo import tokenizers
from zoo.config import ConfigError, ValueMistake
from zoo.pipelines import kept
from zoo.pipelines.base import Array, Batch, Example, Facts, Fingerprint, Rows
from zoo.pipelines.delivery import GlobalBatch, deliver, generator
from zoo.pipelines.rows import IndexedRows, LazySplits, endless
from zoo.pipelines.sources import formats, holdout, locations, opening
from zoo.pipelines.sources.source import Source
from zoo.pipelines.sources.tfds import Prepared
from zoo.pipelines.stored import FileData, StoredData
from zoo.tokenizers import Tokenizer, TokenizerConfig

TEXT = "text"
"""The column of documents, also in the user's own rows."""

EOS = 1
"""The id between two documents."""

Documents: TypeAlias = Callable[[], Iterator[str]]
"""Gives the documents of a split from the first on, at each call."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelingData(StoredData, FileData):
    """Running text: a TFDS data set, the user's files, or rows that are handed over.

    A file of plain text is one document; of other files each row is one. Where there is no split
    for validation, whole documents are held out; of so few that `holdout` is no more than one of
    them, the last characters of the training text are.
    """

    text_column: str = TEXT
    """Column of the text in a TFDS data set and in CSV, TSV and JSONL files."""
    per_line: bool = False
    """Each line of a file of plain text is a document; empty lines are left out."""
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(kind="chars"))
    """Turns the text into ids. A vocabulary without a file is trained on the training text.
    SentencePiece turns line ends into spaces."""
    length: int = 256
    """Tokens of a window."""
    contiguous: bool = False
    """In training each row of a batch continues where the same row of the batch before ended,
    except at the start of an epoch; otherwise windows come in random order."""
    overlap: int = 1
    """Tokens that a window of an evaluation repeats from the window before. They are context and
    have weight 0: every token after the first is scored once, with at least this much context. With
    0 the first token of each window has none."""

    files: ClassVar[str] = "files of text"

    def __post_init__(self) -> None:
        super().__post_init__()
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
        pad_id: int = 0,
    ) -> RunningText:
        """See `DataConfig.open`. Rows are texts, each a document; a mapping has a column `text`.

        Raises:
          ValueError: a split has fewer than two tokens.
        """
        sources = self.read_splits(rows)
        several = sources["train"].count() * self.holdout > 1
        sources, fingerprints = holdout.with_validation(sources, self.holdout if several else 0)
        splits = {split: _documents(source) for split, source in sources.items()}
        train = sources["train"]
        if "validation" not in splits and self.holdout:
            splits["train"], splits["validation"] = split_characters(splits["train"], self.holdout)
        tokenizer = tokenizer or self.tokenizer.build(splits["train"])
        tokens, written = {}, _written(tokenizer)
        for split, documents in splits.items():
            part = f"{split} {self.text_column} {self.holdout} {fingerprints.get(split)}"
            tokens[split] = _encoded(documents, tokenizer, written, sources.get(split, train), part)
        for split, ids in tokens.items():
            if len(ids) < 2:
                raise ValueMistake(
                    f"the {split} text has {len(ids)} token(s); it must have 2 or more"
                )
        return RunningText(self, tokenizer, tokens, fingerprints)

    def read_rows(self, rows: Any) -> Source:
        """See `StoredData.read_rows`."""
        # A tf.data.Dataset may come in another order each time, and is read several times.
        return opening.from_user(rows, (TEXT,)).select((TEXT,)).cached()

    def read_tfds(self, data_set: Prepared, expression: str) -> Source:
        """See `StoredData.read_tfds`."""
        source = opening.from_prepared(data_set, expression)
        return source.select((self.text_column,)).renamed(**{TEXT: self.text_column})

    def read_file(self, path: str) -> Source:
        """See `StoredData.read_file`."""
        found = locations.find_file(path, self.data_dir)
        if found.suffix.lower() in formats.TABLES:
            source = opening.from_file(found, (self.text_column,), options=self.file_options)
            return source.renamed(**{TEXT: self.text_column})
        if self.per_line:
            documents = list(filter(None, formats.lines(found, self.file_options)))
        else:
            documents = [formats.content(found, self.file_options).replace("\r\n", "\n")]
        return opening.from_arrays({TEXT: documents}, str(found))


class RunningText:
    """`LanguageModelingData`, opened."""

    def __init__(
        self,
        config: LanguageModelingData,
        tokenizer: Tokenizer,
        tokens: Mapping[str, Array],
        fingerprints: Mapping[str, Fingerprint],
    ) -> None:
        self._config, self._tokenizer = config, tokenizer
        self._tokens = LazySplits(tokens, tokens.__getitem__)
        windows = {split: len(self._starts(split)) for split in tokens}
        self.facts = Facts(
            tokenizer=tokenizer,
            decides={"vocab_size": tokenizer.vocab_size},
            num_examples={**windows, "train": self._per_epoch},
            fingerprints=fingerprints,
            preprocessing={
                # Where no document ends, a model cannot learn that one does.
                "eos": bool((tokens["train"] == EOS).any()),
                # Nor where a token is that lies beyond all windows.
                "window": config.length,
            },
        )

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: Rows | None = None
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
        self, split: str, batch_size: int, *, rows: Rows | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `Data.evaluate`. Here it is each token that counts once; `overlap` says how."""
        starts = self._starts(split)

        def fetch(numbers: Array, wanted: slice) -> Batch:
            return self._scored(split, starts[numbers[wanted]])

        batches = IndexedRows(len(starts), fetch).batches(batch_size, limit=limit)
        return deliver(batches, batch_size, rows, fill=True)

    def examples(self, split: str, number: int) -> list[Example]:
        """See `Data.examples`: the first windows of an evaluation."""
        batch = self._scored(split, self._starts(split)[:number])
        real = np.minimum(len(self._tokens[split]) - self._starts(split), self._config.length)
        rows = [
            {key: array[row][: real[row]] for key, array in batch.items()}
            for row in range(len(batch["inputs"]))
        ]
        return [
            Example(raw={"text": self._tokenizer.decode(row["inputs"].tolist())}, arrays=row)
            for row in rows
        ]

    @property
    def _per_epoch(self) -> int:
        """The number of training windows of an epoch.

        It leaves room for the first window to begin at any of `length` places.
        """
        number, length = len(self._tokens["train"]), self._config.length
        return max((number - length + 1) // length, int(number >= length))

    def _starts(self, split: str) -> Array:
        """Where the windows of an evaluation begin."""
        config = self._config
        end = len(self._tokens[split]) - config.overlap
        return np.arange(0, max(end, 1), config.length - config.overlap)

    def _scored(self, split: str, starts: Array) -> Batch:
        """Windows of an evaluation, with weight 0 where a token only serves as context."""
        overlap, length = self._config.overlap, self._config.length
        ids, real = _windows(self._tokens[split], starts, length)
        # Before the first window there is nothing: only its first token is not predicted.
        context = np.where(starts == 0, min(overlap, 1), overlap)
        return _batch(ids, real & (np.arange(length) >= context[:, None]))


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


def _encoded(
    documents: Documents, tokenizer: Tokenizer, written: str | None, source: Source, part: str
) -> Array:
    """`encode` of some documents, or what it gave for the same ones at an earlier start.

    Args:
      documents: the documents.
      tokenizer: the tokenizer.
      written: what `_written` says of it.
      source: where they come from. A stream with an identity is not read if they are known.
      part: which part of it they are.
    """
    content = None
    if source.arrays is not None:
        content = kept.digest_of(documents())
    elif source.identity:
        content = f"{source.identity} {part}"
    if written is None or content is None:
        return encode(documents(), tokenizer)
    return kept.kept((written, content), lambda: encode(documents(), tokenizer))


def _written(tokenizer: Tokenizer) -> str | None:
    """All that a tokenizer's ids depend on; None: it has no file that says it."""
    try:
        described = tokenizers.describe(tokenizer)
        if tokenizers.vocabulary_suffix(tokenizer) is not None:
            with tempfile.TemporaryDirectory() as folder:
                tokenizer.save(path := Path(folder) / "vocabulary")
                described["vocabulary"] = hashlib.sha256(path.read_bytes()).hexdigest()
    except (TypeError, ValueError):
        return None
    return json.dumps(described, sort_keys=True)


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


def _documents(source: Source) -> Documents:
    return lambda: source.texts(TEXT)
