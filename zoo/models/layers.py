"""Parts that several families use: activations by name, embeddings and cheap dropout."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

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
        return normalise(x, scale, bias, self.epsilon)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(
    x: Float[Array, "... D"], scale: Float[Array, "D"], bias: Float[Array, "D"], epsilon: float
) -> Float[Array, "... D"]:
    """What `LayerNorm` computes.

    The gradients have their sums of products as products of vectors, and those of scale and bias as
    sums over rows: a CPU takes ten times as long for what JAX would make of them, a tenth of a step
    of a Reformer.
    """
    return _normalise(x, scale, bias, epsilon)[0]


def _normalise(
    x: Array, scale: Array, bias: Array, epsilon: float
) -> tuple[Array, tuple[Array, ...]]:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + epsilon)
    standard = centred * inverse
    result = standard * _for_rows(scale, x) + _for_rows(bias, x)
    return result, (standard, inverse, scale)


def _normalise_backward(
    epsilon: float, saved: tuple[Array, ...], gradient: Array
) -> tuple[Array, Array, Array]:
    standard, inverse, scale = saved
    width = scale.shape[0]
    change = gradient * _for_rows(scale, gradient)
    mean = jnp.mean(change, axis=-1, keepdims=True)
    along = jnp.einsum("...d,...d->...", change, standard, precision="highest")[..., None] / width
    of_x = (change - mean - standard * along) * inverse
    rows, standard = gradient.reshape(-1, width), standard.reshape(-1, width)
    return of_x, (rows * standard).sum(axis=0), rows.sum(axis=0)


normalise.defvjp(_normalise, _normalise_backward)


def _for_rows(values: Array, rows: Array) -> Array:
    """Numbers [D] with as many axes as rows [... D] have."""
    return values.reshape(*(1,) * (rows.ndim - 1), -1)


def shift_right(tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """The tokens before each one; the first has a 0 before it."""
    return jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]


def keep_mask(
    key: PRNGKeyArray, rate: float, shape: tuple[int, ...]
) -> tuple[Bool[Array, "..."], float]:
    """A random mask that keeps about 1 - `rate` of the entries, and the share it keeps exactly.

    Each 32-bit draw serves four entries, read as bytes: on a CPU the generator is most of what
    dropout costs. The share is therefore a multiple of 1/256, and scaling must use the share
    returned, not 1 - `rate`.
    """
    threshold = min(max(round((1 - rate) * 256), 1), 256)
    size = functools.reduce(lambda a, b: a * b, shape, 1)
    words = jax.random.bits(key, (-(-size // 4),), jnp.uint32)
    octets = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[:size].reshape(shape)
    return octets <= jnp.uint8(threshold - 1), threshold / 256


class Dropout(nn.Module):
    """Zeroes a share of the entries in training and scales the others by what was kept.

    Srivastava et al. (2014).
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool) -> Float[Array, "..."]:
        if not train or self.rate == 0:
            return x
        mask, share = keep_mask(self.make_rng("dropout"), self.rate, x.shape)
        return jnp.where(mask, x / share, jnp.zeros_like(x))
