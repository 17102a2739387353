"""Parts that several families use: activations by name, embeddings and cheap dropout."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from zoo import xla

Activation = Literal["relu", "gelu", "gelu_tanh", "tanh", "sigmoid", "swish"]

ACTIVATIONS: Mapping[Activation, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "gelu": functools.partial(nn.gelu, approximate=False),  # trax: Gelu
    "gelu_tanh": functools.partial(nn.gelu, approximate=True),  # trax: FastGelu
    "tanh": jnp.tanh,
    "sigmoid": nn.sigmoid,
    "swish": nn.swish,
}
if set(ACTIVATIONS) != set(get_args(Activation)):
    raise TypeError("Activation and ACTIVATIONS must name the same functions")


class Embedding(nn.Module):
    """Ids -> rows of a table; an id outside of it is clipped to the nearest.

    Parameters: `embedding` float32 [size, features], uniform with mean 0 and variance
    `init_scale`² / features (1.0: as trax).
    """

    size: int
    features: int
    init_scale: float = 1.0

    @nn.compact
    def __call__(self, ids: Int[Array, "..."]) -> Float[Array, "... D"]:
        init = nn.initializers.variance_scaling(self.init_scale**2, "fan_out", "uniform")
        table = self.param("embedding", init, (self.size, self.features))
        return jnp.take(table, ids, axis=0, mode="clip")


class LayerNorm(nn.Module):
    """Each vector with mean 0 and variance 1, then scaled and shifted (Ba et al. 2016).

    As in trax, the variance is the mean of the squared deviations. Parameters: `scale`, `bias` [D].
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return xla.layer_norm(x, scale, bias, self.epsilon)


def shift_right(tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """The tokens before each one; the first has a 0 before it."""
    return jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]


class Dropout(nn.Module):
    """Zeroes a share of the entries in training and scales the others by what was kept.

    Srivastava et al. (2014).
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool) -> Float[Array, "..."]:
        if not train or self.rate == 0:
            return x
        mask, share = xla.keep_mask(self.make_rng("dropout"), self.rate, x.shape)
        return jnp.where(mask, x / share, jnp.zeros_like(x))
