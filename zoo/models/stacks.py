"""Stacked layers: the parameters of equal blocks in arrays with one more axis, for training.

A stack of three blocks has the parameters `block_0/…`, `block_1/…` and `block_2/…`, in files and
wherever a user sees them. Stacked they are `blocks_3/…`, each array [3, …], and the module runs one
compiled block in a loop. All here is renaming: of parameters, and of whatever has their names, such
as the state of an optimizer or adapters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from zoo.config import ConfigError

BLOCK, BLOCKS = re.compile(r"block_\d+"), re.compile(r"blocks_(\d+)")
"""A block's name, and that of a stack of so many."""


def name(number: int) -> str:
    """The name of so many stacked blocks."""
    return f"blocks_{number}"


def _is_stack(node: Any) -> bool:
    return isinstance(node, Mapping) and any(BLOCKS.fullmatch(str(key)) for key in node)


def _has_blocks(node: Any) -> bool:
    return isinstance(node, Mapping) and any(BLOCK.fullmatch(str(key)) for key in node)


def are_in(tree: Any) -> bool:
    """Whether there are stacked blocks in a tree."""
    return any(map(_is_stack, jax.tree.leaves(tree, is_leaf=_is_stack)))


def stacked(tree: Any, join: Callable[[Sequence[Any]], Any] = jnp.stack) -> Any:
    """A tree whose blocks are stacked.

    Args:
      tree: parameters, or a tree with their names in it.
      join: the arrays of all blocks -> one array.

    Raises:
      ConfigError: the blocks of a stack do not have the same parameters.
    """

    def whole(node: Any) -> Any:
        if not _has_blocks(node):
            return node
        blocks = {key: node[key] for key in node if BLOCK.fullmatch(key)}
        others = {key: node[key] for key in node if key not in blocks}
        expected = [f"block_{index}" for index in range(len(blocks))]
        if set(blocks) != set(expected) or len({*map(_described, blocks.values())}) > 1:
            raise ConfigError(
                f"scan_layers stacks layers, and the parameters of {', '.join(sorted(blocks))} are "
                "not the same, or not those of a whole stack; patterns such as lora.targets must "
                "match all layers or none, or leave scan_layers out"
            )
        rows = [blocks[key] for key in expected]
        return {**others, name(len(rows)): jax.tree.map(lambda *leaves: join(leaves), *rows)}

    return jax.tree.map(whole, tree, is_leaf=_has_blocks)


def _described(block: Any) -> Any:
    """What equal blocks have in common: structure, shapes and dtypes."""
    leaves, structure = jax.tree.flatten(block)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def unstacked(tree: Any, split: Callable[[Any], Sequence[Any]] = tuple) -> Any:
    """A tree whose blocks have their own names again.

    Args:
      tree: what `stacked` returned, or a tree with the names of that in it.
      split: an array -> that of each block.
    """

    def apart(node: Any) -> Any:
        if not _is_stack(node):
            return node
        parts = {}
        for key, below in node.items():
            if not (found := BLOCKS.fullmatch(key)):
                parts[key] = below
                continue
            leaves, structure = jax.tree.flatten(below)
            # A stack without arrays, such as a frozen one in the state of an optimizer, has blocks.
            rows = zip(*map(split, leaves), strict=True) if leaves else ((),) * int(found[1])
            parts |= {
                f"block_{index}": jax.tree.unflatten(structure, row)
                for index, row in enumerate(rows)
            }
        return parts

    return jax.tree.map(apart, tree, is_leaf=_is_stack)


def paths(path: str) -> list[str]:
    """The slash paths of the arrays that are stacked in one; of another array, its own.

    >>> paths("decoder/blocks_2/mlp/up/kernel")
    ['decoder/block_0/mlp/up/kernel', 'decoder/block_1/mlp/up/kernel']
    """
    head, *rest = re.split(r"(?<![^/])blocks_(\d+)(?![^/])", path)
    if not rest:
        return [path]
    number, tail = rest
    return [f"{head}block_{index}{tail}" for index in range(int(number))]
