"""The files of a published model: beside its card, in the cache, or fetched from the card's urls.

A remote folder, in which a card and its files are, is one more place to fetch from.

The cache has a folder for each model. The zoo verifies a file before it puts it there, writes it
under another name, renames it, and writes a receipt beside it. A file without a receipt was put
there by the user and is verified when it is first needed. Only one process at a time fetches for a
model. A checkpoint of trax is converted when it is fetched, and only the result is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo.config import Mistake, ValueMistake, is_url, is_watched, local, say
from zoo.hub import places
from zoo.storage.cards import Card, CardError, File
from zoo.storage.files import replacing, sha256
from zoo.storage.remote import fetched

TIMEOUT = 30
"""Seconds within which a server must send something."""

CHUNK = 1 << 20
"""Bytes read from a server at a time."""


class HubError(Mistake, OSError):
    """A model's file is not available; one line says what was tried, and how to add it by hand."""


def cache_folder() -> Path:
    """The folder for what is fetched: `ZOO_CACHE`, or the platform's cache folder of this user.

    Raises:
      HubError: the user has none, or `ZOO_CACHE` is no folder of this machine.
    """
    given = os.environ.get("ZOO_CACHE")
    try:
        folder = local(given) if given else places.user_cache("zoo")
    except ValueMistake as error:
        raise HubError(f"{error}; or set ZOO_CACHE to a folder that is there") from error
    if folder is None:
        raise HubError(
            "there is no home folder, and so none for what is fetched; set ZOO_CACHE to a folder"
        )
    return folder


def path_of(card: Card, file: File, folder: Path) -> Path:
    """The path of a file of a card, which is fetched or converted first if needed.

    Args:
      card: the card.
      file: one of its files.
      folder: the folder of the card.

    Raises:
      HubError: it is missing and cannot be fetched.
      CardError: it is a checkpoint of trax that does not fit the card's config.
    """
    path = _ready(card, file, folder)
    if path is not None:
        return path
    cached = _cached(card, file)
    try:
        with _locked(cached.parent):
            # The process that held the lock may have fetched it.
            return _ready(card, file, folder) or _obtain(card, file, folder)
    except HubError:
        raise
    except OSError as error:
        tried = [f"{cached.parent}: {_reason(error)}"]
        raise HubError(_message(card, file, folder, tried)) from error


def digest_of(file: File, path: Path) -> str:
    """The sha256 that a file returned by `path_of` must have."""
    receipt = Receipt.beside(path) if file.format == "trax" else None
    return receipt.sha256 if receipt else file.sha256


