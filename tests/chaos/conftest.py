"""Soak tests have no bound: `ZOO_SOAK=100 make soak` runs ten times as many rounds as usual."""

from __future__ import annotations

import os

ROUNDS = int(os.environ.get("ZOO_SOAK", "10"))
"""How often each is repeated, each time with another seed."""


def pytest_generate_tests(metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(ROUNDS))
