"""What every pipeline shares: its config, what it hands to training, and the facts it finds out.

A pipeline works in this order, save where one says why not:

1. read the rows of a split (`sources.py`);
2. filter, so that nothing later works on what is thrown away;
3. cache, after the slow and before the random steps (tokenizing, decoding: once a row);
4. shuffle, each epoch by its own number: order is a function of (seed, step), and a run can be
   resumed at any step without a saved iterator;
5. repeat, so that training batches never end and span epochs;
6. map what is random or makes the rows larger (augmentation, float32 images);
7. batch, bucketed by length where lengths differ, and pad;
8. prefetch, so that the next batch is ready when a step ends.

With `cache=True` the rows lie in memory, and the steps from 4 on move row numbers, until the rows
of a batch are fetched. With `cache=False` the rows themselves stream through a shuffle buffer.
"""

from __future__ import annotations

import abc
import atexit
import collections
import contextlib
import dataclasses
import functools
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from zoo.config import ConfigError

if TYPE_CHECKING:
    from zoo.tokenizers import Tokenizer

Array: TypeAlias = np.ndarray[Any, Any]
Batch: TypeAlias = dict[str, Array]
"""`inputs`, `targets` and `weights` (float32), with the examples along the first axis."""
# TensorFlow has no types that mypy could check: these two are for the reader.
Dataset: TypeAlias = Any
"""A `tf.data.Dataset`."""
Tensor: TypeAlias = Any
"""A `tf.Tensor`."""

GRACE = 0.1
"""Seconds for running pipelines to notice that the interpreter ends."""

FAILURES = 16
"""Errors of Python functions that are kept: a pipeline works ahead and may meet several at once."""

SHOWN = 10
"""Most names that an error message lists."""


class ColumnError(LookupError):
    """Data without a column that is wanted; the message lists those there are."""


@functools.cache
def tensorflow() -> Any:
    """TensorFlow, imported at its first use. It sees no accelerator: those are JAX's.

    Raises:
      ImportError: it is not installed.
    """
    # It would greet on stderr. Neither setting replaces the user's own.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        tf = importlib.import_module("tensorflow")
    except ImportError as error:
        raise ImportError(
            f'input pipelines need TensorFlow ({error}): pip install "flax-zoo[train]"'
        ) from error
    with contextlib.suppress(RuntimeError):  # TensorFlow runs already: the user has chosen
        tf.config.set_visible_devices([], "GPU")
    return tf


def is_dataset(value: Any) -> bool:
    """Whether a value is a tf.data.Dataset. Does not import TensorFlow."""
    tf = sys.modules.get("tensorflow")
    return tf is not None and isinstance(value, tf.data.Dataset)


def numpy_function(function: Callable[..., Any], inputs: Sequence[Tensor], dtypes: Any) -> Any:
    """`tf.numpy_function`, but it lets the interpreter end while a pipeline works ahead.

    What the function raises, `arrays` raises again.
    """
    calls = _calls()

    def call(*arrays: Array) -> Any:
        with calls:
            return function(*arrays)

    return tensorflow().numpy_function(call, inputs, dtypes)


def arrays(dataset: Dataset) -> Iterator[Any]:
    """The elements of a dataset, with NumPy arrays for tensors.

    Raises:
      Exception: what a Python function of the pipeline raised. TensorFlow would raise an error of
        its own, with the traceback in its message.
    """
    try:
        yield from dataset.as_numpy_iterator()
    except tensorflow().errors.OpError as error:
        for failure in _calls().failures:
            if str(failure) in error.message:
                raise failure from None
        raise


