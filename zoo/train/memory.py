"""What memory a training step takes, read off its compiled program before any of it is run."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from zoo.train import finetune, sharding, step
from zoo.train import state as states
from zoo.train.recipe import Recipe
from zoo.train.state import TrainState

BATCHES = 20
"""Where batches differ in shape: so many are looked at, and the largest of them is compiled."""

LONGEST = 2**22
"""The search for the largest length goes up to here."""

SHORTEST = 16
"""… or down to here."""

CGROUP = Path("/sys/fs/cgroup/memory.max")
"""What a container may take, under Linux."""


@dataclass(frozen=True)
class Estimate:
    """The bytes that one device holds in a step."""

    inputs: tuple[int, ...]
    """The shape of the batch's inputs, of all devices together."""
    variables: int
    """Parameters, and collections such as `batch_stats`."""
    optimizer: int
    temporary: int
    """Activations, gradients, and what the step needs in between, at its peak."""
    total: int
    """These, the batch and the rest of the state."""

    def row(self) -> str:
        """A line of a table, below `HEADER`."""
        shape = TIMES.join(f"{size:,}" for size in self.inputs)
        sizes = (self.variables, self.optimizer, self.temporary, self.total)
        return f"{shape:<24}" + "".join(f"{amount(size):>14}" for size in sizes)


TIMES = " \N{MULTIPLICATION SIGN} "

HEADER = f"{'batch':<24}{'parameters':>14}{'optimizer':>14}{'activations':>14}{'total':>14}"


