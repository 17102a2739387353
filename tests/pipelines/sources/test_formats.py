from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path

import pytest

from zoo.pipelines.base import ColumnError
from zoo.pipelines.sources import formats, opening
from zoo.pipelines.sources.source import Source
from zoo.tokenizers import reading


@pytest.fixture
def write(tmp_path):
    """Writes a file and gives its path."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def texts(source: Source, column: str = "text") -> list[str]:
    return [value.decode() for value in source.column(column)]


def message(error: type[Exception], function, *arguments, **keywords) -> str:
    """The text of the error that a call raises; it must be one line."""
    with pytest.raises(error) as raised:
        function(*arguments, **keywords)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_csv_fields_may_be_quoted(write):
    path = write("a.csv", 'text,label\n"He said ""no"",\nthen left",neg\r\nfine,pos\n')
    source = opening.from_file(path)
    assert texts(source) == ['He said "no",\nthen left', "fine"]
    assert texts(source, "label") == ["neg", "pos"]
    assert source.num_rows == source.count() == 2


def test_tsv_is_separated_by_tabs(write):
    assert texts(opening.from_file(write("a.tsv", "text\tlabel\na, b\tx\n"))) == ["a, b"]


def test_quotes_in_tsv_are_ordinary_characters_unless_asked_for(write):
    path = write("a.tsv", 'text\tlabel\n"Great film\tpos\n""\tpos\nawful"\tneg\n')
    assert texts(opening.from_file(path)) == ['"Great film', '""', 'awful"']
    quoted = write("b.tsv", 'text\tlabel\n"Great\tfilm"\tpos\n')
    options = formats.Options(quotes=True)
    assert texts(opening.from_file(quoted, options=options)) == ["Great\tfilm"]
    assert message(ValueError, opening.from_file, quoted) == (
        f"{quoted}, line 2: 3 field(s), but there are 2 columns: 'text', 'label'; if fields are in "
        "quotes, set data.quotes to True"
    )
    quoted.write_text('text\tlabel\n"Great\tfilm\n"\tpos\n')
    assert texts(opening.from_file(quoted, options=options)) == ["Great\tfilm\n"]
    assert formats.read_unnamed(quoted, options)["0"] == ["text", "Great\tfilm\n"]
    csv = write("c.csv", 'text,label\n"Great film,pos\nawful",neg\n')
    assert texts(opening.from_file(csv, options=formats.Options(quotes=False))) == [
        '"Great film',
        'awful"',
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_all_formats_count_the_same_lines(write, name):
    lines = ["one\u2028", "\x0ctwo\x0b \x1c", "th\rree", "four\x85"]
    head = "" if name == "a.txt" else "text\r\n"
    if name == "a.jsonl":
        path = write(name, "\r\n".join(json.dumps({"text": line}) for line in lines))
    else:
        path = write(name, head + "\r\n".join(lines) + "\r\n")
    assert texts(opening.from_file(path)) == lines


def test_a_quoted_field_keeps_its_line_breaks(write):
    assert texts(opening.from_file(write("a.csv", 'text\n"a\r\nb\rc\nd"\n'))) == ["a\r\nb\rc\nd"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt"])
def test_the_byte_order_mark_says_the_encoding_of_any_format(write, name, encoding):
    content = {"a.jsonl": '{"text": "déjà"}\n', "a.txt": "déjà\n"}.get(name, "text\ndéjà\n")
    path = write(name, content.encode(encoding))
    assert texts(opening.from_file(path, ["text"])) == ["déjà"]
    path = write(name, content.encode("cp1252"))
    options = formats.Options(encoding="utf-8, cp1252")
    assert texts(opening.from_file(path, ["text"], options=options)) == ["déjà"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label,text\na,x,b\n"),
        ("a.tsv", "text\tlabel\ttext\na\tx\tb\n"),
        ("a.jsonl", '{"text": "a", "label": "x", "text": "b"}\n'),
    ],
)
def test_two_columns_of_one_name_are_refused_if_they_are_wanted(write, name, content):
    path = write(name, content)
    assert message(ColumnError, opening.from_file, path, ["text"]) == (
        f"{path} has 2 columns named 'text'; give each a name of its own"
    )
    assert texts(opening.from_file(path, ["label"]), "label") == ["x"]


def test_a_field_may_be_as_long_as_a_book(write):
    book = "word " * 50_000
    assert texts(opening.from_file(write("a.csv", f"text\n{book}\n"))) == [book]


def test_jsonl_has_an_object_a_line(write):
    path = write(
        "a.jsonl",
        '{"text": "a\\nb", "label": 3, "ok": true}\n\n{"text": "é", "label": 1, "ok": false}',
    )
    source = opening.from_file(path)
    assert texts(source) == ["a\nb", "é"]
    assert source.column("label").tolist() == [3, 1]
    assert source.column("ok").tolist() == [1, 0]


def test_jsonl_columns_that_nobody_wants_may_be_anything(write):
    path = write("a.jsonl", '{"text": "a", "meta": null}\n{"text": "b"}\n')
    assert texts(opening.from_file(path, ["text"])) == ["a", "b"]


def test_numbers_among_names_are_names(write):
    path = write("a.jsonl", '{"label": "a"}\n{"label": 7}\n')
    assert texts(opening.from_file(path), "label") == ["a", "7"]


def test_a_text_file_has_a_row_for_each_line(write):
    assert texts(opening.from_file(write("a.txt", "one\r\n\nthree\x0b!\n"))) == [
        "one",
        "",
        "three\x0b!",
    ]


def test_the_mark_that_spreadsheets_put_first_is_not_part_of_a_name(write):
    assert opening.from_file(write("a.csv", b"\xef\xbb\xbftext\na\n")).names == ("text",)


def test_a_missing_column_lists_those_there_are(write):
    path = write("a.csv", "title,label\na,x\n")
    assert message(ColumnError, opening.from_file, path, ["titel"]) == (
        f"{path} has no column 'titel'; did you mean 'title'?; its columns are 'title', 'label'"
    )


def test_a_missing_column_of_a_jsonl_line_lists_those_there_are(write):
    path = write("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n')
    assert message(ColumnError, opening.from_file, path) == (
        f"{path}, line 2 has no column 'label'; its columns are 'text'"
    )


@pytest.mark.parametrize("content", ["", "text,label\n", "\n\n"])
def test_an_empty_file_is_refused(write, content):
    path = write("a.csv", content)
    assert message(ValueError, opening.from_file, path) == f"{path} is empty: it has no rows"


def test_lines_that_only_end_with_a_carriage_return_are_named(write):
    path = write("a.csv", "text,label\rfine,pos\r")
    assert message(ValueError, opening.from_file, path) == (
        f"{path} is empty: it has no rows; a line ends with \\n, but this file only has \\r"
    )


def test_bytes_that_are_not_utf8_are_named_with_their_line(write):
    path = write("a.csv", b"text,label\nfine,x\ncaf\xe9,x\n")
    assert message(ValueError, opening.from_file, path) == (
        f"{path}, line 3: byte 0xe9 at offset 21 is not UTF-8; name its encoding, as with "
        "data.encoding=cp1252 if it is Western European"
    )


def _zip(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("rows.csv", content)
    return archive.getvalue()


@pytest.mark.parametrize(
    ("pack", "what"),
    [
        (gzip.compress, "compressed with gzip; decompress it, as with `gzip -dc`"),
        (bz2.compress, "compressed with bzip2; decompress"),
        (lzma.compress, "compressed with xz; decompress"),
        (_zip, "a ZIP archive, or a table of a spreadsheet; unpack it, or save it as CSV"),
        (lambda content: b"PAR1\x15\x04" + content + b"PAR1", "a Parquet file; save it as CSV"),
    ],
)
def test_a_file_that_is_no_text_is_named_whatever_it_is_called(write, pack, what):
    packed = pack(b"text,label\nfine,x\n")
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.txt"):
        path = write(name, packed)
        for options in (formats.DEFAULTS, formats.Options(encoding="utf-8, cp1252")):
            found = message(ValueError, opening.from_file, path, options=options)
            assert found.startswith(f"{path} is no text: it is {what}")
        assert f"{path} is no text: it is {what}" in message(
            ValueError, list, reading.read_lines([path])
        )
    assert texts(opening.from_file(write("a.txt", "BZh is no word\nPK\n"))) == [
        "BZh is no word",
        "PK",
    ]


def test_an_unknown_suffix_lists_the_known_ones(write):
    path = write("a.parquet", "x")
    assert message(ValueError, opening.from_file, path) == (
        f"{path} has the suffix '.parquet'; known are .csv, .tsv, .jsonl, .txt"
    )


def test_a_row_of_another_length_is_named_with_its_line(write):
    path = write("a.csv", 'text,label\n"two\nlines",x\na,b,c\n')
    assert message(ValueError, opening.from_file, path) == (
        f"{path}, line 4: 3 field(s), but there are 2 columns: 'text', 'label'"
    )


def test_a_quote_without_end_is_named_with_its_line(write):
    path = write("a.csv", 'text,label\n"never ends,x\n')
    assert message(ValueError, opening.from_file, path).startswith(f"{path}, line 2: ")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"text": "a"', "not JSON: "),
        (f'{{"text": {"9" * 5000}}}', "not JSON: "),
        ('["a"]', '["a"] is not a JSON object'),
        ('{"text": null}', "column 'text' is null; it must be a string or a number"),
        ('{"text": ["a", "b"]}', 'column \'text\' is ["a", "b"]; it must be a string or a number'),
    ],
)
def test_a_broken_line_of_jsonl_is_named(write, line, what):
    path = write("a.jsonl", f'{{"text": "fine"}}\n{line}\n')
    assert message(ValueError, opening.from_file, path).startswith(f"{path}, line 2: {what}")


def test_half_a_character_is_not_text(write):
    path = write("a.jsonl", '{"text": "fine"}\n{"text": "\\ud800"}\n')
    assert message(ValueError, opening.from_file, path).startswith(
        f"{path}: column 'text', row 2 is not Unicode text ("
    )
