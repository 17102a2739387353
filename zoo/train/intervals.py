"""Means over several seeds, and how sure they are: 95 % intervals of Student's t."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

HALF_WIDTH = "_interval"
"""Ends the name of half the width of an interval, beside the mean of the name without it."""


def mean_and_interval(values: Iterable[float]) -> tuple[float, float]:
    """The mean, and half the width of its 95 % interval: the mean lies in mean ± half.

    What is not finite is left out. NaN where there is nothing, and for the interval of one value.
    """
    from scipy import special

    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return (finite[0] if finite else math.nan), math.nan
    error = statistics.stdev(finite) / math.sqrt(len(finite))
    return statistics.fmean(finite), float(special.stdtrit(len(finite) - 1, 0.975)) * error


def summary(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean and interval of every metric that all seeds have.

    >>> summary([{"test/return": 490.0}, {"test/return": 500.0}])
    {'test/return': 495.0, 'test/return_interval': 63.5...}
    """
    found: dict[str, float] = {}
    for name in each[0] if each else ():
        if all(name in metrics for metrics in each):
            mean, half = mean_and_interval(metrics[name] for metrics in each)
            found |= {name: mean, f"{name}{HALF_WIDTH}": half}
    return found
