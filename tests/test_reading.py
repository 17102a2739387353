"""One rule for the lines and the encoding of files, vocabularies and standard input."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.config import ConfigError, ValueMistake
from zoo.tokenizers import LineReader, read_lines, reading

ODD = "one\r\ntwo \r still\n\nfour\x85\u2028\x0b\x0c\x1c same\r\r\nfive\r"
LINES = ["one", "two \r still", "", "four\x85\u2028\x0b\x0c\x1c same\r", "five\r"]


def message(error: type[Exception], function, *arguments) -> str:
    with pytest.raises(error) as raised:
        function(*arguments)
    return str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_all_readers_of_a_file_count_the_same_lines(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(ODD.encode(encoding))
    assert reading.split_lines(ODD) == LINES
    assert list(read_lines([path])) == LINES
    assert reading.split_lines(reading.read_text(path)) == LINES
    for size in (1, 3, 1000):
        assert fed(ODD.encode(encoding), size) == LINES


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_byte_order_mark_says_the_encoding(encoding: str) -> None:
    data = "\ufeffdéjà\n".encode(encoding)
    assert reading.decode(data, "file") == "déjà\n"
    assert reading.decode(data, "file", "cp1252") == "déjà\n"


def test_the_encodings_that_the_user_names_are_tried_in_turn() -> None:
    assert reading.decode("“é”".encode("cp1252"), "file", "utf-8, cp1252") == "“é”"
    assert reading.decode("“é”".encode(), "file", "utf-8, cp1252") == "“é”"
    assert reading.decode("テスト".encode("shift_jis"), "file", "shift_jis") == "テスト"
    for name in ("utf8x", "hex", "", "utf-8,"):
        assert "is none that Python knows" in message(
            ConfigError, reading.decode, b"a", "file", name
        )


def test_the_message_on_other_bytes_names_the_encoding_where_it_can_be_known() -> None:
    option = ("utf-8", "data.encoding")
    assert message(ValueError, reading.decode, "a\n“b”".encode("cp1252"), "f.csv", *option) == (
        "f.csv, line 2: byte 0x93 at offset 2 is not UTF-8; name its encoding, as with "
        "data.encoding=cp1252 if it is Western European"
    )
    for encoding in ("utf-16-le", "utf-16-be"):
        said = message(ValueError, reading.decode, "text\tlabel\n".encode(encoding), "f", *option)
        assert said.endswith(f"name its encoding, as with data.encoding={encoding}")
    assert "f begins as utf-16-le: f, line 1: byte" in message(
        ValueError, reading.decode, b"\xff\xfea", "f"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_line_that_is_no_text_is_named_and_the_next_one_can_be_read(encoding: str) -> None:
    bad = {"utf-8": b"\xff", "utf-16-le": b"\x00\xdc", "utf-16-be": b"\xdc\x00"}[encoding]
    dog, a, cow = (text.encode(encoding) for text in ("\ufeffA dog.\n", "A ", "\nA cow.\n"))
    first, second, third = fed(dog + a + bad + cow, 1000)
    byte = f"0x{bad[0]:02x}"
    assert (first, third) == ("A dog.", "A cow.")
    assert str(second) == f"byte {len(a) + 1} is {byte}, which is not {encoding.upper()}"


def test_a_line_is_read_as_soon_as_it_has_ended() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32-be"):
        mark = "\ufeff" if encoding == "utf-32-be" else ""
        assert LineReader("x").feed(f"{mark}\n".encode(encoding)) == [""]
    assert LineReader("x").feed(b"a\nb\r\nc\r") == ["a", "b"]
    assert fed(b"", 1) == fed(b"\xef\xbb\xbf", 1) == fed(b"\xff\xfe", 1) == []
    assert "zero after nearly every byte: it is utf-16-le" in message(
        ValueError, fed, "a line\n".encode("utf-16-le"), 5
    )


def fed(data: bytes, size: int) -> list[str | ValueMistake]:
    """The lines of bytes that come in pieces of some size."""
    reader = LineReader("standard input")
    pieces = [data[place : place + size] for place in range(0, len(data), size)]
    return [line for piece in [*pieces, b""] for line in reader.feed(piece)]
