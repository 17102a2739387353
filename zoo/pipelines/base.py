"""The interface of pipelines: a config is opened into data, of which facts are known."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from zoo.config import ConfigError, LookupMistake, check_share, shown

if TYPE_CHECKING:
    from zoo.tokenizers import Tokenizer

Array: TypeAlias = np.ndarray[Any, Any]
Batch: TypeAlias = dict[str, Array]
"""`inputs`, `targets` and `weights` (float32), with the examples along the first axis."""

MAX_QUOTED = 10
"""Most names that an error message lists."""


class ColumnError(LookupMistake):
    """Data without a column that is wanted; the message lists the columns there are."""


class LabelError(ConfigError):
    """A class that is none of those expected; the message has both sides."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """A digest that tells the rows of a split from others."""

    number: int
    """Number of rows."""
    hash: str
    """16 hexadecimal digits that do not depend on the order of the rows. `with_validation` in
    `zoo.pipelines.sources.holdout` says of what."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about opened data, known before the first batch."""

    tokenizer: Tokenizer | None = None
    """The tokenizer that turned texts into ids."""
    labels: tuple[str, ...] = ()
    """Names of the classes; a target is an index into them."""
    decides: Mapping[str, Any] = field(default_factory=dict)
    """Values for fields that the config of a model or a task leaves None, such as `vocab_size`,
    `num_classes` or `input_shape`. A config that has no such field is not asked."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """How a predictor must prepare its input; written into the card."""
    num_examples: Mapping[str, int] = field(default_factory=dict)
    """Number of examples of each split."""
    fingerprints: Mapping[str, Fingerprint] = field(default_factory=dict)
    """Of the rows of each split, as they were read; none of examples that are drawn."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of rows of the training files that are left out, by reason."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One example as it was read, and as a model sees it."""

    raw: Mapping[str, Any]
    """The row by column: texts, words, names of classes; an image as a path, the content of a file
    or an array."""
    arrays: Mapping[str, Array]
    """`inputs`, `targets` and `weights` without a batch axis, padding, or random changes."""


@dataclass(frozen=True)
class Share:
    """The rows of each batch that one process holds: one of several blocks of the same size.

    Several processes hold the same block where their devices compute parts of the same rows.
    """

    index: int = 0
    """Number of the block."""
    count: int = 1
    """Number of blocks in a batch."""
    parts: int = 1
    """Number of parts in a block, each with equally many rows: one for each device."""

    def of(self, size: int) -> slice:
        """The rows of this block in a batch of `size` rows.

        Blocks are equal, so the last ones may reach beyond the batch.

        >>> [Share(index, 3).of(8) for index in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 9, None)]
        >>> Share(1, 2, parts=4).of(6)
        slice(4, 8, None)
        """
        rows = self.parts * -(-size // (self.count * self.parts))
        return slice(self.index * rows, (self.index + 1) * rows)

    @classmethod
    def of_rows(cls, rows: Rows | None, batch_size: int) -> Share:
        """The share that `rows` of `Data.train` means.

        >>> Share.of_rows(slice(4, 8), 8)
        Share(index=1, count=2, parts=1)

        Raises:
          ConfigError: a slice is no equal part of a batch.
        """
        if not isinstance(rows, slice):
            return rows or cls()
        start, size = rows.start or 0, (rows.stop or batch_size) - (rows.start or 0)
        if rows.step not in (None, 1) or size < 1 or start % size or not 0 <= start < batch_size:
            raise ConfigError(
                f"rows is {rows}; it must be one of equal parts of a batch of {batch_size} rows, "
                "such as slice(0, 4) and slice(4, 8) of 8"
            )
        return cls(start // size, -(-batch_size // size))


Rows: TypeAlias = "Share | slice"
"""The rows of each batch that a process holds: a share, or a slice of `batch_size` rows."""


class Data(Protocol):
    """Opened data: facts about it, and batches of NumPy arrays."""

    @property
    def facts(self) -> Facts:
        """Facts about the data, known before the first batch."""

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: Rows | None = None
    ) -> Iterator[Batch]:
        """Training batches without end.

        Batch n is a function of (seed, n): starting at n gives the batches that follow batch n - 1.

        Args:
          batch_size: examples in a batch, over all processes. Data bucketed by length may have
            sizes of its own.
          seed: of the order of the examples, and of whatever is random in them.
          start: number of the first batch.
          rows: the rows of each batch that this process holds, as a `Share` or as a slice of
            `batch_size` rows; None: all. A batch of another size is divided in the same proportion.
            Every process gets the same number of rows: missing ones are zero, and so is their
            weight. Sources that can be indexed read only these rows.

        Raises:
          ConfigError: there is nothing to train on, or `rows` is no equal part of a batch.
        """

    def evaluate(
        self, split: str, batch_size: int, *, rows: Rows | None = None, limit: int | None = None
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

    def examples(self, split: str, number: int) -> list[Example]:
        """The first examples of a split, for people to look at.

        Raises:
          LookupError: there is no such split.
        """


@dataclass(frozen=True, kw_only=True)
class DataConfig(abc.ABC):
    """Which data, and how it is read."""

    data_dir: str | None = None
    """Folder that is searched before TFDS_DATA_DIR and ZOO_DATA_DIR."""
    holdout: float = 0.05
    """Share of the training rows, in [0, 1), that is held out where there is no validation split:
    about that many, chosen by a hash of their content."""
    cache: bool = True
    """Keep the rows, and their tokens, in memory; False: read them again in each epoch."""
    shuffle_buffer: int = 10_000
    """Number of rows from which the next one is drawn where rows are a stream. Rows in memory are
    shuffled as a whole."""

    def __post_init__(self) -> None:
        check_share("holdout", self.holdout)
        if self.shuffle_buffer < 1:
            raise ConfigError(f"shuffle_buffer is {self.shuffle_buffer}; it must be 1 or more")

    def check_tuples(self, *names: str) -> None:
        """Raises ConfigError where a field that is a tuple of strings was given one string."""
        for name in names:
            if isinstance(value := getattr(self, name), str):
                raise ConfigError(f"{name} is {value!r}; it must be a tuple, such as ({value!r},)")

    def matching(self, preprocessing: Mapping[str, Any]) -> DataConfig:
        """This config with open fields (None) filled in from a model that exists.

        Args:
          preprocessing: that of the model's card, which was `Facts.preprocessing` in training.
        """
        return self

    def keeping_all_rows(self) -> DataConfig:
        """This config without anything that would leave out rows, or hold them out."""
        return dataclasses.replace(self, holdout=0.0)

    @abc.abstractmethod
    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
        pad_id: int = 0,
    ) -> Data:
        """Finds the data and what must be known of it.

        Args:
          rows: the user's own training examples instead of those that the config names: an iterable
            of tuples or of dicts, a mapping of columns, a DataFrame, or a tf.data.Dataset of tuples
            or dicts; or a mapping of the splits `train`, `validation` and `test` to such rows.
          tokenizer: that of a model that exists already; None: the config's.
          labels: the classes of a model that exists already; None: those of the data.
          pad_id: the id that texts are padded with: the model's. Sequences that are drawn, and the
            windows of a language model, which sees nothing beyond their end, are padded with 0.
        """


def quoted(names: Sequence[str]) -> str:
    """Names for an error message, the first few of many.

    >>> quoted(["a", "b"])
    "'a', 'b'"
    """
    more = f", … ({len(names)} in all)" if len(names) > MAX_QUOTED else ""
    return ", ".join(map(shown, names[:MAX_QUOTED])) + more
