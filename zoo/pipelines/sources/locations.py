"""Where data is on this machine.

`ZOO_DATA_DIR` holds `tfds/` and `text/`. The folder that a config names and `TFDS_DATA_DIR` are
searched before it; TFDS's own default comes last.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from zoo.config import FileMistake, LookupMistake, did_you_mean, is_url, local
from zoo.pipelines.base import quoted


def tfds_folders(data_dir: str | None = None) -> list[Path]:
    """The folders that are searched for TFDS data sets, in this order."""
    own = [data_dir, data_dir and f"{data_dir}/tfds"]
    named = os.environ.get("TFDS_DATA_DIR")
    if named and is_url(named):  # TFDS itself reads from there
        named = None
    default = os.path.expanduser("~/tensorflow_datasets")  # stays as it is if there is no home
    return _folders(*own, named, _zoo("tfds"), None if default.startswith("~") else default)


def text_folders(data_dir: str | None = None) -> list[Path]:
    """The folders that are searched for files that are not where their path says, in this order."""
    return _folders(data_dir, data_dir and f"{data_dir}/text", _zoo("text"))


def data_folders(data_dir: str | None = None) -> dict[Path, bool]:
    """All folders that are searched, and whether they exist."""
    folders = [*tfds_folders(data_dir), *text_folders(data_dir)]
    return {folder: folder.is_dir() for folder in folders}


def _zoo(name: str) -> str | None:
    root = os.environ.get("ZOO_DATA_DIR")
    return root and f"{root}/{name}"


def _folders(*names: str | None) -> list[Path]:
    # Without a home folder `~` is left as it is, and there is nothing to look for.
    there = (name for name in names if name and os.path.expanduser(name)[0] != "~")
    return list(dict.fromkeys(map(local, there)))


def find_file(path: str | Path, data_dir: str | None = None) -> Path:
    """Finds a file: where its path says, or in one of `text_folders`.

    Raises:
      FileNotFoundError: nowhere.
    """
    own = local(path)
    candidates = [own, *(folder / own for folder in text_folders(data_dir))]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    folders = {candidate.parent for candidate in candidates}
    there = [file.name for folder in folders if folder.is_dir() for file in visible(folder)]
    raise FileMistake(
        f"no file {str(path)!r}{did_you_mean(Path(path).name, there)}; looked for "
        f"{', '.join(map(str, candidates))}"
    )


def find_tfds(name: str, data_dir: str | None = None) -> Path:
    """Finds the folder of a TFDS data set that was prepared before.

    Args:
      name: such as `mnist`, `wikiann/en` or `mnist:3.0.1`. Without a version it is the newest one;
        without a configuration TFDS's default, or the only one.
      data_dir: the folder to search first.

    Raises:
      FileNotFoundError: it is in none of the folders.
      LookupError: it has several configurations, and the name gives none.
    """
    path, _, version = name.partition(":")
    data_set, _, config = path.partition("/")
    folders = tfds_folders(data_dir)
    for folder in folders:
        found = _versions(folder / path) or _versions(_default_config(folder / path))
        builds = {number: build for number, build in found.items() if version in ("", build.name)}
        if builds:
            return builds[max(builds)]
    configs = [c.name for folder in folders for c in _subfolders(folder / data_set) if _versions(c)]
    if configs and not config:
        raise LookupMistake(
            f"{data_set} has the configurations {quoted(configs)}; name one, as in "
            f"{data_set}/{configs[0]}"
        )
    known = {path.name for folder in folders for path in _subfolders(folder) if _is_data_set(path)}
    raise FileMistake(
        f"no data set {name!r} in {', '.join(map(str, folders))}"
        f"{did_you_mean(data_set, known - {data_set})} (there: {quoted(sorted(known)) or 'none'}). "
        "Download and prepare it with --data.download (in Python download=True of the data); or "
        f"where there is a network by `tfds build {path} --data_dir DIR/tfds`, and let "
        "ZOO_DATA_DIR or --data.data-dir point to DIR"
    )


LITTER = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
"""Folders that systems and archivers put beside the user's."""


def visible(folder: Path) -> list[Path]:
    """A folder's entries by name, without `._1.jpg`, `.ipynb_checkpoints`, `__MACOSX` and such."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name not in LITTER
    )


def _is_data_set(folder: Path) -> bool:
    return bool(_versions(folder)) or any(map(_versions, _subfolders(folder)))


def _versions(folder: Path) -> dict[tuple[int, ...], Path]:
    return {
        tuple(map(int, path.name.split("."))): path
        for path in _subfolders(folder)
        if re.fullmatch(r"\d+\.\d+\.\d+", path.name) and (path / "dataset_info.json").is_file()
    }


def _default_config(folder: Path) -> Path:
    metadata = folder / ".config" / "metadata.json"
    if metadata.is_file():
        default = json.loads(metadata.read_text(encoding="utf-8")).get("default_config_name")
        if default and _versions(folder / default):
            return folder / str(default)
    configs = [path for path in _subfolders(folder) if _versions(path)]
    return configs[0] if len(configs) == 1 else folder


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.is_dir()] if folder.is_dir() else []
