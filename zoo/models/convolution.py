"""What convolutional networks are made of: convolutions, batch normalisation, pooling.

Shapes: `B` batch, `H` height, `W` width, `I` channels of the input, `O` of the output, `C` of both.
Images are [B, H, W, C], kernels [height, width, I, O].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from zoo.config import ConfigError

ConvPrecision = Literal["float32", "bfloat16"]
"""Of the convolutions and of what goes from one to the next. Sums are float32 in either."""

Padding = Literal["symmetric", "same", "valid"]
"""What is added around an image. `symmetric`: half of the kernel's size, rounded down, on each
side, as in most libraries. `same`: TensorFlow's and trax's, which may add a row less where the
stride is above 1, and leaves it out at the beginning. `valid`: nothing."""

Borders = str | Sequence[tuple[int, int]]


def _borders(padding: Padding, size: int) -> Borders:
    return [(size // 2, size // 2)] * 2 if padding == "symmetric" else padding.upper()


def convolve(
    x: Float[Array, "B H W I"], kernel: Float[Array, "_ _ I O"], stride: int, borders: Borders
) -> Float[Array, "B _ _ O"]:
    """The one place where convolutions are made."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), borders, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class Conv(nn.Module):
    """A square convolution: [B, H, W, I] -> [B, ⌈H / stride⌉, ⌈W / stride⌉, O] unless `valid`.

    Parameters: `kernel` float32 [size, size, I, O] and, where one is wanted, `bias` [O]. The result
    has the precision of the operands.
    """

    features: int
    size: int
    stride: int = 1
    padding: Padding = "symmetric"
    bias: bool = False
    dtype: ConvPrecision = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B _ _ O"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        dtype = jnp.dtype(self.dtype)
        borders = _borders(self.padding, self.size)
        y = convolve(x.astype(dtype), kernel.astype(dtype), self.stride, borders)
        if not self.bias:
            return y
        bias = self.param("bias", nn.initializers.normal(1e-6), (self.features,))
        return y + bias.astype(dtype)[None, None, None]


class BatchNorm(nn.Module):
    """Each channel with mean 0 and variance 1, then scaled and shifted (Ioffe & Szegedy 2015).

    In training mean and variance are those of the batch and its positions, and the running ones
    move towards them: new = momentum · old + (1 - momentum) · batch. Both have the biased variance,
    as in trax. Otherwise the running ones are used.

    A training step is one program over the whole batch, however many devices share it: the means
    below are those of all devices. A batch of one image is normalised by its own positions alone
    (instance normalisation in training, but not in evaluation), and where there is one position
    only, nothing would be left of it: that is refused.

    Parameters: `scale` and `bias` [C]; collection `batch_stats`: `mean` and `var` [C], float32.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool) -> Float[Array, "B H W C"]:
        shape = x.shape[-1:]
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        wide = x.astype(jnp.float32)
        if train:
            if math.prod(x.shape[:-1]) == 1:
                raise ConfigError(
                    "batch normalisation cannot train on one value a channel: the batch is one "
                    "image, of which 1 x 1 positions are left here, so that the variance is 0; "
                    "take a batch_size of 2 or more, or larger images"
                )
            mean = _mean(wide)
            # Rounding may take it below 0, where all values are large and the same.
            var = jnp.maximum(_mean(jnp.square(wide)) - jnp.square(mean), 0.0)
            if not self.is_initializing():
                for running, batch in ((running_mean, mean), (running_var, var)):
                    running.value = self.momentum * running.value + (1 - self.momentum) * batch
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        y = (wide - mean[None, None, None]) * factor[None, None, None] + bias[None, None, None]
        return y.astype(x.dtype)


def _mean(x: Float[Array, "B H W C"]) -> Float[Array, "C"]:
    """Over positions first, then over images: on a CPU a fifth faster than over both at once."""
    return x.mean(axis=(1, 2)).mean(axis=0)


def max_pool(
    x: Float[Array, "B H W C"], size: int, stride: int, padding: Padding
) -> Float[Array, "B _ _ C"]:
    """The largest value of each window."""
    borders = _borders(padding, size)
    if not isinstance(borders, str):
        borders = [(0, 0), *borders, (0, 0)]
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    largest: jax.Array = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, borders)
    return largest


def average(x: Float[Array, "B H W C"], window: int | None) -> Float[Array, "B _"]:
    """Means of the channels, float32: over all positions, or over each window of a size.

    The windows lie one position apart and wholly inside; their means come row by row.
    """
    x = x.astype(jnp.float32)
    if window is None:
        return x.mean(axis=(1, 2))
    sums = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, window, window, 1), (1,) * 4, "VALID")
    means: jax.Array = (sums / window**2).reshape(len(x), math.prod(sums.shape[1:]))
    return means
