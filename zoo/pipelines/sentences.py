"""Sentences of words with a tag each, from files, TFDS data sets and what someone hands over."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zoo.config import did_you_mean
from zoo.pipelines import files, sources
from zoo.pipelines.base import ColumnError, arrays, is_dataset, shown
from zoo.pipelines.tfds import Prepared

WORDS, TAGS = "words", "tags"
"""The columns of the user's own rows."""

DOCUMENT = "-DOCSTART-"
"""The first field of a line that begins a document in files of the CoNLL tasks: no sentence."""


class Sentence(NamedTuple):
    """Words, and the tag of each."""

    words: list[str]
    tags: list[str]


def read_columns(path: Path, word: int, tag: int, encoding: str) -> list[Sentence]:
    """The sentences of a file as the CoNLL tasks have it: a word a line, a blank line after each.

    Args:
      path: the file; between its columns are spaces or tabs.
      word: the column of the word, from 0; -1 is the last.
      tag: that of the tag, likewise.
      encoding: of the file.

    Raises:
      ValueError: a line has too few columns, or there is no sentence.
    """
    needed = max(column + 1 if column >= 0 else -column for column in (word, tag))
    # With fewer than two columns, word and tag would be the same.
    needed = max(needed, 2)
    sentences = [Sentence([], [])]
    text = io.StringIO(files.content(path, encoding), newline=None)
    for number, line in enumerate(text, start=1):
        fields = re.split(r"[ \t]+", line.strip(" \t\n"))
        if fields == [""] or fields[0] == DOCUMENT:
            if sentences[-1].words:
                sentences.append(Sentence([], []))
        elif len(fields) < needed:
            raise ValueError(
                f"{path}, line {number}: {len(fields)} column(s) between spaces or tabs, but the "
                f"word is column {word} and the tag column {tag}: {line.strip():.40}"
            )
        else:
            sentences[-1].words.append(fields[word])
            sentences[-1].tags.append(fields[tag])
    return _found(sentences, path)


def read_table(path: Path, sentence: str, word: str, tag: str, encoding: str) -> list[Sentence]:
    """The sentences of a CSV file with a word a row.

    Args:
      path: the file; its first line has the names of the columns.
      sentence: the column of the sentence's number. Where it is empty, or as in the row before, the
        sentence goes on.
      word: the column of the word.
      tag: that of the tag.
      encoding: of the file.

    Raises:
      ColumnError: there is no such column.
      ValueError: a row has another number of fields than the first line, or there is no sentence.
    """
    reader = csv.reader(io.StringIO(files.content(path, encoding), newline=""), strict=True)
    sentences: list[Sentence] = []
    try:
        names = next(reader, [])
        places = [_place(name, names, path) for name in (sentence, word, tag)]
        current = ""
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(row)} field(s), but there are "
                    f"{len(names)} columns: {shown(names)}"
                )
            number, one_word, one_tag = (row[place] for place in places)
            if not sentences or number not in ("", current):
                sentences.append(Sentence([], []))
            current = number or current
            sentences[-1].words.append(one_word)
            sentences[-1].tags.append(one_tag)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    return _found(sentences, path)


def _place(name: str, names: list[str], path: Path) -> int:
    if name not in names:
        raise ColumnError(
            f"{path} has no column {name!r}{did_you_mean(name, names)}; its columns are "
            f"{shown(names)}"
        )
    return names.index(name)


def _found(sentences: list[Sentence], path: Path) -> list[Sentence]:
    found = [sentence for sentence in sentences if sentence.words]
    if not found:
        raise ValueError(f"{path} is empty: it has no sentences")
    return found


def from_tfds(
    name: str, split: str, word: str, tag: str, data_dir: str | None = None
) -> tuple[list[Sentence], tuple[str, ...] | None]:
    """The sentences of a TFDS data set, and the names of its tags where it has any.

    Args:
      name: as `folders.find_tfds` has it.
      split: TFDS's expression.
      word: the column of the words.
      tag: that of the tags.
      data_dir: the folder to look into first.

    Raises:
      FileNotFoundError, LookupError: as `sources.from_tfds`.
      ColumnError: there is no such column.
      ValueError: a sentence has not one tag for each word.
    """
    source = sources.from_tfds(name, split, data_dir).select((word, tag))
    names = Prepared(name, data_dir).tag_names.get(tag)
    rows = ((row[word], row[tag]) for row in arrays(source.stream))
    return list(_checked(rows, source.where, names)), names


def from_user(rows: Any) -> list[Sentence]:
    """The sentences that someone hands over.

    Args:
      rows: (words, tags) each; or a mapping of columns, or a tf.data.Dataset, of `words` and
        `tags`.

    Raises:
      TypeError: it is something else.
      ColumnError: a mapping has no such column.
      ValueError: a sentence has not one tag for each word.
    """
    where = "the data"
    if is_dataset(rows):
        where = "the tf.data.Dataset"
        stream = sources.from_dataset(rows, (WORDS, TAGS), where).select((WORDS, TAGS)).stream
        rows = ((row[WORDS], row[TAGS]) for row in arrays(stream))
    elif isinstance(rows, Mapping):
        for name in (WORDS, TAGS):
            if name not in rows:
                raise ColumnError(
                    f"{where} has no column {name!r}; its columns are {shown(list(rows))}"
                )
        if len(rows[WORDS]) != len(rows[TAGS]):
            raise ValueError(
                f"{where}: {len(rows[WORDS])} rows of words, but {len(rows[TAGS])} of tags"
            )
        rows = zip(rows[WORDS], rows[TAGS], strict=True)
    elif isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise TypeError(
            f"data is {rows!r:.60}; it must be an iterable of (words, tags), a mapping of columns "
            "or a tf.data.Dataset"
        )
    else:
        columns = sources.transpose(rows, (WORDS, TAGS), where)
        rows = zip(columns[WORDS], columns[TAGS], strict=True)
    found = list(_checked(rows, where))
    if not found:
        raise ValueError(f"{where} has no rows")
    return found


def _checked(
    rows: Iterable[tuple[Any, Any]], where: str, names: tuple[str, ...] | None = None
) -> Iterator[Sentence]:
    for number, (words, tags) in enumerate(rows, start=1):
        for values, what in ((words, WORDS), (tags, TAGS)):
            if isinstance(values, str | bytes) or not isinstance(values, Iterable):
                raise TypeError(
                    f"{where}, sentence {number}: {what} is {values!r:.40}; it must be a list, one "
                    "for each word"
                )
        sentence = Sentence(
            [_text(word, where, number) for word in words],
            [names[tag] if names else _text(tag, where, number) for tag in tags],
        )
        if len(sentence.words) != len(sentence.tags):
            raise ValueError(
                f"{where}, sentence {number}: {len(sentence.words)} word(s), but "
                f"{len(sentence.tags)} tag(s); each word has one"
            )
        yield sentence


def _text(value: Any, where: str, number: int) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}, sentence {number} is not UTF-8: {error}") from error
