"""Folders of image files, one folder a class."""

from __future__ import annotations

from pathlib import Path

from zoo.pipelines import sources
from zoo.pipelines.base import shown
from zoo.pipelines.sources import Source

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Files with other names are passed over."""

SPLITS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}
"""What the folder of a split may be called."""


def read(folder: str | Path, image: str, label: str) -> dict[str, Source]:
    """The files of `FOLDER/CLASS/*.jpg`, or of `FOLDER/train/CLASS/*.jpg` and the other splits.

    Args:
      folder: where they are.
      image: the column for the path of a file.
      label: that for its class, the name of the folder it is in.

    Raises:
      FileNotFoundError: there is no such folder, or there are no classes in it.
      ValueError: a class has no images.
    """
    root = Path(folder).expanduser()
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
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}")
    files = {
        path.name: [file for file in sorted(path.iterdir()) if file.suffix.lower() in SUFFIXES]
        for path in _folders(folder)
    }
    if not files:
        raise FileNotFoundError(
            f"{folder} has no folders in it; it should have one for each class, with its images"
        )
    empty = [name for name, images in files.items() if not images]
    if empty:
        raise ValueError(
            f"{folder}: no images ({', '.join(SUFFIXES)}) of the class(es) {shown(empty)}; add "
            "some, or remove the folder(s)"
        )
    return sources.from_arrays(
        {
            image: [str(file) for images in files.values() for file in images],
            label: [name for name, images in files.items() for _ in images],
        },
        str(folder),
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
