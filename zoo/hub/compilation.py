"""XLA's compiled programs, kept between processes.

They are native code: whoever can write to the folder can run code as the user, and a program fits
only the processor that it was compiled for. So the folder is the user's own (never in `ZOO_CACHE`,
which may be shared), nobody else can enter it, and each machine, processor and version of JAX has
one of its own.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import stat
import time
import zlib
from pathlib import Path

from zoo.hub import places

COMPILE_TIME = 0.5
"""Programs that take at least this long to compile, in seconds, are kept."""

MOST_BYTES = 1_000_000_000
"""Size of the folder, above which the programs that were not used for the longest are deleted."""

UNUSED_DAYS = 60
"""After this time the folder of a machine or a version that is no longer used is deleted."""


def use_cache() -> None:
    """Keeps compiled programs of this process in `folder()`, for the next process.

    Settings of JAX are the whole process's, so what the user's own code compiles is kept too. A
    cache that the user has configured or switched off (`JAX_COMPILATION_CACHE_DIR`,
    `JAX_ENABLE_COMPILATION_CACHE` or the like in `jax.config`) stays as it is. Where there is no
    folder, every process compiles for itself.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" in os.environ or _setting("jax_compilation_cache_dir"):
        return
    if not _setting("jax_enable_compilation_cache"):
        return
    place = folder()
    if place is None or not _made_private(place):
        return
    _delete_unused(place)
    jax.config.update("jax_compilation_cache_dir", str(place))
    for name, default, value in (
        ("jax_persistent_cache_min_compile_time_secs", 1.0, COMPILE_TIME),
        ("jax_compilation_cache_max_size", -1, MOST_BYTES),
    ):
        if _setting(name) == default and name.upper() not in os.environ:
            jax.config.update(name, value)


def _setting(name: str) -> object:
    import jax

    return getattr(jax.config, name)


def folder() -> Path | None:
    """Where this machine's programs are; None if the user has no home folder."""
    root = places.user_cache("zoo-xla")
    if root is None:
        return None
    versions = [importlib.metadata.version(name) for name in ("jax", "jaxlib")]
    return root / "-".join([platform.node() or "host", _processor(), *versions])


def _processor() -> str:
    """A digest of the processor's model and of the instructions that it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        named = ("model name", "flags", "Features", "CPU ")  # x86, ARM
        described = "\n".join(sorted({line for line in lines if line.startswith(named)}))
    except OSError:  # not Linux
        described = f"{platform.machine()} {platform.processor()}"
    return f"{zlib.crc32(described.encode()):08x}"


def _made_private(place: Path) -> bool:
    """Whether the folder is there, is the user's, and can be entered by nobody else."""
    try:
        for path in (place.parent, place):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            entry = path.lstat()
            if not stat.S_ISDIR(entry.st_mode):
                return False
            if hasattr(os, "getuid") and entry.st_uid != os.getuid():
                return False
            if entry.st_mode & 0o077:
                path.chmod(0o700)
        os.utime(place)
    except OSError:
        return False
    return os.access(place, os.W_OK | os.X_OK)


def _delete_unused(place: Path) -> None:
    """Deletes the folders of other machines and versions that nobody has used for long."""
    for other in place.parent.iterdir():
        with contextlib.suppress(OSError):
            if other.stat().st_mtime < time.time() - UNUSED_DAYS * 24 * 3600:
                shutil.rmtree(other, ignore_errors=True)
