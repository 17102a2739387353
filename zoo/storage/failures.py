"""Errors in reading and writing files: the system's, which may pass, and broken content.

Orbax reads and writes with TensorStore, whose ValueErrors have the system's words in them.
"""

from __future__ import annotations

import errno
import os

PASSING = (
    *(errno.EIO, errno.EACCES, errno.EPERM, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EMFILE),
    *(errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNRESET, errno.ENOTCONN),
)
"""Errors of the system that say nothing about what is in a file."""

FULL = ("No space left on device", "File too large", "quota exceeded")
"""The system's words for a disk that takes no more."""


def of_reading(error: Exception) -> bool:
    """Whether an error comes from reading files, and not from a lack of memory or a mistake in
    code. Half-written files raise whatever their reader raises; Orbax raises bare Exceptions."""
    return type(error) is Exception or isinstance(error, ValueError | LookupError | OSError)


def may_pass(error: BaseException) -> bool:
    """Whether the system failed to read a file. A file that is missing is broken content."""
    error = _first(error)
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
    text = str(error).lower()
    return any(os.strerror(number).lower() in text for number in PASSING)


def of_writing(error: BaseException) -> bool:
    """Whether a file could not be written."""
    return isinstance(error, OSError) or reason(error) in FULL


def reason(error: BaseException) -> str:
    """One line for a message."""
    text = str(_first(error)).strip()
    for words in FULL:  # they may be at the end of a message that begins with a long path
        if words.lower() in text.lower():
            return words
    return text.splitlines()[0][:200] if text else type(error).__name__


def _first(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
