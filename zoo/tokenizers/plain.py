"""Tokenizers that need no words: bytes, characters, and ids as they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Self

from zoo.config import ValueMistake
from zoo.tokenizers.base import (
    SPECIALS,
    Ids,
    at_least,
    check_text,
    check_texts,
    most_frequent,
    pick,
    read_option,
    write_lines,
    write_option,
)
from zoo.tokenizers.reading import PathLike, nfc, read_lines


class ByteTokenizer:
    """The bytes of the text in UTF-8: byte b has the id b + `offset`.

    With the default offset of 2, ids 0 and 1 stay free for padding and end of sequence (ByT5, Xue
    et al. 2022, has an offset of 3). `offset=0` gives the ids of trax's `vocab_type='char'`, and
    `offset=n` those of its `n_reserved_ids=n`. Bytes that are not UTF-8 decode to U+FFFD. The text
    is taken as it is; data and predictors bring it to Unicode's NFC first.

    >>> ByteTokenizer().encode("Aé")
    [67, 197, 171]
    """

    def __init__(self, offset: int = 2) -> None:
        self.offset = at_least(0, "offset", offset)

    @property
    def vocab_size(self) -> int:
        return 256 + self.offset

    def encode(self, text: str) -> list[int]:
        return [byte + self.offset for byte in check_text(text).encode()]

    def decode(self, ids: Iterable[int]) -> str:
        values = (int(i) - self.offset for i in ids)
        return bytes(value for value in values if 0 <= value < 256).decode(errors="replace")

    def save(self, path: PathLike) -> None:
        write_option(path, "bytes", "offset", self.offset)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        return cls(read_option(path, "bytes", "offset"))


class IdTokenizer:
    """The text is the ids themselves, integers between spaces: for models trained on plain ids.

    >>> IdTokenizer(vocab_size=13).encode("3 7 5")
    [3, 7, 5]
    """

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = at_least(1, "vocab_size", vocab_size)

    @property
    def vocab_size(self) -> int:
        return self._vocab_size

    def encode(self, text: str) -> list[int]:
        return self.encode_words(self.words(text))

    def encode_words(self, words: Iterable[str]) -> list[int]:
        """The ids of a sentence that is split into words already, one for each."""
        return [self._id(word) for word in check_texts(words)]

    def words(self, text: str) -> list[str]:
        """The words of a sentence, which spaces separate."""
        return check_text(text).split()

    def _id(self, word: str) -> int:
        if not re.fullmatch("-?[0-9]{1,18}", word):
            raise ValueMistake(
                f"{word!r:.60} is not an integer; the text must be integers between spaces, as "
                "'3 7 5'"
            )
        if not 0 <= int(word) < self._vocab_size:
            raise ValueMistake(f"the id {word} is not among 0 to {self._vocab_size - 1}")
        return int(word)

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(str(i) for i in map(int, ids) if 0 <= i < self._vocab_size)

    def save(self, path: PathLike) -> None:
        write_option(path, "ids", "vocab_size", self.vocab_size)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        return cls(read_option(path, "ids", "vocab_size"))


class CharTokenizer:
    """One id for each character (Unicode code point): its line in the vocabulary file, from 0.

    Ids 0 and 1 are padding and end of sequence. Id 2 is any character that is not in the
    vocabulary, and decodes to U+FFFD. `train` orders the others by frequency. Texts are brought to
    Unicode's NFC, where `é` is one character however it was written. In the file, the space and
    characters that do not print are written as their number, such as `U+000A`.
    """

    def __init__(self, characters: Iterable[str]) -> None:
        self._characters = tuple(characters)
        for character in self._characters:
            if len(check_text(character)) != 1:
                raise ValueMistake(f"{character!r} is not one character")
        self._ids = Ids(self._characters, first=3)
        self._ids.unknown = 2

    @property
    def vocab_size(self) -> int:
        return 3 + len(self._characters)

    def encode(self, text: str) -> list[int]:
        return list(map(self._ids.__getitem__, nfc(check_text(text))))

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(pick(("", "", "\N{REPLACEMENT CHARACTER}", *self._characters), ids))

    def save(self, path: PathLike) -> None:
        visible = (
            c if c.isprintable() and c != " " else f"U+{ord(c):04X}" for c in self._characters
        )
        write_lines(path, (*SPECIALS, *visible))

    @classmethod
    def load(cls, path: PathLike) -> Self:
        lines = list(read_lines([path]))
        if tuple(lines[:3]) != SPECIALS:
            raise ValueMistake(f"{path}: the first lines must be {', '.join(SPECIALS)}")
        for number, line in enumerate(lines[3:], start=4):
            if not re.fullmatch(r".|U\+(10|[0-9A-F])?[0-9A-F]{4}", line):
                raise ValueMistake(
                    f"{path}, line {number}: expected one character, or one such as U+000A, "
                    f"not {line!r:.60}"
                )
        return cls(line if len(line) == 1 else chr(int(line[2:], 16)) for line in lines[3:])

    @classmethod
    def train(cls, texts: Iterable[str], *, size: int | None = None, min_count: int = 1) -> Self:
        """A vocabulary of the characters that occur `min_count` times or more.

        Args:
          texts: what to count in.
          size: number of ids, of which the rarest characters beyond it get none; None: any.
          min_count: a number of occurrences.

        Raises:
          ValueError: no character occurs that often.
        """
        counts: Counter[str] = Counter()
        for text in check_texts(texts):
            counts.update(nfc(text))
        return cls(most_frequent(counts, "characters", size, min_count))
