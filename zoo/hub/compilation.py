"""Keeping what XLA compiles between processes."""

from __future__ import annotations

import os

from zoo.hub import fetching

COMPILE_TIME = 0.5
"""Seconds of compilation from which on the result is kept for the next process."""


def use_cache() -> None:
    """Keeps what XLA compiles in the zoo's cache folder, so that the next process need not.

    A folder that the user has chosen (JAX_COMPILATION_CACHE_DIR) stays; where the zoo's cannot be
    made or written to, every process compiles for itself.
    """
    import jax

    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined,unused-ignore]  # jax 0.10
        return
    folder = fetching.cache_folder() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", COMPILE_TIME)
