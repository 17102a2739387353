"""The picture of a run: `learning_curve.png`, drawn from `metrics.jsonl`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.storage.files import replacing
from zoo.train.intervals import mean_and_interval

METRICS = "metrics.jsonl"
"""A record for each report and each evaluation: the step, and metrics as `split/name`."""

CURVE = "learning_curve.png"

HIDDEN = frozenset({"learning_rate", "steps_per_second", "data_wait"})
"""Metrics that say how a run went, and not what the model learnt."""

SPLITS = ("train", "validation", "test")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The records of a metrics file. What was not finite, which JSON does not have, is NaN."""
    return [
        {name: math.nan if value is None else value for name, value in json.loads(line).items()}
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def draw(folder: Path) -> None:
    """Draws the loss of a run, and below it every other metric, against the step.

    Where a split has several curves of a metric, such as `validation/loss` and
    `validation/ema/loss`, they are in one picture.
    """
    import matplotlib.figure

    records = read_metrics(folder / METRICS)
    if not records:
        return
    keys = dict.fromkeys(key for record in records for key in record if "/" in key)
    names = {key.rpartition("/")[2] for key in keys} - HIDDEN
    ordered = sorted(names, key=lambda name: (name != "loss", name))
    figure = matplotlib.figure.Figure(figsize=(7, 2.6 * len(ordered)), layout="constrained")
    for axes, name in zip(figure.subplots(len(ordered), squeeze=False)[:, 0], ordered, strict=True):
        _plot(axes, [key for key in keys if key.rpartition("/")[2] == name], records)
    axes.set_xlabel("step")
    _save(figure, folder)


def aligned(paths: Sequence[Path]) -> list[tuple[int, list[dict[str, float]]]]:
    """The records of several metrics files that are of the same step and split, by step."""
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    for path in paths:
        for record in read_metrics(path):
            step = int(record.pop("step"))
            split = next(iter(record), "").partition("/")[0]
            found.setdefault((step, split), []).append(record)
    whole = {key: each for key, each in found.items() if len(each) == len(paths)}
    return [(step, each) for (step, _), each in sorted(whole.items(), key=lambda item: item[0][0])]


def draw_seeds(folder: Path, runs: Sequence[Path], metric: str) -> None:
    """Draws a metric of several seeds: each, their mean, and its 95 % interval.

    Args:
      folder: where to write the picture.
      runs: the folders of the seeds.
      metric: as `split/name`, drawn against the steps taken in environments, or of the run where
        there are none.
    """
    import matplotlib.figure

    files = [read_metrics(run / METRICS) for run in runs]
    curves = [{int(r["step"]): r[metric] for r in records if metric in r} for records in files]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not steps:
        return
    taken = [_environment_steps(records, steps) for records in files]
    x = np.mean(taken, axis=0)
    each = np.array([[curve[step] for step in steps] for curve in curves])
    mean, half = np.array([mean_and_interval(values) for values in each.T]).T
    half = np.nan_to_num(half)
    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(x, each.T, color="C0", alpha=0.2, linewidth=0.8)
    axes.fill_between(x, mean - half, mean + half, color="C0", alpha=0.25, label="95 % interval")
    axes.plot(x, mean, color="C0", label=f"mean of {len(runs)} seeds")
    axes.set_xlabel("step" if np.array_equal(x, steps) else "environment steps")
    axes.set_ylabel(metric.rpartition("/")[2])
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, folder)


def _save(figure: Any, folder: Path) -> None:
    with replacing(folder / CURVE) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _environment_steps(records: Sequence[dict[str, float]], steps: Sequence[int]) -> list[float]:
    """The steps taken in environments until each step of a run; `steps` themselves if it does not
    say."""
    name = "train/environment_steps"
    reports = [(r["step"], r[name]) for r in records if name in r]
    if not reports:
        return list(map(float, steps))
    at, rate = np.array([(0, 0), *reports]).T
    return list(np.interp(steps, at, np.cumsum(rate * np.diff(at, prepend=0))))


def _plot(axes: Any, keys: Sequence[str], records: Sequence[dict[str, float]]) -> None:
    order = {split: number for number, split in enumerate(SPLITS)}
    for key in sorted(keys, key=lambda key: order.get(key.partition("/")[0], len(order))):
        label, _, name = key.rpartition("/")
        points = [(record["step"], record[key]) for record in records if key in record]
        marker = "o" if len(points) < 30 else None
        axes.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=3)
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
    axes.legend()
