"""The formats of files that hold rows: CSV, TSV, JSONL and plain text.

`zoo.tokenizers.reading` says what a line and an encoding is. To add a format to the zoo, write a
function like those below and enter it in `READERS`. One of your own needs a function with the
decorator `file_format`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from zoo.config import ValueMistake, did_you_mean
from zoo.pipelines.base import ColumnError, quoted
from zoo.tokenizers import reading

Columns: TypeAlias = dict[str, list[Any]]
"""The values of each column, by name."""


@dataclass(frozen=True)
class Options:
    """How the user's files are written, where their suffix does not say it."""

    encoding: str = reading.UTF8
    """As in `reading.encodings`."""
    quotes: bool | None = None
    """Whether fields of tables may be in quotes; None: those of CSV, not those of TSV."""


DEFAULTS = Options()


def read(path: Path, columns: Sequence[str] | None = None, options: Options = DEFAULTS) -> Columns:
    """The columns of a file.

    CSV and TSV begin with a line of column names. A field in quotes may hold separators and line
    breaks; in TSV quotes are ordinary characters unless the options say otherwise. JSONL has an
    object on each line. The lines of a `.txt` file are the column `text`.

    Args:
      path: the file; its suffix says which format it has.
      columns: those that are wanted, which a JSONL file must have; None: all.
      options: how it is written.

    Raises:
      ColumnError: a line of a JSONL file lacks a column, or two have the same name.
      ValueMistake: the file is empty, broken or in another encoding; the message has the line.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ValueMistake(f"{path} has the suffix {suffix!r}; known are {', '.join(READERS)}")
    found = READERS[suffix](path, columns, options)
    if not any(found.values()):
        data = path.read_bytes()
        old = "; a line ends with \\n, but this file only has \\r" if b"\r" in data else ""
        raise ValueMistake(f"{path} is empty: it has no rows" + ("" if b"\n" in data else old))
    return found


def content(path: Path, options: Options = DEFAULTS) -> str:
    """All of a file.

    Raises:
      ValueMistake: it is in another encoding.
    """
    return reading.read_text(path, options.encoding, "data.encoding")


def lines(path: Path, options: Options = DEFAULTS) -> list[str]:
    """The lines of a file of any suffix, without their ends.

    Raises:
      ValueMistake: it is in another encoding.
    """
    return reading.split_lines(content(path, options))


def read_unnamed(path: Path, options: Options = DEFAULTS) -> dict[str, list[str]]:
    """The columns of a file without a line of names; they are called `0`, `1`, …

    Tabs separate the fields; quotes are ordinary characters unless the options say otherwise. Empty
    lines are left out.

    Raises:
      ValueMistake: the file is empty, in another encoding, or has lines with different numbers of
        fields.
    """
    columns: list[list[str]] = []
    for number, fields in fields_of(path, "\t", options):
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


def fields_of(path: Path, separator: str, options: Options) -> Iterator[tuple[int, list[str]]]:
    """The fields of each row of a table that is not empty, with the number of its last line.

    Raises:
      ValueMistake: the file is in another encoding, or quotes are misplaced.
    """
    text = content(path, options)
    if not (separator == "," if options.quotes is None else options.quotes):
        for number, line in enumerate(reading.split_lines(text), start=1):
            if line:
                yield number, line.split(separator)
        return
    # For the csv module a lone \r ends a row too. It is replaced by half a surrogate pair, which no
    # text has, while the module reads.
    text, alone = re.subn(r"\r(?!\n)", "\udc0d", text)
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=separator, strict=True)
    limit = csv.field_size_limit(sys.maxsize)  # 131,072 characters are too few for a document
    try:
        for row in reader:
            if row:
                row = [field.replace("\udc0d", "\r") for field in row] if alone else row
                yield reader.line_num, row
    except csv.Error as error:
        raise ValueMistake(
            f"{path}, line {reader.line_num}: {error}; if quotes are ordinary characters in this "
            "file, set data.quotes to False"
        ) from error
    finally:
        csv.field_size_limit(limit)


def named_fields(
    path: Path, separator: str, options: Options, columns: Sequence[str] | None = None
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The names in the first line of a table, and its rows as `fields_of` gives them.

    Args:
      path: the table.
      separator: of its fields.
      options: how it is written.
      columns: those that are wanted; None: all.

    Raises:
      ColumnError: two of the wanted columns have the same name.
      ValueMistake: by the iterator, if a row has another number of fields; and as `fields_of`.
    """
    rows = fields_of(path, separator, options)
    _, names = next(rows, (0, list[str]()))
    _check_names(path, names, columns)

    def checked() -> Iterator[tuple[int, list[str]]]:
        for number, row in rows:
            if len(row) != len(names):
                asked = separator == "\t" and options.quotes is None and any('"' in f for f in row)
                raise ValueMistake(
                    f"{path}, line {number}: {len(row)} field(s), but there are "
                    f"{len(names)} columns: {quoted(names)}"
                    + ("; if fields are in quotes, set data.quotes to True" if asked else "")
                )
            yield number, row

    return names, checked()


def _check_names(path: Path, names: Sequence[str], columns: Sequence[str] | None) -> None:
    for name, number in Counter(names).items():
        if number > 1 and (columns is None or name in columns):
            raise ColumnError(
                f"{path} has {number} columns named {name!r}; give each a name of its own"
            )


def _read_csv(path: Path, columns: Sequence[str] | None, options: Options) -> Columns:
    return _read_separated(path, ",", columns, options)


def _read_tsv(path: Path, columns: Sequence[str] | None, options: Options) -> Columns:
    return _read_separated(path, "\t", columns, options)


def _read_lines(path: Path, columns: Sequence[str] | None, options: Options) -> Columns:
    return {"text": lines(path, options)}


def _read_separated(
    path: Path, separator: str, columns: Sequence[str] | None, options: Options
) -> Columns:
    names, rows = named_fields(path, separator, options, columns)
    read = [row for _, row in rows]
    return {name: [row[index] for row in read] for index, name in enumerate(names)}


def _read_jsonl(path: Path, columns: Sequence[str] | None, options: Options) -> Columns:
    names = list(columns or ())
    rows = []

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_names(path, [name for name, _ in pairs], names or None)
        return dict(pairs)

    for number, line in enumerate(lines(path, options), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=made)
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits, too
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


READERS: dict[str, Callable[[Path, Sequence[str] | None, Options], Columns]] = {
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
        def reader(path: Path, columns: Sequence[str] | None, options: Options) -> Columns:
            return {name: list(values) for name, values in read(path).items()}

        READERS[suffix.lower()] = reader
        return read

    return enter
