"""Files written completely or not at all, their digests, and the names of folders: here and on
remote storage."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import math
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from zoo.config import is_url, local
from zoo.storage import remote

ABANDONED = 24 * 3600
"""Seconds after which a `.part` belongs to a process that was killed."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` at the end and is deleted after an error.

    `path` has its old content or all of the new one at any moment, also after a power failure. Of
    several processes that write it at once the last one wins. A process that is killed leaves a
    `.part`, which a later call deletes after a day. Where `path` is remote, the path to write to is
    a local one, and is copied at the end.
    """
    if is_url(path):
        with tempfile.TemporaryDirectory() as folder:
            local_copy = Path(folder) / path.name
            yield local_copy
            remote.write(path, local_copy.read_bytes())
        return
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


def append(path: Path, text: str) -> None:
    """Adds text to a file, which need not exist. A remote one is written anew."""
    if not is_url(path):
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
        return
    with remote.failing(f"{path} cannot be read"):
        before = path.read_bytes() if path.exists() else b""
    remote.write(path, before + text.encode())


def output_folder(path: str | Path) -> Path:
    """A folder to write to, which need not exist: checked before the work begins, not made.

    Raises:
      ValueMistake, PackageMistake: it is a URL that cannot be written to here (see `place`).
      OSError: nothing can be written there.
    """
    folder = there = remote.place(path)
    if is_url(folder):
        probe = folder / f".{secrets.token_hex(4)}.part"
        remote.write(probe, b"")
        with remote.failing(f"{probe} cannot be deleted"):
            probe.unlink()
        return folder
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


def make_folder(path: Path) -> None:
    """Makes a folder, and those that it is in. Remote storage has none."""
    if not is_url(path):
        path.mkdir(parents=True, exist_ok=True)


def free_space(folder: Path) -> float:
    """Bytes that can still be written to a folder; remote storage has no end."""
    return math.inf if is_url(folder) else shutil.disk_usage(folder).free


def absolute(path: Path) -> Path:
    """The path from the root; a remote one always is."""
    return path if is_url(path) else path.absolute()


def name_of(folder: Path) -> str:
    """The name of a folder, also if it is given as `.`; a link has its own name."""
    return folder.name if is_url(folder) else os.path.basename(os.path.abspath(folder))
