"""The memory that a training step takes, read off the compiled program before it runs."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from zoo.pipelines.mixture import part_of
from zoo.train import sharding
from zoo.train.fine_tuning import load_source
from zoo.train.recipe import Recipe
from zoo.train.setup import set_up, shapes_of, trained
from zoo.train.state import TrainState
from zoo.train.update import Tally, TrainStep, empty_tally, make_train_step

BATCHES = 20
"""Batches to look at where they differ in shape; the largest is compiled."""

SHORTEST, LONGEST = 16, 2**22
"""Bounds of the search for the largest length."""

CGROUP = Path("/sys/fs/cgroup/memory.max")
"""The memory limit of a container, under Linux."""


@dataclass(frozen=True)
class Estimate:
    """The bytes that one device holds during a step."""

    inputs: tuple[int, ...]
    """The shape of the batch's inputs, over all devices."""
    variables: int
    """Parameters, and collections such as `batch_stats`."""
    optimizer: int
    """The optimizer's state, and the moving average of the parameters."""
    temporary: int
    """Activations, gradients and other intermediate values, at their peak."""
    total: int
    """All of these, with the batch and the rest of the state."""

    def row(self) -> str:
        """A line of a table, below `HEADER`."""
        shape = TIMES.join(f"{size:,}" for size in self.inputs)
        sizes = (self.variables, self.optimizer, self.temporary, self.total)
        return f"{shape:<24}" + "".join(f"{amount(size):>14}" for size in sizes)


TIMES = " \N{MULTIPLICATION SIGN} "

HEADER = f"{'batch':<24}{'parameters':>14}{'optimizer':>14}{'activations':>14}{'total':>14}"


