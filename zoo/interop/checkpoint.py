"""What trax wrote to disk, in every format that it had.

A model's weights are a nested tuple that follows its layers. A checkpoint is a pickled dict with:

    weights       before June 2020 (`trainer_lib.Trainer`, not gzipped): that very tuple
    flat_weights  later: a list of its arrays, depth first; or a number, and then they lie in
                  NAME.weights.npy.gz   (`training.Loop`, from March 2021 on)
                  NAME.pkl.gz.npy       (for some weeks before)
                  NAME.pkl.gz.shard0 …  (before these, where the number is how many)

State and slots go the same way. `Layer.save_to_file` writes `flat_weights` as a list, with little
beside it. No format has names, and none says which model it is: that is what `tables` is for.
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

from zoo.interop import files, unpickling
from zoo.interop.files import CheckpointError

Array = np.ndarray[Any, Any]

MOST_NODES = 100_000
"""Of a tree in a checkpoint: one that holds itself, or one part many times, has no end."""

MOST_REPORTS = 1_000_000
"""Of a history."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of trax: arrays without names, in the order of the layers that own them."""

    weights: tuple[Array, ...]
    """What is trained. One that several layers share is there once, where it is used first."""
    state: tuple[Array, ...] = ()
    """What is not: running statistics of batch norm, dropout rates, hash buckets."""
    slots: tuple[Array, ...] = ()
    """The optimizer's arrays: all of the first weight, then all of the second; task after task."""
    opt_params: Mapping[str, float] = field(default_factory=dict)
    """The optimizer's numbers, as `learning_rate`."""
    history: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]] = field(default_factory=dict)
    """Mode (`train`, `eval`) -> metric -> (step, value) of each report."""
    input_signature: tuple[jax.ShapeDtypeStruct, ...] = ()
    """Shapes and dtypes of a batch; files of 2020 have targets and loss weights in it too."""
    step: int | None = None
    """How many steps it was trained; None where the file does not say."""


def read(path: str | Path) -> Checkpoint:
    """Reads a checkpoint of trax, without trax and without running anything that is in the file.

    Weights in bfloat16 stay so. Of weights that lie in files of their own, `path` names the main
    file, as `model.pkl.gz`; files of the optimizer's slots may be missing.

    Raises:
      FileNotFoundError: there is no such file.
      CheckpointError: the file is no checkpoint of trax, is cut short, holds what none does, or
        the files with its weights are missing.
    """
    path = Path(path)
    with files.opened(path) as stream:
        content = unpickling.load(stream)
        if not isinstance(content, dict) or not content.keys() & {"flat_weights", "weights"}:
            found = f"a dict of {', '.join(content)}" if isinstance(content, dict) else content
            raise CheckpointError(
                f"a checkpoint of trax is a dict with 'flat_weights' (or 'weights'), and this is "
                f"{unpickling.shown(found)}"
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
    """The weights, from the pickle or from the files that its number stands for."""
    found = content.get("flat_weights", content.get("weights"))
    if not isinstance(found, int):
        return _leaves(found)
    places = [_sibling(path, "weights"), path.with_name(f"{path.name}.npy")]
    for place in places:
        if place.is_file():
            return _arrays(place)
    shards = (path.with_name(f"{path.name}.shard{number}") for number in range(found))
    first = next(shards, path)
    if not first.is_file():
        raise CheckpointError(
            f"its weights are in another file, but none of {places[0].name}, {places[1].name} and "
            f"{path.name}.shard0 is there; put it beside this one"
        )
    return [item for shard in itertools.chain([first], shards) for item in _shard(shard)]


def _shard(path: Path) -> list[Any]:
    if not path.is_file():
        raise CheckpointError(f"its weights are in several files, and {path.name} is missing")
    with files.opened(path) as stream:
        return _leaves(unpickling.load(stream))


def _slots(path: Path, content: Mapping[str, Any]) -> list[Any]:
    found = content.get("slots_per_task", content.get("slots"))
    if not isinstance(found, int):
        return _leaves(found)
    tasks = (_sibling(path, f"opt_slots{number}") for number in itertools.count())
    there = itertools.takewhile(Path.is_file, tasks)
    return [item for task in there for item in _arrays(task)]


def _sibling(path: Path, what: str) -> Path:
    """`model.pkl.gz` -> `model.weights.npy.gz`."""
    return path.with_name(f"{path.name.removesuffix('.pkl.gz')}.{what}.npy.gz")


def _arrays(path: Path) -> list[Array]:
    with files.opened(path) as stream:
        return list(files.arrays(stream))


def _leaves(tree: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dicts, depth first, without those that are None.

    An empty tuple is a layer without weights, a dict of one a layer that shares its weights with an
    earlier one: both give nothing.
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
    """Whether it is an array of bfloat16 as it was written for some weeks: (bits, 'bfloat16')."""
    return len(node) == 2 and isinstance(node[1], str) and node[1] == "bfloat16"


def _array(leaf: Any) -> Array:
    """A leaf as an array. Bits of bfloat16 are uint16, which trax uses for nothing else."""
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
    # Counted first: parts that are shared are small in the file, and large once written out.
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
