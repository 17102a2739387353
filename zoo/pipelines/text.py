"""Texts with a class each.

Shapes: B examples in a batch, L their padded length. A batch has `inputs` int32 [B, L], `targets`
int32 [B] and `weights` float32 [B].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from zoo.config import ConfigError
from zoo.pipelines import ops
from zoo.pipelines.base import Array, Batch, Example, Facts, Rows
from zoo.pipelines.delivery import deliver
from zoo.pipelines.lengths import boundary_of, check_buckets, padded_size
from zoo.pipelines.rows import ANY, Bounds, IndexedRows, LazySplits, StreamedRows
from zoo.pipelines.sources import formats, holdout, opening
from zoo.pipelines.sources import labels as classes
from zoo.pipelines.sources.source import Source
from zoo.pipelines.sources.tfds import Prepared
from zoo.pipelines.stored import FileData, StoredData
from zoo.pipelines.tfdata import traced
from zoo.tokenizers import Tokenizer, TokenizerConfig

TEXT = "text"
"""The column of texts, also in the user's own tuples."""

SHORTEST, LONGEST = 16, 2**20
"""The smallest and the largest length that batches beyond the boundaries are padded to."""


@dataclass(frozen=True, kw_only=True)
class TextClassificationData(StoredData, FileData):
    """Texts with a class each: a TFDS data set, the user's files, or rows that are handed over.

    A text without tokens is no error: it is a row of padding that counts like any other, unless
    `min_len` leaves it out of training.
    """

    text_column: tuple[str, ...] = (TEXT,)
    """Column of the text; several are joined by a space."""
    label_column: str = "label"
    """Column of the class, by name or by number."""
    labels: tuple[str, ...] | None = None
    """The classes in order; None: those of TFDS, or all that occur in training, sorted."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """Turns texts into ids. A vocabulary without a file is trained on the training rows."""
    max_len: int | None = None
    """Longest text, in tokens; None: no limit."""
    overlong: Literal["truncate", "drop"] = "truncate"
    """Truncate longer texts in training, or leave them out. Evaluation truncates them."""
    min_len: int = 0
    """Texts with fewer tokens are left out of training."""
    boundaries: tuple[int, ...] = ()
    """Lengths between which training batches are gathered; (): batches of all lengths."""
    batch_sizes: tuple[int, ...] | None = None
    """Batch size of each bucket, one more than the boundaries; None: the recipe's for each."""

    files: ClassVar[str] = f"files ({', '.join(formats.SUFFIXES)})"
    streams: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.text_column or isinstance(self.text_column, str):
            raise ConfigError(
                f"text_column is {self.text_column!r}; it must be a tuple of names, such as "
                "('title', 'body')"
            )
        if self.max_len is not None and self.max_len < max(self.min_len, 1):
            raise ConfigError(
                f"max_len is {self.max_len}; it must be 1 or more and not below min_len, "
                f"which is {self.min_len}"
            )
        check_buckets(self.boundaries, self.batch_sizes)

    def keeping_all_rows(self) -> TextClassificationData:
        """See `DataConfig.keeping_all_rows`."""
        return dataclasses.replace(self, holdout=0.0, min_len=0, overlong="truncate")

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
        pad_id: int = 0,
    ) -> TextData:
        """See `DataConfig.open`. Tuples are (text, class); a mapping has the columns by name."""
        splits = self.read_splits(rows)
        if self.cache:
            splits["train"] = splits["train"].cached()
        labels = classes.checked(splits, self.label_column, labels or self.labels)
        splits, fingerprints = holdout.with_validation(splits, self.holdout)
        if tokenizer is None:
            tokenizer = self.tokenizer.build(lambda: splits["train"].texts(TEXT))
        facts = Facts(
            tokenizer=tokenizer,
            labels=labels,
            decides={"vocab_size": tokenizer.vocab_size, "num_classes": len(labels)},
            preprocessing={} if self.max_len is None else {"max_len": self.max_len},
            num_examples={split: source.count() for split, source in splits.items()},
            fingerprints=fingerprints,
        )
        return TextData(self, facts, splits, tokenizer, pad_id)

    def read_rows(self, rows: Any) -> Source:
        """See `StoredData.read_rows`."""
        names = (TEXT, self.label_column)
        source = opening.from_user(rows, names, instead=self.text_column)
        all_columns = set(self.text_column) <= set(source.names)
        joined = source.join(self.text_column if all_columns else (TEXT,), TEXT)
        return joined.select((TEXT, self.label_column))

    def read_tfds(self, data_set: Prepared, expression: str) -> Source:
        """See `StoredData.read_tfds`."""
        source = opening.from_prepared(data_set, expression)
        return source.select(self._columns).join(self.text_column, TEXT)

    def read_file(self, path: str) -> Source:
        """See `StoredData.read_file`."""
        source = opening.from_file(path, self._columns, self.data_dir, self.file_options)
        return source.join(self.text_column, TEXT)

    @property
    def _columns(self) -> tuple[str, ...]:
        return (*self.text_column, self.label_column)


