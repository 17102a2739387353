r"""Text from bytes: one rule for files, vocabularies, references and standard input.

A line ends with `\n`, and one `\r` before that belongs to the end. Nothing else ends a line: not a
`\r` within it, nor U+0085, U+2028 or a form feed, so that all readers of a file count alike.

A byte order mark says the encoding, and is no part of the text. Without one it is UTF-8, unless the
user names others.
"""

from __future__ import annotations

import codecs
import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from zoo.config import ConfigError, FileMistake, ValueMistake, local

PathLike = str | Path

UTF8 = "utf-8"

PIECE = 2**16
"""Bytes that are read at a time."""

_MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

SIGNATURES = (
    (rb"\x1f\x8b", "compressed with gzip", "decompress it, as with `gzip -dc`"),
    (rb"BZh[1-9]1AY&SY", "compressed with bzip2", "decompress it, as with `bzip2 -dc`"),
    (rb"\xfd7zXZ\0", "compressed with xz", "decompress it, as with `xz -dc`"),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it, as with `zstd -dc`"),
    (rb"PK\x03\x04", "a ZIP archive, or a table of a spreadsheet", "unpack it, or save it as CSV"),
    (rb"\xd0\xcf\x11\xe0", "a document of an old Office", "save it as CSV or as plain text"),
    (rb"PAR1\x15", "a Parquet file", "save it as CSV or JSONL, or hand its rows over in Python"),
    (rb"ARROW1\0", "an Arrow file", "save it as CSV or JSONL, or hand its rows over in Python"),
    (rb"SQLite format 3\0", "an SQLite database", "save its table as CSV"),
    (rb"%PDF-", "a PDF", "save its text, as with `pdftotext`"),
    (rb"\x89PNG", "a PNG image", "texts are in text files"),
    (rb"\xff\xd8\xff", "a JPEG image", "texts are in text files"),
)
"""How files begin, as regular expressions, that are no text whatever they are called; what each is,
and what to do."""


def check_is_text(start: bytes, name: str) -> None:
    """Refuses a file that is no text.

    Args:
      start: its first bytes.
      name: its name, for the message.

    Raises:
      ValueMistake: it is something else; the message says what.
    """
    for signature, what, cure in SIGNATURES:
        if re.match(signature, start):
            raise ValueMistake(f"{name} is no text: it is {what}; {cure}")


def nfc(text: str) -> str:
    r"""The text with composed characters: the two ways to write `é` become one.

    >>> len(nfc("e\u0301"))
    1
    """
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    return unicodedata.normalize("NFC", text)


