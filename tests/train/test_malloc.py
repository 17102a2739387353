"""The C library's settings are changed only for a CPU, and where the user allows it."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest

from zoo.train import malloc


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
@pytest.mark.parametrize(
    ("platforms", "wish", "changed"),
    [("cpu", "", True), ("cpu", "system", False), ("cuda,cpu", "", False)],
)
def test_memory_is_kept_on_a_cpu_unless_the_user_says_otherwise(
    monkeypatch, platforms, wish, changed
):
    options = []
    library = SimpleNamespace(mallopt=lambda option, value: options.append(option))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(
        malloc, "jax", SimpleNamespace(config=SimpleNamespace(jax_platforms=platforms))
    )
    monkeypatch.setenv("ZOO_MALLOC", wish)
    malloc.keep_freed_memory()
    assert bool(options) == changed
