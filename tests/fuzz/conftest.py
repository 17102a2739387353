"""What the tests with random inputs share."""

from __future__ import annotations

import itertools

import jax
import pytest
from helpers import toy_predictor


@pytest.fixture(scope="module")
def toy():
    """`toy_predictor` with keys of its own: a predictor is made once for a file."""
    keys = itertools.count()
    return lambda config, task, *rest: toy_predictor(
        config, task, lambda: jax.random.key(next(keys)), *rest
    )
