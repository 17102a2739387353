"""Sentences with a tag for each word, from files, TFDS data sets and what the user hands over.

A source of sentences has the columns `words` and `tags`, each a list of strings for each sentence.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zoo.config import TypeMistake, ValueMistake, did_you_mean
from zoo.pipelines.base import ColumnError, quoted
from zoo.pipelines.sources import formats, opening
from zoo.pipelines.sources.source import Source
from zoo.pipelines.sources.tfds import Prepared
from zoo.pipelines.tfdata import arrays, is_dataset

WORDS, TAGS = "words", "tags"
"""The columns of a source of sentences, and of the user's own rows."""

DOCUMENT = "-DOCSTART-"
"""First field of a line that begins a document in files of the CoNLL tasks. It is no word."""


class Sentence(NamedTuple):
    """The words of a sentence, and the tag of each."""

    words: list[str]
    tags: list[str]


def read_conll(path: Path, word: int, tag: int, encoding: str) -> Source:
    """The sentences of a file in the format of the CoNLL tasks.

    Each line has a word and its tag; a blank line ends a sentence.

    Args:
      path: the file; spaces or tabs separate its columns.
      word: number of the word's column, from 0; -1 is the last.
      tag: number of the tag's column, from 0; -1 is the last.
      encoding: of the file.

    Raises:
      ValueError: a line has too few columns, or there is no sentence.
    """
    needed = max(column + 1 if column >= 0 else -column for column in (word, tag))
    # With fewer than two columns, word and tag would be the same one.
    needed = max(needed, 2)
    sentences = [Sentence([], [])]
    text = io.StringIO(formats.content(path, encoding), newline=None)
    for number, line in enumerate(text, start=1):
        fields = re.split(r"[ \t]+", line.strip(" \t\n"))
        if fields == [""] or fields[0] == DOCUMENT:
            if sentences[-1].words:
                sentences.append(Sentence([], []))
        elif len(fields) < needed:
            raise ValueMistake(
                f"{path}, line {number}: {len(fields)} column(s) between spaces or tabs, but the "
                f"word is column {word} and the tag column {tag}: {line.strip():.40}"
            )
        else:
            sentences[-1].words.append(fields[word])
            sentences[-1].tags.append(fields[tag])
    return _found(sentences, path)


def read_table(path: Path, sentence: str, word: str, tag: str, encoding: str) -> Source:
    """The sentences of a CSV file with a row for each word.

    Args:
      path: the file; its first line has the names of the columns.
      sentence: the column of the sentence's number. Where it is empty, or the same as in the row
        before, the sentence goes on.
      word: the column of the word.
      tag: the column of the tag.
      encoding: of the file.

    Raises:
      ColumnError: there is no such column.
      ValueError: a row has another number of fields than the first line, or there is no sentence.
    """
    reader = csv.reader(io.StringIO(formats.content(path, encoding), newline=""), strict=True)
    sentences: list[Sentence] = []
    try:
        names = next(reader, [])
        places = [_place(name, names, path) for name in (sentence, word, tag)]
        current = ""
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise ValueMistake(
                    f"{path}, line {reader.line_num}: {len(row)} field(s), but there are "
                    f"{len(names)} columns: {quoted(names)}"
                )
            number, one_word, one_tag = (row[place] for place in places)
            if not sentences or number not in ("", current):
                sentences.append(Sentence([], []))
            current = number or current
            sentences[-1].words.append(one_word)
            sentences[-1].tags.append(one_tag)
    except csv.Error as error:
        raise ValueMistake(f"{path}, line {reader.line_num}: {error}") from error
    return _found(sentences, path)


def _place(name: str, names: list[str], path: Path) -> int:
    if name not in names:
        raise ColumnError(
            f"{path} has no column {name!r}{did_you_mean(name, names)}; its columns are "
            f"{quoted(names)}"
        )
    return names.index(name)


def _found(sentences: Iterable[Sentence], path: Path) -> Source:
    found = [sentence for sentence in sentences if sentence.words]
    if not found:
        raise ValueMistake(f"{path} is empty: it has no sentences")
    return from_sentences(found, str(path))


def from_sentences(
    sentences: Sequence[Sentence], origin: str, tag_names: tuple[str, ...] | None = None
) -> Source:
    """Sentences as a source in memory.

    Args:
      sentences: one or more.
      origin: where they come from.
      tag_names: the tags that the data set lists, in order.

    Raises:
      ValueError: there are none.
    """
    if not sentences:
        raise ValueMistake(f"{origin} has no rows")
    columns = {
        WORDS: np.fromiter((sentence.words for sentence in sentences), object),
        TAGS: np.fromiter((sentence.tags for sentence in sentences), object),
    }
    names = {} if tag_names is None else {TAGS: tag_names}
    return Source(origin=origin, arrays=columns, num_rows=len(sentences), class_names=names)


def from_prepared(data_set: Prepared, split: str, word: str, tag: str) -> Source:
    """The sentences of a split of a TFDS data set.

    Args:
      data_set: the data set.
      split: a split expression of TFDS.
      word: the column of the words.
      tag: the column of the tags.

    Raises:
      LookupError: there is no such split.
      ColumnError: there is no such column.
      ValueError: a sentence has not one tag for each word.
    """
    source = opening.from_prepared(data_set, split).select((word, tag))
    rows = ((row[word], row[tag]) for row in arrays(source.stream))
    names = data_set.tag_names.get(tag)
    return from_sentences(list(_checked(rows, source.origin, names)), source.origin, names)


def handed_over(rows: Any) -> Source:
    """Sentences that the user hands over.

    Args:
      rows: (words, tags) each; or a mapping of columns, or a tf.data.Dataset, of `words` and
        `tags`.

    Raises:
      TypeError: it is something else.
      ColumnError: a mapping has no such column.
      ValueError: a sentence has not one tag for each word.
    """
    names = (WORDS, TAGS)
    if is_dataset(rows):
        source = opening.from_dataset(rows, names).select(names)
        pairs = ((row[WORDS], row[TAGS]) for row in arrays(source.stream))
        return from_sentences(list(_checked(pairs, source.origin)), source.origin)
    columns, origin = opening.user_columns(rows, names), opening.USER_ROWS
    for name in names:
        if name not in columns:
            raise ColumnError(
                f"{origin} has no column {name!r}; its columns are {quoted(list(columns))}"
            )
    words, tags = (columns[name] for name in names)
    if len(words) != len(tags):
        raise ValueMistake(f"{origin}: {len(words)} rows of words, but {len(tags)} of tags")
    checked = _checked(zip(words, tags, strict=True), origin)
    return from_sentences(list(checked), origin)


def _checked(
    rows: Iterable[tuple[Any, Any]], origin: str, names: tuple[str, ...] | None = None
) -> Iterator[Sentence]:
    for number, (words, tags) in enumerate(rows, start=1):
        for values, what in ((words, WORDS), (tags, TAGS)):
            if isinstance(values, str | bytes) or not isinstance(values, Iterable):
                raise TypeMistake(
                    f"{origin}, sentence {number}: {what} is {values!r:.40}; it must be a list, "
                    "one for each word"
                )
        sentence = Sentence(
            [_text(word, origin, number) for word in words],
            [names[tag] if names else _text(tag, origin, number) for tag in tags],
        )
        if len(sentence.words) != len(sentence.tags):
            raise ValueMistake(
                f"{origin}, sentence {number}: {len(sentence.words)} word(s), but "
                f"{len(sentence.tags)} tag(s); each word has one"
            )
        yield sentence


def _text(value: Any, origin: str, number: int) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueMistake(f"{origin}, sentence {number} is not UTF-8: {error}") from error