@dataclass(frozen=True)
class Receipt:
    """A record beside a file in the cache, written when the file was verified or converted."""

    source: str
    """The sha256 that the card names."""
    sha256: str
    """Of the file itself; differs from `source` if it was converted."""
    size: int
    """In bytes."""

    @classmethod
    def write(cls, path: Path, file: File) -> None:
        receipt = cls(file.sha256, sha256(path), path.stat().st_size)
        with replacing(_receipt_path(path)) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(receipt)), encoding="utf-8")

    @classmethod
    def beside(cls, path: Path) -> Receipt | None:
        """The receipt of a file; None if there is none that can be read."""
        try:
            return cls(**json.loads(_receipt_path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def _receipt_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _cached(card: Card, file: File) -> Path:
    return cache_folder() / card.name / file.name


def _converted(card: Card, file: File) -> Path:
    return _cached(card, file).with_name(file.name + ".safetensors")


def _ready(card: Card, file: File, folder: Path) -> Path | None:
    """The path of a file that is ready for use; None if something must be done first."""
    if file.format == "trax":
        path = _converted(card, file)
    elif (
        not is_url(folder)
        and (beside := folder / file.name).is_file()
        and beside.stat().st_size == file.size
    ):
        return beside
    else:
        path = _cached(card, file)
    return path if _is_whole(path, file) else None


def _is_whole(path: Path, file: File) -> bool:
    """Whether a file in the cache matches its receipt. Only its size and header are checked.

    `zoo verify` reads all of it.
    """
    from zoo.storage import weights

    receipt = Receipt.beside(path)
    return (
        receipt is not None
        and receipt.source == file.sha256
        and path.is_file()
        and path.stat().st_size == receipt.size
        and (path.suffix != ".safetensors" or weights.is_readable(path))
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a model's folder in the cache.

    The operating system releases it if the process dies.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"another process is fetching {folder.name}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _obtain(card: Card, file: File, folder: Path) -> Path:
    """Verifies or fetches a file, then converts it, or writes its receipt."""
    cached = _cached(card, file)
    source = _verified(card, file, folder)
    if file.format != "trax":
        Receipt.write(source, file)
        return source
    _convert(card, file, source)
    if source == cached:
        source.unlink()
    return _converted(card, file)


def _verified(card: Card, file: File, folder: Path) -> Path:
    """The file with the card's sha256: one that exists, or from the first url that has it."""
    cached = _cached(card, file)
    tried = []
    for path in (folder / file.name, cached):
        if path.is_file():
            try:
                if not is_url(path):
                    _verify(path, file)
                    return path
                with fetched(path) as copy, replacing(cached) as temporary:
                    _verify(copy, file)
                    shutil.copyfile(copy, temporary)
                return cached
            except OSError as error:
                tried.append(f"{path}: {_reason(error)}")
    if os.environ.get("ZOO_OFFLINE", "0") not in ("", "0"):
        tried += [f"{url}: not asked, because ZOO_OFFLINE is set" for url in file.urls]
        raise HubError(_message(card, file, folder, tried))
    for url in file.urls:
        try:
            _download(url, file, cached)
        except OSError as error:
            tried.append(f"{url}: {_reason(error)}{_kept(cached)}")
        else:
            return cached
    raise HubError(_message(card, file, folder, tried))


def _verify(path: Path, file: File) -> None:
    size = path.stat().st_size
    if size != file.size:
        raise OSError(f"{size:,} bytes instead of {file.size:,}")
    digest = sha256(path)
    if digest != file.sha256:
        raise OSError(f"its sha256 is {digest}")


def _download(url: str, file: File, target: Path) -> None:
    """Fetches a url to `target`, which is written only once it has been verified.

    What came before a connection was lost stays in a `.part`; the next call asks for the rest.

    Raises:
      OSError: it cannot be fetched, or is another file.
    """
    import requests

    part = _part(target)
    resumed = part.is_file()
    _require_space(target.parent, file.size - (part.stat().st_size if resumed else 0))
    say(f"fetching {url} ({_megabytes(file.size)})")
    try:
        _receive(url, file, part)
        _verify(part, file)
    except requests.RequestException:
        if part.is_file() and not part.stat().st_size:
            part.unlink()
        raise
    except OSError:
        part.unlink(missing_ok=True)
        if not resumed:
            raise
        _download(url, file, target)  # what was there may have been of another file
        return
    with replacing(target) as temporary:
        part.replace(temporary)


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _receive(url: str, file: File, part: Path) -> None:
    """Adds to `part` what it lacks of the file, and no more than the card says the file has."""
    import requests

    received = part.stat().st_size if part.is_file() else 0
    if received == file.size:
        return
    headers = {"Accept-Encoding": "identity"}  # a server that compresses would send other bytes
    if received:
        headers["Range"] = f"bytes={received}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.range_not_satisfiable:
            raise OSError(f"fewer than {received:,} bytes instead of {file.size:,}")
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            received = 0
        with part.open("ab" if received else "wb") as out, _progress(file, received) as advance:
            for chunk in response.iter_content(CHUNK):
                received += len(chunk)
                if received > file.size:
                    raise OSError(f"more than the {file.size:,} bytes that the card names")
                out.write(chunk)
                advance(len(chunk))


@contextlib.contextmanager
def _progress(file: File, received: int) -> Iterator[Callable[[int], None]]:
    """A progress bar where someone sees it: a function to call with the number of new bytes."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], DownloadColumn(), TimeRemainingColumn())
    seen = is_watched(sys.stderr) or console.is_jupyter
    with Progress(*columns, console=console, transient=True, disable=not seen) as progress:
        task = progress.add_task(file.name, total=file.size, completed=received)
        yield lambda count: progress.advance(task, count)


def _convert(card: Card, file: File, source: Path) -> None:
    """Writes the weights of a verified trax checkpoint as safetensors."""
    from zoo.interop import trax
    from zoo.storage import weights

    target = _converted(card, file)
    say(f"converting {file.name}, once")
    try:
        variables = trax.to_variables(trax.read(source), card.config)
        variables = weights.merge(card.config.variable_shapes(), variables)
    except ValueError as error:
        raise CardError(
            f"{file.name} is the file that the card {card.name!r} names, but not a trax checkpoint "
            f"of its config: {error}"
        ) from error
    _require_space(target.parent, weights.count(variables)[1])
    with replacing(target) as temporary:
        weights.save(temporary, variables)
    Receipt.write(target, file)


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"no space left: {_megabytes(needed)} are needed, {_megabytes(free)} are free",
        )


def _reason(error: OSError) -> str:
    """Why a source failed, without the url, which the message has already."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was lost"
    if isinstance(error, requests.ConnectionError):
        cause = getattr(error.args[0], "reason", error)
        return f"no connection ({str(cause).split(': ', 1)[-1]})"
    return error.strerror or str(error)


def _message(card: Card, file: File, folder: Path, tried: list[str]) -> str:
    """The line of a HubError: what was tried, what to do, and what needs no download."""
    place = _cached(card, file) if file.urls else folder / file.name
    line = (
        f"{file.name} ({_megabytes(file.size)}) of {card.name!r} is not available: "
        f"{'; '.join(tried) or 'it is not beside the card, which names no url'}. "
        f"To add it by hand, put the file with sha256 {file.sha256} at {place}"
    )
    if not card.alternative:
        return line
    return f"{line}. {card.alternative} needs no download: zoo.load({card.alternative!r})"


def _kept(target: Path) -> str:
    part = _part(target)
    if not part.is_file():
        return ""
    return f" ({_megabytes(part.stat().st_size)} are kept, and the next call goes on from there)"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
