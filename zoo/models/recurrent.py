"""Recurrent layers: the LSTM and the GRU, over whole sequences and a step at a time.

What a layer makes of its inputs does not depend on its state, so it is one product over the whole
sequence; the loop over time has the products with the state and nothing else that is large. In the
backward pass the loop carries the gradient of the state, and the gradient of a recurrent kernel is
one product after it.

Time stands before the batch in here: a loop takes its steps from the first axis.

Shapes: `T` steps, `B` batch, `I` inputs, `D` units.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from zoo import xla
from zoo.models.dense import Precision, Weights, multiply
from zoo.models.layers import dense

CellName = Literal["lstm", "gru"]

State = tuple[Float[Array, "B D"], ...]
"""What a cell knows of the steps so far: (c, h) of an LSTM, (h,) of a GRU. The output is last."""

Product = Callable[[Float[Array, "B D"]], Float[Array, "B _"]]
"""Multiplies a part of the state with a recurrent kernel."""


class Cell(NamedTuple):
    """One step of a recurrence."""

    projections: dict[str, int]
    """Name and width, in units, of each sum of a product with the input and one with the state."""
    states: int
    """How many arrays the state has."""
    step: Callable[[Sequence[Float[Array, "B _"]], Sequence[Product], State], State]
    """Products with the input, those with the state yet to be made, state -> next state."""


def lstm_step(inputs: Sequence[Array], products: Sequence[Product], state: State) -> State:
    """Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    i, j, f, o = x W + h R + b
    c' = sigmoid(f) c + sigmoid(i) tanh(j)
    h' = sigmoid(o) tanh(c')
    """
    cell, hidden = state
    i, j, f, o = jnp.split(inputs[0] + products[0](hidden), 4, axis=-1)
    cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(j)
    return cell, nn.sigmoid(o) * jnp.tanh(cell)


def gru_step(inputs: Sequence[Array], products: Sequence[Product], state: State) -> State:
    """Cho et al. (2014), section 2.3, whose z is u here.

    u, r = sigmoid(x W + h R + b)
    h' = u h + (1 - u) tanh(x V + (r h) S + d)
    """
    (hidden,) = state
    u, r = jnp.split(nn.sigmoid(inputs[0] + products[0](hidden)), 2, axis=-1)
    candidate = jnp.tanh(inputs[1] + products[1](r * hidden))
    return (u * hidden + (1 - u) * candidate,)


CELLS: dict[CellName, Cell] = {
    "lstm": Cell({"gates": 4}, 2, lstm_step),
    "gru": Cell({"gates": 2, "candidate": 1}, 1, gru_step),
}


class Recurrent(nn.Module):
    """A layer of D units: inputs [T, B, I] and a state -> outputs [T, B, D] and the last state.

    Parameters: for each projection of the cell `input_NAME` (kernel [I, O] and bias [O]) and
    `recurrent_NAME` (kernel [D, O]).
    """

    cell: CellName
    features: int
    dtype: Precision = "float32"

    def setup(self) -> None:
        sizes = {
            name: width * self.features for name, width in CELLS[self.cell].projections.items()
        }
        bias = _forget_bias if self.cell == "lstm" else nn.initializers.zeros
        self.input = {name: dense(size, self.dtype, bias_init=bias) for name, size in sizes.items()}
        self.recurrent = {name: _Kernel(size, self.dtype) for name, size in sizes.items()}

    def __call__(
        self,
        x: Float[Array, "T B I"],
        state: State,
        real: Bool[Array, "T B"] | None = None,
        *,
        reverse: bool = False,
    ) -> tuple[Float[Array, "T B D"], State]:
        """The output at each step, and the state after the last.

        Args:
          x: inputs.
          state: that before the first step; see `zeros`.
          real: False at padding, where the state does not move; None for no padding.
          reverse: begin at the end. Outputs stand where their inputs do.
        """
        inputs = [layer(x) for layer in self.input.values()]
        weights = [kernel(self.features) for kernel in self.recurrent.values()]
        return _unroll(self.cell, self.dtype, reverse, weights, inputs, state, real)

    def zeros(self, rows: int) -> State:
        """The state before anything was read."""
        return (jnp.zeros((rows, self.features)),) * CELLS[self.cell].states


class _Kernel(nn.Module):
    """The weights of a dense layer without bias, for a product inside a loop."""

    features: int
    dtype: Precision

    @nn.compact
    def __call__(self, width: int) -> Weights:
        if self.dtype == "int8":
            shape = (self.features, width)
            kernel = self.param("kernel", nn.initializers.zeros, shape, jnp.int8)
            return kernel, self.param("scale", nn.initializers.ones, (self.features,))
        shape = (width, self.features)
        return (self.param("kernel", nn.initializers.glorot_uniform(), shape),)


def _forget_bias(key: Any, shape: tuple[int], dtype: Any = jnp.float32) -> Float[Array, "O"]:
    """1 for the forget gate, so that memory lasts at first (Jozefowicz et al. 2015); else 0."""
    return jnp.zeros((4, shape[0] // 4), dtype).at[2].set(1.0).reshape(shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _unroll(
    cell: CellName,
    dtype: Precision,
    reverse: bool,
    weights: list[Weights],
    inputs: list[Float[Array, "T B _"]],
    state: State,
    real: Bool[Array, "T B"] | None,
) -> tuple[Float[Array, "T B D"], State]:
    """The loop over time: products with the input and a state -> outputs and the last state."""
    outputs, _, last = _loop(cell, dtype, reverse, weights, inputs, state, real)
    return outputs, last


def _loop(
    cell: CellName,
    dtype: Precision,
    reverse: bool,
    weights: list[Weights],
    inputs: list[Float[Array, "T B _"]],
    state: State,
    real: Bool[Array, "T B"] | None,
) -> tuple[Float[Array, "T B D"], list[Float[Array, "T B D"]], State]:
    """Outputs, what each recurrent kernel was multiplied with, and the last state."""

    def body(state: State, at: Any) -> tuple[State, Any]:
        inputs, real = at
        operands: list[Array] = []

        def product(kernel: Weights, operand: Array) -> Array:
            operands.append(operand)
            return multiply(operand, kernel, dtype)

        products = [functools.partial(product, kernel) for kernel in weights]
        new = CELLS[cell].step(inputs, products, state)
        if real is not None:
            new = tuple(
                jnp.where(real[:, None], after, before)
                for after, before in zip(new, state, strict=True)
            )
        return new, (new[-1], operands)

    last, (outputs, operands) = jax.lax.scan(body, state, (inputs, real), reverse=reverse)
    return outputs, operands, last


def _forward(
    cell: CellName,
    dtype: Precision,
    reverse: bool,
    weights: list[Weights],
    inputs: list[Array],
    state: State,
    real: Array | None,
) -> Any:
    def differentiable(inputs: list[Array], state: State) -> Any:
        outputs, operands, last = _loop(cell, dtype, reverse, weights, inputs, state, real)
        return (outputs, last), operands

    results, pull_back, operands = jax.vjp(differentiable, inputs, state, has_aux=True)
    return results, (pull_back, operands, weights)


def _backward(cell: CellName, dtype: Precision, reverse: bool, saved: Any, gradients: Any) -> Any:
    pull_back, operands, weights = saved
    inputs, state = pull_back(gradients)
    # A kernel's product is added to one with the input, so both have the same gradient.
    kernels = [
        (_kernel_gradient(operand, gradient, kernel, dtype),)
        for operand, gradient, (kernel,) in zip(operands, inputs, weights, strict=True)
    ]
    return kernels, inputs, state, None


def _kernel_gradient(
    operand: Float[Array, "T B D"],
    gradient: Float[Array, "T B O"],
    kernel: Float[Array, "D O"],
    dtype: Precision,
) -> Float[Array, "D O"]:
    rows = operand.reshape(-1, operand.shape[-1])
    gradients = gradient.reshape(-1, gradient.shape[-1])
    if dtype == "bfloat16":
        return xla.bfloat16_kernel_gradient(rows, gradients, kernel)
    return rows.T @ gradients


_unroll.defvjp(_forward, _backward)