class _Calls:
    """The calls of tf.data's threads into Python, of which none may happen while Python shuts down.

    Such a call never returns, and whoever deletes the thread's iterator then waits for ever.
    """

    def __init__(self) -> None:
        self.failures: collections.deque[Exception] = collections.deque(maxlen=FAILURES)
        """What the last calls that failed have raised."""
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


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of opened data before the first batch."""

    tokenizer: Tokenizer | None = None
    """The tokenizer that turned texts into ids."""
    labels: tuple[str, ...] = ()
    """Names of the classes; a target is an index into them."""
    decides: Mapping[str, Any] = field(default_factory=dict)
    """Values for fields that the config of a model or a task leaves None, such as `vocab_size`,
    `num_classes` or `input_shape`. A config that has no such field is not asked."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """What a predictor must do to its input; written into the card."""
    num_examples: Mapping[str, int] = field(default_factory=dict)
    """Number of examples of each split."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of rows of the training files that are left out, by reason."""


class LabelError(ConfigError):
    """A class that is none of those expected; the message has both sides."""


class Data(Protocol):
    """Opened data: facts about it, and batches of NumPy arrays."""

    @property
    def facts(self) -> Facts:
        """What is known of the data before the first batch."""

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: slice | None = None
    ) -> Iterator[Batch]:
        """Training batches without end.

        Batch n is a function of (seed, n): starting at n gives the batches that follow batch n - 1.

        Args:
          batch_size: examples in a batch, over all processes. Data bucketed by length may have
            sizes of its own.
          seed: of the order of the examples, and of whatever is random in them.
          start: number of the first batch.
          rows: the rows of each batch that this process holds; None: all. The slice is of
            `batch_size` rows; a batch of another size is divided in the same proportion. Every
            process gets the same number of rows: missing ones are zero, and so is their weight.
            Sources that can be indexed read only these rows.
        """

    def evaluate(
        self, split: str, batch_size: int, *, rows: slice | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """Every example of a split exactly once.

        Args:
          split: name of the split.
          batch_size: examples in a batch, over all processes. The last batch, or the last one of
            each length, is filled up with rows of zeros, whose weight is zero.
          rows: as in `train`.
          limit: number of examples of a sample; None: all. The sample is the same at each call. A
            stream that cannot be indexed gives its first examples.

        Raises:
          LookupError: there is no such split.
        """


@dataclass(frozen=True, kw_only=True)
class DataConfig(abc.ABC):
    """Which data, and how it is read."""

    data_dir: str | None = None
    """Folder that is looked into before TFDS_DATA_DIR and ZOO_DATA_DIR."""
    holdout: float = 0.05
    """Share of the training rows that is held out where there is no validation split; 0: none."""
    cache: bool = True
    """Keep the rows, and their tokens, in memory; False: read them anew each epoch."""
    shuffle_buffer: int = 10_000
    """Rows to draw from when the rows are not in memory (otherwise from all)."""

    def __post_init__(self) -> None:
        if not 0 <= self.holdout < 1:
            raise ConfigError(f"holdout is {self.holdout}; it is a share, from 0 to below 1")
        if self.shuffle_buffer < 1:
            raise ConfigError(f"shuffle_buffer is {self.shuffle_buffer}; it must be 1 or more")

    def check_tuples(self, *names: str) -> None:
        """Raises ConfigError where a field that is a tuple of strings was given one string."""
        for name in names:
            if isinstance(value := getattr(self, name), str):
                raise ConfigError(f"{name} is {value!r}; it is a tuple, as ({value!r},)")

    def fitted(self, preprocessing: Mapping[str, Any]) -> DataConfig:
        """This config, with what the card of a trained model decides where this leaves it open.

        Args:
          preprocessing: the card's, which were `Facts.preprocessing` when the model was trained.
        """
        return self

    def whole(self) -> DataConfig:
        """This config for rows that are all to be read: none is held out, none left out."""
        return dataclasses.replace(self, holdout=0.0)

    @abc.abstractmethod
    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> Data:
        """Finds the data and what must be known of it.

        Args:
          rows: the user's own training examples instead of those the config names: an iterable of
            tuples, a mapping of columns, or a tf.data.Dataset of either.
          tokenizer: that of a model that exists already; None: the config's.
          labels: likewise its classes; None: those of the data.
        """


def shown(names: Sequence[str]) -> str:
    """Names for an error message, not too many of them.

    >>> shown(["a", "b"])
    "'a', 'b'"
    """
    more = f", … ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