class TextData:
    """`TextClassificationData`, opened."""

    def __init__(
        self,
        config: TextClassificationData,
        facts: Facts,
        splits: Mapping[str, Source],
        tokenizer: Tokenizer,
        pad_id: int,
    ) -> None:
        self.facts = facts
        self._config, self._tokenizer, self._pad_id = config, tokenizer, pad_id
        self._sources = LazySplits(splits, splits.__getitem__)
        self._rows = LazySplits(splits, self._read)

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: Rows | None = None
    ) -> Iterator[Batch]:
        """See `Data.train`. The batch sizes of the buckets go before `batch_size`.

        Raises:
          ConfigError: `min_len` and `max_len` leave no row.
        """
        config, training = self._config, self._rows["train"]
        if not (config.boundaries or self._bounds != ANY):
            return deliver(training.batches(batch_size, seed, start), batch_size, rows)
        if self._bounds != ANY and not any(training.grouped((), [1], self._bounds)):
            raise ConfigError(
                f"no training text has between min_len={config.min_len} and "
                f"max_len={config.max_len} tokens"
            )
        sizes = config.batch_sizes or [batch_size] * (len(config.boundaries) + 1)
        batches = training.grouped(self._boundaries, sizes, self._bounds, seed, start)
        return deliver(batches, batch_size, rows)

    def evaluate(
        self, split: str, batch_size: int, *, rows: Rows | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `Data.evaluate`. The texts of a batch have similar lengths."""
        bounds = self._bounds if split == "train" else ANY
        sizes = [batch_size] * (len(self._lengths) + 1)
        batches = self._rows[split].grouped(self._lengths, sizes, bounds, limit=limit)
        return deliver(batches, batch_size, rows, fill=True)

    def examples(self, split: str, number: int) -> list[Example]:
        """See `Data.examples`."""
        source, column = self._sources[split].head(number), self._config.label_column
        targets = classes.targets(source, column, self.facts.labels)
        weight = np.ones((), np.float32)
        return [
            Example(
                raw={"text": text, "label": self.facts.labels[target]},
                arrays={
                    "inputs": self._encode(split, text),
                    "targets": np.asarray(target),
                    "weights": weight,
                },
            )
            for text, target in zip(source.texts(TEXT), targets, strict=True)
        ]

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
    def _bounds(self) -> Bounds:
        """The lengths of texts that are trained on."""
        drop = self._config.overlong == "drop"
        return self._config.min_len, self._config.max_len if drop else None

    def _longest(self, split: str) -> int | None:
        """The number of tokens to which texts of a split are cut; None: they are not."""
        drop = split == "train" and self._config.overlong == "drop"
        return None if drop else self._config.max_len

    def _encode(self, split: str, text: str) -> Array:
        return np.array(self._tokenizer.encode(text)[: self._longest(split)], np.int32)

    def _read(self, split: str) -> IndexedRows | StreamedRows:
        config, source = self._config, self._sources[split]
        label, labels = config.label_column, self.facts.labels
        if not config.cache and source.arrays is None:
            longest = self._longest(split)
            examples = ops.pipe(
                source.dataset,
                ops.select(inputs=TEXT, targets=label),
                ops.look_up("targets", classes.table_of_column(source, label, labels)),
                ops.tokenize(self._tokenizer),
                *([] if longest is None else [ops.truncate(inputs=longest)]),
                ops.add_weights(),
                _shifted(-self._pad_id),  # tf.data pads with 0
            )
            to_bucket, back = ops.pad_to_bucket(self._lengths), _shifted(self._pad_id)
            return StreamedRows(
                examples,
                source.count(),
                config.shuffle_buffer,
                lambda batches: back(to_bucket(batches)),
            )

        source = source.cached()
        store = _Texts(
            source.texts(TEXT),
            classes.targets(source, label, labels),
            lambda text: self._encode(split, text),
            self._lengths,
            self._pad_id,
            keep=config.cache,
        )
        return IndexedRows(source.count(), store.fetch, store.lengths)


def _shifted(by: int) -> ops.Step:
    """Rows or batches with another number for each id."""

    def run(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "inputs": row["inputs"] + by}

    return lambda dataset: dataset.map(traced(run)) if by else dataset


class _Texts:
    """Texts in memory. One becomes ids when it is first needed: training starts at once."""

    def __init__(
        self,
        texts: Iterable[str],
        targets: Array,
        encode: Callable[[str], Array],
        padded_lengths: Sequence[int],
        pad_id: int,
        *,
        keep: bool,
    ) -> None:
        """
        Args:
          texts: one for each row.
          targets: the class of each: int32 [N].
          encode: a text -> its ids.
          padded_lengths: batches are padded to these, as `ops.pad_to_bucket` does.
          pad_id: the id of padding.
          keep: hold the ids instead of the text once they are known.
        """
        self._rows: list[str | Array] = list(texts)
        self._targets, self._encode = targets, encode
        self._padded_lengths, self._pad_id, self._keep = padded_lengths, pad_id, keep

    def lengths(self, rows: Array) -> Array:
        """The number of tokens of each row."""
        return np.array([len(self._ids(row)) for row in rows.tolist()], np.int64)

    def fetch(self, rows: Array, wanted: slice) -> Batch:
        """Some rows of a batch, padded as the whole batch is."""
        examples = [self._ids(row) for row in rows.tolist()]
        longest = max(map(len, examples))
        length = padded_size(longest, boundary_of(longest, self._padded_lengths))
        targets = self._targets[rows[wanted]]
        inputs = np.full((len(targets), length), self._pad_id, np.int32)
        for row, ids in zip(inputs, examples[wanted], strict=True):
            row[: len(ids)] = ids
        weights = np.ones(len(targets), np.float32)
        return {"inputs": inputs, "targets": targets, "weights": weights}

    def _ids(self, number: int) -> Array:
        row = self._rows[number]
        if not isinstance(row, str):
            return row
        ids = self._encode(row)
        if self._keep:
            self._rows[number] = ids
        return ids
