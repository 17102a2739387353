"""Small parts that several families use. Most are Linen's own; each says how it differs.

Shapes: `...` any axes, `B` batch, `T` tokens, `D` width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray

from zoo import xla
from zoo.models.base import SourceTargetConfig, TokenConfig
from zoo.models.dense import Int8Dense, Precision, dot_general

Activation = Literal[
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "gelu_tanh",
    "swish",
    "softplus",
    "tanh",
    "hard_tanh",
    "sigmoid",
    "trax_hard_sigmoid",
    "exp",
    "thresholded",
]


def trax_hard_sigmoid(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """1 + x, cut to 0 … 1: what trax calls `HardSigmoid` (elsewhere it is less steep)."""
    return jnp.clip(1 + x, 0, 1)


class ThresholdedLinear(nn.Module):
    """max(x, `threshold`), a number that is learnt, 0 at first: trax's `ThresholdedLinearUnit`
    (Singh and Krishnan 2019, "Filter response normalization layer")."""

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Of the input's shape and dtype."""
        threshold = self.param("threshold", nn.initializers.zeros, ())
        return jnp.maximum(x, threshold.astype(x.dtype))


ACTIVATIONS: Mapping[Activation, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,  # 0.01 below 0
    "elu": nn.elu,
    "selu": nn.selu,
    "gelu": functools.partial(nn.gelu, approximate=False),  # trax: Gelu
    "gelu_tanh": functools.partial(nn.gelu, approximate=True),  # trax: FastGelu
    "swish": nn.swish,
    "softplus": nn.softplus,
    "tanh": jnp.tanh,
    "hard_tanh": nn.hard_tanh,
    "sigmoid": nn.sigmoid,
    "trax_hard_sigmoid": trax_hard_sigmoid,
    "exp": jnp.exp,
    "thresholded": lambda x: ThresholdedLinear()(x),  # each call in a module has its own parameter
}
if set(ACTIVATIONS) != set(get_args(Activation)):
    raise TypeError("Activation and ACTIVATIONS must name the same functions")


TINY = nn.initializers.normal(1e-6)
"""trax's initial values of a bias."""


def dense(
    features: int,
    dtype: Precision = "float32",
    bias_init: nn.initializers.Initializer = TINY,
    name: str | None = None,
) -> nn.Dense | Int8Dense:
    """A layer x [..., I] -> x @ kernel + bias [..., features], float32.

    `nn.Dense` with trax's initial values. Parameters: `kernel` float32 [I, features] and `bias`
    [features]; in int8 those of `Int8Dense`.
    """
    if dtype == "int8":
        return Int8Dense(features, name=name)
    return nn.Dense(
        features,
        kernel_init=nn.initializers.glorot_uniform(),
        bias_init=bias_init,
        dot_general=dot_general(dtype),
        name=name,
    )


class Embedding(nn.Module):
    """Token ids -> rows of a table.

    Unlike `nn.Embed`, which gives NaN for an id outside of the table, this clips the id to the
    nearest row.

    Parameters: `embedding` float32 [size, features], at first uniform with mean 0 and variance
    `init_scale`² / `features`.
    """

    size: int
    """Rows of the table."""
    features: int
    """Width of a row."""
    init_scale: float = 1.0

    @nn.compact
    def __call__(self, ids: Int[Array, "..."]) -> Float[Array, "... D"]:
        """The row of each id, float32."""
        init = nn.initializers.variance_scaling(self.init_scale**2, "fan_out", "uniform")
        table = self.param("embedding", init, (self.size, self.features), jnp.float32)
        return jnp.take(table, ids, axis=0, mode="clip")


def embedding(config: TokenConfig, name: str | None = None) -> Embedding:
    """The embedding of a config's vocabulary."""
    return Embedding(config.size_of("vocab_size"), config.d_model, config.init_scale, name=name)


def embeddings(config: SourceTargetConfig) -> tuple[Embedding, Embedding]:
    """The embeddings of source and target: the same one if they share their vocabulary."""
    source = embedding(config)
    if config.target_vocab_size is None:
        return source, source
    return source, Embedding(config.target_vocab_size, config.d_model, config.init_scale)


def sinusoids(key: Any, shape: tuple[int, int], dtype: Any = jnp.float32) -> Float[Array, "L D"]:
    """The table of positions of Vaswani et al. (2017), section 3.5, as an initialiser.

    Row t has sines of t at ever lower frequencies, each with its cosine in the next column.
    """
    length, width = shape
    rates = np.exp(np.arange(0, width, 2) * -(np.log(10_000.0) / width))
    angles = np.arange(length)[:, None] * rates
    return jnp.asarray(np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(shape), dtype)


class LayerNorm(nn.Module):
    """Each vector with mean 0 and variance 1, then scaled and shifted (Ba et al. 2016).

    `nn.LayerNorm(use_fast_variance=False)`, but with faster gradients, see `xla.layer_norm`.

    Parameters: `scale` and `bias` float32 [D].
    """

    epsilon: float = 1e-6
    """Added to the variance."""

    @nn.compact
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """The normalised vectors, in the dtype of `x`."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        return xla.layer_norm(x, scale, bias, self.epsilon)


def dropout(x: Float[Array, "..."], rate: float, key: PRNGKeyArray | None) -> Float[Array, "..."]:
    """`x` with a random share of its entries zeroed (Srivastava et al. 2014); without a key, `x`.

    The share is about `rate`, a multiple of 1/256, see `xla.keep_mask`. The other entries are
    divided by the share that is kept.
    """
    if key is None or rate == 0:
        return x
    mask, share = xla.keep_mask(key, rate, x.shape)
    return jnp.where(mask, x / share, jnp.zeros_like(x))


class Dropout(nn.Module):
    """`dropout` in training: `nn.Dropout`, but with faster masks."""

    rate: float
    """About the share that is zeroed."""

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool) -> Float[Array, "..."]:
        """`x` with entries zeroed if `train`, which takes the rng `dropout`; else `x` itself."""
        return dropout(x, self.rate, self.make_rng("dropout") if train and self.rate else None)


def shift_right(tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """The token before each one; 0 before the first."""
    return jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
