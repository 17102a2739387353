"""XLA's compiled programs, kept between processes."""

from __future__ import annotations

import os

from zoo.hub import fetching

COMPILE_TIME = 0.5
"""Programs that take at least this long to compile, in seconds, are kept."""


def use_cache() -> None:
    """Keeps compiled programs in the zoo's cache folder, for the next process.

    A folder that the user has chosen (JAX_COMPILATION_CACHE_DIR) is not changed. If the zoo's
    cannot be created or written to, every process compiles for itself.
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
