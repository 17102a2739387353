"""The state of a training run, and how it begins."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import Mesh

from zoo.config import ConfigError
from zoo.models.base import ModelConfig
from zoo.storage import weights
from zoo.train.sharding import replicate, replicated


@struct.dataclass
class TrainState:
    """Everything a step changes."""

    step: jax.Array
    """int32 []: updates done so far."""
    variables: dict[str, Any]
    """What the module takes: `params`, and collections such as `batch_stats`."""
    optimizer: Any
    """The state of the optimizer."""
    key: jax.Array
    """The run's key; a step folds its number in."""
    carry: Any = ()
    """What the task hands on from one batch to the next."""

    @property
    def params(self) -> Any:
        """The trainable part of `variables`."""
        return self.variables["params"]


def create(
    module: nn.Module,
    config: ModelConfig,
    transformation: optax.GradientTransformation,
    seed: int,
    mesh: Mesh,
    *,
    source: weights.Tree | None = None,
    skip: tuple[str, ...] = (),
    carry: Any = (),
) -> TrainState:
    """A fresh state, on every device of the mesh.

    Weights come before the optimizer, whose state may depend on them. `source` replaces the random
    ones, save the parameters that `skip` names (patterns on the paths below `params`).

    Raises:
      ConfigError: a pattern of `skip` matches none of them, or the model is one of int8.
      ValueError: the weights do not fit; the message lists both sides.
    """

    if getattr(config, "dtype", None) == "int8":
        raise ConfigError(
            "model.dtype is int8, in which nothing can be learnt; train in float32 or bfloat16, "
            "and load the result with dtype='int8'"
        )

    def initialise() -> tuple[jax.Array, Any, jax.Array]:
        init_key, key = jax.random.split(jax.random.key(seed))
        inputs = [jnp.zeros(item.shape, item.dtype) for item in config.example_inputs(1)]
        return jnp.zeros((), jnp.int32), module.init(init_key, *inputs), key

    step, variables, key = jax.jit(initialise, out_shardings=replicated(mesh))()
    if source is not None:
        patterns = [f"params/{pattern}" for pattern in skip]
        names = [*weights.flatten(variables), *weights.flatten(source)]
        for given, pattern in zip(skip, patterns, strict=True):
            if not any(re.fullmatch(pattern, name) for name in names):
                raise ConfigError(
                    f"skip has {given!r}, which matches no parameter; they are "
                    f"{', '.join(dict.fromkeys(name.removeprefix('params/') for name in names))}"
                )
        merged = weights.merge(variables, jax.device_get(source), skip=patterns)
        variables = replicate(merged, mesh)
    optimizer = jax.jit(transformation.init, out_shardings=replicated(mesh))(variables["params"])
    return TrainState(step, variables, optimizer, key, replicate(carry, mesh))


def check_batch_size(batch_size: int, state: TrainState, mesh: Mesh) -> None:
    """Refuses a batch that devices can share only with rows that fill it up, where those count."""
    devices = mesh.devices.size
    if batch_size % devices == 0:
        return
    if "batch_stats" in state.variables:
        why = "the empty rows that fill it up would count in the means of batch normalisation"
    elif jax.tree.leaves(state.carry):
        why = "the state that goes from batch to batch has nothing for the rows that fill it up"
    else:
        return
    raise ConfigError(
        f"batch_size is {batch_size}, which {devices} devices cannot share equally: {why}; "
        f"take a multiple of {devices}"
    )
