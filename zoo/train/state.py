"""The state of a run: what a step changes, and how far the run has come."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import AbstractMesh, Mesh

from zoo.config import ConfigError
from zoo.models import stacks
from zoo.models.base import ModelConfig
from zoo.storage import weights
from zoo.storage.adapters import BASE
from zoo.storage.checkpoints import Best
from zoo.train import sharding, stacking
from zoo.train.patterns import check_matches, matches


@struct.dataclass
class TrainState:
    """Everything a step changes. It lies on the devices."""

    step: jax.Array
    """Number of updates so far, int32 []."""
    variables: dict[str, Any]
    """The variables of the module: `params`, and collections such as `batch_stats`."""
    optimizer: Any
    """The state of the optimizer."""
    key: jax.Array
    """The run's key; a step folds its number in."""
    carry: Any = ()
    """Arrays that the task hands on from step to step."""
    ema: Any = ()
    """The moving average of `variables`; empty: the run keeps none."""

    @property
    def params(self) -> Any:
        """The trainable part of `variables`."""
        return self.variables["params"]

    @property
    def own(self) -> dict[str, Any]:
        """The variables that a run changes and saves: all but the base of its adapters."""
        return {name: tree for name, tree in self.variables.items() if name != BASE}


@jax.jit
def all_finite(tree: Any) -> jax.Array:
    """Whether every floating-point value in a tree is finite: bool []."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


@dataclass(frozen=True)
class Progress:
    """How far a run has come: what a checkpoint holds beside the state."""

    step: int = 0
    """Number of updates so far."""
    seconds: float = 0.0
    """Time of training and evaluation, all sessions together."""
    best: Mapping[str, float] = field(default_factory=dict)
    """The metrics of the best evaluation so far."""
    evaluations_since_best: int = 0
    stopped: Literal["", "patience", "callback"] = ""
    """The reason why the run ended before its last step; empty if it did not."""
    sums: Mapping[str, Any] = field(default_factory=dict)
    """At a checkpoint: the metrics' sums since the last report, by part, as lists of numbers."""
    mesh: Mapping[str, int] = field(default_factory=dict)
    """At a checkpoint: the sizes of the mesh's axes."""

    @classmethod
    def of_checkpoint(cls, values: Mapping[str, Any]) -> Progress:
        """The progress that a checkpoint holds. What another version of the zoo noted beside it is
        left out."""
        known = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def going_on(self, steps: int, steps_before: int, patience: int | None) -> Progress:
        """The progress of a run that is resumed, which goes on where what ended it has changed.

        Args:
          steps: length of the run.
          steps_before: its length when it ended.
          patience: of the recipe, now.
        """
        impatient = patience is not None and self.evaluations_since_best >= patience
        ended = self.stopped == "callback" or (self.stopped == "patience" and impatient)
        return self if ended and steps <= steps_before else dataclasses.replace(self, stopped="")

    def ended(self, steps: int) -> bool:
        """Whether a run of `steps` has done its last step, or was ended before it."""
        return self.step >= steps or bool(self.stopped)

    def after_step(self) -> Progress:
        """The progress after one more update."""
        return dataclasses.replace(self, step=self.step + 1)

    def after_evaluation(
        self, measured: Mapping[str, float], best: Best, patience: int | None
    ) -> Progress:
        """The progress after an evaluation, which may be the best, or one too many without a
        better.

        Raises:
          ConfigError: the metric that chooses the best checkpoint was not measured.
        """
        if best.metric not in measured:
            raise ConfigError(
                f"the task chooses the best checkpoint by {best.metric!r}, but the metrics are "
                f"{', '.join(measured)}"
            )
        if best.better(measured[best.metric], self.best.get(best.metric)):
            return dataclasses.replace(self, best=dict(measured), evaluations_since_best=0)
        fruitless = self.evaluations_since_best + 1
        impatient = patience is not None and fruitless >= patience
        stopped = "patience" if impatient else self.stopped
        return dataclasses.replace(self, evaluations_since_best=fruitless, stopped=stopped)


