"""TensorFlow, for what is read with it: TFDS data sets and the user's tf.data.Dataset.

Nothing here is imported with TensorFlow: each function imports it when it is called.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import functools
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from zoo.config import PackageMistake
from zoo.pipelines.base import Array

# TensorFlow has no types that mypy could check: these two are for the reader.
Dataset: TypeAlias = Any
"""A `tf.data.Dataset`."""
Tensor: TypeAlias = Any
"""A `tf.Tensor`."""

GRACE = 0.1
"""Seconds that running pipelines get to notice that the interpreter ends."""

FAILURES = 16
"""Number of errors of Python functions that are kept: a pipeline works ahead and may meet several
before one is asked for."""


@functools.cache
def tensorflow() -> Any:
    """Imports TensorFlow. It sees no accelerator: those belong to JAX.

    Raises:
      PackageMistake: TensorFlow is not installed, or cannot be imported.
    """
    # Without these it prints a greeting on stderr. Neither replaces the user's own setting.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        tf = importlib.import_module("tensorflow")
    except ModuleNotFoundError as error:
        if error.name not in (None, "tensorflow"):  # one of the packages that it needs
            raise _broken(error) from error
        raise PackageMistake(
            f'this data is read with TensorFlow ({error}): pip install "flax-zoo[train]"'
        ) from error
    except Exception as error:  # packages that do not fit it raise whatever they like
        raise _broken(error) from error
    with contextlib.suppress(RuntimeError):  # TensorFlow runs already: the user has chosen
        tf.config.set_visible_devices([], "GPU")
    return tf


def _broken(error: Exception) -> PackageMistake:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return PackageMistake(
        f"TensorFlow is installed and cannot be imported ({reason}); install it again, with the "
        'packages that fit it: pip install --force-reinstall "flax-zoo[train]"'
    )


def is_dataset(value: Any) -> bool:
    """Whether a value is a `tf.data.Dataset`. Does not import TensorFlow."""
    tf = sys.modules.get("tensorflow")
    return tf is not None and isinstance(value, tf.data.Dataset)


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function for `Dataset.map` and the like that has no Python control flow over tensors.

    AutoGraph, which would rewrite such control flow, need not read the function. It fails on
    Python 3.13 and warns once for each function.
    """
    converted: Callable[..., Any] = tensorflow().autograph.experimental.do_not_convert(function)
    return converted


def numpy_function(function: Callable[..., Any], inputs: Sequence[Tensor], dtypes: Any) -> Any:
    """`tf.numpy_function` that lets the interpreter end while a pipeline works ahead.

    `arrays` raises again what the function raises.
    """
    calls = _calls()

    def call(*arrays: Array) -> Any:
        with calls:
            return function(*arrays)

    return tensorflow().numpy_function(call, inputs, dtypes)


def arrays(dataset: Dataset) -> Iterator[Any]:
    """The elements of a dataset, with NumPy arrays for tensors.

    Raises:
      Exception: the error of a Python function of the pipeline, which TensorFlow alone would turn
        into one of its own with the traceback in the message.
    """
    try:
        yield from dataset.as_numpy_iterator()
    except tensorflow().errors.OpError as error:
        for failure in _calls().failures:
            if str(failure) in error.message:
                raise failure from None
        raise


class _Calls:
    """Calls of tf.data's threads into Python. None may start while Python shuts down.

    Such a call would never return, and whoever deletes the thread's iterator would wait for ever.
    """

    def __init__(self) -> None:
        self.failures: collections.deque[Exception] = collections.deque(maxlen=FAILURES)
        """The errors of the last calls that failed."""
        self._running: list[None] = []
        self._ending = False
        atexit.register(self._end)

    def __enter__(self) -> None:
        self._running.append(None)
        if self._ending:
            self._running.pop()
            raise StopIteration

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._running.pop()
        if isinstance(error, Exception):
            self.failures.append(error)

    def _end(self) -> None:
        self._ending = True
        while self._running:
            time.sleep(0.01)
        time.sleep(GRACE)


@functools.cache
def _calls() -> _Calls:
    return _Calls()
