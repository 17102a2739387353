"""How a `tf.data` pipeline runs: chaining steps, order, epochs, and work ahead of its use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from zoo.pipelines.base import Array
from zoo.pipelines.delivery import generator
from zoo.pipelines.tfdata import Dataset, Tensor, numpy_function, tensorflow, traced

Step: TypeAlias = Callable[[Dataset], Dataset]
"""A step of a pipeline."""


def pipe(dataset: Dataset, *steps: Step) -> Dataset:
    """The dataset after one step after the other: `pipe(d, f, g)` is `g(f(d))`."""
    for step in steps:
        dataset = step(dataset)
    return dataset


def mapped(function: Callable[[Any], Any]) -> Step:
    """The step that applies a TensorFlow function to each element."""
    return lambda dataset: dataset.map(traced(function))


def through_numpy(
    function: Callable[..., Mapping[str, Array]], signature: Mapping[str, Any], keys: Sequence[str]
) -> Step:
    """The step that replaces each element by what a NumPy function makes of its features.

    Args:
      function: takes one array for each of the `keys`, gives a dict of arrays.
      signature: the `tf.TensorSpec` of each of these.
      keys: features of the element.
    """
    tf = tensorflow()

    def flat(*arrays: Array) -> list[Array]:
        made = function(*arrays)
        return [made[key] for key in signature]

    def run(element: dict[str, Any]) -> dict[str, Any]:
        arguments = [element[key] for key in keys]
        made = numpy_function(flat, arguments, [spec.dtype for spec in signature.values()])
        return {
            key: tf.ensure_shape(value, spec.shape)
            for (key, spec), value in zip(signature.items(), made, strict=True)
        }

    return mapped(run)


def shuffle(buffer_size: int, *, seed: int, epoch: int | Tensor = 0) -> Step:
    """Draws each element from the next `buffer_size` ones.

    The order is a function of seed and epoch. Only a buffer as large as the data mixes all of it.
    """
    tf = tensorflow()

    def mixed(epoch: Array) -> np.int64:
        return generator(seed, int(epoch)).integers(2**62)

    def run(dataset: Dataset) -> Dataset:
        number = numpy_function(mixed, [tf.cast(epoch, tf.int64)], tf.int64)
        return dataset.shuffle(buffer_size, seed=number, reshuffle_each_iteration=False)

    return run


def epochs(make: Callable[[Tensor], Dataset], first: int = 0) -> Dataset:
    """`make(first)`, `make(first + 1)`, … one after the other without end.

    A pipeline that depends on the epoch's number only can be resumed at any epoch.
    """
    tf = tensorflow()
    return tf.data.Dataset.range(first, tf.int64.max).flat_map(traced(make))


def prefetch(dataset: Dataset, *, threads: int = 1) -> Dataset:
    """Prepares the next batches while one is used, and leaves the cores to whoever uses it.

    Args:
      dataset: batches.
      threads: how many work at it; 0: one for each core.
    """
    tf = tensorflow()
    options = tf.data.Options()
    options.deterministic = True
    # The work of a batch is small, and JAX computes meanwhile: threads would only get in its way.
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
