"""Multi-layer perceptron for images and other inputs of a fixed size (trax: `MLP`).

Shapes: `B` batch, `C` classes; the other axes of the inputs are flattened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Num

from zoo import registry
from zoo.config import ConfigError
from zoo.models.base import ModelConfig, TraxQuirks
from zoo.models.dense import Precision
from zoo.models.layers import ACTIVATIONS, Activation, Dropout, dense


@dataclass(frozen=True, kw_only=True)
class MLPConfig(ModelConfig):
    """Inputs [B, …] -> logits [B, C]."""

    input_shape: tuple[int, ...] | None = None
    """Shape of one input, without the batch."""
    num_classes: int | None = None
    """Number of logits."""
    hidden_sizes: tuple[int, ...] = (512, 512)
    """Widths of the hidden layers."""
    activation: Activation = "relu"
    """After each hidden layer."""
    flatten: bool = True
    """Flatten an input to one axis first; otherwise the layers act on its last axis."""
    dropout_rate: float = 0.0
    """Share of the hidden activations that is dropped in training."""
    dtype: Precision = "float32"
    """Precision of the dense layers: `bfloat16` for mixed precision, `int8` for inference."""
    trax: TraxQuirks | None = None
    """For trax's weights: `models.trax.mlp.MLPQuirks`."""

    def build(self) -> nn.Module:
        return self.trax.build(self) if self.trax else MLP(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        if self.input_shape is None:
            raise ConfigError(
                "MLPConfig.input_shape is not set: give the shape of one input, such as (28, 28, 1)"
            )
        return (jax.ShapeDtypeStruct((batch, *self.input_shape), jnp.float32),)


class MLP(nn.Module):
    """The module of `MLPConfig`."""

    config: MLPConfig

    @nn.compact
    def __call__(
        self, inputs: Num[Array, "B ..."], *, train: bool = False
    ) -> Float[Array, "B ..."]:
        """Logits [B, C], float32; without `flatten` [B, …, C]. Training takes the rng `dropout`."""
        config, x = self.config, inputs
        if config.flatten:
            x = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        for i, size in enumerate(config.hidden_sizes):
            x = ACTIVATIONS[config.activation](dense(size, config.dtype, name=f"hidden_{i}")(x))
            x = Dropout(config.dropout_rate)(x, train=train)
        return self.output(dense(config.size_of("num_classes"), config.dtype, name="head")(x))

    @nn.nowrap
    def output(self, logits: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
        """What comes out for the logits: here they do."""
        return logits


@registry.models.register
def mlp() -> MLPConfig:
    """Two hidden layers of 512: the usual first classifier of MNIST."""
    return MLPConfig()
