"""Files written completely or not at all, their digests, and the names of folders."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from zoo.config import local

ABANDONED = 24 * 3600
"""Seconds after which a `.part` belongs to a process that was killed."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` at the end and is deleted after an error.

    `path` has its old content or all of the new one at any moment, also after a power failure. Of
    several processes that write it at once the last one wins. A process that is killed leaves a
    `.part`, which a later call deletes after a day.
    """
    _delete_abandoned(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        with contextlib.suppress(OSError):  # not every system can sync a folder
            _sync(path.parent)
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


def _sync(path: Path) -> None:
    """Waits until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete_abandoned(path: Path) -> None:
    for part in path.parent.glob(f"{glob.escape(path.name)}.*-*.part"):
        with contextlib.suppress(OSError):
            if part.stat().st_mtime < time.time() - ABANDONED:
                part.unlink()


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_of(folder: Path) -> str:
    """The name of a folder, also if it is given as `.`; a link has its own name."""
    return os.path.basename(os.path.abspath(folder))
