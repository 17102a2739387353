"""Texts with a class each.

Shapes: B examples in a batch, L length. A batch has `inputs` int32 [B, L], `targets` int32 [B] and
`weights` float32 [B].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from zoo.config import ConfigError
from zoo.pipelines import ops, sources
from zoo.pipelines.base import Array, Batch, DataConfig, Facts
from zoo.pipelines.delivery import deliver
from zoo.pipelines.rows import IndexedRows, Limits, Splits, StreamedRows
from zoo.pipelines.sources import Source
from zoo.tokenizers import Tokenizer, TokenizerConfig

TEXT = "text"
"""The column of texts in the user's own tuples."""

SHORTEST, LONGEST = 16, 2**20
"""The smallest and the largest length that batches without boundaries are padded to."""

ANY: Limits = (0, None)


@dataclass(frozen=True, kw_only=True)
class TextClassificationData(DataConfig):
    """Texts with a class each: a TFDS data set, the user's files, or rows that are handed over.

    A text without tokens is no error: it is a row of padding that counts like any other, unless
    `min_len` leaves it out of training.
    """

    name: str | None = None
    """A TFDS data set, as `imdb_reviews`; None: the files named below."""
    train: str | None = None
    """Training rows: a CSV, TSV or JSONL file, or TFDS's expression for a split (None: `train`)."""
    validation: str | None = None
    """Rows for validation, likewise; None: TFDS's split of that name, else `holdout`."""
    test: str | None = None
    """Rows for the test, likewise; None: TFDS's split of that name, else none."""
    text_column: tuple[str, ...] = (TEXT,)
    """Column of the text; several are joined by a space."""
    label_column: str = "label"
    """Column of the class, by name or by number."""
    labels: tuple[str, ...] | None = None
    """The classes in order; None: those of TFDS, or all that occur in training, sorted."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """What turns texts into ids; a vocabulary without a file is trained on the training rows."""
    max_len: int | None = None
    """Longest text, in tokens; None: no limit."""
    overlong: Literal["truncate", "drop"] = "truncate"
    """What becomes of longer texts in training. In evaluation they are truncated."""
    min_len: int = 0
    """Shorter texts, in tokens, are left out of training."""
    boundaries: tuple[int, ...] = ()
    """Lengths between which training batches are gathered; (): batches of all lengths."""
    batch_sizes: tuple[int, ...] | None = None
    """Batch size of each bucket, one more than the boundaries; None: the recipe's for each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.text_column or isinstance(self.text_column, str):
            raise ConfigError(
                f"text_column is {self.text_column!r}; it is a tuple of names, as ('title', 'body')"
            )
        if self.max_len is not None and self.max_len < max(self.min_len, 1):
            raise ConfigError(
                f"max_len is {self.max_len}; it must be 1 or more and not below min_len, "
                f"which is {self.min_len}"
            )
        ops.check_buckets(self.boundaries, self.batch_sizes)

    def whole(self) -> TextClassificationData:
        """See `DataConfig.whole`."""
        return dataclasses.replace(self, holdout=0.0, min_len=0, overlong="truncate")

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> TextData:
        """See `DataConfig.open`. Tuples are (text, class); a mapping has the columns by name."""
        found = self._files() if rows is None else {"train": self._given(rows)}
        labels = labels or self.labels
        found, labels = sources.for_classes(found, self.label_column, labels, self)
        if tokenizer is None:
            training = found["train"]
            tokenizer = self.tokenizer.build(lambda: training.texts(TEXT))
        facts = Facts(
            tokenizer=tokenizer,
            labels=labels,
            decides={"vocab_size": tokenizer.vocab_size, "num_classes": len(labels)},
            preprocessing={} if self.max_len is None else {"max_len": self.max_len},
            num_examples={split: source.count() for split, source in found.items()},
        )
        return TextData(self, facts, tokenizer, found)

    def _files(self) -> dict[str, Source]:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        wanted = (*self.text_column, self.label_column)
        found = sources.from_splits(self.name, splits, wanted, self.data_dir)
        return {split: source.join(self.text_column, TEXT) for split, source in found.items()}

    def _given(self, rows: Any) -> Source:
        source = sources.from_user(rows, (TEXT, self.label_column))
        whole = set(self.text_column) <= set(source.names)
        joined = source.join(self.text_column if whole else (TEXT,), TEXT)
        return joined.select((TEXT, self.label_column))


