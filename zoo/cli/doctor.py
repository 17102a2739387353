"""`zoo doctor`: what this installation has."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.cli import failures
from zoo.cli.parsing import Command
from zoo.config import Mistake, PackageMistake, ValueMistake

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
ABSENT = "absent"

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
    """Shows versions, devices, the cache and the data folders.

    The exit code is 1 if something that is needed is broken: a package that the zoo requires is
    absent, JAX has no devices, TensorFlow is installed and cannot be imported, the published cards
    cannot be read, or anything fails. What is optional and absent is no failure: the extra [train],
    a cache, data.
    """

    def run(self) -> int:
        code = 0
        for head, facts in FACTS.items():
            try:
                for fact in facts():
                    print(head, fact, flush=True)
            except (BrokenPipeError, KeyboardInterrupt):
                raise
            except Exception as error:  # one broken part hides no other
                print(head, _reason(error), flush=True)
                code = 1 if head in NEEDED or not isinstance(error, Mistake) else code
        return code


def _reason(error: Exception) -> str:
    """An error as one line: what a broken installation raises can be anything."""
    if isinstance(error, Mistake):
        return str(error)
    reason = " ".join(str(error).split())
    return f"fails: {type(error).__name__}{reason and f': {reason}'}"


def _zoo() -> Iterator[str]:
    import zoo

    yield (
        f"{zoo.__version__}, Python {platform.python_version()}, {platform.platform()}, "
        f"{os.cpu_count()} cores"
    )


def _packages() -> Iterator[str]:
    versions = {name: _version(name) for name in PACKAGES}
    yield ", ".join(f"{name} {version}" for name, version in versions.items())
    if absent := [name for name, version in versions.items() if version == ABSENT]:
        raise PackageMistake(f"{', '.join(absent)} absent, and needed: pip install flax-zoo")


def _training() -> Iterator[str]:
    versions = {name: _version(name) for name in TRAINING}
    there = (f"{name} {version}" for name, version in versions.items() if version != ABSENT)
    yield ", ".join(there) or "no package of the extra [train]"


def _devices() -> Iterator[str]:
    import jax

    if missing := failures.missing_devices():
        raise ValueMistake(missing)
    devices = jax.devices()
    yield f"{', '.join(map(str, devices))} ({devices[0].device_kind})"


def _tensorflow() -> Iterator[str]:
    if importlib.util.find_spec("tensorflow") is None:
        yield 'not installed; predictors work, training needs pip install "flax-zoo[train]"'
        return
    from zoo.pipelines import tfdata

    visible = tfdata.tensorflow().config.get_visible_devices("GPU")
    yield f"sees {visible}: hide it" if visible else "sees no accelerator (as it should)"


def _data() -> Iterator[str]:
    from zoo.pipelines.sources import locations

    for folder, exists in locations.data_folders().items():
        yield f"{folder} {'found' if exists else 'absent'}"


def _published() -> Iterator[str]:
    from zoo import hub

    yield f"{len(hub.list_pretrained())} models"


def _cache() -> Iterator[str]:
    """The folder of what was fetched, and the sizes of its models."""
    from zoo.hub import fetching

    folder = fetching.cache_folder()
    if not folder.is_dir():
        yield f"{folder} absent"
        return
    parts = sorted(part for part in folder.iterdir() if part.is_dir())
    yield f"{folder} {', '.join(f'{part.name} {_size(part)}' for part in parts) or 'empty'}"


def _programs() -> Iterator[str]:
    """The folder of XLA's compiled programs, and its size."""
    from zoo.hub import compilation

    folder = compilation.folder()
    if folder is None:
        yield "none: there is no home folder"
    else:
        yield f"{folder} {_size(folder) if folder.is_dir() else 'absent'}"


def _size(folder: Path) -> str:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{sum(sizes) / 1e6:.1f} MB"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


FACTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "zoo": _zoo,
    "packages: ": _packages,
    "training: ": _training,
    "devices:  ": _devices,
    "cache:    ": _cache,
    "programs: ": _programs,
    "tensorflow:": _tensorflow,
    "data:     ": _data,
    "published:": _published,
}
"""What is shown, by the head of its lines; each entry gives one line or several."""

NEEDED = ("zoo", "packages: ", "devices:  ", "tensorflow:", "published:")
"""Heads of the facts whose mistakes are failures. A cache and data can do without."""
