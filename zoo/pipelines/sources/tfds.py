"""TFDS data sets that were prepared on disk before, or are on request."""

from __future__ import annotations

import importlib
import logging
import os
from typing import Any

from zoo.config import FileMistake, LookupMistake, PackageMistake, ValueMistake, did_you_mean, local
from zoo.pipelines.base import quoted
from zoo.pipelines.sources import locations
from zoo.pipelines.tfdata import Dataset, tensorflow, traced

CHUNK = 256
"""Number of examples that are parsed at once."""


class Prepared:
    """A TFDS data set on disk.

    Args:
      name: as in `locations.find_tfds`.
      data_dir: the folder to look into first.
      download: let TFDS download and prepare the data set if it is in none of the folders.

    Raises:
      FileNotFoundError: the data set is in none of the folders, and is not to be downloaded, or
        cannot be.
      ImportError: tensorflow-datasets is not installed.
    """

    def __init__(self, name: str, data_dir: str | None = None, *, download: bool = False) -> None:
        tensorflow()
        try:
            self._tfds = importlib.import_module("tensorflow_datasets")
        except ImportError as error:
            raise PackageMistake(
                f'TFDS data sets need tensorflow-datasets ({error}): pip install "flax-zoo[train]"'
            ) from error
        # The files on disk describe themselves; TFDS's builder of that name would ask the network.
        try:
            folder = locations.find_tfds(name, data_dir)
        except FileMistake:
            if not download:
                raise
            self._prepare(name, data_dir)
            folder = locations.find_tfds(name, data_dir)
        self._builder = self._tfds.builder_from_directory(folder)
        self._info = self._builder.info
        self.name: str = self._info.full_name
        """Name, configuration and version."""

    def _prepare(self, name: str, data_dir: str | None) -> None:
        """Downloads and prepares a data set, into the first of the folders that are searched.

        Raises:
          FileNotFoundError: it cannot be, or ZOO_OFFLINE is set.
        """
        folders = locations.tfds_folders(data_dir)
        listed = ", ".join(map(str, folders))
        if os.environ.get("ZOO_OFFLINE", "0") not in ("", "0"):
            raise FileMistake(
                f"the data set {name!r} is not in {listed}, and is not downloaded, because "
                "ZOO_OFFLINE is set; unset it, or let --data.data-dir point to the data set"
            )
        if not folders:
            raise FileMistake(
                f"there is no folder for the data set {name!r}; name one by ZOO_DATA_DIR or "
                "--data.data-dir"
            )
        # A data_dir may hold `tfds/` and `text/`, as ZOO_DATA_DIR does.
        inner = data_dir and local(data_dir) / "tfds"
        folder = inner if inner and inner.is_dir() else folders[0]
        logging.getLogger(__name__).warning("downloading and preparing %s in %s", name, folder)
        try:
            self._tfds.builder(name, data_dir=str(folder)).download_and_prepare()
        except Exception as error:  # builders raise whatever they like
            reason = (str(error).splitlines() or [""])[0]
            raise FileMistake(
                f"the data set {name!r} cannot be downloaded and prepared in {folder} "
                f"({type(error).__name__}: {reason:.200}); looked for it in {listed}"
            ) from error

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits there are."""
        return tuple(sorted(self._info.splits))

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """The names of the classes of each column of classes."""
        label = self._tfds.features.ClassLabel
        features = self._info.features.items()
        return {name: tuple(column.names) for name, column in features if isinstance(column, label)}

    @property
    def tag_names(self) -> dict[str, tuple[str, ...]]:
        """The names of the classes of each column of sequences of classes, one for each word."""
        label, sequence = self._tfds.features.ClassLabel, self._tfds.features.Sequence
        return {
            name: tuple(column.feature.names)
            for name, column in self._info.features.items()
            if isinstance(column, sequence) and isinstance(column.feature, label)
        }

    def count(self, split: str) -> int:
        """The number of rows of a split, or of a part of one such as `train[:10%]`.

        Raises:
          LookupError: there is no such split.
        """
        for part in split.split("+"):
            base = part.partition("[")[0].strip()
            if base not in self.splits:
                raise LookupMistake(
                    f"{self.name} has no split {base!r}{did_you_mean(base, self.splits)}; it has "
                    f"{quoted(self.splits)}"
                )
        try:
            return int(self._info.splits[split].num_examples)
        except Exception as error:  # TFDS refuses an expression with whatever its parser raises
            raise ValueMistake(
                f"{split!r} is not a part of a split ({error}); write one such as 'train[:10%]'"
            ) from error

    def identity(self, split: str) -> str:
        """The data set, its version and the sizes of its splits: another preparation of the same
        rows has the same.

        Args:
          split: a split expression of TFDS.
        """
        bases = dict.fromkeys(part.partition("[")[0].strip() for part in split.split("+"))
        sizes = [(base, self._info.splits[base].num_bytes) for base in bases]
        return f"{self.name} {split} {self.count(split)} {sizes}"

    def read(self, split: str, *, decode_all: bool = True) -> Dataset:
        """The rows of a split, one dict of tensors each, in the same order each time.

        Args:
          split: a split expression of TFDS.
          decode_all: decode images of several sizes too; otherwise they are the content of their
            files.
        """
        tf, kinds = tensorflow(), self._tfds.features
        encoded = {} if decode_all else self._images_of_several_sizes()
        types = {type(feature) for feature in self._info.features.values()}
        tfrecord = self._info.file_format == self._tfds.core.FileFormat.TFRECORD
        if not tfrecord or not types <= {kinds.Text, kinds.ClassLabel, kinds.Image}:
            config = self._tfds.ReadConfig(try_autocache=False)
            return self._builder.as_dataset(split, read_config=config, decoders=encoded)

        # TFDS parses rows one by one, which takes eight times as long as all else about a text.
        spec, decode = self._info.features.tf_example_spec, self._info.features.decode_example
        parts = self._info.splits[split].file_instructions
        records = tf.data.Dataset.from_tensor_slices(
            {
                "file": [part.filename for part in parts],
                "skip": tf.constant([part.skip for part in parts], tf.int64),
                "take": tf.constant([part.take for part in parts], tf.int64),
            }
        ).flat_map(traced(_records))
        parse = traced(lambda chunk: tf.io.parse_example(chunk, spec))
        rows = records.batch(CHUNK).map(parse).unbatch()
        if kinds.Image not in types:
            return rows
        decoded = traced(lambda row: decode(row, decoders=encoded))
        return rows.map(decoded, num_parallel_calls=tf.data.AUTOTUNE)

    def _images_of_several_sizes(self) -> dict[str, Any]:
        """TFDS's mark for columns that it should not decode, by column."""
        return {
            name: self._tfds.decode.SkipDecoding()
            for name, column in self._info.features.items()
            if isinstance(column, self._tfds.features.Image) and None in column.shape[:2]
        }


def _records(part: dict[str, Any]) -> Dataset:
    """The serialized examples of a part of a file."""
    records = tensorflow().data.TFRecordDataset(part["file"])
    return records.skip(part["skip"]).take(part["take"])
