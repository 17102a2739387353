"""The products of dense layers in three precisions; the layers are made by `layers.dense`.

* `float32` is the reference, which equals trax on CPUs. On other devices JAX multiplies float32 in
  fewer bits by default: on NVIDIA's GPUs from Ampere on in TF32 (10 bits of mantissa instead of
  23), on TPUs in bfloat16 (7). Inside `jax.default_matmul_precision("highest")` it is float32
  there too; `zoo verify` and the tests for accelerators compute everything inside it.
* `bfloat16` rounds the operands of the product to bfloat16; sums and results are float32, forward
  and backward. In training parameters stay float32; for inference `convert` stores the kernels in
  bfloat16, half the bytes to read. Everything else is float32: tables of embeddings, biases, what
  is between the layers (except in ResNets, whose activations are bfloat16) and the caches of
  decoding. So it saves time and the memory of kernels, but not that of activations. There is no
  forward-mode differentiation (`jax.jvp`): the backward pass is written out.
* `int8` is for inference. The kernel is stored in bytes, with a scale for each output; each row of
  the input is scaled to bytes when it comes (Dettmers et al. 2022, "LLM.int8()", section 2.1,
  vector-wise quantisation). The sums are exact, the result is float32.

Shapes: `...` any axes, `N` rows (these axes flattened), `I` inputs, `O` outputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int8

from zoo import xla

Precision = Literal["float32", "bfloat16", "int8"]

LARGEST = 127
"""The largest magnitude of a scaled byte."""


class Int8Dense(nn.Module):
    """A dense layer whose kernel is stored in bytes.

    A module of its own, since Linen's hook for products knows neither the transposed kernel nor its
    scale. Parameters, to be converted from trained ones: `kernel` int8 [O, I], `scale` and `bias`
    float32 [O].
    """

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
        """x @ (kernel · scale)ᵀ + bias."""
        shape = (self.features, x.shape[-1])
        kernel = self.param("kernel", nn.initializers.zeros, shape, jnp.int8)
        scale = self.param("scale", nn.initializers.ones, shape[:1], jnp.float32)
        y = multiply(x.reshape(-1, x.shape[-1]), (kernel, scale), "int8")
        y = y + self.param("bias", nn.initializers.zeros, shape[:1], jnp.float32)[None]
        return y.reshape(*x.shape[:-1], self.features)


Weights = tuple[Array, ...]
"""The kernel of a dense layer; in int8 also its scale."""


def multiply(rows: Float[Array, "N I"], weights: Weights, dtype: Precision) -> Float[Array, "N O"]:
    """The product of rows with a kernel [I, O] (in int8 [O, I]) in the given precision; float32.

    For products outside of a dense layer, such as those inside a loop over time.
    """
    if dtype == "int8":
        return xla.with_two_rows(int8_product, rows, *weights)
    if dtype == "bfloat16":
        return xla.with_two_rows(xla.bfloat16_product, rows, *weights)
    return rows @ weights[0]


@functools.cache
def dot_general(dtype: Literal["float32", "bfloat16"]) -> Callable[..., Array]:
    """The product of an `nn.Dense` in a precision: its argument `dot_general`."""
    return xla.dot_general_of_rows(lambda rows, kernel: multiply(rows, (kernel,), dtype))


def int8_product(
    x: Float[Array, "N I"], kernel: Int8[Array, "O I"], scale: Float[Array, "O"]
) -> Float[Array, "N O"]:
    """x @ (kernel · scale)ᵀ, with each row of x scaled to bytes."""
    bytes_, row_scale = to_bytes(x)
    sums = jax.lax.dot_general(
        bytes_, kernel, (((1,), (1,)), ((), ())), preferred_element_type=jnp.int32
    )
    return sums.astype(jnp.float32) * row_scale * scale[None]


def to_bytes(x: Float[Array, "N I"]) -> tuple[Int8[Array, "N I"], Float[Array, "N 1"]]:
    """Each row as bytes from -127 to 127, and the factor by which to multiply them; 0 stays 0."""
    largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
    scale = jnp.where(largest > 0, largest, 1.0) / LARGEST
    return jnp.round(x / scale).astype(jnp.int8), scale


HEADS = ("query", "key", "value", "out")
"""Kernels of a Reformer's attention, [H, D, K] or [H, W, D]; those of other families are dense
layers of this name."""


def convert(variables: Mapping[str, Any], dtype: Precision) -> dict[str, Any]:
    """Float32 variables in the form that a module of another precision takes for inference.

    In bfloat16 it narrows everything that a product rounds anyway: the kernels of dense layers, of
    convolutions and of a Reformer's attention, also where layers are stacked. In int8 it changes
    the kernels of dense layers, which have two axes.
    """
    converted: dict[str, Any] = {}
    for name, leaf in variables.items():
        if isinstance(leaf, Mapping):
            converted[name] = convert(leaf, dtype)
        elif dtype == "int8" and name == "kernel" and leaf.ndim == 2:
            converted["kernel"], scale = to_bytes(jnp.asarray(leaf).T)
            converted["scale"] = scale[:, 0]
        elif (
            dtype == "bfloat16"
            and leaf.ndim >= (3 if name in HEADS else 2)
            and (name == "kernel" or name in HEADS)
        ):
            converted[name] = jnp.asarray(leaf, jnp.bfloat16)
        else:
            converted[name] = leaf
    return converted