def split_lines(text: str) -> list[str]:
    r"""The lines of a text, without their ends.

    >>> split_lines("one\r\ntwo \r lines?\n\nfour")
    ['one', 'two \r lines?', '', 'four']
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def encodings(names: str) -> list[str]:
    """The encodings in a string such as `utf-8, cp1252`, which are tried in this order.

    Raises:
      ConfigError: Python knows no such encoding of text.
    """
    found = [name.strip() for name in names.split(",")]
    for name in found:
        try:
            b"    ".decode(name)
        except UnicodeError:
            pass  # UTF-32: four spaces are no character
        except LookupError:
            raise ConfigError(
                f"encoding is {names!r}, but {name!r} is none that Python knows; some are utf-8, "
                "utf-16, cp1252, latin-1, shift_jis and gb18030"
            ) from None
    return found


def decode(data: bytes, name: str, encoding: str = UTF8, option: str = "") -> str:
    """The text in some bytes.

    Args:
      data: all of a file.
      name: of the file, for messages.
      encoding: as in `encodings`. A byte order mark goes before it.
      option: the option that names the encoding, for messages.

    Raises:
      ConfigError: Python knows no such encoding.
      ValueMistake: the bytes are in none of the encodings, or no text at all.
    """
    check_is_text(data, name)
    for mark, marked in _MARKS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], name, marked, option, f"{name} begins as {marked}: ")
    *others, last = encodings(encoding)
    for other in others:
        try:
            return _decoded(data, name, other, option)
        except ValueMistake:
            pass
    return _decoded(data, name, last, option)


def _decoded(data: bytes, name: str, encoding: str, option: str, reason: str = "") -> str:
    utf8 = codecs.lookup(encoding).name == UTF8
    if utf8 and (wide := _unmarked_utf16(data)):
        raise _unmarked(name, wide, option)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line, byte = 1 + data.count(b"\n", 0, error.start), data[error.start]
        place = f"{reason}{name}, line {line}: byte 0x{byte:02x} at offset {error.start} is not "
        if not utf8:
            raise ValueMistake(f"{place}{encoding}") from None
        raise ValueMistake(f"{place}UTF-8; {_advice(_guess(data), option)}") from None


def _unmarked(name: str, encoding: str, option: str = "") -> ValueMistake:
    return ValueMistake(
        f"{name} has a zero after nearly every byte: it is {encoding} without a byte order mark; "
        + _advice(encoding, option)
    )


def _advice(encoding: str, option: str) -> str:
    """What to do about a file in an encoding, which may be a guess."""
    western = " if it is Western European" if encoding == "cp1252" else ""
    if option:
        return f"name its encoding, as with {option}={encoding}{western}"
    return f"save it as UTF-8, as with `iconv -f {encoding.upper()} -t UTF-8`{western}"


def _guess(data: bytes) -> str:
    """Windows-1252, if all bytes are characters there; nothing tells it from its relatives."""
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "shift_jis"
    return "cp1252"


def _unmarked_utf16(data: bytes) -> str | None:
    """The kind of UTF-16 that some bytes are likely to be: mostly Latin, with zeros between."""
    start = data[:4096]
    if not start or start.count(0) * 3 < len(start):
        return None
    return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"


def read_text(path: PathLike, encoding: str = UTF8, option: str = "") -> str:
    """All of a file.

    Args:
      path: the file.
      encoding: as in `encodings`.
      option: the option that names the encoding, for messages.

    Raises:
      FileMistake: there is no such file.
      ValueMistake: it is in another encoding.
    """
    return decode(existing(path).read_bytes(), str(path), encoding, option)


class LineReader:
    """Bytes that come piece by piece, as lines: of a file, a pipe or a terminal."""

    def __init__(self, name: str) -> None:
        """
        Args:
          name: of the file, for messages.
        """
        self._name, self._encoding, self._rest = name, "", b""

    def feed(self, piece: bytes) -> list[str | ValueMistake]:
        """The lines that end in a piece; in place of one that is no text a mistake that says so.

        Args:
          piece: some bytes. None are the end, and the last line may lack an end of its own.

        Raises:
          ValueMistake: the file is in UTF-16 without a byte order mark, or no text at all.
        """
        data = self._rest + piece
        if not self._encoding:
            if piece and not _shows_its_encoding(data):
                self._rest = data
                return []
            check_is_text(data, self._name)
            self._encoding, mark = next(
                ((marked, mark) for mark, marked in _MARKS if data.startswith(mark)), (UTF8, b"")
            )
            data = data[len(mark) :]
            if not mark and (wide := _unmarked_utf16(data)):
                raise _unmarked(self._name, wide)
        *lines, self._rest = self._split(data)
        found = [self._decoded(line, "\r") for line in lines]
        return found if piece or not self._rest else [*found, self._decoded(self._rest)]

    def _split(self, data: bytes) -> list[bytes]:
        """The lines that have an end, without it, and what follows them."""
        end = "\n".encode(self._encoding)
        if len(end) == 1:
            return data.split(end)
        lines, start, place = [], 0, data.find(end)
        while place >= 0:
            if place % len(end):  # the end of one character and the beginning of the next
                place = data.find(end, place + 1)
                continue
            lines.append(data[start:place])
            start = place + len(end)
            place = data.find(end, start)
        return [*lines, data[start:]]

    def _decoded(self, line: bytes, end: str = "") -> str | ValueMistake:
        try:
            return line.decode(self._encoding).removesuffix(end)
        except UnicodeDecodeError as error:
            byte, place = line[error.start], error.start + 1
            return ValueMistake(
                f"byte {place} is 0x{byte:02x}, which is not {self._encoding.upper()}"
            )


def _shows_its_encoding(data: bytes) -> bool:
    """Whether the beginning of a file has a line, and all of a byte order mark if there is one."""
    return b"\n" in data and (len(data) >= 4 or data[0] not in b"\xff\xfe\0")


def read_lines(paths: Iterable[PathLike]) -> Iterator[str]:
    """The lines of text files, one file after the other, to train a tokenizer on.

    Raises:
      FileMistake: there is no such file.
      ValueMistake: a file is empty or not UTF-8; the message has the line.
    """
    for path in paths:
        number, reader = 0, LineReader(str(path))
        with existing(path).open("rb") as file:
            pieces = itertools.chain(iter(functools.partial(file.read, PIECE), b""), [b""])
            lines = itertools.chain.from_iterable(map(reader.feed, pieces))
            for number, line in enumerate(lines, start=1):
                if not isinstance(line, str):
                    raise ValueMistake(f"{path}, line {number}: {line}")
                yield line
        if not number:
            raise ValueMistake(f"{path} is empty")


def existing(path: PathLike) -> Path:
    """The path. Raises FileMistake if it is no file."""
    found = local(path)
    if not found.is_file():
        raise FileMistake(f"there is no file {path}")
    return found
