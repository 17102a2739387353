"""Checkpoints of trax, in all of its formats.

A model's weights are a nested tuple that follows its layers. A checkpoint is a pickled dict with:

    weights       before June 2020 (`trainer_lib.Trainer`, not gzipped): that tuple
    flat_weights  later: a list of its arrays, depth first; or a number, and then they are in
                  NAME.weights.npy.gz   (`training.Loop`, from March 2021)
                  NAME.pkl.gz.npy       (for a few weeks before)
                  NAME.pkl.gz.shard0 …  (before that; the number is the number of shards)

State and slots are stored in the same way. `Layer.save_to_file` writes `flat_weights` as a list and
little else. No format contains names, or says which model it is of: `tables` supplies the names.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np

from zoo.config import local
from zoo.interop import files, unpickling
from zoo.interop.files import CheckpointError

Array = np.ndarray[Any, Any]

MOST_NODES = 100_000
"""Limit for a tree in a checkpoint, which may contain itself or one part many times."""

MOST_REPORTS = 1_000_000
"""Limit for a history."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of trax: arrays without names, in the order of their layers."""

    weights: tuple[Array, ...]
    """The trained arrays. One that several layers share occurs once, where it is first used."""
    state: tuple[Array, ...] = ()
    """Arrays that are not trained: statistics of batch norm, dropout rates, hash buckets."""
    slots: tuple[Array, ...] = ()
    """The optimizer's arrays: those of the first weight, then of the second, …, for each task."""
    opt_params: Mapping[str, float] = field(default_factory=dict)
    """The optimizer's numbers, such as `learning_rate`."""
    history: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]] = field(default_factory=dict)
    """Mode (`train`, `eval`) -> metric -> (step, value) of each report."""
    input_signature: tuple[jax.ShapeDtypeStruct, ...] = ()
    """Shapes and dtypes of a batch; in files of 2020 with targets and loss weights."""
    step: int | None = None
    """Number of training steps; None if the file does not have it."""


def read(path: str | Path) -> Checkpoint:
    """Reads a checkpoint of trax, without trax and without executing anything in the file.

    Weights in bfloat16 stay bfloat16.

    Args:
      path: the file. If the weights are in files of their own, the main file, such as
        `model.pkl.gz`; files of the optimizer's slots may be missing.

    Raises:
      FileNotFoundError: there is no such file.
      CheckpointError: the file is not a checkpoint of trax, is truncated, contains something that
        no checkpoint does, or the files with its weights are missing.
    """
    path = local(path)
    with files.opened(path) as stream:
        content = unpickling.load(stream)
        if not isinstance(content, dict) or not content.keys() & {"flat_weights", "weights"}:
            actual = f"a dict of {', '.join(content)}" if isinstance(content, dict) else content
            raise CheckpointError(
                "a checkpoint of trax is a dict with 'flat_weights' (or 'weights'), but this is "
                f"{unpickling.shown(actual)}"
            )
        return Checkpoint(
            weights=tuple(map(_weight, _weights(path, content))),
            state=tuple(map(_array, _leaves(content.get("flat_state", content.get("state"))))),
            slots=tuple(map(_array, _slots(path, content))),
            opt_params={k: _number(v) for k, v in (content.get("opt_params") or {}).items()},
            history=_history(content.get("history")),
            input_signature=tuple(
                leaf
                for leaf in _leaves(content.get("input_signature"))
                if isinstance(leaf, jax.ShapeDtypeStruct)
            ),
            step=None if content.get("step") is None else int(_number(content["step"])),
        )


