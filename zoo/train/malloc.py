"""How the C library keeps the memory that a training step takes and gives back."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import sys

import jax

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Options of `mallopt`, from glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Tells glibc not to return freed memory to the system, for as long as the process lives.

    Nothing happens without glibc, on an accelerator, or with `ZOO_MALLOC=system`.

    On a CPU each step allocates gigabytes anew, and the system fills every page with zeros when it
    is first touched: a seventh of the time of a Transformer's step. Call it before JAX starts its
    threads, which have heaps of their own.
    """
    if not sys.platform.startswith("linux") or os.environ.get("ZOO_MALLOC") == "system":
        return
    if not _computes_on_cpu():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((M_TRIM_THRESHOLD, -1), (M_MMAP_MAX, 0), (M_ARENA_MAX, 1)):
            mallopt(option, value)


def _computes_on_cpu() -> bool:
    """Whether JAX will compute on the CPU, as far as can be known before it starts its threads."""
    if jax.config.jax_platforms:
        return str(jax.config.jax_platforms).split(",")[0] == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    packages = ("jax_plugins", "libtpu")
    return not plugins and not any(map(importlib.util.find_spec, packages))
