"""Common to the benchmarks of speed: systems timed in turns, and the table of their medians."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PAUSE = 0.3
"""Seconds between two systems: OpenMP's threads keep a core busy for 0.2 s after their work."""


def use_threads(number: int) -> None:
    """Keeps this process to `number` cores. To be called before JAX, which has a thread a core."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:number])


class System:
    """Something to be timed, in a process of its own.

    In one process systems disturb each other even when they take turns: with PyTorch beside it, a
    training step of ours took 1.4 times as long.
    """

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        """
        Args:
          make: called in the new process, gives the function that is timed. It is sent there: a
            function of a module, or a `functools.partial` of one.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, far), daemon=True)
        self._process.start()

    def timed(self, *arguments: Any) -> tuple[float, Any]:
        """The seconds of a call, and what it gave."""
        self._pipe.send(arguments)
        seconds, result = self._pipe.recv()
        if isinstance(result, Exception):
            raise result
        return seconds, result

    def close(self) -> None:
        """Ends the process."""
        self._process.terminate()
        self._process.join()


def _serve(make: Callable[[], Callable[..., Any]], pipe: Any) -> None:
    run = None
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:  # the benchmark has ended
            return
        try:
            run = run or make()
            start = time.perf_counter()
            result = run(*arguments)
            answer = time.perf_counter() - start, result
        except Exception as error:
            answer = 0.0, error
        pipe.send(answer)


def in_turns(systems: Mapping[str, System], rounds: int, *arguments: Any) -> dict[str, list[float]]:
    """Seconds of `rounds` calls of each system.

    A first call of each (compilation, allocation) does not count. The systems take turns, so that
    whatever else the machine does in these minutes falls on all of them.
    """
    for system in systems.values():
        system.timed(*arguments)
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, system in systems.items():
            time.sleep(PAUSE)
            seconds[name].append(system.timed(*arguments)[0])
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
