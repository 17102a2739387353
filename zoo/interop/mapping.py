"""From arrays in trax's order to variables by name; if they do not fit, a list of differences."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from zoo.interop.checkpoint import Array, Checkpoint
from zoo.interop.files import CheckpointError
from zoo.interop.tables import TABLES, Table
from zoo.models.base import ModelConfig
from zoo.storage import weights

C = TypeVar("C", bound=ModelConfig)

ENCODER_POSITIONS, DECODER_POSITIONS = "params/encoder/positions", "params/decoder/positions"

LISTED = 60
"""Limit for the lines of a message."""


def _table(config: ModelConfig) -> Table:
    cls = type(config)
    if cls not in TABLES:
        known = ", ".join(other.__name__ for other in TABLES)
        raise CheckpointError(f"a {cls.__name__} is not a model of trax; known are {known}")
    return TABLES[cls]


def complete(config: C, checkpoint: Checkpoint) -> C:
    """The config with sizes that are None taken from the shapes of the checkpoint's arrays.

    The constructor call of trax's `MLP` does not say how large its input is, nor does that of a
    `TransformerDecoder` of vectors.

    Raises:
      CheckpointError: the config is not of a model of trax, or the checkpoint of another one.
    """
    table = _table(config)
    arrays = [array for array in checkpoint.weights if array.ndim]  # a threshold says no size
    if len(arrays) < 2:
        raise CheckpointError(
            f"the checkpoint has {len(checkpoint.weights)} arrays, and the first or the last does "
            f"not fit a {type(config).__name__}"
        )
    sizes = table.sizes(config, arrays)
    missing = {name: size for name, size in sizes.items() if getattr(config, name) is None}
    return dataclasses.replace(config, **missing)


def to_variables(checkpoint: Checkpoint, config: ModelConfig) -> dict[str, Any]:
    """The variables of a config's module, with a checkpoint's weights.

    Only `checkpoint.weights` and `checkpoint.state` are used, so
    `dataclasses.replace(checkpoint, weights=gradients)` maps gradients to their names.

    Args:
      checkpoint: from `read`. Its tables of positions may be [1, length, d_model], the form until
        March 2021, and longer than `max_len`; then they are cut, as in trax.
      config: of a model that trax has. Sizes that are None are filled in by `complete`.

    Returns:
      {"params": …}, and {"batch_stats": …} if there is batch normalisation, in the dtypes of the
      module.

    Raises:
      CheckpointError: the number of arrays or one of their shapes differs from the parameters'; the
        message lists both sides. Or the state is not that of the model's batch normalisations.
    """
    config = complete(config, checkpoint)
    leaves = weights.flatten(config.variable_shapes())
    parts = {}
    for path in _table(config).order(config):
        members = [f"params/{member}" for member in ([path] if isinstance(path, str) else path)]
        parts[" + ".join(members)] = members
    shapes = {name: _joined([_shape(leaves, member) for member in parts[name]]) for name in parts}
    arrays = _with_both_positions(checkpoint.weights, list(parts))
    fitted = {
        name: _cut(array, name, shapes[name]) for name, array in zip(parts, arrays, strict=False)
    }
    wrong = [name for name, array in fitted.items() if array.shape != shapes[name]]
    if wrong or len(arrays) != len(parts):
        raise CheckpointError(
            _misfit(type(config).__name__, shapes, checkpoint.weights) + _about_images(config)
        )
    named: dict[str, Array] = {}
    for name, members in parts.items():
        if len(members) == 1:  # it may have no axes
            named[name] = np.asarray(fitted[name])
            continue
        ends = np.cumsum([_shape(leaves, member)[0] for member in members[:-1]], dtype=int)
        named.update(zip(members, np.split(np.asarray(fitted[name]), ends), strict=True))
    named |= _statistics(checkpoint.state, list(named), leaves)
    stacked: dict[str, list[Array]] = {}
    for name, array in named.items():
        stacked.setdefault(_unstacked(name), []).append(array)  # in the order of their layers
    return weights.unflatten(
        {
            name: jnp.asarray(
                stacked[name][0] if name in named else np.stack(stacked[name]), leaf.dtype
            )
            for name, leaf in leaves.items()
        }
    )


def _unstacked(name: str) -> str:
    """The parameter of which `name[3]` is an entry; another name is returned unchanged."""
    return name.partition("[")[0]


def _shape(leaves: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """The shape of a parameter, or of one entry of a stacked one."""
    shape: tuple[int, ...] = leaves[_unstacked(name)].shape
    return shape if name in leaves else shape[1:]


def _statistics(
    state: Sequence[Array], names: Sequence[str], leaves: Mapping[str, Any]
) -> dict[str, Array]:
    """The running statistics of the batch normalisations, in the order of their parameters.

    trax has three entries for each: mean and variance, [1, 1, 1, C] for images, and the number of
    batches, which is not used. The state of other models is not needed.
    """
    norms = [name.removeprefix("params/").removesuffix("/scale") for name in names]
    norms = [norm for norm in norms if f"batch_stats/{norm}/mean" in leaves]
    if norms and len(state) != 3 * len(norms):
        raise CheckpointError(
            f"the checkpoint's state has {len(state)} entries; the model's {len(norms)} batch "
            f"normalisations have three each, {3 * len(norms)}"
        )
    statistics = {}
    for index, norm in enumerate(norms):
        for entry, statistic in enumerate(("mean", "var")):
            name, array = f"batch_stats/{norm}/{statistic}", state[3 * index + entry]
            if array.ndim not in (1, 4) or (array.size,) != leaves[name].shape:
                raise CheckpointError(
                    f"entry {3 * index + entry} of the checkpoint's state has the shape "
                    f"{list(array.shape)}; {name} has {list(leaves[name].shape)}"
                )
            statistics[name] = array.reshape(-1)
    return statistics


def _joined(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of arrays concatenated along their first axis."""
    if len(shapes) == 1:
        return shapes[0]
    return sum(shape[0] for shape in shapes), *shapes[0][1:]


