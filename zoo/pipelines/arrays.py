"""Rows of numbers, for models and losses of your own: `zoo.arrays("houses.csv", target="price")`.

Shapes: B examples in a batch, F columns. A batch has `inputs` float32 [B, F] (or [B, ...] where one
array is the input), `targets` float32 [B], [B, K] with K target columns, or int32 [B] where the
targets are classes, and `weights` float32 [B].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.config import ConfigError, LookupMistake, ValueMistake, did_you_mean
from zoo.pipelines.base import Array, Batch, ColumnError, Example, Facts, Fingerprint, Rows, quoted
from zoo.pipelines.delivery import deliver
from zoo.pipelines.rows import IndexedRows
from zoo.pipelines.sources import formats, holdout, locations, missing, opening
from zoo.pipelines.sources import labels as classes
from zoo.pipelines.sources.formats import Options
from zoo.pipelines.sources.source import Source
from zoo.pipelines.stored import FileData, splits_of
from zoo.pipelines.tfdata import is_dataset
from zoo.preprocessing import ArrayPreprocessing
from zoo.tokenizers import Tokenizer

Columns = Mapping[str, Array]
"""The columns of a table, or arrays with one entry for each row: all [N, ...]."""


@dataclass(frozen=True, kw_only=True)
class ArrayData(FileData):
    """Columns of a CSV, TSV or JSONL file, of one of your own format (`file_format`), or the arrays
    of an NPZ file."""

    train: str | None = None
    """File of the training rows."""
    validation: str | None = None
    """File of the validation rows; None: `holdout` of the training rows."""
    test: str | None = None
    """File of the test rows; None: no test split."""
    target: tuple[str, ...] = ("target",)
    """The column to predict, or several columns of numbers."""
    inputs: tuple[str, ...] = ()
    """Columns of the input, in order, or the name of one array; (): all but the targets."""
    labels: tuple[str, ...] | None = None
    """The classes in order, which makes the target a class; None: all that occur if the target
    column is text, else it is a number."""
    standardise: bool = False
    """Scale each column to mean 0 and variance 1 over the training rows; a predictor does too."""
    mean: tuple[float, ...] = ()
    """Means of the columns to scale by; (): those of the training rows, with `standardise`."""
    std: tuple[float, ...] = ()
    """Their standard deviations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_tuples("target", "inputs", "labels")
        if not self.target:
            raise ConfigError("target is (); name a column")

    def matching(self, preprocessing: Mapping[str, Any]) -> ArrayData:
        """See `DataConfig.matching`: the same columns, scaled in the same way."""
        card = ArrayPreprocessing.from_card(preprocessing)
        return dataclasses.replace(
            self, inputs=card.columns or self.inputs, mean=card.mean, std=card.std
        )

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
        pad_id: int = 0,
    ) -> Arrays:
        """See `DataConfig.open`. Tuples are (input, target); a mapping has the columns by name."""
        splits = self._files() if rows is None else self._given(rows)
        training = splits["train"]
        names = self._input_names(training)
        labels = classes.normalised(labels or self.labels or ())
        if _is_text(target := training[self.target[0]]):
            # A column of numbers with a gap in it is text, but holds no classes.
            missing.check_names(target, f"the train rows: column {self.target[0]!r}", "value")
            labels = labels or classes.sorted_names(target.tolist())
        if labels and len(self.target) > 1:
            raise ConfigError(f"target is {self.target}; a class is one column")
        splits, fingerprints = self._with_validation(splits, (*names, *self.target))
        tables = {
            split: self._table(split, columns, names, labels or ())
            for split, columns in splits.items()
        }
        inputs = tables["train"]["inputs"]
        shape = inputs.shape[1:]
        prepare = ArrayPreprocessing(columns=names if shape == (len(names),) else ())
        if self.mean:
            prepare = dataclasses.replace(prepare, mean=self.mean, std=self.std)
        elif self.standardise:
            prepare = prepare.standardising(inputs)
        raw = {split: table["inputs"] for split, table in tables.items()}
        for table in tables.values():
            table["inputs"] = prepare.scale(table["inputs"])
        facts = Facts(
            labels=labels or (),
            decides={
                "input_shape": shape,
                "inputs": ((shape, "float32"),),
                "num_classes": len(labels) if labels else None,
            },
            preprocessing=prepare.to_dict(),
            num_examples={split: len(table["inputs"]) for split, table in tables.items()},
            fingerprints=fingerprints,
        )
        return Arrays(facts, tables, raw)

    def _files(self) -> dict[str, Columns]:
        if self.train is None:
            raise ConfigError("data.train is not set; name a file of training rows, or pass data=")
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            split: _arrays(self._read(path), path)
            for split, path in named.items()
            if path is not None
        }

    def _read(self, path: str) -> Columns:
        return read_columns(locations.find_file(path, self.data_dir), self.file_options)

    def _given(self, rows: Any) -> dict[str, Columns]:
        if is_dataset(rows):
            raise ConfigError(
                "data is a tf.data.Dataset; give a mapping of columns, such as "
                "{'inputs': x, 'target': y}, or of splits to such mappings"
            )
        names = (*(self.inputs or ("inputs",)), *self.target)
        splits = splits_of(rows) or {"train": rows}
        return {
            split: _arrays(opening.user_columns(given, names), f"the {split} rows")
            for split, given in splits.items()
        }

    def _with_validation(
        self, splits: dict[str, Columns], names: tuple[str, ...]
    ) -> tuple[dict[str, Columns], dict[str, Fingerprint]]:
        """The splits with one for validation: only the columns that are used tell rows apart."""
        sources = {
            split: Source(
                origin=f"the {split} rows",
                arrays={name: columns[name] for name in columns if name in names},
                num_rows=_count(columns),
            )
            for split, columns in splits.items()
        }
        sources, fingerprints = holdout.with_validation(sources, self.holdout)
        return {split: source.arrays or {} for split, source in sources.items()}, fingerprints

    def _input_names(self, columns: Columns) -> tuple[str, ...]:
        """The columns of the input; whether all that are named are there."""
        for name in (*self.target, *self.inputs):
            if name not in columns:
                raise ColumnError(
                    f"there is no column {name!r}{did_you_mean(name, columns)}; the columns are "
                    f"{quoted(tuple(columns))}"
                )
        names = self.inputs or tuple(name for name in columns if name not in self.target)
        if not names:
            raise ColumnError(f"there is no column besides the target {quoted(self.target)}")
        return names

    def _table(
        self, split: str, columns: Columns, names: tuple[str, ...], labels: tuple[str, ...]
    ) -> Batch:
        """All rows of a split as one batch."""
        if lacking := [name for name in (*names, *self.target) if name not in columns]:
            raise ColumnError(f"the {split} rows have no column {lacking[0]!r}")
        inputs = _joined({name: columns[name] for name in names}, split)
        if labels:
            where = f"the {split} rows: column {self.target[0]!r}"
            missing.check_names(columns[self.target[0]], where)
            values = columns[self.target[0]].tolist()
            table = classes.table(values, labels, f"the {split} rows")
            targets = np.array([table[value] for value in values], np.int32)
        else:
            targets = _joined({name: columns[name] for name in self.target}, split)
            targets = targets[:, 0] if targets.shape[1:] == (1,) else targets
        return {"inputs": inputs, "targets": targets, "weights": np.ones(len(inputs), np.float32)}


