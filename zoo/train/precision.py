"""Training in 32 bits, whatever JAX is set to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
T = TypeVar("T")


def in_32_bits(function: Callable[P, T]) -> Callable[P, T]:
    """The function, inside which JAX has no 64-bit numbers.

    With JAX_ENABLE_X64 sums, step counters and random draws would have other types, and a run other
    parameters.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return call
