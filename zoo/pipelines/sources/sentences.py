"""Sentences with a tag for each word, from files, TFDS data sets and what the user hands over.

A source of sentences has the columns `words` and `tags`, each a list of strings for each sentence.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zoo.config import TypeMistake, ValueMistake, did_you_mean, shown
from zoo.pipelines.base import ColumnError, quoted
from zoo.pipelines.sources import formats, missing, opening
from zoo.pipelines.sources.formats import Options
from zoo.pipelines.sources.labels import normalised
from zoo.pipelines.sources.source import Source
from zoo.pipelines.sources.tfds import Prepared
from zoo.pipelines.tfdata import arrays, is_dataset
from zoo.tokenizers import nfc

WORDS, TAGS = "words", "tags"
"""The columns of a source of sentences, and of the user's own rows."""

DOCUMENT = "-DOCSTART-"
"""First field of a line that begins a document in files of the CoNLL tasks. It is no word."""


class Sentence(NamedTuple):
    """The words of a sentence, and the tag of each."""

    words: list[str]
    tags: list[str]


def read_conll(path: Path, word: int, tag: int, options: Options = formats.DEFAULTS) -> Source:
    """The sentences of a file in the format of the CoNLL tasks.

    Each line has a word and its tag; a blank line ends a sentence. Tabs separate the columns if
    most lines have one, and then a word may have spaces in it; otherwise spaces do.

    Comments are left out: lines that begin with `#` and do not look like the other words (see
    `_Lines.is_comment`). So are the lines of CoNLL-U that number a contraction (`1-2`), whose parts
    follow, and those that begin a document.

    Args:
      path: the file.
      word: number of the word's column, from 0; -1 is the last.
      tag: number of the tag's column, from 0; -1 is the last.
      options: how the file is written.

    Raises:
      ValueMistake: a line has too few columns or an empty word or tag, or there is no sentence.
    """
    lines = _Lines(formats.lines(path, options), word, tag)
    sentences = [Sentence([], [])]
    for number, fields in enumerate(lines.fields, start=1):
        words, tags = sentences[-1]
        if not fields or DOCUMENT in fields:
            if words:
                sentences.append(Sentence([], []))
        elif lines.is_contraction(fields) or lines.is_comment(fields, starts=not words):
            continue
        elif len(fields) < lines.needed:
            raise ValueMistake(
                f"{path}, line {number}: {len(fields)} column(s) between {lines.separators}, but "
                f"the word is column {word} and the tag column {tag}: {' '.join(fields):.40}"
            )
        elif not (fields[word] and fields[tag]):
            raise ValueMistake(
                f"{path}, line {number}: the {'tag' if fields[word] else 'word'} is empty: "
                f"{' '.join(fields):.40}"
            )
        else:
            words.append(fields[word])
            tags.append(fields[tag])
    return _found(sentences, path)


class _Lines:
    """The lines of a CoNLL file as fields, and what they show of how the file is written."""

    def __init__(self, lines: Sequence[str], word: int, tag: int) -> None:
        self._word, self._tag = word, tag
        # With fewer than two columns, word and tag would be the same one.
        self.needed = max(2, *(n + 1 if n >= 0 else -n for n in (word, tag)))
        plain = [line for line in lines if line.strip(" \t") and not line.startswith("#")]
        tabs = sum("\t" in line for line in plain) * 2 > len(plain)
        self.separators = "tabs" if tabs else "spaces or tabs"
        self.fields = [_split(line, tabs) for line in lines]
        """The fields of each line; none of a blank one."""
        others = [f for f in self.fields if _is_plain(f) and len(f) >= self.needed]
        self._counts = {len(fields) for fields in others}
        self._tags = {fields[tag] for fields in others}
        self._numbered = word != 0 and all(re.fullmatch(r"\d+([-.]\d+)?", f[0]) for f in others)
        for before, fields in itertools.pairwise(self.fields):
            # After another word `#` is one too.
            if fields and not _is_plain(fields) and _is_plain(before):
                self._tags |= {fields[tag]} if len(fields) in self._counts else set()

    def is_comment(self, fields: Sequence[str], *, starts: bool) -> bool:
        """Whether a line is a comment: it begins with `#`, and is unlike the lines of other words.

        Before the first word of a sentence, where files have their comments, it is a word only if
        it has as many fields as others and a tag that others have too, or that looks like one.
        Within a sentence it is a word unless it has another number of fields.

        Args:
          fields: of the line.
          starts: whether the sentence has no word yet.
        """
        if not fields[0].startswith("#") or (len(fields) == 1 and fields[0] == "#" and not starts):
            return False
        if len(fields) not in (self._counts or {len(fields)}) or len(fields) < self.needed:
            return True
        tag = fields[self._tag]
        return starts and tag not in self._tags and not re.fullmatch(r"O|[BIESLUMW]-.+", tag)

    def is_contraction(self, fields: Sequence[str]) -> bool:
        """Whether a line of CoNLL-U numbers several words at once, or one that is only implied."""
        return self._numbered and re.fullmatch(r"\d+[-.]\d+", fields[0]) is not None


