"""Sentences with a tag for each word, as in the recognition of named entities.

Shapes: B sentences in a batch, T the length of each. A batch has `inputs` int32 [B, T], the ids of
the words, padded with 0; `targets` int32 [B, T], the numbers of their tags; and `weights` float32
[B, T], 1 at words and 0 at padding.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.config import ConfigError
from zoo.pipelines import folders, ops, sentences, sources
from zoo.pipelines.base import (
    Batch,
    DataConfig,
    Facts,
    LabelError,
    shown,
)
from zoo.pipelines.delivery import GlobalBatch, deliver, generator
from zoo.pipelines.rows import Aligned, Sequences, Splits
from zoo.pipelines.sentences import Sentence
from zoo.pipelines.tfds import Prepared
from zoo.tokenizers import IdTokenizer, Tokenizer, TokenizerConfig, WordTokenizer

PURPOSE = 2
"""Keeps the random numbers of word dropout apart from those of the order of the rows."""


@dataclass(frozen=True, kw_only=True)
class TaggingData(DataConfig):
    """Sentences with a tag a word: a TFDS data set, the user's files, or rows handed over.

    A file is one of the CoNLL tasks (a word a line with its tag, columns between spaces or tabs, a
    blank line after each sentence), or, with the suffix `.csv`, a table with a row for each word
    and the number of its sentence.

    A sentence without words, or one that is too long, is evaluated but not trained on. The words
    are taken as they are: none is split.
    """

    name: str | None = None
    """A TFDS data set, as `wikiann/en` or `conll2003`; None: the files named below."""
    train: tuple[str, ...] = ()
    """Training files, or TFDS's expressions for splits; (): `train`."""
    validation: tuple[str, ...] = ()
    """Those for validation, likewise; (): TFDS's split of that name, else `holdout`."""
    test: tuple[str, ...] = ()
    """Those for the test, likewise; (): TFDS's split of that name, else `test_share`."""
    test_share: float = 0.1
    """Share of the training sentences, the last ones, that is the test split where there is none;
    0: no test. Rows that are handed over are all for training."""
    word_column: int | str | None = None
    """Column of the words: by number, from 0, in CoNLL files (None: 0), by name in tables (None:
    `Word`) and TFDS (None: `tokens`)."""
    tag_column: int | str | None = None
    """Column of the tags, likewise (None: -1, which is the last; `Tag`; `ner` or else `tags`)."""
    sentence_column: str = "Sentence #"
    """Column of a table that is empty, or as in the row before, where a sentence goes on."""
    encoding: str = "utf-8"
    """Of the files."""
    labels: tuple[str, ...] | None = None
    """The tags in order; None: those of TFDS, or all that occur in any split, sorted."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """What turns words into ids; a vocabulary without a file is that of the training sentences. In
    one from elsewhere 0 may be a word: such a model has no `pad_id`."""
    word_dropout: float = 0.0
    """In training a word that occurs n times there becomes the unknown word with the probability
    word_dropout / (word_dropout + n), anew each time, so that the model learns what to make of
    unknown words (Kiperwasser and Goldberg 2016, section 4.3, who take 0.25); 0: never."""
    max_len: int = 256
    """Longest training sentence, in words."""
    boundaries: tuple[int, ...] = ()
    """Lengths that training batches are padded to, besides `max_len`; (): 8, 12, 16, 24, 32, …"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cache:
            raise ConfigError("cache is False; tagged sentences lie in memory: leave it at True")
        self.check_tuples("train", "validation", "test", "labels")
        if not 0 <= self.test_share < 1:
            raise ConfigError(f"test_share is {self.test_share}; it is a share, from 0 to below 1")
        if self.word_dropout < 0:
            raise ConfigError(f"word_dropout is {self.word_dropout}; it must be 0 or more")
        if self.max_len < 1:
            raise ConfigError(f"max_len is {self.max_len}; it must be 1 or more")
        if self.tokenizer.kind not in ("words", "ids"):
            raise ConfigError(
                f"tokenizer.kind is {self.tokenizer.kind!r}; a word with a tag has one id, which "
                "the kinds 'words' and 'ids' give"
            )
        ops.check_buckets(self.boundaries, None)
        if self.boundaries and self.boundaries[-1] > self.max_len:
            raise ConfigError(
                f"boundaries end with {self.boundaries[-1]}, but max_len is {self.max_len}; "
                "no training sentence is that long"
            )

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths that training batches are padded to, `max_len` last."""
        if not self.boundaries:
            return ops.ladder(self.max_len)
        return tuple(dict.fromkeys((*self.boundaries, self.max_len)))

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> TaggedSentences:
        """See `DataConfig.open`. Tuples are (words, tags); a mapping has columns of these names.

        Raises:
          LabelError: a word's tag is not among the labels.
          ConfigError: the tokenizer gives a word several ids, or there is only one tag.
        """
        names: tuple[str, ...] | None = None
        if rows is not None:
            found = {"train": sentences.from_user(rows)}
        elif self.name is not None:
            found, names = self._tfds(self.name)
        else:
            found = self._files()
        if "test" not in found and rows is None:
            number = round(len(found["train"]) * self.test_share)
            if 0 < number < len(found["train"]):
                found["test"] = found["train"][-number:]
                found["train"] = found["train"][:-number]
        labels = labels or self.labels or names or _labels(found)
        for split, some in found.items():
            _check_labels(some, labels, f"the {split} split")
        if "validation" not in found and self.holdout and len(found["train"]) > 1:
            mask = sources.held_out(len(found["train"]), self.holdout)
            found["validation"] = list(itertools.compress(found["train"], mask))
            found["train"] = list(itertools.compress(found["train"], ~mask))
        if tokenizer is None:
            training = found["train"]
            tokenizer = self.tokenizer.build(lambda: _words(training), split=False)
        if not isinstance(tokenizer, WordTokenizer | IdTokenizer):
            raise ConfigError(
                f"a {type(tokenizer).__name__} gives a word any number of ids; a model that tags "
                "words has a vocabulary of words"
            )
        facts = Facts(
            tokenizer=tokenizer,
            labels=labels,
            decides={"vocab_size": tokenizer.vocab_size, "num_classes": len(labels)},
            num_examples={split: len(some) for split, some in found.items()},
        )
        return TaggedSentences(self, facts, tokenizer, found)

    def _tfds(self, name: str) -> tuple[dict[str, list[Sentence]], tuple[str, ...] | None]:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        there = Prepared(name, self.data_dir)
        word = "tokens" if self.word_column is None else str(self.word_column)
        tag = "ner" if "ner" in there.tag_names else "tags"
        tag = tag if self.tag_column is None else str(self.tag_column)
        found, names = {}, None
        for split, parts in splits.items():
            if parts or split in there.splits or split == "train":
                expression = "+".join(parts) or split
                found[split], names = sentences.from_tfds(
                    name, expression, word, tag, self.data_dir
                )
        return found, names

    def _files(self) -> dict[str, list[Sentence]]:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if not self.train:
            raise ConfigError(
                "no training data: give data.name, a TFDS data set, or data.train, files with a "
                "word and its tag a line"
            )
        return {
            split: [sentence for path in paths for sentence in self._read(path)]
            for split, paths in splits.items()
            if paths
        }

    def _read(self, path: str) -> list[Sentence]:
        found = folders.find_file(path, self.data_dir)
        if found.suffix.lower() == ".csv":
            word = "Word" if self.word_column is None else str(self.word_column)
            tag = "Tag" if self.tag_column is None else str(self.tag_column)
            return sentences.read_table(found, self.sentence_column, word, tag, self.encoding)
        numbers = {"word_column": self.word_column, "tag_column": self.tag_column}
        for name, value in numbers.items():
            if isinstance(value, str):
                raise ConfigError(
                    f"{name} is {value!r}, but the columns of {found} have no names; give its "
                    "number, from 0"
                )
        word_column = 0 if self.word_column is None else int(self.word_column)
        tag_column = -1 if self.tag_column is None else int(self.tag_column)
        return sentences.read_columns(found, word_column, tag_column, self.encoding)


class TaggedSentences:
    """`TaggingData`, opened."""

    def __init__(
        self,
        config: TaggingData,
        facts: Facts,
        tokenizer: WordTokenizer | IdTokenizer,
        found: Mapping[str, list[Sentence]],
    ) -> None:
        self.facts = facts
        self._config, self._tokenizer = config, tokenizer
        self._sentences = Splits(found, found.__getitem__)
        self._encoded = Splits(found, self._encode)

    def sentences(self, split: str) -> list[Sentence]:
        """The sentences of a split as they came.

        Raises:
          LookupError: there is no such split.
        """
        return self._sentences[split]

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: slice | None = None
    ) -> Iterator[Batch]:
        """See `Data.train`. All batches have the same number of sentences, of similar length.

        Raises:
          ConfigError: every sentence is empty or too long, or there is no unknown word for
            `word_dropout`.
        """
        config, encoded = self._config, self._encoded["train"]
        fit = np.flatnonzero((encoded.lengths > 0) & (encoded.lengths <= config.max_len))
        if not len(fit):
            raise ConfigError(
                f"no training sentence has between 1 and max_len={config.max_len} words"
            )
        if unfit := len(encoded.lengths) - len(fit):
            logging.getLogger(__name__).info(
                "%d training sentences that are empty or longer than max_len=%d words are left out",
                unfit,
                config.max_len,
            )
        sizes = [batch_size] * len(config.lengths)
        batches = encoded.some(fit, config.lengths, sizes, seed, start)
        if config.word_dropout:
            batches = self._drop_words(batches, seed, start)
        return deliver(batches, batch_size, rows)

    def evaluate(
        self, split: str, batch_size: int, *, rows: slice | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `Data.evaluate`. The sentences of a batch have similar lengths."""
        return self._encoded[split].all(self._config.lengths, batch_size, rows, limit)

    def longest(self, split: str) -> int:
        """What evaluation pads the longest sentence of a split to: a model must reach it."""
        return self._encoded[split].longest(self._config.lengths)

    def _drop_words(
        self, batches: Iterator[GlobalBatch], seed: int, start: int
    ) -> Iterator[GlobalBatch]:
        """Batches whose rare words are replaced at random, by (seed, number of the batch)."""
        unknown = np.int32(self._unknown_id())
        encoded = self._encoded["train"]
        counts = np.bincount(encoded.inputs.ids, minlength=self._tokenizer.vocab_size)
        dropout = self._config.word_dropout
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
                f"word_dropout is {self._config.word_dropout}, but the vocabulary has no word that "
                "stands for unknown ones; name it in tokenizer.unknown, or set word_dropout to 0"
            )
        return int(unknown)

    def _encode(self, split: str) -> Aligned:
        found, encode = self._sentences[split], self._tokenizer.encode_words
        numbers = {label: number for number, label in enumerate(self.facts.labels)}
        return Aligned(
            Sequences(encode(sentence.words) for sentence in found),
            Sequences([numbers[tag] for tag in sentence.tags] for sentence in found),
        )


def _words(found: Iterable[Sentence]) -> Iterator[str]:
    """The words to make a vocabulary of: all that a file of one word a line can hold."""
    words = itertools.chain.from_iterable(sentence.words for sentence in found)
    return (word for word in words if word.splitlines() == [word])


def _labels(found: Mapping[str, Sequence[Sentence]]) -> tuple[str, ...]:
    """The tags that occur in any split: one that training lacks is still one of the corpus."""
    counts = Counter(tag for some in found.values() for sentence in some for tag in sentence.tags)
    labels = sources.label_names(counts)
    if len(labels) < 2:
        raise ConfigError(f"the data has only the tag {shown(labels)}; a tagger needs two")
    return labels


def _check_labels(found: Sequence[Sentence], labels: tuple[str, ...], where: str) -> None:
    known = set(labels)
    for number, sentence in enumerate(found, start=1):
        if not known.issuperset(sentence.tags):
            tag = next(tag for tag in sentence.tags if tag not in known)
            tags = sources.label_names(tag for some in found for tag in some.tags)
            raise LabelError(
                f"{where}: sentence {number} has the tag {tag!r}, which is not one of the "
                f"{len(labels)} tags {shown(labels)}; the data has {shown(tags)}"
            )
