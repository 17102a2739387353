"""What the zoo says to its user: one line for a mistake, and remarks on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO


class Mistake(Exception):
    """Something that the user gave is wrong. The message says what, and what to do.

    In the shell it is one line and exit code 2; any other error shows its traceback. In Python each
    mistake is of one of the classes below, and so of the usual built-in class too.
    """


class ValueMistake(Mistake, ValueError):
    """A value, or the content of a file, is wrong."""


class TypeMistake(Mistake, TypeError):
    """A value has a type that is not taken."""


class LookupMistake(Mistake, LookupError):
    """Nothing has the given name."""


class FileMistake(Mistake, FileNotFoundError):
    """There is no such file or folder."""


class PackageMistake(Mistake, ImportError):
    """A package is needed that is not installed, or that cannot be imported."""


def shown(value: object, most: int = 60) -> str:
    """The beginning of a value's repr in one line, for a message: that of an array has several."""
    return " ".join(repr(value).split())[:most]


def is_watched(stream: TextIO | None) -> bool:
    """Whether somebody sees a stream as it is written, so that a bar may move there.

    FORCE_COLOR and the like ask for colours; in a file or a pipe a bar would be thousands of lines.
    """
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def say(text: str) -> None:
    """A line on standard error. Work goes on if that is closed, full or missing."""
    if sys.stderr is None:  # print would then write to standard output, among the answers
        return
    with contextlib.suppress(OSError, ValueError):
        print(f"zoo: {text}", file=sys.stderr, flush=True)