def _is_plain(fields: Sequence[str]) -> bool:
    return bool(fields) and not fields[0].startswith("#")


def _split(line: str, tabs: bool) -> list[str]:
    if not (stripped := line.strip(" \t")):
        return []
    if not tabs:
        return re.split(r"[ \t]+", stripped)
    fields = line.rstrip(" \t").split("\t")
    return [field.strip(" ") for field in fields] if " " in line else fields


def read_table(
    path: Path, sentence: str, word: str, tag: str, options: Options = formats.DEFAULTS
) -> Source:
    """The sentences of a CSV file with a row for each word.

    Args:
      path: the file; its first line has the names of the columns.
      sentence: the column of the sentence's number. Where it is empty, or the same as in the row
        before, the sentence goes on.
      word: the column of the word.
      tag: the column of the tag.
      options: how the file is written.

    Raises:
      ColumnError: there is no such column.
      ValueMistake: a row has another number of fields than the first line, or no tag; or there is
        no sentence.
    """
    sentences: list[Sentence] = []
    names, rows = formats.named_fields(path, ",", options, (sentence, word, tag))
    places = [_place(name, names, path) for name in (sentence, word, tag)]
    current = ""
    for line, row in rows:
        number, one_word, one_tag = (row[place] for place in places)
        if not one_tag.strip():
            raise ValueMistake(f"{path}, line {line}: column {tag!r} is empty; each word has a tag")
        if not sentences or number not in ("", current):
            sentences.append(Sentence([], []))
        current = number or current
        sentences[-1].words.append(one_word)
        sentences[-1].tags.append(one_tag)
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
        TAGS: np.fromiter(([nfc(tag) for tag in sentence.tags] for sentence in sentences), object),
    }
    names = {} if tag_names is None else {TAGS: normalised(tag_names)}
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
        opening.check_column(columns[name], f"{origin}: column {name!r}")
    words, tags = (list(columns[name]) for name in names)
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
                    f"{origin}, sentence {number}: {what} is {shown(values)}; it must be a list, "
                    "one for each word"
                )
        sentence = Sentence(
            [_text(word, WORDS, origin, number) for word in words],
            [names[tag] if names else _text(tag, TAGS, origin, number) for tag in tags],
        )
        if len(sentence.words) != len(sentence.tags):
            raise ValueMistake(
                f"{origin}, sentence {number}: {len(sentence.words)} word(s), but "
                f"{len(sentence.tags)} tag(s); each word has one"
            )
        yield sentence


def _text(value: Any, what: str, origin: str, number: int) -> str:
    """One of the words or tags of a sentence."""
    if missing.is_missing(value) or (what == TAGS and missing.is_empty(value)):
        raise ValueMistake(
            f"{origin}, sentence {number}: one of the {what} is missing ({value!r}); fill it in, "
            "or leave out the sentence"
        )
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueMistake(f"{origin}, sentence {number} is not UTF-8: {error}") from error
