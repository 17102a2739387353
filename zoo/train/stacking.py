"""Training with stacked layers: between steps parameters, their averages and the optimizer's state
stay stacked (see `zoo.models.stacks`), and only what leaves the training is taken apart.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from zoo.models import stacks


@dataclass(frozen=True)
class Stacking:
    """A module whose layers are stacked. It is initialised and applied as a module is."""

    module: Any

    def init(self, key: jax.Array, *inputs: Any) -> dict[str, Any]:
        """The module's variables, stacked: the same numbers as without.

        Raises:
          ConfigError: layers of one stack have different parameters, such as adapters.
        """
        variables: dict[str, Any] = stacks.stacked(self.module.init(key, *inputs))
        return variables

    def apply(self, variables: Mapping[str, Any], *arguments: Any, **options: Any) -> Any:
        """The module's `apply`: it runs as its variables lie."""
        return self.module.apply(variables, *arguments, **options)


def apart(tree: Any) -> Any:
    """A state, or a part of it, in which layers have their own names and stay where they are.

    Args:
      tree: arrays, or placed shapes. What is not stacked is returned as it is.
    """
    return stacks.unstacked(tree, _rows)


def as_in(wanted: Any, tree: Any) -> Any:
    """What `apart` returned, stacked again where `wanted` is.

    Args:
      wanted: arrays or shapes.
      tree: the same by the names of layers, on the devices or on the host, where it stays.
    """
    return stacks.stacked(tree, _joined) if stacks.are_in(wanted) else tree


def _rows(stack: Any) -> Sequence[Any]:
    if isinstance(stack, np.ndarray):
        return list(stack)
    lies = NamedSharding(stack.sharding.mesh, PartitionSpec(*stack.sharding.spec[1:]))
    if isinstance(stack, jax.ShapeDtypeStruct):
        row = jax.ShapeDtypeStruct(stack.shape[1:], stack.dtype, sharding=lies)
        return [row] * int(stack.shape[0])
    rows: tuple[jax.Array, ...] = _splitting(lies)(stack)
    return rows


def _joined(rows: Sequence[Any]) -> Any:
    if isinstance(rows[0], np.ndarray):
        return np.stack(rows)
    spec = rows[0].sharding.spec
    lies = NamedSharding(rows[0].sharding.mesh, PartitionSpec(None, *spec))
    return _joining(lies)(rows)


# Compiled once for each shape, however deep the model.


@functools.lru_cache
def _splitting(lies: NamedSharding) -> Any:
    return jax.jit(lambda stack: tuple(jnp.unstack(stack)), out_shardings=lies)


@functools.lru_cache
def _joining(lies: NamedSharding) -> Any:
    return jax.jit(lambda rows: jnp.stack(rows), out_shardings=lies)
