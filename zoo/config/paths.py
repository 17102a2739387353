"""Paths that the user gives."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from zoo.config.messages import TypeMistake, ValueMistake, shown

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?:/+|$)")
"""Begins a URL, which `Path` gives one slash. One letter before the colon is a drive of Windows."""


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is of another machine, such as `gs://bucket/run`."""
    return SCHEME.match(os.fspath(path)) is not None


def split_url(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The scheme of a URL and what follows it; the scheme of a path of this machine is empty.

    >>> split_url("gs://bucket/run"), split_url(Path("gs://bucket/run")), split_url("runs/a")
    (('gs', 'bucket/run'), ('gs', 'bucket/run'), ('', 'runs/a'))
    """
    text = os.fspath(path)
    match = SCHEME.match(text)
    return (match[1].lower(), text[match.end() :]) if match else ("", text)


def local(path: str | os.PathLike[str]) -> Path:
    """The path, with the home folder for `~`. Every path of the user's passes here.

    Raises:
      TypeMistake: it is neither a string nor a path.
      ValueMistake: it is a URL, nothing can have such a name, or there is no such home folder.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeMistake(
            f"a name or a path is a string or a pathlib.Path; got {type(path).__name__} "
            f"({shown(path)})"
        )
    text = _possible(os.fspath(path))
    scheme, rest = split_url(text)
    if scheme:
        url = f"{scheme}://{rest}"
        if scheme == "file":
            raise ValueMistake(f"{url} is a URL; write the path without file://")
        raise ValueMistake(
            f"{url} is not on this machine, and only local files and folders are read and written; "
            "copy or mount it, and give its path"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        home = text.partition("/")[0]
        raise ValueMistake(
            f"{text}: there is no home folder {home}; write the whole path"
        ) from None


def _possible(text: str) -> str:
    """A path that a file may have. The system refuses others by errors of several classes."""
    try:
        os.lstat(text)
    except (ValueError, OSError) as error:  # UnicodeEncodeError is a ValueError
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            raise ValueMistake(
                f"{text!r:.60} is not the name of a file: "
                + ("it is too long" if isinstance(error, OSError) else str(error))
            ) from None
    return text