class TextData:
    """`TextClassificationData`, opened."""

    def __init__(
        self,
        config: TextClassificationData,
        facts: Facts,
        tokenizer: Tokenizer,
        found: Mapping[str, Source],
    ) -> None:
        self.facts = facts
        self._config, self._tokenizer, self._sources = config, tokenizer, dict(found)
        self._rows = Splits(found, self._read)

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: slice | None = None
    ) -> Iterator[Batch]:
        """See `Data.train`. The batch sizes of the buckets go before `batch_size`.

        Raises:
          ConfigError: `min_len` and `max_len` leave no row.
        """
        config, training = self._config, self._rows["train"]
        if not (config.boundaries or self._limits != ANY):
            return deliver(training.batches(batch_size, seed, start), batch_size, rows)
        if self._limits != ANY and not any(training.grouped((), [1], self._limits)):
            raise ConfigError(
                f"no training text has between min_len={config.min_len} and "
                f"max_len={config.max_len} tokens"
            )
        sizes = config.batch_sizes or [batch_size] * (len(config.boundaries) + 1)
        batches = training.grouped(self._boundaries, sizes, self._limits, seed, start)
        return deliver(batches, batch_size, rows)

    def evaluate(
        self, split: str, batch_size: int, *, rows: slice | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `Data.evaluate`. The texts of a batch have similar lengths."""
        limits = self._limits if split == "train" else ANY
        sizes = [batch_size] * (len(self._lengths) + 1)
        batches = self._rows[split].grouped(self._lengths, sizes, limits, limit=limit)
        return deliver(batches, batch_size, rows, fill=True)

    @property
    def _boundaries(self) -> tuple[int, ...]:
        """Those of the config, but none above the length to which texts are cut."""
        config = self._config
        if config.max_len is None or config.overlong == "drop":
            return config.boundaries
        return tuple(min(boundary, config.max_len) for boundary in config.boundaries)

    @property
    def _lengths(self) -> tuple[int, ...]:
        """The lengths that batches are padded to: the boundaries, then powers of two."""
        lengths = list(dict.fromkeys(self._boundaries))
        longest = self._config.max_len or LONGEST
        while (last := lengths[-1] if lengths else 0) < longest:
            lengths.append(min(max(1 << last.bit_length(), SHORTEST), longest))
        return tuple(lengths)

    @property
    def _limits(self) -> Limits:
        """The lengths to which training is confined."""
        drop = self._config.overlong == "drop"
        return self._config.min_len, self._config.max_len if drop else None

    def _read(self, split: str) -> IndexedRows | StreamedRows:
        # Once the rows are read their source, which may hold all texts, is not needed.
        config, source = self._config, self._sources.pop(split)
        cut = None if split == "train" and config.overlong == "drop" else config.max_len
        label, labels = config.label_column, self.facts.labels
        if not config.cache and source.arrays is None:
            examples = ops.pipe(
                source.dataset,
                ops.select(inputs=TEXT, targets=label),
                ops.look_up("targets", source.target_table(label, labels)),
                ops.tokenize(self._tokenizer),
                *([] if cut is None else [ops.truncate(inputs=cut)]),
                ops.add_weights(),
            )
            pad = ops.pad_to_bucket(self._lengths)
            return StreamedRows(examples, source.count(), config.shuffle_buffer, pad)

        def encode(text: str) -> list[int]:
            return self._tokenizer.encode(text)[:cut]

        source = source.cached()
        targets = source.targets(label, labels)
        store = _Texts(source.texts(TEXT), targets, encode, self._lengths, keep=config.cache)
        return IndexedRows(source.count(), store.fetch, store.measure)


class _Texts:
    """Texts in memory. One becomes ids when it is first needed: training starts at once."""

    def __init__(
        self,
        texts: Iterable[str],
        targets: Array,
        encode: Callable[[str], list[int]],
        lengths: Sequence[int],
        *,
        keep: bool,
    ) -> None:
        """
        Args:
          texts: one a row.
          targets: the class of each: int32 [N].
          encode: a text -> its ids.
          lengths: batches are padded to these, as `ops.pad_to_bucket` does.
          keep: hold the ids instead of the text once they are known.
        """
        self._rows: list[str | Array] = list(texts)
        self._targets, self._encode = targets, encode
        self._lengths, self._keep = lengths, keep

    def measure(self, rows: Array) -> Array:
        """The number of tokens of each row."""
        return np.array([len(self._ids(row)) for row in rows.tolist()], np.int64)

    def fetch(self, rows: Array, wanted: slice) -> Batch:
        """Some rows of a batch, padded as the whole batch is."""
        examples = [self._ids(row) for row in rows.tolist()]
        longest = max(map(len, examples))
        length = ops.padded_size(longest, ops.boundary_of(longest, self._lengths))
        targets = self._targets[rows[wanted]]
        inputs = np.zeros((len(targets), length), np.int32)
        for row, ids in zip(inputs, examples[wanted], strict=True):
            row[: len(ids)] = ids
        weights = np.ones(len(targets), np.float32)
        return {"inputs": inputs, "targets": targets, "weights": weights}

    def _ids(self, number: int) -> Array:
        row = self._rows[number]
        if not isinstance(row, str):
            return row
        ids = np.array(self._encode(row), np.int32)
        if self._keep:
            self._rows[number] = ids
        return ids
