"""Multi-layer perceptron for images and other fixed-size inputs (trax: `MLP`).

Shapes: `B` batch, `C` classes; the inputs' other axes are flattened.
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
from zoo.models.base import ModelConfig
from zoo.models.dense import Dense, Precision
from zoo.models.layers import ACTIVATIONS, Activation, Dropout


@dataclass(frozen=True, kw_only=True)
class MLPConfig(ModelConfig):
    """Inputs [B, …] -> logits [B, C]."""

    input_shape: tuple[int, ...] | None = None
    """Shape of one input, without the batch."""
    num_classes: int | None = None
    """Width of the last layer."""
    hidden_sizes: tuple[int, ...] = (512, 512)
    """Widths of the layers before it."""
    activation: Activation = "relu"
    """After each hidden layer."""
    activate_output: bool = False
    """After the last layer too (trax: `out_activation`)."""
    flatten: bool = True
    """Flatten an input to one axis first; else layers act on its last axis (trax: `flatten`)."""
    dropout_rate: float = 0.0
    """After each hidden layer's activation."""
    dtype: Precision = "float32"
    """Of the products of dense layers: `bfloat16` for mixed precision, `int8` for inference."""

    def build(self) -> MLP:
        return MLP(self)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        if self.input_shape is None:
            raise ConfigError(
                "MLPConfig.input_shape is not set: give the shape of one input, as (28, 28, 1)"
            )
        return (jax.ShapeDtypeStruct((batch, *self.input_shape), jnp.float32),)


class MLP(nn.Module):
    """The module of `MLPConfig`."""

    config: MLPConfig

    @nn.compact
    def __call__(
        self, inputs: Num[Array, "B ..."], *, train: bool = False
    ) -> Float[Array, "B ..."]:
        config = self.config
        activate = ACTIVATIONS[config.activation]
        x = (
            inputs.reshape(inputs.shape[0], math.prod(inputs.shape[1:]))
            if config.flatten
            else inputs
        )
        for i, size in enumerate(config.hidden_sizes):
            x = activate(Dense(size, config.dtype, name=f"hidden_{i}")(x))
            x = Dropout(config.dropout_rate)(x, train=train)
        x = Dense(config.size_of("num_classes"), config.dtype, name="head")(x)
        return activate(x) if config.activate_output else x


@registry.models.register
def mlp() -> MLPConfig:
    """Two hidden layers of 512: the usual first classifier of MNIST."""
    return MLPConfig()
