"""Sentences with a tag for each word, as in the recognition of named entities.

Shapes: B sentences in a batch, L their padded length. A batch has `inputs` int32 [B, L], the ids of
the words, padded; `targets` int32 [B, L], the numbers of their tags; and `weights` float32
[B, L], 1 at words and 0 at padding.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from zoo.config import ConfigError, check_share
from zoo.pipelines.base import Batch, Facts, LabelError, quoted
from zoo.pipelines.delivery import GlobalBatch, generator
from zoo.pipelines.sequences import EncodedPairs, OpenedPairs, PackedSequences, PairedData
from zoo.pipelines.sources import holdout, locations, sentences
from zoo.pipelines.sources.labels import normalised, sorted_names
from zoo.pipelines.sources.sentences import TAGS, WORDS, Sentence
from zoo.pipelines.sources.source import Source
from zoo.pipelines.sources.tfds import Prepared
from zoo.tokenizers import IdTokenizer, Tokenizer, TokenizerConfig, WordTokenizer
from zoo.tokenizers.reading import split_lines

PURPOSE = 2
"""Keeps the random numbers of word dropout apart from those of the order of the rows."""


@dataclass(frozen=True, kw_only=True)
class TaggingData(PairedData):
    """Sentences with a tag for each word: a TFDS data set, the user's files, or rows handed over.

    A file is in the format of the CoNLL tasks (a line for each word with its tag, columns separated
    by spaces or tabs, a blank line after each sentence), or, with the suffix `.csv`, a table with a
    row for each word and the number of its sentence.

    A sentence without words, or one that is too long, is evaluated but not trained on. Words are
    taken as they are: none is split. Lengths count words.
    """

    test_share: float = 0.1
    """Share of the training sentences that becomes the test split if there is none: about that
    many, chosen by a hash of their content; 0: no test. Rows that are handed over are all for
    training."""
    word_column: int | str | None = None
    """Column of the words: by number, from 0, in CoNLL files (None: 0), by name in tables (None:
    `Word`) and TFDS (None: `tokens`)."""
    tag_column: int | str | None = None
    """Column of the tags: by number in CoNLL files (None: -1, the last), by name in tables (None:
    `Tag`) and TFDS (None: `ner`, or else `tags`)."""
    sentence_column: str = "Sentence #"
    """Column of a table that is empty, or the same as in the row before, where a sentence goes on.
    """
    labels: tuple[str, ...] | None = None
    """The tags in order; None: those of TFDS, or all that occur in any split, sorted."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """Turns words into ids. A vocabulary without a file has the words of the training sentences. In
    one from elsewhere 0 may be a word; its model then has no `pad_id`."""
    word_dropout: float = 0.0
    """In training, each occurrence of a word that occurs n times becomes the unknown word with
    probability word_dropout / (word_dropout + n), so that the model learns to deal with unknown
    words (Kiperwasser and Goldberg 2016, section 4.3, who take 0.25). 0: never."""

    files: ClassVar[str] = "files with a word and its tag on each line"
    row: ClassVar[str] = "sentence"
    unit: ClassVar[str] = "words"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_tuples("labels")
        check_share("test_share", self.test_share)
        if self.word_dropout < 0:
            raise ConfigError(f"word_dropout is {self.word_dropout}; it must be 0 or more")
        if self.tokenizer.kind not in ("words", "ids"):
            raise ConfigError(
                f"tokenizer.kind is {self.tokenizer.kind!r}; a word with a tag has one id, which "
                "the kinds 'words' and 'ids' give"
            )

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
        pad_id: int = 0,
    ) -> TaggedSentences:
        """See `DataConfig.open`. Tuples are (words, tags); a mapping has columns of these names.

        Raises:
          LabelError: a word's tag is not among the labels.
          ConfigError: the tokenizer gives a word several ids, or there is only one tag.
        """
        splits = self.read_splits(rows)
        named = labels or self.labels or splits["train"].class_names.get(TAGS)
        labels = normalised(named) if named else _labels(splits)
        for split, source in splits.items():
            _check_labels(source, labels, f"the {split} split")
        splits, fingerprints = holdout.with_validation(
            splits, self.holdout, test_share=self.test_share if rows is None else 0
        )
        if tokenizer is None:
            tokenizer = self.tokenizer.build(lambda: _words(splits["train"]), split=False)
        if not isinstance(tokenizer, WordTokenizer | IdTokenizer):
            raise ConfigError(
                f"a {type(tokenizer).__name__} gives a word any number of ids; a model that tags "
                "words has a vocabulary of words"
            )
        facts = Facts(
            tokenizer=tokenizer,
            labels=labels,
            decides={"vocab_size": tokenizer.vocab_size, "num_classes": len(labels)},
            num_examples={split: source.count() for split, source in splits.items()},
            fingerprints=fingerprints,
        )
        return TaggedSentences(self, facts, splits, tokenizer, pad_id)

    def read_rows(self, rows: Any) -> Source:
        """See `StoredData.read_rows`."""
        return sentences.handed_over(rows)

    def read_tfds(self, data_set: Prepared, expression: str) -> Source:
        """See `StoredData.read_tfds`."""
        word = "tokens" if self.word_column is None else str(self.word_column)
        tag = "ner" if "ner" in data_set.tag_names else "tags"
        tag = tag if self.tag_column is None else str(self.tag_column)
        return sentences.from_prepared(data_set, expression, word, tag)

    def read_file(self, path: str) -> Source:
        """See `StoredData.read_file`."""
        found = locations.find_file(path, self.data_dir)
        if found.suffix.lower() == ".csv":
            word = "Word" if self.word_column is None else str(self.word_column)
            tag = "Tag" if self.tag_column is None else str(self.tag_column)
            return sentences.read_table(found, self.sentence_column, word, tag, self.file_options)
        numbers = {"word_column": self.word_column, "tag_column": self.tag_column}
        for name, value in numbers.items():
            if isinstance(value, str):
                raise ConfigError(
                    f"{name} is {value!r}, but the columns of {found} have no names; give its "
                    "number, from 0"
                )
        word_column = 0 if self.word_column is None else int(self.word_column)
        tag_column = -1 if self.tag_column is None else int(self.tag_column)
        return sentences.read_conll(found, word_column, tag_column, self.file_options)


class TaggedSentences(OpenedPairs[TaggingData]):
    """`TaggingData`, opened."""

    def __init__(
        self,
        config: TaggingData,
        facts: Facts,
        splits: Mapping[str, Source],
        tokenizer: WordTokenizer | IdTokenizer,
        pad_id: int,
    ) -> None:
        super().__init__(config, facts, splits)
        self._tokenizer, self._pad_id = tokenizer, pad_id

    def sentences(self, split: str) -> list[Sentence]:
        """The sentences of a split as they were read.

        Raises:
          LookupError: there is no such split.
        """
        return list(_sentences(self.sources[split]))

    def encode(self, source: Source) -> EncodedPairs:
        """See `OpenedPairs.encode`."""
        encode = self._tokenizer.encode_words
        numbers = {label: number for number, label in enumerate(self.facts.labels)}
        found = list(_sentences(source))
        return EncodedPairs(
            PackedSequences((encode(sentence.words) for sentence in found), self._pad_id),
            PackedSequences([numbers[tag] for tag in sentence.tags] for sentence in found),
        )

    def raw(self, source: Source) -> list[dict[str, Any]]:
        """See `OpenedPairs.raw`."""
        return [sentence._asdict() for sentence in _sentences(source)]

    def altered(
        self, batches: Iterator[GlobalBatch], seed: int, start: int
    ) -> Iterator[GlobalBatch]:
        """Batches whose rare words are replaced at random, by (seed, number of the batch).

        Raises:
          ConfigError: there is no unknown word for `word_dropout`.
        """
        dropout = self.config.word_dropout
        if not dropout:
            return batches
        unknown = np.int32(self._unknown_id())
        ids = self.encoded["train"].inputs.ids
        counts = np.bincount(ids, minlength=self._tokenizer.vocab_size)
        probabilities = np.where(counts > 0, dropout / (dropout + np.maximum(counts, 1)), 0.0)

        def changed(number: int, whole: GlobalBatch) -> GlobalBatch:
            def take(wanted: slice) -> Batch:
                batch = whole.take(wanted)
                inputs, words = batch["inputs"], batch["weights"] > 0
                # Drawn for the whole batch: a word's fate does not depend on who reads its row.
                random = generator(seed, number, PURPOSE).random((whole.size, inputs.shape[1]))
                dropped = (random[wanted] < probabilities[inputs]) & words
                return {**batch, "inputs": np.where(dropped, unknown, inputs)}

            return GlobalBatch(whole.size, take)

        return itertools.starmap(changed, zip(itertools.count(start), batches, strict=False))

    def _unknown_id(self) -> int:
        unknown = getattr(self._tokenizer, "unknown_id", None)
        if unknown is None:
            raise ConfigError(
                f"word_dropout is {self.config.word_dropout}, but the vocabulary has no unknown "
                "word; name one in tokenizer.unknown, or set word_dropout to 0"
            )
        return int(unknown)


def _sentences(source: Source) -> Iterator[Sentence]:
    return map(Sentence, source.column(WORDS), source.column(TAGS))


def _words(source: Source) -> Iterator[str]:
    """The words to make a vocabulary of: all that a file with one word on each line can hold."""
    words = itertools.chain.from_iterable(source.column(WORDS))
    return (word for word in words if split_lines(f"{word}\n") == [word])


def _labels(splits: Mapping[str, Source]) -> tuple[str, ...]:
    """The tags that occur in any split: one that training lacks is still one of the corpus."""
    columns = (source.column(TAGS) for source in splits.values())
    labels = sorted_names(Counter(tag for column in columns for tags in column for tag in tags))
    if len(labels) < 2:
        raise ConfigError(f"the data has only the tag {quoted(labels)}; a tagger needs two")
    return labels


def _check_labels(source: Source, labels: tuple[str, ...], origin: str) -> None:
    known, column = set(labels), source.column(TAGS)
    for number, tags in enumerate(column, start=1):
        if not known.issuperset(tags):
            tag = next(tag for tag in tags if tag not in known)
            there = sorted_names(tag for tags in column for tag in tags)
            raise LabelError(
                f"{origin}: sentence {number} has the tag {tag!r}, which is not one of the "
                f"{len(labels)} tags {quoted(labels)}; the data has {quoted(there)}"
            )
