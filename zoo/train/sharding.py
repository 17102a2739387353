"""Several devices and hosts: each batch is divided over them, the state is copied to each.

Everything runs under `jax.jit` with `NamedSharding`; on one device the same code is an ordinary
jit. Each process builds the whole batch and keeps its own rows, so the order of the data does not
depend on the number of processes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from zoo.config import ConfigError, check_fields

Batch = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """How devices are laid out."""

    data: int | None = None
    """Number of devices that share a batch; None: all there are."""

    def __post_init__(self) -> None:
        check_fields(self)


def make_mesh(config: MeshConfig) -> Mesh:
    """A mesh with the axis `data`.

    Raises:
      ConfigError: there are not as many devices, or a process would have none of them.
    """
    available = jax.devices()
    number = len(available) if config.data is None else config.data
    if not 1 <= number <= len(available):
        raise ConfigError(
            f"mesh.data is {number}, but there are {len(available)} device(s): {available}"
        )
    idle = {device.process_index for device in available[number:]} - {
        device.process_index for device in available[:number]
    }
    if idle:
        raise ConfigError(
            f"mesh.data is {number} of {len(available)} devices, which leaves process "
            f"{', '.join(map(str, sorted(idle)))} without any; leave mesh.data out, or start fewer "
            "processes"
        )
    # Linen's layers are written for axes whose sharding the compiler works out (Auto).
    return jax.make_mesh(
        (number,), ("data",), devices=available[:number], axis_types=(AxisType.Auto,)
    )


def of_state(mesh: Mesh) -> NamedSharding:
    """The sharding of a run's state, and of metrics: each device holds a copy."""
    return NamedSharding(mesh, PartitionSpec())


def of_batch(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: each device holds rows of its own."""
    return NamedSharding(mesh, PartitionSpec("data"))


def placed(shapes: Any, where: NamedSharding) -> Any:
    """Shapes of arrays that are to lie there."""

    def place(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

    return jax.tree.map(place, shapes)


@functools.cache
def _replicator(mesh: Mesh) -> Callable[[Any], Any]:
    return jax.jit(lambda tree: tree, out_shardings=of_state(mesh))


def put_state(tree: Any, mesh: Mesh) -> Any:
    """A tree of host arrays, equal in every process, on the devices of the mesh."""
    return _replicator(mesh)(tree)


def put_batch(batch: Batch, mesh: Mesh) -> dict[str, Any]:
    """A batch of NumPy arrays on the devices of the mesh, divided along its first axis.

    Rows are added until every device has the same number. All their entries are zero, `weights`
    included, so they count in no loss and no metric.
    """
    devices = mesh.devices.size
    sharding = of_batch(mesh)

    def place(array: np.ndarray[Any, Any]) -> jax.Array:
        missing = -len(array) % devices
        if missing:
            filler = np.zeros((missing, *array.shape[1:]), array.dtype)
            array = np.concatenate([array, filler])
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    if devices == 1:
        return {key: jax.device_put(array, sharding) for key, array in batch.items()}
    return {key: place(array) for key, array in batch.items()}


def on_device(batches: Iterable[Batch], mesh: Mesh) -> Iterator[dict[str, Any]]:
    """The batches on the devices, one ahead of its use, so that copying overlaps with computing."""
    waiting: dict[str, Any] | None = None
    for batch in batches:
        placed = put_batch(batch, mesh)
        if waiting is not None:
            yield waiting
        waiting = placed
    if waiting is not None:
        yield waiting