def _weights(path: Path, content: Mapping[str, Any]) -> list[Any]:
    """The weights, from the pickle or, if it has a number instead, from files beside it."""
    stored = content.get("flat_weights", content.get("weights"))
    if not isinstance(stored, int):
        return _leaves(stored)
    places = [_sibling(path, "weights"), path.with_name(f"{path.name}.npy")]
    for place in places:
        if place.is_file():
            return _arrays(place)
    shards = (path.with_name(f"{path.name}.shard{number}") for number in range(stored))
    first = next(shards, path)
    if not first.is_file():
        raise CheckpointError(
            f"its weights are in another file, but none of {places[0].name}, {places[1].name} and "
            f"{path.name}.shard0 exists; put it beside this one"
        )
    return [item for shard in itertools.chain([first], shards) for item in _shard(shard)]


def _shard(path: Path) -> list[Any]:
    if not path.is_file():
        raise CheckpointError(f"its weights are in several files, and {path.name} is missing")
    with files.opened(path) as stream:
        return _leaves(unpickling.load(stream))


def _slots(path: Path, content: Mapping[str, Any]) -> list[Any]:
    stored = content.get("slots_per_task", content.get("slots"))
    if not isinstance(stored, int):
        return _leaves(stored)
    tasks = (_sibling(path, f"opt_slots{number}") for number in itertools.count())
    existing = itertools.takewhile(Path.is_file, tasks)
    return [item for task in existing for item in _arrays(task)]


def _sibling(path: Path, what: str) -> Path:
    """`model.pkl.gz` -> `model.weights.npy.gz`."""
    return path.with_name(f"{path.name.removesuffix('.pkl.gz')}.{what}.npy.gz")


def _arrays(path: Path) -> list[Array]:
    with files.opened(path) as stream:
        return list(files.arrays(stream))


def _leaves(tree: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dicts, depth first, except None.

    A layer without weights is an empty tuple; one that shares its weights with an earlier layer is
    a dict with an empty tuple. Neither has leaves.
    """
    leaves: list[Any] = []
    following = [tree]
    for _ in range(MOST_NODES):
        if not following:
            return leaves
        node = following.pop()
        if isinstance(node, dict):
            node = list(node.values())
        if isinstance(node, list | tuple) and not _is_bits(node):
            following.extend(reversed(node))
            if len(following) > MOST_NODES:
                break
        elif node is not None:
            leaves.append(node)
    raise CheckpointError(f"it has a tree of more than {MOST_NODES:,} arrays and containers")


def _is_bits(node: Any) -> bool:
    """Whether it is a bfloat16 array in a form used for a few weeks: (bits, 'bfloat16')."""
    return len(node) == 2 and isinstance(node[1], str) and node[1] == "bfloat16"


def _array(leaf: Any) -> Array:
    """A leaf as an array. uint16 is bfloat16: trax uses it for nothing else."""
    if isinstance(leaf, list | tuple):
        leaf = leaf[0]
    if not isinstance(leaf, np.ndarray | np.generic | int | float):
        raise CheckpointError(f"it has {unpickling.shown(leaf)} where an array belongs")
    array: Array = np.asarray(leaf)
    return array.view(ml_dtypes.bfloat16) if array.dtype == np.uint16 else array


def _weight(leaf: Any) -> Array:
    array = _array(leaf)
    if array.dtype != ml_dtypes.bfloat16 and array.dtype.kind != "f":
        raise CheckpointError(
            f"one of its weights is {array.dtype} {list(array.shape)}; weights are floats"
        )
    return array


def _history(value: Any) -> dict[str, dict[str, list[tuple[int, float]]]]:
    modes = (value or {}).get("_values", {})
    # Count first: shared parts are small in the file and large in memory.
    lengths = (1 + len(reports) for metrics in modes.values() for reports in metrics.values())
    if any(total > MOST_REPORTS for total in itertools.accumulate(lengths)):
        raise CheckpointError(f"it has a history of more than {MOST_REPORTS:,} reports")
    return {
        mode: {
            metric: [(int(_number(step)), _number(number)) for step, number in reports]
            for metric, reports in metrics.items()
        }
        for mode, metrics in modes.items()
    }


def _number(value: Any) -> float:
    return float(value.item() if isinstance(value, np.ndarray) else value)
