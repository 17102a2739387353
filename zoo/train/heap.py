"""How the C library keeps the memory that a training step takes and gives back."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Of glibc's malloc.h."""


def keep() -> None:
    """Lets memory that is given back stay with the process.

    On a CPU a step takes gigabytes anew, and the system hands each page of them out, filled with
    zeros, when it is first touched: a seventh of the time of a Transformer's step. It is of use
    before JAX starts its threads, as these have heaps of their own, and with glibc; else nothing
    happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((M_TRIM_THRESHOLD, -1), (M_MMAP_MAX, 0), (M_ARENA_MAX, 1)):
            mallopt(option, value)
