"""How the C library keeps the memory that a training step takes and gives back."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Options of `mallopt`, from glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Tells glibc not to return freed memory to the system; elsewhere nothing happens.

    On a CPU each step allocates gigabytes anew, and the system fills every page with zeros when it
    is first touched: a seventh of the time of a Transformer's step. Call it before JAX starts its
    threads, which have heaps of their own.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((M_TRIM_THRESHOLD, -1), (M_MMAP_MAX, 0), (M_ARENA_MAX, 1)):
            mallopt(option, value)
