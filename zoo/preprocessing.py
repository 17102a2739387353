"""Turns images into a model's inputs, without TensorFlow.

Predictors use it on files, and the pipelines on the rows of a data set, with the same values.

Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from zoo.config import ConfigError, FileMistake, Mistake, TypeMistake, ValueMistake, local, shown

Array: TypeAlias = np.ndarray[Any, Any]
ImageLike: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | Array
"""An image, in any of the forms that `read` takes."""

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of an image, in pixels; they may be fractions."""

MODES = {1: "L", 3: "RGB"}
"""Pillow's mode of an image, by its number of channels."""


class DamagedImage(ValueMistake):
    """A file can be read, but what it holds is no image or not a whole one."""


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessing:
    """Images of any kind -> float32 [H, W, C], prepared as in training.

    >>> prepare = ImagePreprocessing(height=1, width=2, channels=1)
    >>> prepare(np.array([[0, 255]], np.uint8)).ravel()
    array([-1.,  1.], dtype=float32)
    """

    height: int
    """In pixels. Other images are resized (bilinear, with antialiasing) as `resize` says."""
    width: int
    """In pixels."""
    channels: int
    """1: grey, 3: red, green, blue. Other images are converted."""
    mean: tuple[float, ...] = (0.5,)
    """Subtracted from values between 0 and 1: one number, or one for each channel."""
    std: tuple[float, ...] = (0.5,)
    """Divides the values then: one number, or one for each channel."""
    resize: int | None = None
    """Length in pixels to which the shorter side is resized before the centre is cut out. None: the
    whole image is resized, whatever its shape."""

    def __post_init__(self) -> None:
        if self.channels not in MODES:
            raise ConfigError(f"channels is {self.channels}; images have 1 (grey) or 3")
        if min(self.height, self.width) < 1:
            raise ConfigError(f"the image size {self.height} x {self.width} must be 1 or more")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ConfigError(
                    f"{name} is {values} for {self.channels} channel(s); give one number, or one "
                    "for each channel"
                )
        if min(self.std) <= 0:
            raise ConfigError(f"std is {self.std}; values are divided by it, so it must be above 0")
        if self.resize is not None and self.resize < max(self.height, self.width):
            raise ConfigError(
                f"resize is {self.resize}; it must not be less than height and width, "
                f"{self.height} x {self.width}, which are cut out after it"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.height, self.width, self.channels

    def __call__(self, image: ImageLike) -> Array:
        """The image, ready for the model: float32 [H, W, C]. `read` says what it may be."""
        ready: Array = self.standardize(self.pixels(image).astype(np.float32))
        return ready

    def pixels(self, image: ImageLike) -> Array:
        """The image with this size and these channels: uint8 [H, W, C]."""
        if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == self.shape:
            if self.resize is None:
                return image
        opened = read(image)
        return self.cut(opened, self._centre(*opened.size))

    def cut(self, image: Image.Image, box: Box) -> Array:
        """A part of the image, resized, with these channels: uint8 [H, W, C]."""
        mode = MODES[self.channels]
        if image.mode != mode:
            image = image.convert(mode)
        image = image.resize((self.width, self.height), Image.Resampling.BILINEAR, box)
        return np.asarray(image, np.uint8).reshape(self.shape)

    def _centre(self, width: int, height: int) -> Box:
        """The part of an image of this size that is kept.

        Cropping before resizing does less work, and gives the same pixels except at the edges.
        """
        if self.resize is None:
            return 0, 0, width, height
        scale = min(width, height) / self.resize
        left = max(0.0, (width - scale * self.width) / 2)
        top = max(0.0, (height - scale * self.height) / 2)
        return left, top, width - left, height - top

    def standardize(self, values: Any) -> Any:
        """(values / 255 - mean) / std, for float32 [..., H, W, C] from 0 to 255."""
        mean, std = (np.array(numbers, np.float32) * 255 for numbers in (self.mean, self.std))
        return (values - mean) / std


def read(image: ImageLike) -> Image.Image:
    """Reads an image: Pillow's, grey (mode L) or with three channels (RGB), 8 bits.

    Args:
      image: the path of an image file, its content, a Pillow image, or an array [H, W] or [H, W, 1,
        3 or 4] of uint8, or of floats from 0 to 1. Transparent parts become white; the rotation
        that a camera notes in a file is applied.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError, TypeError: it cannot be read; the message says which image and why.
    """
    if isinstance(image, str | os.PathLike):
        path = local(image)
        with _named(str(image)), Image.open(path) as opened:
            return _plain(opened)
    if isinstance(image, bytes):
        with _named("the image"), Image.open(io.BytesIO(image)) as opened:
            return _plain(opened)
    if isinstance(image, Image.Image):
        with _named("the image"):
            return _plain(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    raise TypeMistake(
        "an image is a path, a Pillow image or an array; got "
        f"{type(image).__name__}: {shown(image)}"
    )


_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""Marks at the end of a file, by format."""


def is_whole(path: Path) -> bool:
    """Whether a file begins as an image does, and ends as one if it is a JPEG or a PNG.

    The pixels are only decoded where the mark of the end is missing.
    """
    try:
        with _named(str(path)), path.open("rb") as file, Image.open(file) as opened:
            mark = _ENDS.get(opened.format or "")
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            if mark is not None and mark not in file.read():
                read(path)
    except (OSError, ValueError):
        return False
    return True


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Turns errors about an image into errors of one line that name it."""
    try:
        yield
    except FileNotFoundError:
        raise FileMistake(f"there is no image {what!r}") from None
    except UnidentifiedImageError as error:
        raise DamagedImage(f"{what} is not an image of a format that Pillow knows") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueMistake(f"{what} is too large: {error}") from error
    except Exception as error:  # Pillow's readers raise whatever the broken bytes lead to
        known = isinstance(error, Mistake) or getattr(error, "errno", None) is not None
        kind = ValueMistake if known else DamagedImage
        raise kind(f"{what} cannot be read as an image: {error}") from error


def _plain(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB, with white for transparent parts."""
    if 0 in image.size:
        raise ValueMistake(f"it has no pixels: its size is {image.width} x {image.height}")
    image.load()
    image = _upright(image)
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        grey = (values >> 8).astype(np.uint8)
        grey[values == image.info.get("transparency", -1)] = 255
        return Image.fromarray(grey)
    if image.mode in ("I", "F"):
        raise ValueMistake(f"its values have no known range (mode {image.mode})")
    if image.has_transparency_data:  # a channel of its own, or a colour that marks it
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _upright(image: Image.Image) -> Image.Image:
    """The image as its camera was held, or as it is if the note of that cannot be read."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow's reader raises whatever the broken bytes lead to
        return image


def _from_array(array: Array) -> Image.Image:
    """An array as an image in mode L or RGB."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ValueMistake(
            f"an image array has the shape [H, W] or [H, W, 1, 3 or 4]; got {list(array.shape)}"
        )
    if array.size == 0:
        raise ValueMistake(f"an image array must have pixels; got the shape {list(array.shape)}")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueMistake(
                f"an image array of floats has values from 0 to 1; got {array.min():g} to "
                f"{array.max():g} (values up to 255 are given as uint8)"
            )
        array = np.round(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueMistake(f"an image array is of uint8 or floats; got {array.dtype}")
    return _plain(Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array))


@dataclass(frozen=True, kw_only=True)
class ArrayPreprocessing:
    """Prepares the input of a model of numbers: columns by name, and their scaling."""

    columns: tuple[str, ...] = ()
    """Names of the columns, in the order of the input; (): the input is one array."""
    mean: tuple[float, ...] = ()
    """Subtracted from each column; (): nothing."""
    std: tuple[float, ...] = ()
    """Divides each column after that."""

    @classmethod
    def from_card(cls, entries: Mapping[str, Any]) -> ArrayPreprocessing:
        """Reads the entries that `to_dict` wrote."""
        return cls(**{name: tuple(values) for name, values in entries.items()})

    def standardising(self, rows: Array) -> ArrayPreprocessing:
        """The same with mean and standard deviation of the columns of `rows` [N, F].

        Raises:
          ConfigError: the rows have no columns.
        """
        if not self.columns:
            raise ConfigError("standardise needs columns of numbers; the input is one array")
        std = rows.std(axis=0, dtype=np.float64)
        return dataclasses.replace(
            self,
            mean=tuple(rows.mean(axis=0, dtype=np.float64).tolist()),
            std=tuple(np.where(std > 0, std, 1.0).tolist()),
        )

    def scale(self, rows: Array) -> Array:
        """Rows [..., F] as the model takes them, float32."""
        if not self.mean:
            return rows.astype(np.float32)
        scaled: Array = ((rows - np.array(self.mean)) / np.array(self.std)).astype(np.float32)
        return scaled

    def to_dict(self) -> dict[str, Any]:
        """The entries of a card."""
        return {name: list(value) for name, value in vars(self).items() if value}
