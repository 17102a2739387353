"""What the processes of one job do together. With a single process everything here is trivial."""

from __future__ import annotations

import jax
import numpy as np
from jax.experimental import multihost_utils


def writes() -> bool:
    """Whether this process writes logs, cards and event files: the first process does."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process. All processes must call it, at the same place."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())
