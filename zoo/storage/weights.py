"""Trees of parameters: by slash path, in safetensors files, and merged with those of a model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from zoo.config import ValueMistake

Tree = Mapping[str, Any]
"""Nested dicts of arrays, the form that `module.init` returns."""


def flatten(tree: Tree) -> dict[str, Any]:
    """A tree as slash path -> leaf, in the tree's order.

    >>> flatten({"params": {"head": {"bias": 0}}})
    {'params/head/bias': 0}
    """
    return dict(traverse_util.flatten_dict(tree, sep="/"))


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of slash paths."""
    return dict(traverse_util.unflatten_dict(leaves, sep="/"))


def save(path: Path, variables: Tree) -> None:
    """Writes a tree as a safetensors file whose names are slash paths, in the dtypes of the leaves.

    Raises:
      OSError: the disk is full, or the folder cannot be written to.
    """
    arrays = {
        name: np.ascontiguousarray(leaf).reshape(np.shape(leaf))
        for name, leaf in flatten(variables).items()
    }
    try:
        path.touch()
        mode = path.stat().st_mode
        save_file(arrays, path)
        path.chmod(mode)  # the library makes it private, whatever the umask
    except (OSError, SafetensorError) as error:
        raise OSError(f"{path} could not be written: {error}") from error


def load(path: Path) -> dict[str, Any]:
    """The tree of a safetensors file, as NumPy arrays.

    Raises:
      ValueError: the file is not a complete safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return unflatten({name: file.get_tensor(name) for name in file.keys()})
    except SafetensorError as error:
        raise ValueMistake(
            f"{path} is not a readable safetensors file ({error}); fetch or export it again"
        ) from error


def is_readable(path: Path) -> bool:
    """Whether a safetensors file has a valid header and the size that the header says."""
    try:
        with safe_open(path, framework="numpy"):
            return True
    except (OSError, SafetensorError):
        return False


def merge(target: Tree, source: Tree, *, skip: Sequence[str] = ()) -> dict[str, Any]:
    """`target` with every leaf taken from `source`, except those that `skip` names.

    Args:
      target: the tree of the new model: its leaves give shapes and dtypes, and the values of what
        is skipped.
      source: the tree of the old one. Leaves that `skip` names may be missing or of any shape.
      skip: regular expressions that match whole slash paths, such as `("params/head/.*",)`.

    Raises:
      ValueError: a name or a shape differs; the message lists both sides.
    """
    wanted, given = flatten(target), flatten(source)

    def skipped(name: str) -> bool:
        return any(re.fullmatch(pattern, name) for pattern in skip)

    problems = list(_differences(wanted, given, skipped))
    if problems:
        raise ValueMistake(
            "the weights do not fit the model (+ the model has, - the weights have):\n"
            + "\n".join(problems)
        )
    merged = {
        name: leaf if skipped(name) else _as_dtype(given[name], leaf.dtype)
        for name, leaf in wanted.items()
    }
    return unflatten(merged)


def _differences(
    wanted: Mapping[str, Any], given: Mapping[str, Any], skipped: Any
) -> Iterator[str]:
    for name in [*wanted, *(name for name in given if name not in wanted)]:
        if skipped(name):
            continue
        ours = _describe(wanted[name]) if name in wanted else None
        theirs = _describe(given[name]) if name in given else None
        if ours is None:
            yield f"  - {name} {theirs}"
        elif theirs is None:
            yield f"  + {name} {ours}"
        elif ours != theirs:
            yield f"  + {name} {ours}\n  - {name} {theirs}"


def _describe(leaf: Any) -> str:
    return "[" + ", ".join(map(str, leaf.shape)) + "]"


def _as_dtype(leaf: Any, dtype: Any) -> Any:
    return leaf if leaf.dtype == dtype else leaf.astype(dtype)


def digest(tree: Tree) -> str:
    """A SHA-256 of names, shapes, dtypes and values, in hexadecimal digits. It tells weights apart,
    in whatever files they are."""
    hashed = hashlib.sha256()
    for path, leaf in sorted(flatten(jax.device_get(tree)).items()):
        hashed.update(f"{path} {leaf.dtype} {leaf.shape} ".encode())
        hashed.update(np.ascontiguousarray(leaf).tobytes())
    return hashed.hexdigest()


def count(tree: Any) -> tuple[int, int]:
    """Number of values in a tree and their bytes."""
    leaves = jax.tree.leaves(tree)
    return sum(leaf.size for leaf in leaves), sum(
        leaf.size * leaf.dtype.itemsize for leaf in leaves
    )


def cast(tree: Tree, dtype: Any) -> dict[str, Any]:
    """The tree with its floating-point leaves in another precision."""
    leaves = flatten(tree)
    return unflatten(
        {
            name: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
            for name, leaf in leaves.items()
        }
    )
