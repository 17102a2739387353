"""`zoo doctor`: what this installation has."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo.cli.parsing import Command

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "safetensors",
    "sentencepiece",
    "numpy",
)
TRAINING = (
    "tensorflow-cpu",
    "tensorflow",
    "tensorflow-datasets",
    "clu",
    "matplotlib",
    "scikit-learn",
    "sacrebleu",
)


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Shows versions, devices, the cache and the data folders."""

    def run(self) -> None:
        for line in _lines():
            print(line)


def _lines() -> Iterator[str]:
    import jax

    import zoo
    from zoo import hub

    yield (
        f"zoo {zoo.__version__}, Python {platform.python_version()}, {platform.platform()}, "
        f"{os.cpu_count()} cores"
    )
    yield "packages:  " + ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    yield "training:  " + ", ".join(
        f"{name} {_version(name)}" for name in TRAINING if _version(name) != "absent"
    )
    devices = ", ".join(str(device) for device in jax.devices())
    yield f"devices:   {devices} ({jax.devices()[0].device_kind})"
    yield f"cache:     {_cache()}"
    yield f"programs:  {_programs()}"
    if importlib.util.find_spec("tensorflow") is None:
        yield (
            "tensorflow: not installed; predictors work, "
            'training needs pip install "flax-zoo[train]"'
        )
    else:
        yield from _tensorflow()
    yield f"published: {len(hub.list_pretrained())} models"


def _tensorflow() -> Iterator[str]:
    from zoo.pipelines import tfdata
    from zoo.pipelines.sources import locations

    visible = tfdata.tensorflow().config.get_visible_devices("GPU")
    sees = f"{visible}: hide it" if visible else "no accelerator (as it should)"
    yield f"tensorflow: sees {sees}"
    for folder, exists in locations.data_folders().items():
        yield f"data:      {folder} {'found' if exists else 'absent'}"


def _cache() -> str:
    """The folder of what was fetched, and the sizes of its models."""
    from zoo.hub import fetching

    try:
        folder = fetching.cache_folder()
    except fetching.HubError as error:
        return f"none: {error}"
    if not folder.is_dir():
        return f"{folder} absent"
    parts = sorted(part for part in folder.iterdir() if part.is_dir())
    return f"{folder} {', '.join(f'{part.name} {_size(part)}' for part in parts) or 'empty'}"


def _programs() -> str:
    """The folder of XLA's compiled programs, and its size."""
    from zoo.hub import compilation

    folder = compilation.folder()
    if folder is None:
        return "none: there is no home folder"
    return f"{folder} {_size(folder) if folder.is_dir() else 'absent'}"


def _size(folder: Path) -> str:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{sum(sizes) / 1e6:.1f} MB"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
