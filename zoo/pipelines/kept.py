"""Arrays that take long to make, kept in files from one start to the next.

The ids of a large corpus take hours, and every start and resume, and every process of a machine,
needs the same ones. They are in the folder `ids` of the cache, and read by memory mapping: of one
file there is one copy in memory, and only what is looked at.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from zoo.config import ValueMistake, local
from zoo.pipelines.base import Array

LEAST = 2**23
"""Bytes of an array below which it is made anew each time, which takes seconds."""

UNUSED = 30 * 24 * 3600
"""Seconds after which an array that nobody asked for is deleted."""

VERSION = "1"
"""Part of every key: raise it when what is kept is made otherwise."""


def kept(key: Iterable[str], make: Callable[[], Array]) -> Array:
    """What `make` gives, or gave for the same key before.

    Several processes that begin at once each make it; the last one's file stays.

    Args:
      key: everything that the array depends on.
      make: makes the array.

    Returns:
      The array; read-only and on disk if it is large and there is a cache.
    """
    folder = _folder()
    if folder is None:
        return make()
    digest = hashlib.blake2b(digest_size=16)
    for part in (VERSION, *key):
        digest.update(f"{len(part)}:{part}".encode(errors="surrogatepass"))
    path = folder / f"{digest.hexdigest()}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):  # there is none, or half of one
        found = _read(path)
        os.utime(path)
        return found
    made = make()
    if made.nbytes >= LEAST:
        with contextlib.suppress(OSError):  # a full disk, or one that is read-only
            _write(path, made)
            return _read(path)
    return made


def digest_of(texts: Iterable[str]) -> str:
    """A digest of texts and of their order."""
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        content = text.encode(errors="surrogatepass")
        digest.update(b"%d:" % len(content))
        digest.update(content)
    return digest.hexdigest()


def _read(path: Path) -> Array:
    found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _write(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.iterdir():
        with contextlib.suppress(OSError):
            if other.stat().st_mtime < time.time() - UNUSED:
                other.unlink()
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _folder() -> Path | None:
    """`ids` in ZOO_CACHE, or in this user's cache; None: there is no such place."""
    import pooch

    try:
        cache = local(os.environ.get("ZOO_CACHE") or pooch.os_cache("zoo"))
    except (RuntimeError, ValueMistake):  # the user has no home folder
        return None
    return cache / "ids" if cache.is_absolute() or os.environ.get("ZOO_CACHE") else None
