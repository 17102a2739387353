"""The dense layer in its three precisions: the one place where matrix products are made.

* `float32`: the reference, which equals trax.
* `bfloat16`: the operands are rounded to bfloat16, products are summed in float32 and given as
  float32, forward and backward. Parameters stay float32 in training; for inference `convert` stores
  the kernels as bfloat16, half the bytes to read.
* `int8`: for inference only. The kernel is stored as bytes with one scale an output column, each
  row of the input is scaled to bytes as it comes (Dettmers et al. 2022, "LLM.int8()", section 2.1,
  vector-wise quantisation), and the sums are exact.

Shapes: `...` any axes, `N` rows (all those axes as one), `I` inputs, `O` outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int8

from zoo.xla import unfused

Precision = Literal["float32", "bfloat16", "int8"]

LARGEST = 127
"""The largest magnitude of a scaled byte."""


class Dense(nn.Module):
    """x [..., I] -> x @ kernel + bias [..., O].

    Parameters: `kernel` float32 [I, O] and, unless `use_bias` is False, `bias` [O]; with `int8` the
    kernel is stored transposed, int8 [O, I], with `scale` [O].
    """

    features: int
    dtype: Precision = "float32"
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
    bias_init: nn.initializers.Initializer = nn.initializers.normal(1e-6)

    @nn.compact
    def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
        weights = self.weights(x.shape[-1])
        product = multiply(x.reshape(-1, x.shape[-1]), weights, self.dtype)
        if self.use_bias:
            product = product + self.param("bias", self.bias_init, (self.features,))[None]
        return product.reshape(*x.shape[:-1], self.features)

    @nn.nowrap
    def weights(self, width: int) -> Weights:
        """What `multiply` takes, for inputs of this width."""
        if self.dtype == "int8":
            kernel = self.param("kernel", nn.initializers.zeros, (self.features, width), jnp.int8)
            return kernel, self.param("scale", nn.initializers.ones, (self.features,))
        return (self.param("kernel", self.kernel_init, (width, self.features)),)


Weights = tuple[Array, ...]
"""The kernel of a dense layer, and in `int8` its scale."""


def multiply(rows: Float[Array, "N I"], weights: Weights, dtype: Precision) -> Float[Array, "N O"]:
    """The product of some rows with a kernel, in its precision."""
    if dtype == "int8":
        return _few_rows(int8_product, rows, *weights)
    if dtype == "bfloat16":
        return _few_rows(bfloat16_product, rows, *weights)
    return rows @ weights[0]


def _few_rows(
    product: Callable[..., jax.Array], rows: Float[Array, "N I"], *kernel: Array
) -> Float[Array, "N O"]:
    """A product of narrow numbers, with a row of padding if there is but one row.

    On a CPU a product of one row of narrow numbers falls into a naive kernel, up to fifteen times
    slower than one of two rows.
    """
    if rows.shape[0] != 1:
        return product(rows, *kernel)
    return product(jnp.pad(rows, ((0, 1), (0, 0))), *kernel)[:1]


def _narrow(x: Array, y: Array, contract: tuple[int, int]) -> Float[Array, "..."]:
    """The product of two matrices rounded to bfloat16, summed and given in float32."""
    return jax.lax.dot_general(
        x.astype(jnp.bfloat16),
        y.astype(jnp.bfloat16),
        (((contract[0],), (contract[1],)), ((), ())),
        # To ask for a bfloat16 result would be slower, and would round once more.
        preferred_element_type=jnp.float32,
    )


@jax.custom_vjp
def bfloat16_product(x: Float[Array, "N I"], kernel: Float[Array, "I O"]) -> Float[Array, "N O"]:
    """x @ kernel with bfloat16 operands and a float32 result, in the backward pass too."""
    return _narrow(x, kernel, (1, 0))


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    narrow = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    return _narrow(*narrow, (1, 0)), narrow


def _backward(narrow: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = narrow
    return _narrow(gradient, kernel, (1, 1)), kernel_gradient(x, gradient, kernel)


bfloat16_product.defvjp(_forward, _backward)


def kernel_gradient(
    x: Float[Array, "N I"], gradient: Float[Array, "N O"], kernel: Float[Array, "I O"]
) -> Float[Array, "I O"]:
    """xᵀ @ gradient with bfloat16 operands and a float32 result."""
    x = x.astype(jnp.bfloat16)
    if jax.default_backend() != "cpu":
        return _narrow(x, gradient, (0, 0))
    # A CPU's product of bfloat16 is only fast where neither side is to be transposed: then it takes
    # little more than half the time.
    return _narrow(unfused(jnp.transpose, x, kernel[0, 0]), gradient, (1, 0))


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
    """Each row as bytes from -127 to 127, and what to multiply them by; zeros stay zeros."""
    largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
    scale = jnp.where(largest > 0, largest, 1.0) / LARGEST
    return jnp.round(x / scale).astype(jnp.int8), scale


def convert(variables: Mapping[str, Any], dtype: Precision) -> dict[str, Any]:
    """Float32 variables in the form in which inference in another precision wants them.

    Changes what `Dense` made: the modules with a `kernel` of two axes.
    """
    converted: dict[str, Any] = {}
    for name, leaf in variables.items():
        if isinstance(leaf, Mapping):
            converted[name] = convert(leaf, dtype)
        elif name == "kernel" and leaf.ndim == 2 and dtype == "int8":
            converted["kernel"], scale = to_bytes(jnp.asarray(leaf).T)
            converted["scale"] = scale[:, 0]
        elif name == "kernel" and leaf.ndim == 2 and dtype == "bfloat16":
            converted["kernel"] = jnp.asarray(leaf, jnp.bfloat16)
        else:
            converted[name] = leaf
    return converted
