"""Files written completely or not at all, their digests, and the names of folders."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


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


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_of(folder: Path) -> str:
    """The name of a folder, also if it is given as `.`; a link has its own name."""
    return os.path.basename(os.path.abspath(folder))
