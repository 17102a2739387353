"""The protocol of tokenizers, and what they share: ids of entries, checks, their files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count, zip_longest
from pathlib import Path
from typing import Literal, Protocol, Self

from zoo.config import TypeMistake, ValueMistake, local, shown
from zoo.tokenizers.reading import LineReader, PathLike, read_lines

SPECIALS = ("<pad>", "<eos>", "<unk>")
"""The first three lines of the vocabularies that WordTokenizer and CharTokenizer train."""

Kind = Literal["words", "bytes", "chars", "ids", "subwords", "sentencepiece"]
"""The names of tokenizers in recipes and cards."""


class Tokenizer(Protocol):
    """Texts to ids and back."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without an end of sequence; [] for an empty text.

        Raises:
          TypeError: it is no string.
          ValueError: it is not Unicode, or the vocabulary lacks a word and has no id for unknown
            words.
        """

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids. An id that no token has decodes to nothing."""

    def save(self, path: PathLike) -> None:
        """Writes the file that `load` reads."""

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Reads a file that `save`, or the scheme's own trainer, wrote."""


class Ids(dict[str, int]):
    """Entry -> id. A missing entry has the id `unknown`, or is an error if that is None."""

    unknown: int | None = None

    def __init__(self, entries: Sequence[str], first: int) -> None:
        super().__init__(zip(entries, count(first), strict=False))

    def __missing__(self, entry: str) -> int:
        if self.unknown is None:
            raise ValueMistake(
                f"{entry!r:.60} is not in the vocabulary, which has no entry for unknown ones; "
                "name one, as with unknown='UNK'"
            )
        return self.unknown


def most_frequent(counts: Counter[str], what: str, size: int | None, min_count: int) -> list[str]:
    """The entries of a trained vocabulary after `SPECIALS`, the most frequent first.

    Equally frequent entries are in code point order.
    """
    if size is not None:
        at_least(4, "size", size)
    frequent = [entry for entry, n in counts.items() if n >= min_count]
    if not frequent:
        raise ValueMistake(
            f"the texts to train on have no {what} that occur {min_count} times or more"
        )
    frequent.sort(key=lambda entry: (-counts[entry], entry))
    return frequent if size is None else frequent[: size - len(SPECIALS)]


def pick(entries: Sequence[str], ids: Iterable[int]) -> list[str]:
    """The entries of ids; an id without an entry is left out."""
    return [entries[i] for i in map(int, ids) if 0 <= i < len(entries)]


def at_least(least: int, name: str, value: int) -> int:
    """The value of an option. Raises ValueError if it is below `least`."""
    if value < least:
        raise ValueMistake(f"{name} is {value}; it must be {least} or more")
    return value


def check_text(text: str) -> str:
    """The text. Raises TypeError if it is no string, and ValueError if it is not Unicode.

    A string that is not Unicode comes from bytes that were not UTF-8.
    """
    if not isinstance(text, str):
        raise TypeMistake(f"a text must be a string, not {type(text).__name__}: {shown(text)}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueMistake(
                f"{text!r:.60} is not Unicode text: character {error.start + 1} is half of a pair, "
                "or a byte that was not UTF-8"
            ) from error
    return text


def check_texts(texts: Iterable[str]) -> Iterable[str]:
    """The texts. Raises TypeError for a single string."""
    if isinstance(texts, str):
        raise TypeMistake(f"expected several strings, not one: {texts!r:.60}")
    return map(check_text, texts)


def target(path: PathLike) -> Path:
    """The path of a file to write, whose folder is made."""
    file = local(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def write_lines(path: PathLike, lines: Iterable[str]) -> None:
    """Writes a file in UTF-8 with a line feed after each line, on every system.

    Raises:
      ValueError: a line would be read as something else.
    """
    lines = list(lines)
    pieces, reader = [f"{line}\n".encode() for line in lines], LineReader(str(path))
    try:
        found = [again for piece in (*pieces, b"") for again in reader.feed(piece)]
    except ValueMistake:  # it looks like UTF-16
        found = []
    if found != lines:
        lost = next(line for line, other in zip_longest(lines, found) if line != other)
        raise ValueMistake(f"a file with one entry on each line cannot hold {lost!r:.60}")
    target(path).write_bytes(b"".join(pieces))


def write_option(path: PathLike, kind: Kind, name: str, value: int) -> None:
    """Writes the file of a kind that has one number and no vocabulary."""
    write_lines(path, [json.dumps({"kind": kind, name: value})])


def read_option(path: PathLike, kind: Kind, name: str) -> int:
    """The number in a file that `write_option` wrote."""
    text = "\n".join(read_lines([path]))
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or data.get("kind") != kind or type(data.get(name)) is not int:
        raise ValueMistake(f'{path}: expected {{"kind": "{kind}", "{name}": NUMBER}}')
    return int(data[name])
