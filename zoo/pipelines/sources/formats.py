"""The formats of files that hold rows: CSV, TSV, JSONL and plain text in UTF-8.

To add a format to the zoo, write a function like those below and enter it in `READERS`. One of your
own needs a function with the decorator `file_format`.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from zoo.config import LookupMistake, ValueMistake, did_you_mean
from zoo.pipelines.base import ColumnError, quoted

Columns: TypeAlias = dict[str, list[Any]]
"""The values of each column, by name."""


def read(path: Path, columns: Sequence[str] | None = None) -> Columns:
    """The columns of a file.

    CSV and TSV begin with a line of column names; a quoted field may hold separators and line
    breaks. JSONL has an object on each line. The lines of a `.txt` file are the column `text`.

    Args:
      path: the file; its suffix says which format it has.
      columns: those that a JSONL file must have; None: those of its first line.

    Raises:
      ColumnError: a line of a JSONL file lacks one.
      ValueError: the file is empty, not UTF-8, or broken; the message has the line.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ValueMistake(f"{path} has the suffix {suffix!r}; known are {', '.join(READERS)}")
    found = READERS[suffix](path, columns)
    if not any(found.values()):
        raise ValueMistake(f"{path} is empty: it has no rows")
    return found


def lines(path: Path) -> list[str]:
    """The lines of a file of any suffix, without their ends.

    Raises:
      ValueError: it is not UTF-8.
    """
    return [line.removesuffix("\n") for line in io.StringIO(content(path), newline=None)]


def read_unnamed(path: Path) -> dict[str, list[str]]:
    """The columns of a file without a line of names; they are called `0`, `1`, …

    Tabs separate the fields; quotes are ordinary characters. Empty lines are left out.

    Raises:
      ValueError: the file is empty, not UTF-8, or has lines with different numbers of fields.
    """
    columns: list[list[str]] = []
    for number, line in enumerate(lines(path), start=1):
        if not line:
            continue
        fields = line.split("\t")
        columns = columns or [[] for _ in fields]
        if len(fields) != len(columns):
            raise ValueMistake(
                f"{path}, line {number}: {len(fields)} field(s) between tabs, but the lines before "
                f"have {len(columns)}"
            )
        for column, value in zip(columns, fields, strict=True):
            column.append(value)
    if not columns:
        raise ValueMistake(f"{path} is empty: it has no rows")
    return {str(number): column for number, column in enumerate(columns)}


def content(path: Path, encoding: str = "utf-8") -> str:
    """All of a file.

    Raises:
      ValueError: it is not in that encoding.
      LookupError: there is no such encoding.
    """
    data = path.read_bytes()
    try:
        utf8 = codecs.lookup(encoding).name == "utf-8"
    except LookupError as error:
        raise LookupMistake(str(error)) from None
    try:
        # Spreadsheets begin a file with a byte order mark.
        return data.decode("utf-8-sig" if utf8 else encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        if not utf8:
            raise ValueMistake(
                f"{path}, line {line}: byte 0x{data[error.start]:02x} at offset {error.start} is "
                f"not {encoding}"
            ) from error
        raise ValueMistake(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} at offset {error.start} is not "
            "UTF-8; save the file as UTF-8, for example with `iconv -f LATIN1 -t UTF-8 "
            f"{path.name}`"
        ) from error


def _read_csv(path: Path, columns: Sequence[str] | None) -> Columns:
    return _read_separated(path, ",")


def _read_tsv(path: Path, columns: Sequence[str] | None) -> Columns:
    return _read_separated(path, "\t")


def _read_lines(path: Path, columns: Sequence[str] | None) -> Columns:
    return {"text": lines(path)}


def _read_separated(path: Path, separator: str) -> Columns:
    text = io.StringIO(content(path), newline="")
    limit = csv.field_size_limit(sys.maxsize)  # 131,072 characters are too few for a document
    reader = csv.reader(text, delimiter=separator, strict=True)
    names: list[str] = []
    rows = []
    try:
        for row in reader:
            if not row:
                continue
            if not names:
                names = row
            elif len(row) == len(names):
                rows.append(row)
            else:
                raise ValueMistake(
                    f"{path}, line {reader.line_num}: {len(row)} field(s), but there are "
                    f"{len(names)} columns: {quoted(names)}"
                )
    except csv.Error as error:
        raise ValueMistake(f"{path}, line {reader.line_num}: {error}") from error
    finally:
        csv.field_size_limit(limit)
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _read_jsonl(path: Path, columns: Sequence[str] | None) -> Columns:
    names = list(columns or ())
    rows = []
    for number, line in enumerate(content(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueMistake(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueMistake(f"{path}, line {number}: {line.strip():.40} is not a JSON object")
        names = names or list(row)
        for name in names:
            if name not in row:
                raise ColumnError(
                    f"{path}, line {number} has no column {name!r}{did_you_mean(name, row)}; its "
                    f"columns are {quoted(list(row))}"
                )
            if not isinstance(row[name], str | int | float):
                raise ValueMistake(
                    f"{path}, line {number}: column {name!r} is {json.dumps(row[name]):.40}; it "
                    "must be a string or a number"
                )
        rows.append([row[name] for name in names])
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


READERS: dict[str, Callable[[Path, Sequence[str] | None], Columns]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".txt": _read_lines,
}
"""Functions that read the columns of a file, by its suffix."""

SUFFIXES = tuple(READERS)
"""The files that are understood."""

TABLES = tuple(suffix for suffix in READERS if suffix != ".txt")
"""Files whose rows have columns; all others are plain text."""

R = TypeVar("R", bound=Callable[[Path], Mapping[str, Any]])


def file_format(suffix: str) -> Callable[[R], R]:
    """Decorator: makes files of a suffix data for every pipeline that reads columns.

    >>> @file_format(".pipes")
    ... def read_pipes(path):
    ...     names, *rows = [line.split("|") for line in path.read_text().splitlines()]
    ...     return {name: [row[index] for row in rows] for index, name in enumerate(names)}

    Args:
      suffix: such as `.xml`; it replaces a format of the zoo that has the same one. The decorated
        function takes a path and returns the columns: name -> values, one for each row.
    """

    def enter(read: R) -> R:
        def reader(path: Path, columns: Sequence[str] | None) -> Columns:
            return {name: list(values) for name, values in read(path).items()}

        READERS[suffix.lower()] = reader
        return read

    return enter
