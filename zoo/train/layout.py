"""How a recipe's parameters lie on a mesh, without the devices."""

from __future__ import annotations

import collections
import math
import re
from typing import Any

import jax
from jax.sharding import AbstractMesh

from zoo.models.axes import axes_of
from zoo.storage import weights
from zoo.train import sharding, stacking
from zoo.train.fine_tuning import load_source
from zoo.train.memory import TIMES, amount
from zoo.train.recipe import Recipe
from zoo.train.setup import shapes_of


def describe(recipe: Recipe) -> str:
    """A table of a recipe's parameters on its mesh, and what a device holds of the state.

    Parameters whose paths differ only in numbers share a line.

    Raises:
      ConfigError: the devices cannot share the batch.
    """
    source = load_source(recipe.init_from)
    recipe = (source.with_architecture(recipe) if source else recipe).resolve()
    mesh = abstract(recipe.mesh)
    state = shapes_of(recipe, mesh)
    number = math.prod(mesh.shape.values())
    lines = [
        f"{recipe.name or 'this recipe'} on {number} device(s){sharding.in_brackets(mesh)}",
        *_table(stacking.apart(state.params)),
        f"a batch of {recipe.batch_size} is divided into {sharding.parts(mesh)} part(s)",
        "a device holds:",
    ]
    held_trees = {"parameters": state.variables, "optimizer": state.optimizer, "average": state.ema}
    for name, tree in held_trees.items():
        if name == "average" and recipe.ema is None:
            continue
        _, of_all = weights.count(tree)
        held = sharding.held(tree)
        share = held / of_all if of_all else 1.0
        lines.append(f"  {name:<12}{amount(held):>12}  {share:7.1%} of {amount(of_all)}")
    _, whole = weights.count(state.params)
    fetched = whole // mesh.shape["tensor"]
    if mesh.shape["fsdp"] > 1:
        lines.append(f"and during a step up to {amount(fetched)} of parameters that it fetches")
    lines.append("activations: `--memory` says what they take, on devices that are there")
    return "\n".join(lines)


def abstract(config: sharding.MeshConfig) -> AbstractMesh:
    """The mesh of a config; what is left is 1 where there are too few devices."""
    sizes = (config.data, config.fsdp, config.tensor)
    fixed = math.prod(size for size in sizes if size != -1)
    available = len(jax.devices())
    return AbstractMesh(
        config.sizes(fixed if fixed > 1 and fixed != available else available), sharding.NAMES
    )


def _table(params: Any) -> list[str]:
    found = collections.Counter(_row(path, leaf) for path, leaf in weights.flatten(params).items())
    rows: list[tuple[str, ...]] = [("parameter", "", "shape", "divided over", "a device holds")]
    rows += [
        (path, f"{TIMES.strip()}{number}" if number > 1 else "", *rest)
        for (path, *rest), number in found.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(path: str, leaf: Any) -> tuple[str, str, str, str]:
    """Path, shape, how it is divided, and what is left of it."""
    spec = leaf.sharding.spec
    names = axes_of(path, len(leaf.shape)) or tuple(str(axis) for axis in range(len(leaf.shape)))
    divided = [f"{name} over {axis}" for name, axis in zip(names, spec, strict=False) if axis]
    held = leaf.sharding.shard_shape(leaf.shape)
    return re.sub(r"\d+", "*", path), str(list(leaf.shape)), ", ".join(divided) or "-", str([*held])
