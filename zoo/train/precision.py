"""Training in 32 bits, whatever JAX is set to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def in_32_bits() -> Iterator[None]:
    """Inside, JAX has no 64-bit numbers. Also a decorator.

    With JAX_ENABLE_X64 sums, step counters and random draws would have other types, and a run other
    parameters.
    """
    with jax.enable_x64(False):
        yield