def amount(size: int) -> str:
    """A number of bytes for people.

    >>> amount(1_234_000_000), amount(56_780_000)
    ('1.23 GB', '56.8 MB')
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def of_step(train_step: step.TrainStep, state: TrainState, window: Any, batch: Any) -> Estimate:
    """What a step takes. It is compiled, which the first call of it then does not do again.

    Args:
      train_step: as `step.make_train_step` returns it.
      state: its arguments, or their shapes; so are the others.
      window: likewise.
      batch: likewise.

    Raises:
      NotImplementedError: the backend does not tell.
    """
    found = train_step.lower(state, window, batch).compile().memory_analysis()
    if found is None:
        raise NotImplementedError(f"{jax.default_backend()} does not say what a program takes")
    arguments = found.argument_size_in_bytes
    changed = found.output_size_in_bytes - found.alias_size_in_bytes
    return Estimate(
        inputs=tuple(batch["inputs"].shape),
        variables=_size(state.variables),
        optimizer=_size(state.optimizer),
        temporary=found.temp_size_in_bytes,
        total=arguments + changed + found.temp_size_in_bytes,
    )


def step_of(
    plan: Recipe, batch: dict[str, jax.ShapeDtypeStruct], mesh: Mesh
) -> tuple[step.TrainStep, TrainState, step.Window]:
    """The step of a resolved recipe, and the shapes of state and window that it begins with."""
    module = plan.model.build()
    transformation = plan.optimizer.build(plan.steps)

    def create() -> TrainState:
        carry = plan.task.begin(module, plan.batch_size)
        return states.create(module, plan.model, transformation, plan.seed, mesh, carry=carry)

    state = jax.eval_shape(create)
    states.check_batch_size(plan.batch_size, state, mesh)
    window = step.empty_window(module, plan.task, state.variables, batch)
    return step.make_train_step(module, plan.task, transformation, mesh), state, window


def of_batch(plan: Recipe, batch: dict[str, jax.ShapeDtypeStruct], mesh: Mesh) -> Estimate:
    """What a step of a resolved recipe takes with a batch of such shapes; nothing is allocated."""
    train_step, state, window = step_of(plan, batch, mesh)
    return of_step(
        train_step,
        _placed(state, sharding.replicated(mesh)),
        _placed(window, sharding.replicated(mesh)),
        _placed(batch, sharding.divided(mesh)),
    )


def of_recipe(plan: Recipe) -> Iterator[Estimate]:
    """What a step of a recipe takes; then, if it reads sequences, what it takes of other lengths.

    Lengths are doubled until memory would not do, or, where it does not do, halved until it does;
    there are none where it is not known how much memory there is.

    Raises:
      OSError, LookupError, ConfigError: the data cannot be read here.
    """
    origin = finetune.open_source(plan.init_from)
    data = finetune.open_data(plan, origin, None)
    plan = finetune.adopt(plan, origin).resolve(data.facts)
    mesh = sharding.make_mesh(plan.mesh)
    batches = itertools.islice(data.train(plan.batch_size, seed=plan.seed), BATCHES)
    batch = max(batches, key=lambda batch: int(batch["inputs"].size))
    estimate = of_batch(plan, _shapes(batch, mesh), mesh)
    yield estimate
    inputs = batch["inputs"]
    if capacity(mesh) is None or inputs.ndim != 2 or not np.issubdtype(inputs.dtype, np.integer):
        return
    fits, length = enough(estimate, mesh), inputs.shape[1]
    while enough(estimate, mesh) == fits and (length < LONGEST if fits else length > SHORTEST):
        length = length * 2 if fits else length // 2
        other = _shapes(batch, mesh, length, inputs.shape[1])
        longest = max(x.shape[1] for x in other.values() if len(x.shape) == 2)
        longer = dataclasses.replace(plan, model=plan.model.with_max_len(longest))
        estimate = of_batch(longer, other, mesh)
        yield estimate


def describe(plan: Recipe, estimates: Sequence[Estimate]) -> str:
    """A table of what steps of a recipe take, as `of_recipe` gives it, and what fits."""
    mesh = sharding.make_mesh(plan.mesh)
    device = mesh.devices.flat[0]
    name = plan.name or "this recipe"
    lines = [
        f"memory of a training step of {name} on {mesh.devices.size}{TIMES}{device.device_kind}"
    ]
    lines += [HEADER, *(estimate.row() for estimate in estimates)]
    limit = capacity(mesh)
    if limit is None:
        return "\n".join([*lines, "how much there is could not be found out"])
    lines.append(f"there are {amount(limit)}")
    if len(estimates) > 1:
        fitting = [estimate.inputs[1] for estimate in estimates if enough(estimate, mesh)]
        largest = f"{max(fitting):,}" if fitting else "none that was tried"
        lines.append(f"largest length that fits, by doubling: {largest}")
    elif not enough(estimates[0], mesh):
        lines.append("that is too little: take a smaller batch_size")
    return "\n".join(lines)


def warning(estimate: Estimate, mesh: Mesh) -> str | None:
    """What to say before a step that memory will not do for; None: it will."""
    limit = capacity(mesh)
    if limit is None or enough(estimate, mesh):
        return None
    return (
        f"warning: a step with inputs {estimate.inputs} takes {amount(estimate.total)}, and "
        f"there are {amount(limit)}. A smaller batch_size or shorter inputs take less; "
        "`zoo show RECIPE --memory` says what fits"
    )


def enough(estimate: Estimate, mesh: Mesh) -> bool:
    """Whether memory will do, as far as is known."""
    limit = capacity(mesh)
    return limit is None or estimate.total <= limit


def capacity(mesh: Mesh) -> int | None:
    """The bytes that one device of a mesh can hold; devices made of one CPU share its memory."""
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
    batch: dict[str, Any], mesh: Mesh, length: int = 1, instead_of: int = 1
) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch on a mesh, whose devices have as many rows each.

    With a `length`, those of a batch that is so much longer or shorter.
    """

    def shape(array: Any) -> tuple[int, ...]:
        rows, *rest = array.shape
        rows += -rows % mesh.devices.size
        return (rows, *(size * length // instead_of for size in rest))

    return {key: jax.ShapeDtypeStruct(shape(x), x.dtype) for key, x in batch.items()}


def _placed(tree: Any, where: NamedSharding) -> Any:
    def place(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

    return jax.tree.map(place, tree)


def _size(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
