"""Images with a class each.

Shapes: B examples in a batch, H height, W width, C channels, N classes. A batch has `inputs`
float32 [B, H, W, C], `targets` int32 [B] and `weights` float32 [B]. Where training mixes images,
its `targets` are shares of the classes: float32 [B, N].

Images that all have one size are bytes in memory, or in a stream. Files (of a folder, of a TFDS
data set whose images have several sizes, or the user's) are opened by Pillow, as in a predictor:
once if `cache` keeps the result, or else in every epoch, batch by batch. `image_files` says how a
column holds them.

A file of a folder or of TFDS whose pixels are damaged is left out, with a warning that names it:
before training if `cache` opens all files then, or else where it is met, by a weight of 0. One that
the user hands over is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np

from zoo import preprocessing
from zoo.config import ConfigError, PackageMistake
from zoo.pipelines import augment, ops
from zoo.pipelines.augment import Augmentation
from zoo.pipelines.base import Array, Batch, Example, Facts, Rows
from zoo.pipelines.delivery import GlobalBatch, deliver, generator
from zoo.pipelines.rows import IndexedRows, LazySplits, StreamedRows
from zoo.pipelines.sources import holdout, image_files, opening
from zoo.pipelines.sources import labels as classes
from zoo.pipelines.sources.source import Source
from zoo.pipelines.sources.tfds import Prepared
from zoo.pipelines.stored import StoredData
from zoo.pipelines.tfdata import numpy_function, tensorflow, traced
from zoo.preprocessing import ImageLike, ImagePreprocessing
from zoo.tokenizers import Tokenizer

T = TypeVar("T")

DIGITS = "digits"
"""Name of the data set that needs no download: the 8 x 8 digits that come with scikit-learn."""

DIGITS_TEST = 360
"""Number of its 1,797 images that are the test split: the last ones after a shuffle, seed 0."""

CROP = 3
"""Separates the random numbers of crops from others."""


@dataclass(frozen=True, kw_only=True)
class ImageClassificationData(StoredData):
    """Images with a class each: a TFDS data set, a folder, scikit-learn's digits, or the user's."""

    name: str | None = DIGITS
    """A TFDS data set such as `mnist`, or `digits`."""
    folder: str | None = None
    """A folder of image files instead: FOLDER/CLASS/*.jpg, or FOLDER/train/CLASS/*.jpg and so on
    for the splits `train`, `val` and `test`."""
    image_column: str = "image"
    """Feature that holds the image."""
    label_column: str = "label"
    """Feature that holds the class, by name or by number."""
    labels: tuple[str, ...] | None = None
    """The classes in order; None: those of the data."""
    height: int | None = None
    """Height in pixels to which images are resized. None: what the model takes, if there is one
    already; else the data's own, which all training images must share. Files in a stream need a
    number."""
    width: int | None = None
    """Width in pixels to which images are resized. None: as for `height`."""
    resize: int | None = None
    """In evaluation the shorter side is resized to this many pixels, and the centre cut out. None:
    the whole image is resized, whatever its shape."""
    channels: int | None = None
    """1: grey, 3: colour. None: as for `height`, but files of a folder or in a stream have 3."""
    mean: tuple[float, ...] = (0.5,)
    """Subtracted from values between 0 and 1: one number, or one for each channel."""
    std: tuple[float, ...] = (0.5,)
    """Divides the values then: one number, or one for each channel."""
    augment: Augmentation = field(default_factory=Augmentation)
    """Random changes to training images. `crop_area` cuts from the whole image where files are
    opened in every epoch, else from the image as evaluation sees it."""

    files: ClassVar[str] = "or data.folder, a folder with a folder of images for each class"
    streams: ClassVar[bool] = True

    def matching(self, preprocessing: Mapping[str, Any]) -> ImageClassificationData:
        """See `DataConfig.matching`: the size and the channels."""
        return dataclasses.replace(
            self,
            height=self.height or preprocessing.get("height"),
            width=self.width or preprocessing.get("width"),
            channels=self.channels or preprocessing.get("channels"),
        )

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
        pad_id: int = 0,
    ) -> ImageData:
        """See `DataConfig.open`. Tuples are (image, class); a mapping has the columns by name.

        `preprocessing.read` says what an image may be; in a tf.data.Dataset it is the content of a
        file, or an array.
        """
        splits = self.read_splits(rows)
        # Files of a stream, or of what the config names, are taken for colour without a look.
        own = rows is not None and splits["train"].arrays is not None
        lenient = rows is None
        prepare = self._preprocessing(splits["train"], None if own else 3, lenient)
        # Of files the content decides what is held out: their pixels depend on the decoder too.
        files = splits["train"].spec(self.image_column)[0].kind == "O"
        if not files:
            splits = {
                split: self._prepared(source, prepare, lenient) for split, source in splits.items()
            }
        if self.cache:
            splits["train"] = splits["train"].cached()
        labels = classes.checked(splits, self.label_column, labels or self.labels)
        splits, fingerprints = holdout.with_validation(splits, self.holdout)
        if files:
            splits = {
                split: self._prepared(source, prepare, lenient) for split, source in splits.items()
            }
        facts = Facts(
            labels=labels,
            decides={
                "num_classes": len(labels),
                "input_shape": prepare.shape,
                "inputs": ((prepare.shape, "float32"),),
            },
            preprocessing=dataclasses.asdict(prepare),
            num_examples={split: source.count() for split, source in splits.items()},
            fingerprints=fingerprints,
            left_out=splits["train"].left_out,
        )
        return ImageData(self, facts, prepare, splits, lenient)

    def read_splits(self, rows: Any) -> dict[str, Source]:
        """See `StoredData.read_splits`."""
        if rows is None and self.folder is not None:
            return image_files.read(self.folder, *self._columns)
        if rows is None and self.name == DIGITS:
            return digits(*self._columns)
        return super().read_splits(rows)

    def read_rows(self, rows: Any) -> Source:
        """See `StoredData.read_rows`."""

        def convert(name: str, values: Any) -> Any:
            return image_files.column(values) if name == self.image_column else values

        return opening.from_user(rows, self._columns, convert).select(self._columns)

    def read_tfds(self, data_set: Prepared, expression: str) -> Source:
        """See `StoredData.read_tfds`."""
        source = opening.from_prepared(data_set, expression, decode_all=False)
        return source.select(self._columns)

    def read_file(self, path: str) -> Source:
        """See `StoredData.read_file`.

        Raises:
          ConfigError: always.
        """
        raise ConfigError(
            f"data.train is {path!r}, but images are read from a TFDS data set, data.name, or from "
            "data.folder"
        )

    @property
    def _columns(self) -> tuple[str, str]:
        return self.image_column, self.label_column

    def _preprocessing(
        self, source: Source, channels: int | None, lenient: bool
    ) -> ImagePreprocessing:
        """The preprocessing; what the config leaves open of the shape is the data's own.

        Args:
          source: the training images.
          channels: of files, unless the config says it; None: the files are looked at.
          lenient: whether damaged files are left out.
        """
        shape: Sequence[int | None]
        dtype, found = source.spec(self.image_column)
        if dtype.kind == "O":
            shape = self._common(
                source, [self.height, self.width, self.channels or channels], lenient
            )
        elif found is not None and len(found) in (2, 3):
            own = [*found, 1][:3]
            shape = [self.height or own[0], self.width or own[1], self.channels or own[2]]
        else:
            raise ConfigError(
                f"{source.origin}: column {self.image_column!r} has values of shape {found}; "
                "an image has the shape [H, W] or [H, W, C]"
            )
        height, width, channels = shape
        if height is None or width is None or channels is None:
            raise ConfigError(
                f"the images of {source.origin} have several sizes; set data.height, data.width "
                "and data.channels"
            )
        return ImagePreprocessing(
            height=height,
            width=width,
            channels=channels,
            mean=self.mean,
            std=self.std,
            resize=self.resize,
        )

    def _common(
        self, source: Source, shape: Sequence[int | None], lenient: bool
    ) -> Sequence[int | None]:
        """The shape [H, W, C]; each None is filled in if all files agree on it."""
        if source.arrays is None or None not in shape:
            return shape
        found: set[tuple[int, ...]] = set()
        for value in source.arrays[self.image_column]:
            image = _or_none(preprocessing.read, lenient)(value)
            if image is None:
                continue
            own = (image.height, image.width, len(image.getbands()))
            found.add(tuple(size or its for size, its in zip(shape, own, strict=True)))
            if len(found) > 1:
                return shape
        return found.pop() if found else shape

    def _prepared(self, source: Source, prepare: ImagePreprocessing, lenient: bool) -> Source:
        """The source with images of one shape, uint8 [H, W, C], or with files to open later."""
        column = self.image_column
        dtype, shape = source.spec(column)
        if dtype == np.uint8 and shape == prepare.shape and self.resize is None:
            return source
        if dtype.kind == "O":
            if not self.cache:
                return source
            source = source.cached()
        if source.arrays is not None:
            found = list(map(_or_none(prepare.pixels, lenient), source.arrays[column]))
            whole = np.array([image is not None for image in found])
            if not whole.any():
                raise ConfigError(f"{source.origin}: no image can be read")
            if damaged := int((~whole).sum()):
                number = source.left_out.get("broken", 0) + damaged
                source = dataclasses.replace(source.where(whole), left_out={"broken": number})
            images = np.stack([image for image in found if image is not None])
            arrays = {**(source.arrays or {}), column: images}
            return dataclasses.replace(source, arrays=arrays)

        tf = tensorflow()

        def run(row: dict[str, Any]) -> dict[str, Any]:
            pixels = numpy_function(prepare.pixels, [row[column]], tf.uint8)
            return {**row, column: tf.ensure_shape(pixels, prepare.shape)}

        return dataclasses.replace(source, stream=source.stream.map(traced(run)))


class ImageData:
    """`ImageClassificationData`, opened."""

    def __init__(
        self,
        config: ImageClassificationData,
        facts: Facts,
        prepare: ImagePreprocessing,
        splits: Mapping[str, Source],
        lenient: bool,
    ) -> None:
        self.facts = facts
        self._config, self._prepare, self._lenient = config, prepare, lenient
        self._sources = LazySplits(splits, splits.__getitem__)
        self._rows = LazySplits(splits, self._read)

    def train(
        self, batch_size: int, *, seed: int, start: int = 0, rows: Rows | None = None
    ) -> Iterator[Batch]:
        """See `Data.train`."""

        def changed(number: int, whole: GlobalBatch) -> GlobalBatch:
            return GlobalBatch(
                whole.size, lambda wanted: self._augmented(whole, wanted, seed, number)
            )

        batches = self._rows["train"].batches(batch_size, seed, start)
        numbered = zip(itertools.count(start), batches, strict=False)
        return deliver(itertools.starmap(changed, numbered), batch_size, rows)

    def evaluate(
        self, split: str, batch_size: int, *, rows: Rows | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `Data.evaluate`."""

        def opened(whole: GlobalBatch) -> GlobalBatch:
            def take(wanted: slice) -> Batch:
                batch = whole.take(wanted)
                images, sound = self._opened(batch["inputs"])
                return self._finished(images, batch["targets"], sound)

            return GlobalBatch(whole.size, take)

        batches = self._rows[split].batches(batch_size, limit=limit)
        return deliver(map(opened, batches), batch_size, rows, fill=True)

    def examples(self, split: str, number: int) -> list[Example]:
        """See `Data.examples`."""
        source, config = self._sources[split].head(number), self._config
        images = source.column(config.image_column)
        targets = classes.targets(source, config.label_column, self.facts.labels)
        opened, whole = self._opened(images)
        batch = self._finished(opened, targets, whole)
        return [
            Example(
                raw={
                    "image": image_files.unpacked(image),
                    "label": self.facts.labels[targets[row]],
                },
                arrays={key: np.asarray(array[row]) for key, array in batch.items()},
            )
            for row, image in enumerate(images)
        ]

    def _augmented(self, whole: GlobalBatch, wanted: slice, seed: int, number: int) -> Batch:
        """Some rows of training batch `number`, changed at random."""
        augmentation = self._config.augment
        places = np.arange(whole.size)[wanted]
        parts = [whole.take(wanted)]
        if augmentation.mixes and len(places):  # each image is mixed with the one before it
            before = (places[0] - 1) % whole.size
            places = np.append(before, places)
            parts.insert(0, whole.take(slice(before, before + 1)))
        images, targets = (
            np.concatenate([part[key] for part in parts]) for key in ("inputs", "targets")
        )
        images, sound = self._cropped(
            images, (generator(seed, number, CROP, row) for row in places.tolist())
        )
        draws = augment.Draws(generator(seed, number, augment.PURPOSE), whole.size, places)
        changed, targets = augmentation(images, targets, len(self.facts.labels), draws)
        if len(sound) > len(changed):  # each is mixed with the one before it
            sound = sound[1:] & sound[:-1]
        return self._finished(changed, targets, sound)

    def _finished(self, images: Array, targets: Array, whole: Array) -> Batch:
        # Late, because floats are four times as large as bytes.
        inputs = self._prepare.standardize(images.astype(np.float32))
        return {
            "inputs": inputs,
            "targets": targets,
            "weights": whole.astype(np.float32),
        }

    def _opened(self, images: Array) -> tuple[Array, Array]:
        """Images of a batch, prepared as in evaluation, as `_stacked` gives them."""
        if images.dtype == np.uint8:
            return images, np.ones(len(images), bool)
        return self._stacked(self._prepare.pixels, images)

    def _cropped(
        self, images: Array, randoms: Iterable[np.random.Generator]
    ) -> tuple[Array, Array]:
        """Images of a batch, cropped at random if `crop_area` says so, as `_stacked` gives them."""
        area = self._config.augment.crop_area
        if area == 1:
            return self._opened(images)

        def part(image: ImageLike, random: np.random.Generator) -> Array:
            whole = preprocessing.read(image)
            return self._prepare.cut(whole, augment.random_box(*whole.size, area, random))

        return self._stacked(part, images, randoms)

    def _stacked(
        self, function: Callable[..., Array], images: Array, *others: Iterable[Any]
    ) -> tuple[Array, Array]:
        """Images that a function makes, several at a time.

        Returns:
          uint8 [B, H, W, C], black where a file is damaged; and which are whole, bool [B].
        """
        found = list(self._pool.map(_or_none(function, self._lenient), images, *others))
        stacked = np.zeros((len(found), *self._prepare.shape), np.uint8)
        for row, image in enumerate(found):
            if image is not None:
                stacked[row] = image
        return stacked, np.array([image is not None for image in found], bool)

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="zoo-images")

    def _read(self, split: str) -> IndexedRows | StreamedRows:
        config, source = self._config, self._sources[split]
        label = config.label_column
        if not config.cache and source.arrays is None:
            examples = ops.pipe(
                source.dataset,
                ops.select(inputs=config.image_column, targets=label),
                ops.look_up("targets", classes.table_of_column(source, label, self.facts.labels)),
            )
            return StreamedRows(examples, source.count(), config.shuffle_buffer)
        source = source.cached()
        images = source.column(config.image_column)
        targets = classes.targets(source, label, self.facts.labels)

        def fetch(rows: Array, wanted: slice) -> Batch:
            return {"inputs": images[rows[wanted]], "targets": targets[rows[wanted]]}

        return IndexedRows(len(targets), fetch)


def _or_none(function: Callable[..., T], lenient: bool) -> Callable[..., T | None]:
    """A function of a column's value instead of an image; None of a damaged one, if `lenient`."""

    def run(value: Any, *others: Any) -> T | None:
        try:
            return function(image_files.unpacked(value), *others)
        except preprocessing.DamagedImage as error:
            if not lenient:
                raise
            _warn(f"left out: {error}")
            return None

    return run


@functools.lru_cache(maxsize=1024)
def _warn(text: str) -> None:
    """Warns once of each file, and not in every epoch."""
    logging.getLogger(__name__).warning("%s", text)


def digits(image: str = "image", label: str = "label") -> dict[str, Source]:
    """scikit-learn's 1,797 grey images of 8 x 8, as two splits of uint8 from 0 to 255.

    The last DIGITS_TEST images after a shuffle with seed 0 are the test split. scikit-learn's
    values, 0 to 16, are stretched, so that a predictor can read them from an image file.
    """
    try:
        bundled = importlib.import_module("sklearn.datasets").load_digits()
    except ImportError as error:
        raise PackageMistake(
            f'the digits need scikit-learn ({error}): pip install "flax-zoo[train]"'
        ) from error
    images = np.round(bundled.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    rows = {"train": order[:-DIGITS_TEST], "test": order[-DIGITS_TEST:]}
    return {
        split: opening.from_arrays(
            {image: images[numbers], label: bundled.target[numbers]}, f"{DIGITS}, split {split}"
        )
        for split, numbers in rows.items()
    }
