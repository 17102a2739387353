"""Folders on Google Cloud Storage, `gs://BUCKET/…`, through `etils.epath`, as Orbax reaches them.

It is no file system: objects have names with slashes in them, and what looks like a folder is a
common beginning of names. An object appears whole or not at all, which is as good as a renamed
file; nothing is ever appended to, renamed, synced or locked. `zoo.storage.files` has what follows
from that; elsewhere an `epath.Path` is used like the `pathlib.Path` that it imitates.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from zoo.config import PackageMistake, ValueMistake, is_url, local, split_url
from zoo.storage import failures

SCHEME = "gs"
"""Orbax and TensorStore write to no other remote storage."""

CLIENT = "gcsfs"
"""The package of its file system. It brings Google's own client, by which Orbax deletes."""


def place(path: str | os.PathLike[str]) -> Path:
    """The path of a run or of an exported model: local, or `gs://BUCKET/…`.

    Everything that takes such a path passes it through here, once; everything else takes local
    paths only (`zoo.config.local`). A remote one is an `etils.epath.Path`.

    Raises:
      TypeMistake, ValueMistake: as `local`; or it is a URL of another scheme, or names no bucket.
      PackageMistake: the file system is not installed.
      OSError: the bucket cannot be reached.
    """
    if not isinstance(path, str | os.PathLike) or not is_url(path):
        return local(path)
    scheme, rest = split_url(path)
    if scheme == "file":
        return local(path)
    url = f"{scheme}://{rest}"
    if scheme != SCHEME:
        raise ValueMistake(
            f"{url} is not on this machine, and a run or a model may be here or on Google Cloud "
            f"Storage ({SCHEME}://BUCKET/…); copy or mount it, and give its path"
        )
    if not rest.strip("/"):
        raise ValueMistake(f"{url} names no bucket; write {SCHEME}://BUCKET/FOLDER")
    if not is_installed():
        raise PackageMistake(
            f"{url} is on Google Cloud Storage, which needs the package {CLIENT}: "
            "pip install 'flax-zoo[gcs]'"
        )
    from etils import epath

    found = epath.Path(url)
    with failing(f"{url} cannot be reached"):
        found.exists()
    return cast(Path, found)


def is_installed() -> bool:
    """Whether the file system is."""
    return importlib.util.find_spec(CLIENT) is not None


@contextlib.contextmanager
def failing(what: str) -> Iterator[None]:
    """Turns the errors of the storage, of whichever client and class, into an OSError.

    Args:
      what: the beginning of its message: what failed.
    """
    try:
        yield
    except Exception as error:
        kind = type(error) if isinstance(error, OSError) and not error.errno else OSError
        raise kind(
            f"{what} ({failures.reason(error)}); check the name of the bucket, the network, and "
            "your rights (gcloud auth application-default login)"
        ) from error


def write(path: Path, content: bytes) -> None:
    """Writes an object, whole or not at all.

    Raises:
      OSError: it could not be written.
    """
    with failing(f"{path} cannot be written"):
        path.write_bytes(content)


@contextlib.contextmanager
def fetched(path: Path) -> Iterator[Path]:
    """A local file with the content of one that may be remote, for libraries that read files."""
    if not is_url(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with failing(f"{path} cannot be read"):
            copy.write_bytes(path.read_bytes())
        yield copy
