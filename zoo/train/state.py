"""The state of a run: what a step changes, and how far the run has come."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import Mesh

from zoo.config import ConfigError
from zoo.models.base import ModelConfig
from zoo.storage import weights
from zoo.storage.checkpoints import Best
from zoo.train import sharding
from zoo.train.patterns import check_matches


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

    @property
    def params(self) -> Any:
        """The trainable part of `variables`."""
        return self.variables["params"]


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
    sums: tuple[Any, ...] = ()
    """At a checkpoint: the metrics' sums since the last report, as lists of numbers."""

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
    if getattr(config, "dtype", None) == "int8":
        raise ConfigError(
            "model.dtype is int8, which cannot be trained; train in float32 or bfloat16, and load "
            "the result with dtype='int8'"
        )

    def initialise() -> tuple[jax.Array, Any, jax.Array]:
        init_key, key = _keys(seed)
        inputs = [jnp.zeros(item.shape, item.dtype) for item in config.example_inputs(1)]
        return jnp.zeros((), jnp.int32), module.init(init_key, *inputs), key

    replicated = sharding.of_state(mesh)
    step, variables, key = jax.jit(initialise, out_shardings=replicated)()
    if source is not None:
        paths = dict.fromkeys([*weights.flatten(variables), *weights.flatten(source)])
        check_matches("skip", skip, [path.removeprefix("params/") for path in paths])
        patterns = [f"params/{pattern}" for pattern in skip]
        merged = weights.merge(variables, jax.device_get(source), skip=patterns)
        variables = sharding.put_state(merged, mesh)
    optimizer_state = jax.jit(optimizer.init, out_shardings=replicated)(variables["params"])
    return TrainState(step, variables, optimizer_state, key, sharding.put_state(carry, mesh))


def _keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of the initial weights, and the run's key."""
    init_key, key = jax.random.split(jax.random.key(seed))
    return init_key, key


def run_key(seed: int, mesh: Mesh) -> jax.Array:
    """The key of a run, on the devices of the mesh."""
    key: jax.Array = jax.jit(lambda: _keys(seed)[1], out_shardings=sharding.of_state(mesh))()
    return key


def shapes_of_state(
    module: nn.Module,
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    carry: Callable[[], Any],
) -> TrainState:
    """The shapes of a state, with the places of its arrays. Nothing is computed.

    Args:
      module, config, optimizer, mesh: as for `create_state`.
      carry: makes what the task hands to the first step.

    Raises:
      ConfigError: a pattern of the optimizer matches no parameter, or the model is an int8 one.
    """
    shapes = jax.eval_shape(lambda: create_state(module, config, optimizer, 0, mesh, carry=carry()))
    placed: TrainState = sharding.placed(shapes, sharding.of_state(mesh))
    return placed


def check_batch_size(batch_size: int, state: TrainState, mesh: Mesh) -> None:
    """Refuses a batch that has to be padded for the devices where padding rows would count.

    Raises:
      ConfigError: the model has batch statistics, or the task carries a state, and the devices do
        not divide the batch.
    """
    devices = mesh.devices.size
    if batch_size % devices == 0:
        return
    if "batch_stats" in state.variables:
        why = "padding rows would count in the means of batch normalisation"
    elif jax.tree.leaves(state.carry):
        why = "the state carried from batch to batch has no entries for padding rows"
    else:
        return
    raise ConfigError(
        f"batch_size is {batch_size}, which {devices} devices cannot share equally: {why}; "
        f"take a multiple of {devices}"
    )
