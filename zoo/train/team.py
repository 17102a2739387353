"""The compiled functions of several seeds: the state of each is a row of one stacked state.

The update, the evaluation and the choice of the best weights are those of a single run under
`jax.vmap`, and each device takes its share of the rows. S is the number of seeds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from zoo.train import sharding, update
from zoo.train.clu_metrics import measure
from zoo.train.reporting import prefixed
from zoo.train.setup import Setup
from zoo.train.state import TrainState, create_state
from zoo.train.update import Tally


@struct.dataclass
class Best:
    """The best weights of each seed so far."""

    variables: Any
    """[S, …]."""
    value: Float[Array, "S"]
    """The metric that chose them."""
    step: Int[Array, "S"]
    """0: nothing was measured yet."""


class Team:
    """The compiled functions of all seeds. Each device takes its share of them."""

    def __init__(self, setup: Setup, seeds: Sequence[int]) -> None:
        """
        Args:
          setup: the recipe with its data.
          seeds: one for each row of the state.
        """
        self._setup, self._seeds = setup, seeds
        self._optimizer = setup.recipe.transformation()
        self._empty: dict[tuple[str, int | None], Any] = {}
        mesh = _devices(len(seeds))
        self.lies = NamedSharding(mesh, PartitionSpec("seeds"))
        """Where the rows of the state are."""
        module, task = setup.module, setup.recipe.task

        def step(state: TrainState, tally: Tally) -> tuple[TrainState, Tally]:
            new, loss, output = task.update(module, self._optimizer, state, {})
            metrics = measure(task, output, {}, training=True)
            return new, update.added(tally, new.step, loss, metrics)

        def judge(variables: Any, totals: Any, batch: update.Batch) -> Any:
            return totals.merge(measure(task, task.output(module, variables, batch), batch))

        rows, same = self.lies.spec, PartitionSpec()
        shared = functools.partial(jax.shard_map, mesh=mesh, out_specs=rows, check_vma=False)
        self._step = jax.jit(shared(jax.vmap(step), in_specs=rows), donate_argnums=(0, 1))
        self._judge = jax.jit(
            shared(jax.vmap(judge, (0, 0, None)), in_specs=(rows, rows, same)), donate_argnums=1
        )

    def begin(self) -> TrainState:
        """The states before the first step, which also carry a `Best`: see `packed`."""
        recipe = self._setup.recipe
        one_device = sharding.make_mesh(sharding.MeshConfig(data=1))

        def begin(seed: Any) -> TrainState:
            carry = recipe.task.initial_carry(recipe.model, recipe.batch_size, seed)
            return create_state(
                self._setup.module, recipe.model, self._optimizer, seed, one_device, carry=carry
            )

        state = jax.jit(jax.vmap(begin))(jnp.asarray(self._seeds, jnp.int32))
        zeros = jnp.zeros(len(self._seeds), jnp.int32)
        nothing = Best(state.variables, jnp.full(len(zeros), jnp.nan), zeros)
        # Over the host: a step overwrites its state, so the best weights must be a copy.
        begun: TrainState = jax.device_put(jax.device_get(packed(state, nothing)), self.lies)
        return begun

    def step(self, state: TrainState, tally: Tally | None) -> tuple[TrainState, Tally]:
        """One step of each seed. State and tally are overwritten."""
        if tally is None:
            tally = self.filled_tally(state, {})
        new: tuple[TrainState, Tally] = self._step(state, tally)
        return new

    def filled_tally(self, state: TrainState, sums: Mapping[str, Sequence[Any]]) -> Tally:
        """The tally of each seed with the sums of an earlier session, if there are any."""
        begun = update.restored_tally(self._setup.recipe.task, sums.get("", ()))
        if begun is not None:
            return begun
        setup, first = self._setup, row(state, 0)
        one = update.empty_tally(setup.module, setup.recipe.task, self._optimizer, first, {})
        empty: Tally = self._stacked(one)
        return empty

    def evaluate(
        self, variables: Any, split: str, limit: int | None = None
    ) -> list[dict[str, float]]:
        """The metrics of a split for each seed, as `split/name`."""
        setup, totals = self._setup, None
        for batch in setup.data.evaluate(split, setup.recipe.batch_size, limit=limit):
            if totals is None:
                totals = self._nothing(variables, batch, (split, limit))
            totals = self._judge(variables, totals, batch)
        return [prefixed(split, metrics) for metrics in self.values(totals)]

    def _nothing(self, variables: Any, batch: update.Batch, key: tuple[str, int | None]) -> Any:
        """The metrics of a split before its first batch."""
        if key not in self._empty:
            task, first = self._setup.recipe.task, row(variables, 0)
            one = update.empty_metrics(self._setup.module, task, first, batch)
            self._empty[key] = self._stacked(one)
        return self._empty[key]

    def values(self, metrics: Any) -> list[dict[str, float]]:
        """The values of a stacked collection of metrics, for each seed."""
        on_host = jax.device_get(metrics)
        return [row(on_host, i).compute() for i in range(len(self._seeds))]

    def improved(self, best: Best, variables: Any, values: Sequence[float], step: int) -> Best:
        """The best weights after an evaluation."""
        sign = 1 if self._setup.recipe.task.best.mode == "max" else -1
        new: Best = _improved(best, variables, jnp.asarray(values, jnp.float32), step, sign)
        return new

    def _stacked(self, tree: Any) -> Any:
        number = len(self._seeds)
        return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (number, *leaf.shape)), tree)


@jax.jit
def _improved(best: Best, variables: Any, values: Array, step: int, sign: int) -> Best:
    better = jnp.isfinite(values) & ~(sign * values <= sign * best.value)
    better |= best.step == 0

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return Best(
        jax.tree.map(choose, variables, best.variables),
        choose(values, best.value),
        choose(jnp.full_like(best.step, step), best.step),
    )


def _devices(number: int) -> Mesh:
    """The most devices that can share a number of seeds equally."""
    devices = jax.devices()
    share = next(n for n in range(len(devices), 0, -1) if number % n == 0)
    return jax.make_mesh((share,), ("seeds",), devices=devices[:share], axis_types=(AxisType.Auto,))


def use_cores() -> None:
    """Makes a device of each core, among which seeds are shared, if JAX has not started yet.

    XLA:CPU computes the small products of a policy on one core.
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    affinity = getattr(os, "sched_getaffinity", None)  # of Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count()
    with contextlib.suppress(RuntimeError):  # JAX has started: its devices stay
        jax.config.update("jax_num_cpu_devices", cores or 1)


def row(tree: Any, i: int) -> Any:
    """What belongs to one seed."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


def packed(state: TrainState, best: Best) -> TrainState:
    """The state as it is saved: with the best weights in its carry."""
    return dataclasses.replace(state, carry=(state.carry, best))


def unpacked(state: TrainState) -> tuple[TrainState, Best]:
    """The state as it is stepped, and the best weights."""
    carry, best = state.carry
    return dataclasses.replace(state, carry=carry), best
