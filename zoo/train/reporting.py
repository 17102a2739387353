"""What a run says at work: event files, `metrics.jsonl`, lines on the terminal, a learning curve.

CLU's writer and profiler are used here and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

METRICS = "metrics.jsonl"
LOG = "train.log"
CURVE = "learning_curve.png"

Metrics = Mapping[str, float]


class Reporter:
    """Writes what the loop measured. In a job of several processes only the first one writes."""

    def __init__(
        self,
        folder: Path,
        *,
        start: int,
        steps: int,
        profile_at: int | None,
        quiet: bool,
    ) -> None:
        # These import TensorFlow, which takes seconds: only a process that trains should pay.
        from clu import metric_writers, periodic_actions

        writes = jax.process_index() == 0
        self._folder, self._steps, self._quiet, self._writes = (
            folder,
            steps,
            quiet or not writes,
            writes,
        )
        self._start = self._since_step = start
        self._since, self._waited = time.monotonic(), 0.0
        self._profile: Any = None
        if profile_at is not None:
            self._profile = periodic_actions.Profile(
                logdir=str(folder),
                first_profile=profile_at,
                num_profile_steps=5,
                profile_duration_ms=None,
                every_secs=None,
            )
        self._events: Any = metric_writers.SummaryWriter(str(folder)) if writes else None
        if writes:
            keep_until(folder / METRICS, start)
        console = Console()
        self._bar: Progress | None = None
        if console.is_terminal and not self._quiet:
            columns = (
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(None),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._bar_task = self._bar.add_task("", total=steps, completed=start)
            self._bar.start()

    def say(self, text: str) -> None:
        """A line for a person: on the terminal and in the log."""
        if self._writes:
            with (self._folder / LOG).open("a", encoding="utf-8") as file:
                file.write(text + "\n")
        if not self._quiet:
            if self._bar:
                self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, flush=True)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the fetching of a batch: the time spent here is time the model did not work."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    def after_step(self, step: int) -> None:
        """To be called after every step."""
        if step == self._start + 1:  # its program is compiled only now, and has begun
            self._since, self._waited = time.monotonic(), 0.0
        if self._profile:
            self._profile(step)
        if self._bar:
            self._bar.update(self._bar_task, completed=step)

    def train(self, step: int, metrics: Metrics, learning_rate: float) -> None:
        """The metrics since the last call, with speed, time left and the share spent on waiting."""
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        rate = (step - self._since_step) / seconds
        share = self._waited / seconds
        self._waited, self._since, self._since_step = 0.0, now, step
        speed = {"learning_rate": learning_rate, "steps_per_second": rate, "data_wait": share}
        self._write(step, {**metrics, **prefixed("train", speed)})
        left = _clock((self._steps - step) / rate)
        pace = f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / rate:.1f} s/step"
        note = f"{pace}, {share:.0%} waiting for data, {left} left"
        self.say(_line(step, self._steps, metrics, note))

    def evaluation(self, step: int, metrics: Metrics, note: str = "") -> None:
        """The metrics of a split."""
        self._write(step, metrics)
        self.say(_line(step, self._steps, metrics, note))

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Around an evaluation or a checkpoint: its time is not the training's."""
        start = time.monotonic()
        yield
        self._since += time.monotonic() - start

    def _write(self, step: int, scalars: Metrics) -> None:
        if self._writes:
            self._events.write_scalars(step, dict(scalars))
            with (self._folder / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **scalars}) + "\n")

    def finish(self) -> None:
        """Draws the learning curve."""
        if self._writes:
            learning_curve(self._folder)

    def close(self) -> None:
        """Flushes the event files and ends the progress bar."""
        if self._bar:
            self._bar.stop()
        if self._events is not None:
            self._events.close()


def prefixed(split: str, metrics: Metrics) -> dict[str, float]:
    """Metrics under the name of their split.

    >>> prefixed("test", {"loss": 0.5})
    {'test/loss': 0.5}
    """
    return {f"{split}/{name}": value for name, value in metrics.items()}


def _line(step: int, steps: int, metrics: Metrics, note: str) -> str:
    split = next(iter(metrics)).split("/")[0]
    values = "  ".join(f"{name.split('/')[1]} {value:.4f}" for name, value in metrics.items())
    return f"step {step:>{len(str(steps))}} | {split:<10} | {values}" + (
        f" | {note}" if note else ""
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def keep_until(path: Path, step: int) -> None:
    """Drops the lines of a metrics file that lie behind a step: a resumed run writes them again."""
    if path.is_file():
        lines = [
            line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step
        ]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError):  # the last line of a killed process
        return float("inf")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The records of a metrics file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def learning_curve(folder: Path) -> None:
    """Draws `learning_curve.png` from `metrics.jsonl`: the loss, below it every other metric."""
    import matplotlib.figure

    records = read_metrics(folder / METRICS)
    hidden = {"learning_rate", "steps_per_second", "data_wait"}
    names = sorted(
        {key.split("/")[1] for record in records for key in record if "/" in key} - hidden
    )
    names.sort(key=lambda name: name != "loss")
    figure = matplotlib.figure.Figure(figsize=(7, 2.6 * len(names)), layout="constrained")
    for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        for split in ("train", "validation", "test"):
            points = [
                (record["step"], record[f"{split}/{name}"])
                for record in records
                if f"{split}/{name}" in record
            ]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    label=split,
                    marker="o" if len(points) < 30 else None,
                    markersize=3,
                )
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        axes.legend()
    axes.set_xlabel("step")
    figure.savefig(folder / CURVE, dpi=120)
