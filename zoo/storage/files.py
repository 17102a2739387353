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
    """A folder to write to, which is made if it is not there: called before the work begins.

    Raises:
      ValueMistake: it is a URL.
      OSError: it cannot be made or written to.
    """
    folder = local(path)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{path} is a file, and a folder is needed; give another path")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions do not say everything
            pass
    except OSError as error:
        raise type(error)(f"{path} cannot be written to: {error.strerror or error}") from error
    return folder


def output_file(path: str | Path) -> Path:
    """A file to write, whose folder is made if it is not there: called before the work begins.

    Raises:
      ValueMistake: it is a URL.
      OSError: it cannot be written.
    """
    file = local(path)
    if file.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of a file to write")
    if not file.exists():
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
