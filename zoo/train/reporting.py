"""The reports of a run while it trains: event files, `metrics.jsonl`, `train.log`, lines on the
terminal.

CLU's writer and profiler are used only here. They need TensorFlow: without it a run has no event
files, and cannot be profiled.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zoo.config import is_watched, say
from zoo.storage import files
from zoo.storage.files import replacing
from zoo.train import learning_curve
from zoo.train.intervals import HALF_WIDTH
from zoo.train.learning_curve import METRICS
from zoo.train.processes import writes

LOG = "train.log"

PROFILED_STEPS = 5

Metrics = Mapping[str, float]


class Reporter:
    """Writes what the loop measured. Of several processes only the first one writes."""

    def __init__(
        self,
        folder: Path,
        steps: int,
        *,
        profile_at: int | None = None,
        quiet: bool = False,
    ) -> None:
        """
        Args:
          folder: the run's folder.
          steps: length of the run.
          profile_at: the first step to profile, or None.
          quiet: print nothing.
        """
        self._writes = writes()
        self._folder, self._steps, self._quiet = folder, steps, quiet or not self._writes
        self._start = self._since_step = 0
        self._since, self._waited = time.monotonic(), 0.0
        self._profile_at, self._profile = profile_at, None
        self._events: Any = None
        self._bar: Progress | None = None

    def begin(self, start: int) -> None:
        """Must be called before the first step.

        Args:
          start: number of steps that earlier sessions took.
        """
        self._start = self._since_step = start
        self._since = time.monotonic()
        if self._profile_at is not None:
            self._profile = _profile(self._folder, self._profile_at)
        if self._writes:
            self._events = _event_files(self._folder)
            drop_after(self._folder / METRICS, start)
        if is_watched(sys.stdout) and not self._quiet:
            columns = (
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(None),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(), transient=True)
            self._bar_task = self._bar.add_task("", total=self._steps, completed=start)
            self._bar.start()

    def say(self, text: str) -> None:
        """A line for a person, on the terminal and in the log."""
        if self._writes:
            files.append(self._folder / LOG, text + "\n")
        if self._quiet:
            return
        try:
            if self._bar:
                self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, flush=True)
        except (OSError, ValueError) as error:  # `zoo train … | head`: the work goes on
            self._quiet = True
            self._end_bar()
            reason = getattr(error, "strerror", error)
            say(
                f"standard output takes no more lines ({reason}); the run goes on, and they are in "
                f"{self._folder / LOG}"
            )

    def _end_bar(self) -> None:
        if self._bar:
            with contextlib.suppress(OSError, ValueError):
                self._bar.stop()
        self._bar = None

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around fetching a batch: during this time the model does not work."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Around an evaluation, a checkpoint or a callback: this time is not the training's."""
        start = time.monotonic()
        yield
        self._since += time.monotonic() - start

    def after_step(self, step: int) -> None:
        """Must be called after every step."""
        if step == self._start + 1:  # the first step was compiled; the clock starts after it
            self._since, self._waited = time.monotonic(), 0.0
        if self._profile:
            self._profile(step)
        if self._bar:
            self._bar.update(self._bar_task, completed=step)

    def train(self, step: int, metrics: Metrics, learning_rate: float) -> None:
        """Reports the metrics since the last call, the speed, and the share of waiting for data."""
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
        """Reports the metrics of a split."""
        self._write(step, metrics)
        self.say(_line(step, self._steps, metrics, note))

    def _write(self, step: int, scalars: Metrics) -> None:
        if not self._writes:
            return
        if self._events is not None:
            self._events.write_scalars(step, dict(scalars))
        append(self._folder / METRICS, step, scalars)

    def show(self, step: int, texts: Mapping[str, str], images: Mapping[str, Any]) -> None:
        """Writes Markdown, and pictures [N, height, width, channels], into the event files."""
        if self._events is not None and self._writes:
            if texts:
                self._events.write_texts(step, dict(texts))
            if images:
                self._events.write_images(step, dict(images))

    def draw(self) -> None:
        """Draws the learning curve, if anything was measured."""
        if self._writes and (self._folder / METRICS).is_file():
            learning_curve.draw(self._folder)

    def close(self) -> None:
        """Flushes the event files and ends the progress bar."""
        self._end_bar()
        if self._events is not None:
            self._events.close()


def _event_files(folder: Path) -> Any:
    """CLU's writer of event files for TensorBoard; None where there is no TensorFlow that works."""
    if importlib.util.find_spec("tensorflow") is None:
        return None
    try:
        # Imported here because it imports TensorFlow, which takes seconds.
        from clu import metric_writers
    except Exception as error:  # packages that do not fit TensorFlow raise whatever they like
        say(f"no event files for TensorBoard: TensorFlow cannot be imported ({error})")
        return None

    return metric_writers.SummaryWriter(str(folder))


def _profile(folder: Path, first: int) -> Any:
    from clu import periodic_actions

    return periodic_actions.Profile(
        logdir=str(folder),
        first_profile=first,
        num_profile_steps=PROFILED_STEPS,
        profile_duration_ms=None,
        every_secs=None,
    )


def prefixed(split: str, metrics: Metrics) -> dict[str, float]:
    """Metrics under the name of their split.

    >>> prefixed("test", {"loss": 0.5})
    {'test/loss': 0.5}
    """
    return {f"{split}/{name}": value for name, value in metrics.items()}


def _line(step: int, steps: int, metrics: Metrics, note: str) -> str:
    split = next(iter(metrics)).split("/")[0]
    halves = {name: metrics.get(name + HALF_WIDTH) for name in metrics}
    values = "  ".join(
        f"{name.partition('/')[2]} {value:.4f}"
        + ("" if halves[name] is None else f" \N{PLUS-MINUS SIGN} {halves[name]:.4f}")
        for name, value in metrics.items()
        if not name.endswith(HALF_WIDTH)
    )
    return f"step {step:>{len(str(steps))}} | {split:<10} | {values}" + (
        f" | {note}" if note else ""
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def append(path: Path, step: int, scalars: Metrics) -> None:
    """Adds a record to a metrics file."""
    record = json.dumps({"step": step, **_finite(scalars)}, allow_nan=False)
    files.append(path, record + "\n")


def _finite(scalars: Metrics) -> dict[str, float | None]:
    """The values as JSON has them: None for what is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in scalars.items()}


def drop_after(path: Path, step: int) -> None:
    """Drops the lines of a metrics file after a step: a resumed run writes them again."""
    if path.is_file():
        lines = [
            line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step
        ]
        with replacing(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError):  # the last line of a killed process
        return float("inf")