def amount(size: int) -> str:
    """A number of bytes, for people.

    >>> amount(1_234_000_000), amount(56_780_000)
    ('1.23 GB', '56.8 MB')
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def of_step(train_step: TrainStep, state: TrainState, tally: Any, batch: Any) -> Estimate:
    """The memory of a step, which is compiled for that; its first call will not compile it again.

    Args:
      train_step: the compiled function.
      state, tally, batch: its arguments, or their shapes.

    Raises:
      NotImplementedError: the backend does not say what a program takes.
    """
    found = train_step.lower(state, tally, batch).compile().memory_analysis()
    if found is None:
        raise NotImplementedError(f"{jax.default_backend()} does not say what a program takes")
    arguments = found.argument_size_in_bytes
    changed = found.output_size_in_bytes - found.alias_size_in_bytes
    return Estimate(
        inputs=tuple(batch["inputs"].shape) if batch else (),
        variables=sharding.held(state.variables),
        optimizer=sharding.held((state.optimizer, state.ema)),
        temporary=found.temp_size_in_bytes,
        total=arguments + changed + found.temp_size_in_bytes,
    )


def step_of(
    recipe: Recipe, batch: dict[str, jax.ShapeDtypeStruct], mesh: Mesh
) -> tuple[TrainStep, TrainState, Tally]:
    """The step of a resolved recipe, and the shapes of the state and the tally it begins with."""
    module, task = trained(recipe.model.build(), recipe), recipe.task
    optimizer = recipe.transformation()
    state = shapes_of(recipe, mesh)
    tally = empty_tally(module, task, optimizer, state, batch, recipe.accumulate)
    step = make_train_step(
        module, task, optimizer, state, accumulate=recipe.accumulate, ema=recipe.ema
    )
    return step, state, tally


def of_batch(recipe: Recipe, batch: dict[str, jax.ShapeDtypeStruct], mesh: Mesh) -> Estimate:
    """The memory of a step of a resolved recipe with a batch of such shapes. Allocates nothing."""
    train_step, state, tally = step_of(recipe, batch, mesh)
    return of_step(
        train_step,
        state,
        sharding.placed(tally, sharding.replicated(mesh)),
        sharding.placed(batch, sharding.of_batch(mesh)),
    )


def of_recipe(recipe: Recipe) -> Iterator[Estimate]:
    """The memory of a step of a recipe; then, if it reads sequences, with other lengths.

    Lengths are doubled until a step does not fit, or, where the first does not fit, halved until
    one does. Where the available memory is unknown there are no other lengths.

    Raises:
      OSError, LookupError, ConfigError: the data cannot be read here.
    """
    setup = set_up(recipe, source=load_source(recipe.init_from))
    recipe, mesh = setup.recipe, setup.mesh
    batches = itertools.islice(setup.data.train(recipe.batch_size, seed=recipe.seed), BATCHES)
    parts = [part_of(batch) for batch in batches]
    name, batch = max(parts, key=lambda part: int(part[1]["inputs"].size) if part[1] else 0)
    recipe = setup.part(name).recipe
    estimate = of_batch(recipe, _shapes(batch, mesh), mesh)
    yield estimate
    inputs = batch.get("inputs", np.zeros(()))
    if capacity(mesh) is None or inputs.ndim != 2 or not np.issubdtype(inputs.dtype, np.integer):
        return
    fits, length = enough(estimate, mesh), inputs.shape[1]
    while enough(estimate, mesh) == fits and (length < LONGEST if fits else length > SHORTEST):
        length = length * 2 if fits else length // 2
        other = _shapes(batch, mesh, length, inputs.shape[1])
        longest = max(x.shape[1] for x in other.values() if len(x.shape) == 2)
        longer = dataclasses.replace(recipe, model=recipe.model.with_max_len(longest))
        estimate = of_batch(longer, other, mesh)
        yield estimate


def describe(recipe: Recipe, estimates: Sequence[Estimate]) -> str:
    """A table of the estimates of `of_recipe`, and what fits."""
    mesh = sharding.make_mesh(recipe.mesh)
    device = mesh.devices.flat[0]
    name = recipe.name or "this recipe"
    devices = f"{mesh.devices.size}{TIMES}{device.device_kind}{sharding.in_brackets(mesh)}"
    lines = [f"memory of a training step of {name} on {devices}"]
    lines += [HEADER, *(estimate.row() for estimate in estimates)]
    limit = capacity(mesh)
    if limit is None:
        return "\n".join([*lines, "available memory unknown"])
    lines.append(f"available: {amount(limit)}")
    if len(estimates) > 1:
        fitting = [estimate.inputs[1] for estimate in estimates if enough(estimate, mesh)]
        largest = f"{max(fitting):,}" if fitting else "none of those tried"
        lines.append(f"largest length that fits, by doubling: {largest}")
    elif not enough(estimates[0], mesh):
        lines.append("that is too little: take a smaller batch_size")
    return "\n".join(lines)


def warning(estimate: Estimate, mesh: Mesh) -> str | None:
    """A warning if the step will not fit in memory, else None."""
    limit = capacity(mesh)
    if limit is None or enough(estimate, mesh):
        return None
    return (
        f"warning: a step with inputs of shape {estimate.inputs} takes {amount(estimate.total)}, "
        f"and {amount(limit)} are available. A smaller batch_size or shorter inputs take less; "
        "`zoo show RECIPE --memory` says what fits"
    )


def enough(estimate: Estimate, mesh: Mesh) -> bool:
    """Whether a step fits in memory, as far as is known."""
    limit = capacity(mesh)
    return limit is None or estimate.total <= limit


def capacity(mesh: Mesh) -> int | None:
    """The bytes that one device of a mesh can hold; devices on one CPU share its memory. None:
    unknown.
    """
    local = mesh.local_devices
    stats = local[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    if local[0].platform != "cpu" or not hasattr(os, "sysconf"):
        return None
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if CGROUP.is_file() and (limit := CGROUP.read_text().strip()).isdigit():
        machine = min(machine, int(limit))
    return machine // len(local)


def _shapes(
    batch: Mapping[str, Any], mesh: Mesh, length: int = 1, instead_of: int = 1
) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch, padded so that the devices of a mesh have equally many rows.

    Args:
      batch: the batch.
      mesh: the devices.
      length: the length of its inputs that is wanted …
      instead_of: … and the one they have.
    """

    def shape(array: Any) -> tuple[int, ...]:
        rows, *rest = array.shape
        rows += -rows % sharding.parts(mesh)
        return (rows, *(size * length // instead_of for size in rest))

    return {key: jax.ShapeDtypeStruct(shape(x), x.dtype) for key, x in batch.items()}