class Arrays:
    """`ArrayData`, opened: all rows are in memory."""

    def __init__(self, facts: Facts, tables: Mapping[str, Batch], raw: Mapping[str, Array]) -> None:
        """
        Args:
          facts: what is known of the data.
          tables: all rows of each split as one batch.
          raw: their inputs before scaling.
        """
        self.facts = facts
        self._tables, self._raw = tables, raw

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: Rows | None = None
    ) -> Iterator[Batch]:
        """See `Data.train`."""
        return deliver(self._rows("train").batches(batch_size, seed, start), batch_size, rows)

    def evaluate(
        self, split: str, batch_size: int, *, rows: Rows | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `Data.evaluate`."""
        batches = self._rows(split).batches(batch_size, limit=limit)
        return deliver(batches, batch_size, rows, fill=True)

    def examples(self, split: str, number: int) -> list[Example]:
        """See `Data.examples`."""
        table = self._table(split)
        names = self.facts.preprocessing.get("columns", ())
        found = []
        for row in range(min(number, len(table["inputs"]))):
            arrays = {name: array[row] for name, array in table.items()}
            values = self._raw[split][row]
            raw = dict(zip(names, values.tolist(), strict=True)) if names else {"inputs": values}
            found.append(Example(raw=raw | {"target": arrays["targets"]}, arrays=arrays))
        return found

    def _table(self, split: str) -> Batch:
        if split not in self._tables:
            raise LookupMistake(
                f"the data has no split {split!r}; it has {quoted(tuple(self._tables))}"
            )
        return self._tables[split]

    def _rows(self, split: str) -> IndexedRows:
        table = self._table(split)

        def fetch(numbers: Array, wanted: slice) -> Batch:
            return {name: array[numbers[wanted]] for name, array in table.items()}

        return IndexedRows(len(table["inputs"]), fetch)


def arrays(
    train: str | None = None,
    *,
    target: str | tuple[str, ...] = ("target",),
    **fields: Any,
) -> ArrayData:
    """Rows of numbers as the data of a recipe.

    >>> zoo.arrays("houses.csv", target="price", standardise=True)  # doctest: +SKIP

    Args:
      train: file of the training rows: CSV, TSV, JSONL, NPZ, or of your own format (`file_format`).
      target: the column to predict, or several.
      fields: other fields of `ArrayData`.

    Raises:
      ConfigError: there is no such field, or its value is of the wrong type.
    """
    target = (target,) if isinstance(target, str) else tuple(target)
    return ArrayData(train=train, target=target, **fields)


def read_columns(path: Path, options: Options = formats.DEFAULTS) -> Columns:
    """The columns of a CSV, TSV or JSONL file, or the arrays of an NPZ file.

    Raises:
      ValueError: it is broken, or of another kind.
    """
    if path.suffix.lower() == ".npz":
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return dict(stored)
        except Exception as error:  # zipfile's, zlib's and NumPy's own
            raise ValueMistake(f"{path} is not an NPZ file of numbers: {error}") from error
    return {name: _parsed(values) for name, values in formats.read(path, options=options).items()}


def _parsed(values: list[Any]) -> Array:
    """A column of a text file: numbers where all are, else text."""
    try:
        return np.array(values, np.float64)
    except (ValueError, OverflowError):  # text, or an int beyond all floats
        return np.array([str(value) for value in values], object)


def _arrays(columns: Mapping[str, Any], where: str) -> Columns:
    """Columns as arrays of the same length."""
    arrays = {name: _array(values, f"{where}: column {name!r}") for name, values in columns.items()}
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if not lengths or 0 in lengths.values():
        raise ValueMistake(f"{where} has no rows")
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueMistake(f"the columns of {where} differ in their number of rows: {listed}")
    return arrays


def _array(values: Any, where: str) -> Array:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueMistake(f"{where} has values of several shapes ({error})") from error
    if array.dtype.kind in "cmM":
        raise ValueMistake(f"{where} holds {array.dtype}; it must be real numbers or text")
    return array


def _count(columns: Columns) -> int:
    return len(next(iter(columns.values())))


def _is_text(array: Array) -> bool:
    return array.dtype.kind in "OUS"


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _joined(columns: Columns, where: str) -> Array:
    """Columns of numbers side by side: float32 [N, F]; one array of more axes as it is.

    Raises:
      ValueError: a value is text, missing or infinite; the message has column and row.
    """
    columns = dict(columns)
    for name, array in columns.items():
        if _is_text(array):
            for row, value in enumerate(array.tolist(), start=1):
                if not _is_number(value):
                    raise ValueMistake(
                        f"column {name!r} of the {where} rows has {value!r:.30} in row {row}, "
                        "which is not a number; choose other columns with data.inputs, or mend the "
                        "row"
                    )
            columns[name] = array = array.astype(np.float64)
        with np.errstate(over="ignore"):  # what is beyond float32 is infinite there
            narrow = array.astype(np.float32)
        bad = ~np.isfinite(narrow).reshape(len(array), -1).all(axis=1)
        if bad.any():
            raise ValueMistake(
                f"column {name!r} of the {where} rows has no finite number in row "
                f"{int(bad.argmax()) + 1}"
            )
    if len(columns) == 1 and (only := next(iter(columns.values()))).ndim > 1:
        return only.astype(np.float32)
    if wide := [name for name, array in columns.items() if array.ndim > 1]:
        raise ConfigError(
            f"{wide[0]!r} has more than one number in each row, so it cannot be joined with other "
            f"columns; name it as the only one: data.inputs=({wide[0]!r},)"
        )
    return np.stack(list(columns.values()), axis=1).astype(np.float32)
