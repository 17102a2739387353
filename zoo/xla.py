"""What is written oddly because XLA compiles the plain form badly.

Everywhere else the code says what it computes in the plainest way. Where XLA's CPU backend takes
much longer for that than it must, the plain way is replaced by a call into this module. Each
function gives the plain form as code and what replacing it gained; `tests/test_xla.py` holds both
forms against each other, values and gradients. A function that gains less than a factor of 1.1 on
the newest JAX is removed.

| function | plain form | times as fast |
|---|---|---|
| `argmax` | `jnp.argmax(x, axis=-1)` | 2 to 7 |
| `top_k` | `jax.lax.top_k(x, k)` | 1.3 to 3.3 |
| `keep_mask` | `jax.random.bernoulli(key, 1 - rate, shape)` | 5 to 7 |
| `layer_norm` | the formula, differentiated by JAX | |
| `unfused` | `function(x)` | |

Gains were measured with JAX 0.12.0 on two vCPUs (EPYC Zen 4), November 2026: both forms in turn in
one process, the least time of many.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

# Choosing.


def argmax(x: Float[Array, "... V"]) -> Int[Array, "..."]:
    """The index of the greatest value along the last axis; of equal ones the first. int32.

    Plain form: `jnp.argmax(x, axis=-1)`, which XLA:CPU compiles to a loop over single numbers. Two
    reductions, the maximum and the least index that has it, are vectorised. [32, 33300]: 4.9 ms
    plain, 0.7 ms here.
    """
    size = x.shape[-1]
    greatest = jnp.max(x, axis=-1, keepdims=True)
    index = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    return jnp.min(jnp.where(x == greatest, index, size - 1), axis=-1)


CHUNK = 128
"""Columns that `top_k` first reduces to their maximum."""


def top_k(x: Float[Array, "B M"], k: int) -> tuple[Float[Array, "B k"], Int[Array, "B k"]]:
    """The k greatest values of each row, greatest first, and their columns (int32).

    Plain form: `jax.lax.top_k(x, k)`, which XLA:CPU compiles to a sort of whole rows. The k values
    lie in the k chunks with the greatest maxima, so only those are sorted. [32, 4 · 33300], k = 8:
    6.0 ms plain, 1.9 ms here.
    """
    rows, size = x.shape
    chunks = -(-size // CHUNK)
    if chunks <= k:
        found, columns = jax.lax.top_k(x, k)
        return found, columns
    window, beyond = (1, CHUNK), chunks * CHUNK - size
    maxima = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, ((0, 0), (0, beyond)))
    _, chosen = jax.lax.top_k(maxima, k)
    chosen = jnp.sort(chosen, axis=-1)  # so that of equal values the first column wins
    within = jnp.arange(CHUNK, dtype=jnp.int32)
    columns = (chosen[..., None] * CHUNK + within[None, None]).reshape(rows, k * CHUNK)
    few = jnp.take_along_axis(x, columns, axis=1, mode="fill", fill_value=-jnp.inf)
    found, where = jax.lax.top_k(few, k)
    return found, jnp.take_along_axis(columns, where, axis=1)


# Random masks.


def keep_mask(
    key: PRNGKeyArray, rate: float, shape: tuple[int, ...]
) -> tuple[Bool[Array, "..."], float]:
    """A random mask that keeps about 1 - `rate` of the entries, and the share it really keeps.

    Plain form: `jax.random.bernoulli(key, 1 - rate, shape), 1 - rate`. Most of dropout's time is
    the generator's; here each 32-bit draw serves four entries, read as bytes. The share is
    therefore a multiple of 1/256, and what is kept must be scaled by the share returned, not by
    1 - `rate`.
    """
    threshold = min(max(round((1 - rate) * 256), 1), 256)
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 4),), jnp.uint32)
    octets = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[:size].reshape(shape)
    return octets <= jnp.uint8(threshold - 1), threshold / 256


# Normalisation.


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def layer_norm(
    x: Float[Array, "... D"], scale: Float[Array, "D"], bias: Float[Array, "D"], epsilon: float
) -> Float[Array, "... D"]:
    """Each vector with mean 0 and variance 1, then scaled and shifted (Ba et al. 2016).

    Plain form:

        centred = x - mean(x)
        centred / sqrt(mean(centred²) + epsilon) * scale + bias       # means over the last axis

    Only the derivative is written out: so that transposing it, which gives the gradient, makes sums
    of products into products of vectors and sums over rows into sums over one axis.
    """
    return _normalise(x, scale, bias, epsilon)[0]


def _normalise(
    x: Array, scale: Array, bias: Array, epsilon: float
) -> tuple[Array, tuple[Array, Array]]:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + epsilon)
    standard = centred * inverse
    return standard * _for_rows(scale, x) + _for_rows(bias, x), (standard, inverse)


@layer_norm.defjvp
def _layer_norm_derivative(
    epsilon: float, at: tuple[Array, Array, Array], towards: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    x, scale, bias = at
    of_x, of_scale, of_bias = towards
    result, (standard, inverse) = _normalise(x, scale, bias, epsilon)
    width = x.shape[-1]
    dot = functools.partial(jnp.einsum, precision="highest")
    along = dot("...d,...d->...", of_x, standard) / width
    change = of_x - jnp.mean(of_x, axis=-1, keepdims=True) - dot("...d,...->...d", standard, along)
    flat = standard.reshape(-1, width) * of_scale[None] + of_bias[None]
    return result, change * inverse * _for_rows(scale, x) + flat.reshape(x.shape)


def _for_rows(values: Array, rows: Array) -> Array:
    """Numbers [D] with as many axes as rows [... D] have."""
    return values.reshape(*(1,) * (rows.ndim - 1), -1)


# Fusion.


def unfused(function: Callable[[Array], Array], x: Array, finite: Float[Array, ""]) -> Array:
    """`function(x)`, kept by XLA:CPU apart from what comes before and after it.

    Plain form: `function(x)`. A transposition that XLA:CPU fuses with arithmetic, or leaves to a
    matrix product or a convolution, takes many times as long as one by itself. `cond` is not fused,
    as long as its branches differ and the compiler cannot know which is taken;
    `optimization_barrier` is removed before fusion.

    Args:
      function: what to compute.
      x: its argument.
      finite: any number that the program computes and that is not infinite.
    """
    result = jax.eval_shape(function, x)

    def never(x: Array) -> Array:
        return jnp.zeros(result.shape, result.dtype)

    computed: jax.Array = jax.lax.cond(finite != jnp.inf, function, never, x)
    return computed
