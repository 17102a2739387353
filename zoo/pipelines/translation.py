"""Pairs of sentences, one the translation of the other.

Shapes: B pairs in a batch, L their padded length. A batch has `inputs` int32 [B, L], padded;
`targets` int32 [B, L], each ended by 1 (end of sequence) and padded; and `weights` float32
[B, L], 1 at targets and 0 at their padding.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np

from zoo.config import ConfigError, ValueMistake
from zoo.pipelines.base import Array, Facts
from zoo.pipelines.delivery import sample
from zoo.pipelines.sequences import EncodedPairs, OpenedPairs, PackedSequences, PairedData
from zoo.pipelines.sources import formats, holdout, locations, opening
from zoo.pipelines.sources.formats import Options
from zoo.pipelines.sources.source import Source
from zoo.pipelines.sources.tfds import Prepared
from zoo.tokenizers import Tokenizer, TokenizerConfig
from zoo.tokenizers.scripts import unspaced_language

SOURCE, TARGET = "source", "target"
"""The columns of a split, and of the user's own rows."""

EOS = 1
"""The id that ends a target."""

Texts: TypeAlias = tuple[list[str], list[str]]
"""The sources, and the target of each."""


@dataclass(frozen=True, kw_only=True)
class TranslationData(PairedData):
    """Pairs of sentences: a TFDS data set, the user's files, or rows that are handed over.

    A file is either a pair of plain text files whose n-th lines belong together, written with the
    two endings in braces, source first: `multi30k/train.{en,de}`; or one CSV, TSV or JSONL file
    with both sides as columns.

    A pair with a side that is empty or too long is evaluated but not trained on.
    """

    source_language: str = "en"
    """Column of the source in a TFDS data set, which calls columns by their language."""
    target_language: str = "de"
    """Column of the target in a TFDS data set. As a code such as `zh` it also says how BLEU splits
    words, where the script of the targets does not."""
    source_column: int | str | None = None
    """Column of the source in files with both sides: a name, or a number from 0 where the file has
    no line of names and tabs separate its columns. None: `source_language`."""
    target_column: int | str | None = None
    """Column of the target in files with both sides. None: `target_language`."""
    exclude: tuple[str, ...] = ()
    """Files, as in `train`, whose sentences must not be trained on: pairs of the training files
    with one of them on either side are left out. Case, punctuation and spaces make no difference.
    """
    unique: bool = False
    """Keep only the first of equal pairs of the training files."""
    tokenizer: TokenizerConfig = field(
        default_factory=lambda: TokenizerConfig(kind="sentencepiece", byte_fallback=True)
    )
    """One vocabulary for both languages. Without a file it is trained on the training pairs."""
    batch_tokens: int | None = None
    """Most tokens on one side of a training batch, padding included. A batch of length L then has
    `batch_tokens // L` pairs, rounded down to a multiple of 8; None: the recipe's batch size."""

    files: ClassVar[str] = "files such as 'train.{en,de}'"
    row: ClassVar[str] = "pair"
    unit: ClassVar[str] = "tokens on each side"
    shortest: ClassVar[Mapping[str, int]] = {"inputs": 1, "targets": 2}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_tuples("exclude")
        if isinstance(self.columns[0], int) is not isinstance(self.columns[1], int):
            raise ConfigError(
                f"source_column is {self.columns[0]!r} and target_column is {self.columns[1]!r}; "
                "both are names, or both are numbers"
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

    def batch_sizes(self, batch_size: int) -> list[int]:
        """See `PairedData.batch_sizes`."""
        if self.batch_tokens is None:
            return super().batch_sizes(batch_size)
        sizes = [self.batch_tokens // length for length in self.lengths]
        return [size - size % 8 if size > 8 else size for size in sizes]

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
        pad_id: int = 0,
    ) -> ParallelData:
        """See `DataConfig.open`. Tuples are (source, target); a mapping has columns of these names.

        Of rows that are handed over none is excluded, and all repetitions are kept.
        """
        splits, left_out = self.read_splits(rows), dict[str, int]()
        if rows is None:
            splits["train"], left_out = self._cleaned(splits["train"])
        splits, fingerprints = holdout.with_validation(splits, self.holdout)
        if tokenizer is None:
            tokenizer = self.tokenizer.build(lambda: itertools.chain(*_texts(splits["train"])))
        facts = Facts(
            tokenizer=tokenizer,
            decides={
                "vocab_size": tokenizer.vocab_size,
                "target_language": unspaced_language(splits["train"].texts(TARGET))
                or self.target_language,
            },
            num_examples={split: source.count() for split, source in splits.items()},
            fingerprints=fingerprints,
            left_out=left_out,
        )
        return ParallelData(self, facts, splits, tokenizer, pad_id)

    def read_rows(self, rows: Any) -> Source:
        """See `StoredData.read_rows`."""
        return _pairs(opening.from_user(rows, (SOURCE, TARGET)), SOURCE, TARGET)

    def read_tfds(self, data_set: Prepared, expression: str) -> Source:
        """See `StoredData.read_tfds`."""
        source = opening.from_prepared(data_set, expression)
        return _pairs(source, self.source_language, self.target_language)

    def read_files(self, paths: Sequence[str]) -> Source:
        """See `StoredData.read_files`."""
        if not isinstance(self.columns[0], int):
            _check_pairs(paths)
        return super().read_files(paths)

    def read_file(self, path: str) -> Source:
        """See `StoredData.read_file`."""
        if "{" in path:
            return _two_files(path, self.data_dir, self.file_options)
        source, target = map(str, self.columns)
        if not isinstance(self.columns[0], int):
            both = opening.from_file(path, (source, target), self.data_dir, self.file_options)
            return _pairs(both, source, target)
        found = locations.find_file(path, self.data_dir)
        columns = opening.from_arrays(formats.read_unnamed(found, self.file_options), str(found))
        return _pairs(columns, source, target)

    def _cleaned(self, training: Source) -> tuple[Source, dict[str, int]]:
        """The training pairs that are wanted, and how many are left out, by reason."""
        left_out = {}
        if self.exclude:
            others = _texts(self.read_files(self.exclude))
            excluded = {_essence(text) for side in others for text in side} - {""}
            wanted = [
                _essence(source) not in excluded and _essence(target) not in excluded
                for source, target in zip(*_texts(training), strict=True)
            ]
            left_out["excluded"] = wanted.count(False)
            training = training.where(np.array(wanted))
        if self.unique:
            first = _first_occurrences(list(zip(*_texts(training), strict=True)))
            left_out["repeated"] = int((~first).sum())
            training = training.where(first)
        if not training.count():
            raise ConfigError("no training pair is left: all have a sentence of data.exclude")
        return training, left_out


class ParallelData(OpenedPairs[TranslationData]):
    """`TranslationData`, opened."""

    def __init__(
        self,
        config: TranslationData,
        facts: Facts,
        splits: Mapping[str, Source],
        tokenizer: Tokenizer,
        pad_id: int,
    ) -> None:
        super().__init__(config, facts, splits)
        self._tokenizer, self._pad_id = tokenizer, pad_id

    def pairs(self, split: str, limit: int | None = None) -> Texts:
        """The sentences of a split as they were read, the sources and the target of each, in order.

        Args:
          split: name of the split.
          limit: only those that `evaluate` takes with this limit.

        Raises:
          LookupError: there is no such split.
        """
        source = self.sources[split]
        mask = np.zeros(source.count(), bool)
        mask[sample(source.count(), limit)] = True
        return _texts(source.where(mask))

    def encode(self, source: Source) -> EncodedPairs:
        """See `OpenedPairs.encode`."""
        encode = self._tokenizer.encode
        return EncodedPairs(
            PackedSequences(map(encode, source.texts(SOURCE)), self._pad_id),
            PackedSequences(
                ([*encode(target), EOS] for target in source.texts(TARGET)), self._pad_id
            ),
        )

    def raw(self, source: Source) -> list[dict[str, Any]]:
        """See `OpenedPairs.raw`."""
        return [{SOURCE: s, TARGET: t} for s, t in zip(*_texts(source), strict=True)]


def _check_pairs(paths: Sequence[str]) -> None:
    """Refuses files of one language each, as a shell makes them of a pattern without quotes.

    Raises:
      ConfigError: a name has neither braces nor the suffix of a table.
    """
    tables = formats.READERS.keys() - {".txt"}
    single = [p for p in paths if "{" not in p and Path(p).suffix.lower() not in tables]
    if not single:
        return
    pattern = "train.{en,de}"
    if len(single) > 1:
        source, target = single[:2]
        letters = enumerate(zip(source, target, strict=False))
        length = next((place for place, (a, b) in letters if a != b), 0)
        before = re.sub(r"[^./_-]*$", "", source[:length])
        pattern = f"{before}{{{source[len(before) :]},{target[len(before) :]}}}"
    raise ConfigError(
        f"{' and '.join(single[:2])}: a pair of files is one name, as {pattern!r}, in quotes: "
        f"without them a shell makes two of it. Files with both languages are "
        f"{', '.join(sorted(tables))}"
    )


def _two_files(path: str, data_dir: str | None, options: Options) -> Source:
    """The lines of two files, written as `train.{en,de}`."""
    match = re.fullmatch(r"([^{}]*)\{([^{},]+),([^{},]+)\}([^{}]*)", path)
    if match is None:
        raise ConfigError(
            f"{path!r} is not a pair of files; put two endings in braces, source first: "
            "'train.{en,de}'"
        )
    before, *endings, after = match.groups()
    source, target = (locations.find_file(before + end + after, data_dir) for end in endings)
    sides = formats.lines(source, options), formats.lines(target, options)
    if not sides[0]:
        raise ValueMistake(f"{source} is empty: it has no lines")
    if len(sides[0]) != len(sides[1]):
        raise ValueMistake(
            f"{source} has {len(sides[0])} lines, but {target} has {len(sides[1])}; line n of one "
            "must be the translation of line n of the other"
        )
    return opening.from_arrays({SOURCE: sides[0], TARGET: sides[1]}, f"{source} and {target}")


def _pairs(source: Source, source_column: str, target_column: str) -> Source:
    """Two columns of text in memory, by the names of this pipeline.

    Raises:
      ColumnError: one is not there.
      ValueError: one is not text.
    """
    found = source.select((source_column, target_column)).cached()
    for column in (source_column, target_column):
        for _ in found.texts(column):  # what is no text is better found now
            pass
    return found.renamed(**{SOURCE: source_column, TARGET: target_column})


def _texts(source: Source) -> Texts:
    return list(source.texts(SOURCE)), list(source.texts(TARGET))


def _first_occurrences(rows: Sequence[Any]) -> Array:
    """Which rows have no equal one before them: bool [N]."""
    first = {row: number for number, row in reversed(list(enumerate(rows)))}
    mask = np.zeros(len(rows), bool)
    mask[list(first.values())] = True
    return mask


def _essence(text: str) -> str:
    """A text without case, punctuation and spaces, to compare sentences by.

    >>> _essence("A dog, running!") == _essence("a dog running")
    True
    """
    return re.sub(r"[\W_]+", "", text.casefold())