def _with_both_positions(arrays: Sequence[Array], names: Sequence[str]) -> list[Array]:
    """The arrays, with the missing one of a Transformer from before 14 July 2020.

    With a shared vocabulary it shared the table of positions too, which is stored once. Such a file
    has exactly one array too few.
    """
    arrays = list(arrays)
    shared = "params/target_embedding/embedding" not in names
    if {ENCODER_POSITIONS, DECODER_POSITIONS} <= set(names) and shared:
        if len(arrays) == len(names) - 1:
            arrays.insert(names.index(DECODER_POSITIONS), arrays[names.index(ENCODER_POSITIONS)])
    return arrays


def _cut(array: Array, name: str, shape: tuple[int, ...]) -> Array:
    """The array; a table of positions without its axis of size 1 and cut to the model's length."""
    if name.endswith("/positions") and array.ndim in (2, 3):
        array = _without_axis(array)[: shape[0]]
    return array


def _without_axis(array: Array) -> Array:
    return array[0] if array.ndim == 3 and array.shape[0] == 1 else array


def _misfit(model: str, shapes: Mapping[str, tuple[int, ...]], arrays: Sequence[Array]) -> str:
    lines = list(_differences(shapes, arrays))
    if len(lines) > LISTED:
        lines[LISTED:] = [f"  … and {len(lines) - LISTED} lines more"]
    return (
        f"the checkpoint has {len(arrays)} arrays, which do not fit the {len(shapes)} of the "
        f"{model} (+ the model has, - the checkpoint has):\n" + "\n".join(lines)
    )


def _about_images(config: ModelConfig) -> str:
    """The last line of the message for a network whose head depends on the shape of the images."""
    shape = getattr(config, "input_shape", None)
    if shape is None or not hasattr(getattr(config, "trax", None), "pool_window"):
        return ""
    return (
        f"\n  (the head has a row for each window of the last map, of images of {shape}; if "
        "yours had another height or width, give image_shape, in Python input_shape of the config)"
    )


def _differences(expected: Mapping[str, tuple[int, ...]], arrays: Sequence[Array]) -> Iterator[str]:
    """A line for each parameter and each array without a counterpart.

    If there are equally many, each array belongs to the parameter at its place. Otherwise the
    shapes are aligned in the way in which `diff` aligns lines.
    """
    names, shapes = list(expected), list(expected.values())
    if len(names) == len(arrays):
        pairs = [
            (index, index)
            for index, (name, array) in enumerate(zip(names, arrays, strict=True))
            if _cut(array, name, shapes[index]).shape != shapes[index]
        ]
    else:
        given = [_without_axis(array).shape for array in arrays[: 2 * len(names)]]
        matcher = difflib.SequenceMatcher(None, shapes, given, autojunk=False)
        pairs = [
            pair
            for kind, start, end, other_start, other_end in matcher.get_opcodes()
            if kind != "equal"
            for pair in itertools.zip_longest(range(start, end), range(other_start, other_end))
        ]
    for ours, theirs in pairs:
        if ours is not None:
            yield f"  + {names[ours]} {list(shapes[ours])}"
        if theirs is not None:
            yield f"  - array {theirs}: {list(arrays[theirs].shape)}"
