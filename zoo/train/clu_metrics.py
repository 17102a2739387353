"""CLU's metric collection, built from the metric functions of a task.

    totals = measure(task, output, batch)          # inside the compiled step
    totals = totals.merge(measure(task, output, batch))
    totals.compute()                               # {"loss": 0.31, "accuracy": 0.89}, on the host

The state of each metric is two sums, so an empty collection is all zeros.

CLU's own metrics are not used: its `Average` reads weights as true or false, and where a mask has
the wrong length it drops the mask and only logs a line.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics as clu
from flax import struct

from zoo.config import TypeMistake
from zoo.train.metrics import Batch, Metric

if TYPE_CHECKING:
    from zoo.train.tasks import Task


def measure(task: Task, output: Any, batch: Batch, *, training: bool = False) -> clu.Collection:
    """The metrics of one batch, in training or in evaluation."""
    kind = collection_of(task, training)
    return kind.single_from_model_output(output=output, batch=batch)


@functools.cache  # the same class each time: JAX compares the classes of trees
def collection_of(task: Task, training: bool) -> type[clu.Collection]:
    """The collection that holds the metrics of a task, in training or in evaluation."""
    named = task.training_metrics if training else task.metrics
    names = tuple(named())
    # CLU reads the metrics from the annotations of the class, and cannot read strings. The fields
    # are numbered, so that a name need not be one of Python's: `return`, `recall@10`.
    metrics = {f"metric_{i}": _summed(named, name) for i, name in enumerate(names)}
    body = {"__annotations__": metrics, "names": names}
    collection: type[clu.Collection] = struct.dataclass(
        type(f"{type(task).__name__}Metrics", (_OnHost,), body)
    )
    return collection


@struct.dataclass
class _OnHost(clu.Collection):  # type: ignore[misc]  # CLU ships no types
    """A collection that is fetched from the device in one transfer when it is computed."""

    names: ClassVar[tuple[str, ...]]
    """Of the metrics, in the order of the fields."""

    def compute(self) -> dict[str, float]:
        """Name -> value of each metric.

        Raises:
          ValueError: nothing has any weight.
        """
        values = super(_OnHost, jax.device_get(self)).compute()
        return {name: values[f"metric_{i}"] for i, name in enumerate(self.names)}


def _summed(named: Callable[[], Mapping[str, Any]], name: str) -> type[clu.Metric]:
    @struct.dataclass
    class Summed(clu.Metric):  # type: ignore[misc]
        """A metric whose state is two sums over the items."""

        total: jax.Array
        denominator: jax.Array

        @classmethod
        def empty(cls) -> Self:
            return cls(np.float32(0), np.float32(0))

        @classmethod
        def from_model_output(cls, *, output: Any, batch: Batch) -> Self:
            sums = metric().sums(output, batch)
            if not isinstance(sums, tuple) or len(sums) != 2:
                raise TypeMistake(
                    f"the metric {name!r} returned {sums!r}; a metric returns (sum, denominator)"
                )
            return cls(*(jnp.asarray(value, jnp.float32) for value in sums))

        def merge(self, other: Self) -> Self:
            merged: Self = jax.tree.map(jnp.add, self, other)
            return merged

        def compute(self) -> float:
            return metric().value(np.asarray(self.total), np.asarray(self.denominator))

    def metric() -> Metric:
        # Asked for each time: the function may come from a file that was edited since.
        found = named()[name]
        return found if isinstance(found, Metric) else Metric(found)

    return Summed
