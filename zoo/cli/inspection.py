"""What `zoo show` and `zoo doctor` print."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import os
import platform
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo import config as configs
from zoo import hub, registry
from zoo.hub import fetching
from zoo.storage.cards import Card

SHOWN = 40
"""Most parameters in a table."""


def describe(name: str) -> str:
    """All that bears a name, as text: the card, the recipe with what the data decides, the model.

    Raises:
      UnknownNameError: nothing has that name.
    """
    parts = []
    if Path(name).is_dir() or name in hub.list_pretrained():
        parts.append(_card(hub.find(name)))
    if name in registry.list_recipes():
        parts.append(_recipe(name))
    if name in registry.list_models():
        function = registry.models.get(name)
        parts.append(
            f"model {name}\n{_doc(function)}\n\n{_config(function())}\n{_parameters(function())}"
        )
    if not parts:
        known = {*hub.list_pretrained(), *registry.list_recipes(), *registry.list_models()}
        raise registry.UnknownNameError(
            "model, recipe, published weights or run", name, tuple(sorted(known))
        )
    return "\n\n".join(parts)


def _doc(function: Any) -> str:
    return inspect.getdoc(function) or ""


def _card(path: Path) -> str:
    card = Card.read(path)
    content = configs.flatten(tomllib.loads(path.read_text(encoding="utf-8")))
    lines = [f"card {path}"]
    for key, value in content.items():
        text = str(value)
        lines.append(f"  {key} = {text if len(text) <= 100 else text[:97] + '…'}")
    return "\n".join(lines) + "\n" + _parameters(card.config)


def _recipe(name: str) -> str:
    from zoo.train import recipe as recipes

    recipe = recipes.get(name)
    note = ""
    try:
        recipe = recipe.resolve()
    except (OSError, LookupError, ValueError, ImportError) as error:
        note = f"\n(not resolved, as the data cannot be read here: {error})"
    described = f"recipe {name}\n{_doc(registry.recipes.get(name))}\n\n{_config(recipe)}{note}"
    return described if note else f"{described}\n{_parameters(recipe.model)}"


def _config(config: Any) -> str:
    leaves = configs.flatten(configs.to_dict(config))
    return "\n".join(f"  {path} = {value}" for path, value in leaves.items())


def _parameters(config: Any) -> str:
    """A table of the parameters, without making any: shapes come from `jax.eval_shape`."""
    from zoo.storage import weights

    try:
        variables = config.variable_shapes()
    except configs.ConfigError as error:
        return f"parameters: {error}"
    leaves = weights.flatten(variables["params"])
    rows = [(path, str(list(leaf.shape)), f"{leaf.size:,}") for path, leaf in leaves.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"  {path:<{widths[0]}}  {shape:<{widths[1]}}  {size:>{widths[2]}}"
        for path, shape, size in rows[:SHOWN]
    ]
    if len(rows) > SHOWN:
        lines.append(f"  … and {len(rows) - SHOWN} more")
    number, size = weights.count(variables["params"])
    return "\n".join([f"parameters: {number:,} ({size / 1e6:.1f} MB as float32)", *lines])


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


def diagnose() -> str:
    """What this installation has: versions, devices, cache, what TensorFlow sees, data folders."""
    return "\n".join(_diagnosis())


def _diagnosis() -> Iterator[str]:
    import jax

    import zoo

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
    if importlib.util.find_spec("tensorflow") is None:
        yield (
            "tensorflow: not installed; predictors work, "
            'training needs pip install "flax-zoo[train]"'
        )
    else:
        from zoo.pipelines import base

        visible = base.tensorflow().config.get_visible_devices("GPU")
        sees = f"{visible}: hide it" if visible else "no accelerator (as it should)"
        yield f"tensorflow: sees {sees}"
        from zoo.pipelines import folders

        for folder, exists in folders.data_folders().items():
            yield f"data:      {folder} {'found' if exists else 'absent'}"
    yield f"published: {len(hub.list_pretrained())} models"


def _cache() -> str:
    """The cache folder and what lies in it: the models, and what XLA has compiled."""
    folder = fetching.cache_folder()
    if not folder.is_dir():
        return f"{folder} absent"
    parts = sorted(part for part in folder.iterdir() if part.is_dir())
    return f"{folder} {', '.join(f'{part.name} {_size(part)}' for part in parts) or 'empty'}"


def _size(folder: Path) -> str:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{sum(sizes) / 1e6:.1f} MB"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
