"""Columns of image files: those of a folder, with a folder for each class, or the user's.

A value of such a column is bytes, which `packed` makes and `unpacked` reads, so that no image is
larger in memory than its file until it is needed: the content of a file, or a `FilePath`.
"""

from __future__ import annotations

import io
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo import preprocessing
from zoo.config import FileMistake, ValueMistake, local
from zoo.pipelines.base import Array, quoted
from zoo.pipelines.sources import locations
from zoo.pipelines.sources.opening import from_arrays
from zoo.pipelines.sources.source import Source
from zoo.preprocessing import ImageLike


class FilePath(bytes):
    """The path of an image file. Other bytes are the content of one, whatever they begin with."""


SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Suffixes of image files; other files are ignored."""

SPLITS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}
"""Names that the folder of a split may have."""


def packed(image: ImageLike) -> bytes:
    """An image as bytes: a `FilePath`, the content of a file, or else a PNG.

    >>> packed("cat.jpg"), unpacked(packed("cat.jpg"))
    (b'cat.jpg', PosixPath('cat.jpg'))

    Raises:
      ValueError, TypeError: as `preprocessing.read`; a file is not opened.
    """
    if isinstance(image, str | os.PathLike):
        return FilePath(os.fsencode(local(image)))
    if isinstance(image, bytes):
        return bytes(image)
    # From the pixels: Pillow would also write metadata of the image, such as a colour profile.
    pixels = Image.fromarray(np.asarray(preprocessing.read(image)))
    content = io.BytesIO()
    pixels.save(content, "png")
    return content.getvalue()


def unpacked(value: bytes | Array) -> ImageLike:
    """A value of a column as `preprocessing.read` takes it; an array stays as it is."""
    return Path(os.fsdecode(bytes(value))) if isinstance(value, FilePath) else value


def column(images: Any) -> Any:
    """Images that the user hands over, as a column for `from_arrays`.

    Args:
      images: an array of numbers, which stays as it is, or a sequence of what `preprocessing.read`
        takes.

    Returns:
      uint8 [N, H, W] or [N, H, W, C] where all are arrays or Pillow images of one shape; else a
      list of `packed` images.

    Raises:
      ValueError, TypeError: as `preprocessing.read`; files are not opened.
    """
    if isinstance(images, np.ndarray) and np.issubdtype(images.dtype, np.number):
        return images
    images = list(images)
    if not any(isinstance(image, str | os.PathLike | bytes) for image in images):
        # Read twice, so that images of several shapes are never all in memory at once.
        shapes = {np.asarray(preprocessing.read(image)).shape for image in images}
        if len(shapes) == 1:
            return np.stack([np.asarray(preprocessing.read(image)) for image in images])
    return [packed(image) for image in images]


def read(folder: str | Path, image: str, label: str) -> dict[str, Source]:
    """The files of `FOLDER/CLASS/*.jpg`, or of `FOLDER/train/CLASS/*.jpg` and the other splits.

    Hidden files are ignored. Files that are no images, or not whole, are left out with a warning
    (see `preprocessing.is_whole`, which reads little of each file).

    Args:
      folder: the folder.
      image: name of the column for the files, which are `packed`.
      label: name of the column for their class, which is the name of the folder they are in.

    Raises:
      FileMistake: there is no such folder, or there are no classes in it.
      ValueMistake: a class has no images.
    """
    root = local(folder)
    found = {
        split: path
        for split, names in SPLITS.items()
        for path in (root / name for name in names)
        if path.is_dir() and _folders(path)
    }
    if "train" not in found:
        found = {"train": root}
    return {split: _split(path, image, label) for split, path in found.items()}


def _split(folder: Path, image: str, label: str) -> Source:
    files = _by_class(folder)
    broken = _broken([file for images in files.values() for file in images])
    files = {name: [f for f in images if f not in broken] for name, images in files.items()}
    if empty := [name for name, images in files.items() if not images]:
        raise ValueMistake(
            f"{folder}: no images ({', '.join(SUFFIXES)}) of the class(es) {quoted(empty)}; add "
            "some, or remove the folder(s)"
        )
    source = from_arrays(
        {
            image: [packed(file) for images in files.values() for file in images],
            label: [name for name, images in files.items() for _ in images],
        },
        str(folder),
    )
    return replace(source, left_out={"broken": len(broken)} if broken else {})


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class in the folder of a split."""
    if not folder.is_dir():
        raise FileMistake(f"there is no folder {str(folder)!r}")
    files = {
        path.name: [
            file
            for file in locations.visible(path)
            if file.suffix.lower() in SUFFIXES and file.is_file()
        ]
        for path in _folders(folder)
    }
    if not files:
        raise FileMistake(
            f"{folder} has no folders; it should have one for each class, with its images"
        )
    return files


def _broken(files: list[Path]) -> set[Path]:
    """The files that do not begin like an image, with a warning that names some of them."""
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="zoo-images") as pool:
        sound = pool.map(preprocessing.is_whole, files)
        broken = [file for file, known in zip(files, sound, strict=True) if not known]
    if broken:
        logging.getLogger(__name__).warning(
            "%d file(s) are left out: no image that Pillow knows, or not whole: %s",
            *(len(broken), quoted([str(file) for file in broken])),
        )
    return set(broken)


def _folders(folder: Path) -> list[Path]:
    return [path for path in locations.visible(folder) if path.is_dir()]
