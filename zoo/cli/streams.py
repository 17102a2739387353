"""Standard input, output and error, also where one is closed, full or a pipe that somebody left."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import IO, Any

from zoo.config import ValueMistake, say

PIECE = 1 << 16
"""Bytes read at a time."""

CLOSED_PIPE = 141
"""Exit code where nobody reads the output any more: that of a program that SIGPIPE ended."""


def set_up() -> None:
    """Makes the standard streams fit to be used, also closed ones (`2>&-`).

    Where one was closed before the program began, there is the null device from now on. Else the
    next file to be opened would get its number, and what libraries write to standard error would
    end up in it. `sys.stdin` stays None, as there is no empty input but none.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if number > 0 and getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # Names of files may hold any bytes, and answers characters that a locale does not have.
        unicode = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")


def finish(code: int) -> int:
    """Writes what is still buffered; the exit code, which is another one if that fails."""
    try:
        _write_out()
    except BrokenPipeError:
        _abandon(sys.stdout)
        code = code or CLOSED_PIPE
    except OSError as error:
        _abandon(sys.stdout)
        say(f"standard output cannot be written: {error.strerror or error}")
        code = code or 2
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        _abandon(sys.stderr)
    return code


def takes_output() -> bool:
    """Whether standard output takes what is still buffered; unbuffered, whether it takes more."""
    try:
        _write_out()
    except OSError:
        return False
    return True


def _write_out() -> None:
    """Writes what is buffered, and nothing more: of a long output the part that failed may no
    longer be there, and then it is this that fails."""
    sys.stdout.flush()
    with contextlib.suppress(ValueError):  # a stream in memory has no number
        os.write(sys.stdout.fileno(), b"")


def forgo_output() -> None:
    """Drops what standard output does not take: nobody needs it, and it is no failure."""
    if not takes_output():
        _abandon(sys.stdout)


def _abandon(stream: Any) -> None:
    """Lets a stream write to the null device, so that the interpreter can flush it at its end."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):  # a stream in memory has no number
        pass


def lines(most: int) -> Iterator[list[str | ValueMistake]]:
    """The lines of standard input, as `LineReader` gives them: all that are at hand together.

    It waits only if no line is at hand, so whoever writes a line and waits gets its answer.

    Args:
      most: lines that are given together.

    Raises:
      ValueMistake: standard input is closed, or in UTF-16 without a byte order mark.
    """
    if sys.stdin is None:
        raise ValueMistake("standard input is closed; pass text to it, or name a file with < FILE")
    from zoo.tokenizers import LineReader

    stream = getattr(sys.stdin, "buffer", None) or io.BytesIO(sys.stdin.read().encode())
    reader, ended = LineReader("standard input"), False
    found: list[str | ValueMistake] = []
    while not ended:
        _at_hand(stream, None)  # a pipe that does not block would seem to be at its end
        piece = stream.read1(PIECE)
        ended = not piece
        found += reader.feed(piece)
        while found and (len(found) >= most or ended or not _at_hand(stream)):
            yield found[:most]
            found = found[most:]


def _at_hand(stream: IO[bytes], seconds: float | None = 0) -> bool:
    """Whether reading would not wait, within some seconds; None: waits until it is so."""
    try:
        return bool(select.select([stream], [], [], seconds)[0])
    except (OSError, ValueError):  # bytes in memory
        return True
