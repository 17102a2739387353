"""What the benchmarks of speed share: systems timed in turns, and the table of their medians."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

PAUSE = 0.3
"""Seconds between two systems: OpenMP's threads keep a core busy for 0.2 s after their work."""


def use_threads(number: int) -> None:
    """Keeps this process to `number` cores. To be called before JAX, which has a thread a core."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:number])


def in_turns(systems: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of `rounds` runs of each system.

    A first run of each (compilation, allocation) does not count. The systems take turns, so that
    whatever else the machine does in these minutes falls on all of them.
    """
    for run in systems.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, run in systems.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def print_rates(
    title: str,
    items: int,
    seconds: Mapping[str, Sequence[float]],
    peers: Sequence[str],
    unit: str = "tokens",
) -> None:
    """A Markdown table of items a second, and how many times those of each peer they are.

    Args:
      title: of the table.
      items: of one run.
      seconds: of the runs of each system.
      peers: the systems that the others are compared with.
      unit: what the items are.
    """
    rates = {name: items / statistics.median(times) for name, times in seconds.items()}
    print(f"\n{title}\n")
    _print_row("system", f"{unit}/s", "slowest to fastest", *(f"/ {peer}" for peer in peers))
    print("|---|" + "---:|" * (2 + len(peers)))
    for name, rate in rates.items():
        spread = f"{items / max(seconds[name]):,.0f} to {items / min(seconds[name]):,.0f}"
        ratios = ["" if name in peers else f"{rate / rates[peer]:.2f}" for peer in peers]
        _print_row(name, f"{rate:,.0f}", spread, *ratios)


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)
