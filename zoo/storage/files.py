"""Files written completely or not at all, their digests, and the names of folders."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from zoo.config import local


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` at the end and is deleted after an error.

    A process that is killed leaves `path` as it was, and a `.part` that the next one overwrites.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def output_folder(path: str | Path) -> Path:
    """A folder to write to, which need not exist: checked before the work begins, not made.

    Raises:
      ValueMistake: it is a URL.
      OSError: nothing can be written there.
    """
    folder = there = local(path)
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file, and a folder is needed; give another path")
    try:
        with tempfile.TemporaryFile(dir=there):  # permissions do not say everything
            pass
    except OSError as error:
        raise type(error)(f"{there} cannot be written to: {error.strerror or error}") from error
    return folder


def output_file(path: str | Path) -> Path:
    """A file to write, whose folder need not exist: checked before the work begins, not made.

    Raises:
      ValueMistake: it is a URL.
      OSError: it cannot be written.
    """
    file = local(path)
    if file.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of a file to write")
    if not os.path.lexists(file):
        output_folder(file.parent)
    elif not os.access(file, os.W_OK):
        raise PermissionError(f"{path} cannot be written to: it is there, and read-only")
    return file


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_of(folder: Path) -> str:
    """The name of a folder, also if it is given as `.`; a link has its own name."""
    return os.path.basename(os.path.abspath(folder))
