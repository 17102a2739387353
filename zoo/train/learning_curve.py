"""The picture of a run: `learning_curve.png`, drawn from `metrics.jsonl`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    figure.savefig(folder / CURVE, dpi=120)


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
