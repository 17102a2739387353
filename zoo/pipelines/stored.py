"""Data sets on disk: which splits there are, and where each is read from."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from zoo.config import ConfigError
from zoo.pipelines.base import DataConfig, quoted
from zoo.pipelines.sources.formats import Options
from zoo.pipelines.sources.source import Source, chained
from zoo.pipelines.sources.tfds import Prepared
from zoo.tokenizers import reading

SPLITS = ("train", "validation", "test")
"""The names of splits."""


def splits_of(rows: Any) -> dict[str, Any] | None:
    """The splits of rows that the user hands over by split; None: they are not.

    >>> splits_of({"train": [("good", 1)], "test": [("bad", 0)]})
    {'train': [('good', 1)], 'test': [('bad', 0)]}

    Raises:
      ConfigError: something else is among the splits.
    """
    if not isinstance(rows, Mapping) or not ("train" in rows or (rows and {*rows} <= {*SPLITS})):
        return None
    if others := [name for name in rows if name not in SPLITS]:
        raise ConfigError(
            f"data has {quoted(list(rows))}; beside splits ({', '.join(SPLITS)}) there can be no "
            f"{others[0]!r}"
        )
    return {split: given for split, given in rows.items() if given is not None}


@dataclass(frozen=True, kw_only=True)
class FileData(DataConfig):
    """Data that may be in files of text."""

    encoding: str = reading.UTF8
    """Encoding of files that do not begin with a byte order mark. Several, as in `utf-8, cp1252`,
    are tried in this order."""
    quotes: bool | None = None
    """Whether fields of tables may be in quotes, and hold separators and line breaks then. None: in
    CSV they may; in TSV a quote is an ordinary character."""

    def __post_init__(self) -> None:
        super().__post_init__()
        reading.encodings(self.encoding)

    @property
    def file_options(self) -> Options:
        """How the files are written."""
        return Options(encoding=self.encoding, quotes=self.quotes)


@dataclass(frozen=True, kw_only=True)
class StoredData(DataConfig):
    """A TFDS data set, the user's files, or rows that the user hands over."""

    name: str | None = None
    """A TFDS data set such as `imdb_reviews` or `wikiann/en`; None: the files named below."""
    download: bool = False
    """Let TFDS download and prepare the data set if it is in none of the folders: into `data_dir`,
    or else the first folder of TFDS_DATA_DIR, ZOO_DATA_DIR/tfds and TFDS's own."""
    train: tuple[str, ...] = ()
    """Training files, or split expressions of TFDS such as `train[:10%]`; (): TFDS's `train`."""
    validation: tuple[str, ...] = ()
    """Files or split expressions for validation; (): TFDS's split of that name, else `holdout`."""
    test: tuple[str, ...] = ()
    """Files or split expressions for the test; (): TFDS's split of that name, else none."""

    files: ClassVar[str] = "files"
    """Which files `train` takes, for an error message."""
    streams: ClassVar[bool] = False
    """Whether the data can be used with `cache=False`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_tuples("train", "validation", "test")
        if not self.cache and not self.streams:
            raise ConfigError(
                f"cache is False; {type(self).__name__} keeps its rows in memory: leave it at True"
            )

    def read_splits(self, rows: Any) -> dict[str, Source]:
        """The rows of each split: those that are handed over, of TFDS, or of files.

        Args:
          rows: the user's own training rows, or a mapping of splits to rows; None: those that the
            config names.

        Raises:
          ConfigError: there is nothing to train on.
        """
        if rows is not None:
            splits = splits_of(rows) or {"train": rows}
            if "train" not in splits:
                raise ConfigError(
                    f"data has the splits {quoted(list(splits))}, but none named 'train'"
                )
            return {split: self.read_rows(given) for split, given in splits.items()}
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        if self.name is not None:
            data_set = Prepared(self.name, self.data_dir, download=self.download)
            return {
                split: self.read_tfds(data_set, "+".join(parts) or split)
                for split, parts in named.items()
                if parts or split in data_set.splits or split == "train"
            }
        if not self.train:
            raise ConfigError(
                f"no training data: give data.name, a TFDS data set, or data.train, {self.files}"
            )
        return {split: self.read_files(paths) for split, paths in named.items() if paths}

    def read_files(self, paths: Sequence[str]) -> Source:
        """The rows of some files, one file after the other."""
        return chained([self.read_file(path) for path in paths])

    @abc.abstractmethod
    def read_rows(self, rows: Any) -> Source:
        """The rows that the user hands over."""

    @abc.abstractmethod
    def read_tfds(self, data_set: Prepared, expression: str) -> Source:
        """The rows of a split of a TFDS data set."""

    @abc.abstractmethod
    def read_file(self, path: str) -> Source:
        """The rows of a file."""