def create_state(
    module: nn.Module,
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    seed: int,
    mesh: Mesh,
    *,
    source: weights.Tree | None = None,
    skip: tuple[str, ...] = (),
    carry: Any = (),
) -> TrainState:
    """A fresh state on the devices of the mesh.

    The weights come before the optimizer, whose state may depend on them.

    Args:
      module: the model.
      config: its config.
      optimizer: the transformation.
      seed: of the random weights, and of the run's key.
      mesh: the devices.
      source: weights that replace the random ones.
      skip: patterns, on the paths below `params`, of those that stay random.
      carry: what the task hands to the first step.

    Raises:
      ConfigError: a pattern of `skip` matches no parameter, or the model is an int8 one.
      ValueError: the weights do not fit; the message lists both sides.
    """
    shapes = shapes_of_state(module, config, optimizer, mesh, lambda: carry)
    lies = jax.tree.map(lambda leaf: leaf.sharding, shapes)
    step = sharding.copied(np.int32(0), mesh)
    initialise = functools.partial(_variables, module, config, seed)
    if source is None:
        variables = jax.jit(initialise, out_shardings=lies.variables)()
    else:
        target = weights.flatten(stacking.apart(shapes.variables))
        paths = dict.fromkeys([*target, *weights.flatten(source)])
        check_matches("skip", skip, [path.removeprefix("params/") for path in paths])
        patterns = [f"params/{pattern}" for pattern in skip]

        def skipped() -> dict[str, Any]:
            # The compiler leaves out the random numbers that the source replaces.
            leaves = weights.flatten(stacks.unstacked(initialise()))
            return {path: leaves[path] for path in target if matches(patterns, path)}

        random = jax.jit(skipped, out_shardings=sharding.replicated(mesh))()
        target = weights.unflatten(target | jax.device_get(random))
        merged = weights.merge(target, jax.device_get(source), skip=patterns)
        variables = sharding.put(stacking.as_in(shapes.variables, merged), lies.variables)
    optimizer_state = jax.jit(optimizer.init, out_shardings=lies.optimizer)(variables["params"])
    key = run_key(seed, mesh)
    return TrainState(step, variables, optimizer_state, key, sharding.copied(carry, mesh))


def _variables(module: nn.Module, config: ModelConfig, seed: int) -> Any:
    """The module's random weights."""
    if getattr(config, "dtype", None) == "int8":
        raise ConfigError(
            "model.dtype is int8, which cannot be trained; train in float32 or bfloat16, and load "
            "the result with dtype='int8'"
        )
    inputs = [jnp.zeros(item.shape, item.dtype) for item in config.example_inputs(1)]
    return module.init(_keys(seed)[0], *inputs)


def _keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of the initial weights, and the run's key."""
    init_key, key = jax.random.split(jax.random.key(seed))
    return init_key, key


def run_key(seed: int, mesh: Mesh) -> jax.Array:
    """The key of a run, on the devices of the mesh."""
    key: jax.Array = jax.jit(lambda: _keys(seed)[1], out_shardings=sharding.replicated(mesh))()
    return key


def shapes_of_state(
    module: nn.Module,
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    mesh: Mesh | AbstractMesh,
    carry: Callable[[], Any],
) -> TrainState:
    """The shapes of a state, with the places of its arrays. Nothing is computed.

    Args:
      module, config, optimizer, mesh: as for `create_state`.
      carry: makes what the task hands to the first step.

    Raises:
      ConfigError: a pattern of the optimizer matches no parameter, or the model is an int8 one.
    """

    def fresh() -> TrainState:
        variables = _variables(module, config, 0)
        optimizer_state = optimizer.init(variables["params"])
        return TrainState(
            jnp.zeros((), jnp.int32), variables, optimizer_state, jax.random.key(0), carry()
        )

    shapes = jax.eval_shape(fresh)
    lies = sharding.of_tree(shapes, mesh)
    # What a task carries belongs to rows, which have no names.
    carried = jax.tree.map(lambda _: sharding.replicated(mesh), shapes.carry)
    placed: TrainState = sharding.placed(shapes, lies.replace(carry=carried))
    return placed


def check_batch_size(
    batch_size: int, state: TrainState, mesh: Mesh | AbstractMesh, accumulate: int = 1
) -> None:
    """Refuses a batch that has to be padded for the devices where padding rows would count, or
    divided into parts where it carries a state.

    Raises:
      ConfigError: the model has batch statistics, or the task carries a state, and the devices do
        not divide the batch (or each part of it); or it carries a state, and there are parts.
    """
    if accumulate > 1 and jax.tree.leaves(state.carry):
        raise ConfigError(
            f"accumulate is {accumulate}, but the task carries a state from batch to batch, which "
            "has no parts; leave accumulate out, and take a smaller batch_size"
        )
    groups = sharding.parts(mesh) * accumulate
    if batch_size % groups == 0:
        return
    if "batch_stats" in state.variables:
        why = "padding rows would count in the means of batch normalisation"
    elif jax.tree.leaves(state.carry):
        why = "the state carried from batch to batch has no entries for padding rows"
    else:
        return
    parts = f" in {accumulate} parts" if accumulate > 1 else ""
    raise ConfigError(
        f"batch_size is {batch_size}, which the mesh{sharding.in_brackets(mesh)} cannot share "
        f"equally{parts}: {why}; take a multiple of {groups}"
    )
