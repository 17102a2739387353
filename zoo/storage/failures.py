"""Errors in reading and writing files: the system's, which may pass, and broken content.

Orbax reads and writes with TensorStore, whose ValueErrors have the system's words in them.
"""

from __future__ import annotations

import errno
import os
import re

PASSING = (
    *(errno.EIO, errno.EACCES, errno.EPERM, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EMFILE),
    *(errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNRESET, errno.ENOTCONN),
)
"""Errors of the system that say nothing about what is in a file."""

AWAY = re.compile(
    r"\b(PERMISSION_DENIED|UNAUTHENTICATED|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|UNKNOWN|CANCELLED"
    r"|RESOURCE_EXHAUSTED)\b"
)
"""TensorStore's words for remote storage that refuses a request or does not answer it."""

CLIENTS = ("aiohttp", "gcsfs", "google", "requests", "tensorflow", "urllib3")
"""Packages that speak to remote storage and raise errors of their own."""

FULL = ("No space left on device", "File too large", "quota exceeded")
"""The system's words for a disk that takes no more."""


def of_reading(error: Exception) -> bool:
    """Whether an error comes from reading files, and not from a lack of memory or a mistake in
    code. Half-written files raise whatever their reader raises; Orbax raises bare Exceptions."""
    own = type(error) is Exception or isinstance(error, ValueError | LookupError | OSError)
    return own or of_network(error)


def may_pass(error: BaseException) -> bool:
    """Whether the system failed to read a file. A file that is missing is broken content."""
    error = _first(error)
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
    text = str(error).lower()
    return of_network(error) or any(os.strerror(number).lower() in text for number in PASSING)


def of_writing(error: BaseException) -> bool:
    """Whether a file could not be written."""
    return isinstance(error, OSError) or reason(error) in FULL or of_network(error)


def of_network(error: BaseException) -> bool:
    """Whether remote storage refused a request, or did not answer it."""
    error = _first(error)
    package = type(error).__module__.partition(".")[0]
    return package in CLIENTS or (isinstance(error, ValueError) and bool(AWAY.search(str(error))))


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
