"""Images with a class each.

Shapes: B examples in a batch, H height, W width, C channels, N classes. A batch has `inputs`
float32 [B, H, W, C], `targets` int32 [B] and `weights` float32 [B]. Where training mixes images,
its `targets` are shares of the classes: float32 [B, N].

Images that all have one size are bytes in memory, or in a stream. Files (of a folder, or of a TFDS
data set whose images have several sizes) are opened by Pillow, as a predictor does it: once, where
`cache` keeps what comes of it, or else in every epoch, batch by batch.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo import preprocessing
from zoo.config import ConfigError
from zoo.pipelines import augment, image_folders, ops, sources
from zoo.pipelines.augment import Augmentation
from zoo.pipelines.base import (
    Array,
    DataConfig,
    Dataset,
    Facts,
    Tensor,
    numpy_function,
    tensorflow,
)
from zoo.pipelines.rows import CachedRows, Splits, StreamedRows
from zoo.pipelines.sources import Source
from zoo.preprocessing import ImagePreprocessing
from zoo.tokenizers import Tokenizer

DIGITS = "digits"
"""The data set that needs no download: the 8 x 8 digits that come with scikit-learn."""

DIGITS_TEST = 360
"""How many of its 1,797 images are the test split: the last ones after a shuffle with seed 0."""


@dataclass(frozen=True, kw_only=True)
class ImageClassificationData(DataConfig):
    """Images with a class each: a TFDS data set, a folder, scikit-learn's digits, or the user's."""

    name: str = DIGITS
    """A TFDS data set, as `mnist`, or `digits`."""
    folder: str | None = None
    """A folder of image files instead: FOLDER/CLASS/*.jpg, or FOLDER/train/CLASS/*.jpg and so on
    for the splits `train`, `val` and `test`."""
    train: str | None = None
    """TFDS's expression for the training split; None: `train`."""
    validation: str | None = None
    """That for validation; None: the split of that name, else `holdout`."""
    test: str | None = None
    """That for the test; None: the split of that name, if there is one."""
    image_column: str = "image"
    """Feature that holds the image."""
    label_column: str = "label"
    """Feature that holds the class, by name or by number."""
    labels: tuple[str, ...] | None = None
    """The classes in order; None: those of the data."""
    height: int | None = None
    """Images are resized to this; None: the data's own, if all have the same."""
    width: int | None = None
    """Likewise."""
    resize: int | None = None
    """In evaluation the shorter side is resized to this, and the centre cut out. None: the whole
    image is resized, whatever its shape."""
    channels: int | None = None
    """1: grey, 3: colour; None: the data's own."""
    mean: tuple[float, ...] = (0.5,)
    """Subtracted from values between 0 and 1: one number, or one for each channel."""
    std: tuple[float, ...] = (0.5,)
    """By what they are divided then, likewise."""
    augment: Augmentation = field(default_factory=Augmentation)
    """What training does to images at random. `crop_area` cuts from the image in its file; with
    `cache`, or where all have one size, from what evaluation sees."""

    def open(
        self,
        rows: Any = None,
        *,
        tokenizer: Tokenizer | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> ImageData:
        """See `DataConfig.open`. Tuples are (image, class); a mapping has the columns by name.

        What an image may be says `preprocessing.read`.
        """
        found = self._sources(rows)
        prepare = self._preprocessing(found["train"])
        found = {split: self._prepared(source, prepare) for split, source in found.items()}
        labels = labels or self.labels
        found, labels = sources.for_classes(found, self.label_column, labels, self)
        facts = Facts(
            labels=labels,
            num_classes=len(labels),
            input_shape=prepare.shape,
            preprocessing=dataclasses.asdict(prepare),
            num_examples={split: source.count() for split, source in found.items()},
        )
        return ImageData(self, facts, prepare, found)

    def _sources(self, rows: Any) -> dict[str, Source]:
        columns = (self.image_column, self.label_column)
        if rows is not None:
            return {"train": sources.from_user(rows, columns, self._column).select(columns)}
        if self.folder is not None:
            return image_folders.read(self.folder, *columns)
        if self.name == DIGITS:
            return digits(*columns)
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return sources.from_splits(self.name, splits, columns, self.data_dir, decode_all=False)

    def _column(self, name: str, values: Any) -> Any:
        """The user's images as one array; another column as it is."""
        if name != self.image_column or isinstance(values, np.ndarray):
            return values
        images = [preprocessing.read(image) for image in values]
        shapes = {(image.height, image.width, len(image.getbands())) for image in images}
        if not shapes:
            return values
        sizes = [set(axis) for axis in zip(*shapes, strict=True)]
        common = [axis.pop() if len(axis) == 1 else None for axis in sizes]
        prepare = self._sized("the data", *common)
        return np.stack([prepare.pixels(image) for image in images])

    def _preprocessing(self, source: Source) -> ImagePreprocessing:
        """What is done to an image; sizes that the config leaves open are the data's own."""
        spec = source.dataset.element_spec[self.image_column]
        if spec.dtype == tensorflow().string:
            return self._sized(source.where, None, None, 3)
        if spec.shape.rank not in (2, 3):
            raise ConfigError(
                f"{source.where}: column {self.image_column!r} has values of shape {spec.shape}; "
                "an image has the shape [H, W] or [H, W, C]"
            )
        return self._sized(source.where, *[*spec.shape, 1][:3])

    def _sized(
        self, where: str, height: int | None, width: int | None, channels: int | None
    ) -> ImagePreprocessing:
        height, width = self.height or height, self.width or width
        channels = self.channels or channels
        if height is None or width is None or channels is None:
            raise ConfigError(
                f"the images of {where} have several sizes; set data.height, data.width and "
                "data.channels"
            )
        return ImagePreprocessing(
            height=height,
            width=width,
            channels=channels,
            mean=self.mean,
            std=self.std,
            resize=self.resize,
        )

    def _prepared(self, source: Source, prepare: ImagePreprocessing) -> Source:
        """The source with images of one shape, uint8 [H, W, C], or files that are opened later."""
        tf, column = tensorflow(), self.image_column
        spec = source.dataset.element_spec[column]
        if spec.dtype == tf.uint8 and spec.shape == prepare.shape and self.resize is None:
            return source
        if spec.dtype == tf.string:
            if not self.cache:
                return source
            source = source.cached()
        if source.arrays is not None:
            images = np.stack([prepare.pixels(self.image(v)) for v in source.arrays[column]])
            return dataclasses.replace(source, arrays={**source.arrays, column: images})

        def run(row: dict[str, Any]) -> dict[str, Any]:
            pixels = numpy_function(prepare.pixels, [row[column]], tf.uint8)
            return {**row, column: tf.ensure_shape(pixels, prepare.shape)}

        return dataclasses.replace(source, stream=source.stream.map(run))

    def image(self, value: Any) -> preprocessing.ImageLike:
        """What a row has in its column of images, as `preprocessing.read` takes it."""
        if isinstance(value, bytes) and self.folder is not None:
            return Path(value.decode())
        image: preprocessing.ImageLike = value
        return image


class ImageData:
    """`ImageClassificationData`, opened."""

    def __init__(
        self,
        config: ImageClassificationData,
        facts: Facts,
        prepare: ImagePreprocessing,
        found: Mapping[str, Source],
    ) -> None:
        self.facts = facts
        self._config, self._prepare, self._sources = config, prepare, found
        self._rows = Splits(found, self._read)

    def train(self, batch_size: int, *, seed: int, start: int = 0) -> Dataset:
        """See `Data.train`."""
        augmentation, classes = self._config.augment, self.facts.num_classes or 0

        def change(number: Array, images: Array, targets: Array) -> tuple[Array, Array]:
            random = augment.generator(seed, int(number))
            return augmentation(self._cropped(images, random), targets, classes, random)

        batches = ops.add_weights()(self._rows["train"].batches(batch_size, seed, start))
        if self._opens_files or augmentation != Augmentation():
            shares = classes if augmentation.mixes else None
            batches = self._changed(change, batches.enumerate(start), shares)
        return self._finished(batches)

    def evaluate(self, split: str, batch_size: int) -> Dataset:
        """See `Data.evaluate`."""

        def change(number: Array, images: Array, targets: Array) -> tuple[Array, Array]:
            return self._opened(images), targets

        batches = ops.add_weights()(self._rows[split].batches(batch_size))
        if self._opens_files:
            batches = self._changed(change, batches.enumerate())
        return self._finished(ops.pad_last_batch(batch_size)(batches))

    @functools.cached_property
    def _opens_files(self) -> bool:
        column = self._sources["train"].dataset.element_spec[self._config.image_column]
        return bool(column.dtype == tensorflow().string)

    def _opened(self, images: Array) -> Array:
        """Images of a batch as evaluation has them: uint8 [B, H, W, C]."""
        if images.dtype == np.uint8:
            return images
        return np.stack([self._prepare.pixels(self._config.image(image)) for image in images])

    def _cropped(self, images: Array, random: np.random.Generator) -> Array:
        """Images of a batch, cut out at random if that is wanted: uint8 [B, H, W, C]."""
        area = self._config.augment.crop_area
        if area == 1:
            return self._opened(images)
        read = [preprocessing.read(self._config.image(image)) for image in images]
        boxes = [augment.random_box(*image.size, area, random) for image in read]
        return np.stack([self._prepare.cut(*pair) for pair in zip(read, boxes, strict=True)])

    def _changed(
        self,
        change: Callable[[Array, Array, Array], tuple[Array, Array]],
        batches: Dataset,
        shares: int | None = None,
    ) -> Dataset:
        """Batches, given with their numbers, with other inputs and targets.

        Args:
          change: a NumPy function of number, inputs and targets that gives both.
          batches: pairs of number and batch.
          shares: of how many classes the targets are shares then, which come with images of floats;
            None: they stay numbers, and the images bytes.
        """
        tf = tensorflow()
        dtypes = [tf.uint8, tf.int32] if shares is None else [tf.float32, tf.float32]

        def run(number: Tensor, batch: dict[str, Any]) -> dict[str, Any]:
            given = [number, batch["inputs"], batch["targets"]]
            inputs, targets = numpy_function(change, given, dtypes)
            inputs = tf.ensure_shape(inputs, [None, *self._prepare.shape])
            targets = tf.ensure_shape(targets, [None] if shares is None else [None, shares])
            return {**batch, "inputs": inputs, "targets": targets}

        return batches.map(run, num_parallel_calls=tf.data.AUTOTUNE)

    def _finished(self, batches: Dataset) -> Dataset:
        tf = tensorflow()

        def standardize(batch: dict[str, Any]) -> dict[str, Any]:
            inputs = self._prepare.standardize(tf.cast(batch["inputs"], tf.float32))
            return {**batch, "inputs": inputs}

        # Bytes become floats, four times as large, as late as can be.
        threads = 0 if self._opens_files else 1
        return ops.prefetch(batches.map(standardize), threads=threads)

    def _read(self, split: str) -> CachedRows | StreamedRows:
        tf, config = tensorflow(), self._config
        source, label = self._sources[split], config.label_column
        if not config.cache and not (self._opens_files and source.arrays is not None):
            examples = ops.pipe(
                source.dataset,
                ops.select(inputs=config.image_column, targets=label),
                ops.look_up("targets", source.target_table(label, self.facts.labels)),
            )
            return StreamedRows(examples, source.count(), config.shuffle_buffer)
        source = source.cached()  # of the files of a folder the paths
        images = source.column(config.image_column)
        targets = source.targets(label, self.facts.labels)

        def fetch(rows: Array) -> dict[str, Array]:
            return {"inputs": images[rows], "targets": targets[rows]}

        opened = tf.TensorSpec([None, *self._prepare.shape], tf.uint8)
        signature = {
            "inputs": tf.TensorSpec([None], tf.string) if self._opens_files else opened,
            "targets": tf.TensorSpec([None], tf.int32),
        }
        return CachedRows(len(targets), fetch, signature)


def digits(image: str = "image", label: str = "label") -> dict[str, Source]:
    """scikit-learn's 1,797 grey images of 8 x 8, as two splits of uint8 from 0 to 255.

    The last DIGITS_TEST images after a shuffle with seed 0 are the test split. The values, 0 to 16
    there, are stretched, so that a predictor can take them from an image file.
    """
    try:
        bundled = importlib.import_module("sklearn.datasets").load_digits()
    except ImportError as error:
        raise ImportError(
            f'the digits need scikit-learn ({error}): pip install "flax-zoo[train]"'
        ) from error
    images = np.round(bundled.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    rows = {"train": order[:-DIGITS_TEST], "test": order[-DIGITS_TEST:]}
    return {
        split: sources.from_arrays(
            {image: images[numbers], label: bundled.target[numbers]}, f"{DIGITS}, split {split}"
        )
        for split, numbers in rows.items()
    }
