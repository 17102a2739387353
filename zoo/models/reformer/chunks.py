"""Attention within chunks of a sequence, and the arithmetic that all Reformer attention shares.

What a query may see follows from two integers, its own position and that of the key: a key of a
later position is hidden if attention is causal, one of a negative position always, and the query's
own is avoided where queries and keys are shared. Hidden scores are lowered, not dropped, and in
float32 the order of these few operations decides the last digits: it is trax's.

Shapes: `*b` any leading axes, `T` positions, `C` chunks, `M` queries and `N` keys of a chunk, `K`
width of a key, `W` of a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

HIDDEN = 1e9
"""What the score of a hidden key is lowered by."""

ITSELF = 1e5
"""… and that of the query's own position: it is taken if nothing else is left (section 2)."""

NOWHERE = -1
"""The position of a key that no query sees."""


def key_positions(
    real: Bool[Array, "B T"], *, first_padding_visible: bool = False
) -> tuple[Int[Array, "1 T"], Int[Array, "B T"]]:
    """Positions of queries and of keys, where padding is no key.

    `first_padding_visible` gives trax's: padding bears the sign, and all positions are one higher,
    so that padding at the positions 0 and 1 is not hidden.
    """
    positions = jnp.arange(real.shape[1], dtype=jnp.int32)[None]
    if first_padding_visible:
        return positions + 1, jnp.where(real, positions, -positions) + 1
    return positions, jnp.where(real, positions, NOWHERE)


def attend(
    queries: Float[Array, "*b M K"],
    keys: Float[Array, "*#b N K"],
    values: Float[Array, "*#b N W"],
    query_positions: Int[Array, "*#b M"],
    key_positions: Int[Array, "*#b N"],
    *,
    causal: bool,
    avoid_self: bool,
) -> tuple[Float[Array, "*b M W"], Float[Array, "*b M"]]:
    """What the queries find, and the logarithm of the sum by which their weights are divided.

    The keys are scaled already. A query that sees nothing gets weights of about 1 for all keys: it
    is for the caller to see that nobody looks at it.
    """
    scores = jnp.einsum("...mk,...nk->...mn", queries, keys)
    query, key = query_positions[..., :, None], key_positions[..., None, :]
    hidden = key < 0
    if causal:
        hidden = hidden | (query < key)
    lowered = jnp.where(hidden, HIDDEN, 0.0)
    if avoid_self:
        lowered = jnp.where(query == key, ITSELF, lowered)
    weights, normaliser = softmax(scores - lowered)
    return jnp.einsum("...mn,...nw->...mw", weights, values), normaliser


@jax.custom_vjp
def softmax(scores: Float[Array, "*b N"]) -> tuple[Float[Array, "*b N"], Float[Array, "*b"]]:
    """The softmax as exp(s - z), and z, the log-sum-exp.

    Where all scores are near -1e9, z is none of their logarithms but the score itself, so that each
    weight is 1 (as trax has it). The gradient needs the weights and nothing else of that size.
    """
    normaliser = jax.nn.logsumexp(scores, axis=-1)
    return jnp.exp(scores - normaliser[..., None]), normaliser


def _softmax_forward(scores: Array) -> tuple[tuple[Array, Array], Array]:
    weights, normaliser = softmax(scores)
    return (weights, normaliser), weights


def _softmax_backward(weights: Array, gradients: tuple[Array, Array]) -> tuple[Array]:
    of_weights, of_normaliser = gradients
    product = weights * of_weights
    change = of_normaliser - jnp.sum(product, axis=-1)
    # dz/ds is the softmax, whose sum is 1 also where that of the weights is not.
    share = change / jnp.sum(weights, axis=-1)
    return (product + weights * share[..., None],)


softmax.defvjp(_softmax_forward, _softmax_backward)


def shared_keys(queries: Float[Array, "*b K"]) -> Float[Array, "*b K"]:
    """Queries as keys: of length √K (section 2, "shared-QK"), and scaled by 1/√K."""
    width = queries.shape[-1]
    mean_square = jnp.einsum("...k,...k->...", queries, queries, precision="highest") / width
    return scaled(queries, 1 / (jnp.sqrt(mean_square + 1e-6) * math.sqrt(width)))


@jax.custom_vjp
def scaled(x: Float[Array, "*b F"], factors: Float[Array, "*b"]) -> Float[Array, "*b F"]:
    """Each vector times its own number.

    The gradient of the number is a product of vectors, written as one: as the sum of a product, a
    CPU takes seven times as long for it.
    """
    return x * factors[..., None]


def _scaled_forward(x: Array, factors: Array) -> tuple[Array, tuple[Array, Array]]:
    return scaled(x, factors), (x, factors)


def _scaled_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, factors = saved
    return gradient * factors[..., None], jnp.einsum(
        "...f,...f->...", gradient, x, precision="highest"
    )


scaled.defvjp(_scaled_forward, _scaled_backward)


def attend_in_chunks(
    queries: Float[Array, "*b T K"],
    keys: Float[Array, "*b T K"],
    values: Float[Array, "*b T W"],
    query_positions: Int[Array, "*#b T"],
    key_positions: Int[Array, "*#b T"],
    *,
    chunk_len: int,
    chunks_before: int,
    chunks_after: int,
    wrap_around: bool,
    causal: bool,
    avoid_self: bool,
) -> tuple[Float[Array, "*b T W"], Float[Array, "*b T"]]:
    """`attend`, where the queries of a chunk see that chunk and some before and after it.

    Before the first chunk and after the last there is nothing, or with `wrap_around`, as in trax,
    there is the other end. A length that is no multiple of the chunk's is filled up with keys that
    nobody sees.
    """
    length = queries.shape[-2]
    if not wrap_around:
        chunk_len = min(chunk_len, max(length, 1))
        others = max(-(-length // chunk_len), 1) - 1
        chunks_before, chunks_after = min(chunks_before, others), min(chunks_after, others)

    def chunks(x: Array, fill: int = 0) -> Array:
        """[*b, T, F] -> [*b, C, M, F]."""
        missing = -length % chunk_len
        padding = [(0, 0)] * (x.ndim - 2) + [(0, missing), (0, 0)]
        filled = jnp.pad(x, padding, constant_values=fill) if missing else x
        return filled.reshape(*x.shape[:-2], -1, chunk_len, x.shape[-1])

    def seen(x: Array, fill: int = 0) -> Array:
        """[*b, C, M, F] -> [*b, C, N, F]."""
        shifts = range(chunks_before, -chunks_after - 1, -1)
        return jnp.concatenate([_shift(x, by, fill, wrap_around) for by in shifts], axis=-2)

    places = seen(chunks(key_positions[..., None], NOWHERE), NOWHERE)
    found, normaliser = attend(
        chunks(queries),
        seen(chunks(keys)),
        seen(chunks(values)),
        chunks(query_positions[..., None])[..., 0],
        places[..., 0],
        causal=causal,
        avoid_self=avoid_self,
    )
    found = found.reshape(*queries.shape[:-2], -1, values.shape[-1])
    return found[..., :length, :], normaliser.reshape(*queries.shape[:-2], -1)[..., :length]


def _shift(x: Array, by: int, fill: int, wrap_around: bool) -> Array:
    """At each chunk of [*b, C, M, F], the one that stands `by` chunks before it."""
    if by == 0:
        return x
    if wrap_around:
        return jnp.roll(x, by, axis=-3)
    chunks = x.shape[-3]
    kept = jax.lax.slice_in_dim(x, max(-by, 0), chunks - max(by, 0), axis=x.ndim - 3)
    padding = [(0, 0)] * (x.ndim - 3) + [(max(by, 0), max(-by, 0)), (0, 0), (0, 0)]
    return jnp.pad(kept, padding, constant_values=fill)


def in_pieces(
    function: Callable[..., Any], chunk_len: int, parameters: Any, *arrays: Shaped[Array, "B T ..."]
) -> Any:
    """`function(number, parameters, *parts)` for each piece of a sequence, put together again.

    What it computes within is computed anew in the backward pass, piece by piece: less memory for
    more time. Positions must not depend on one another.
    """
    length = arrays[0].shape[1]
    chunk_len = min(chunk_len, max(length, 1))

    def split(x: jax.Array) -> jax.Array:
        padding = [(0, 0), (0, -length % chunk_len), *[(0, 0)] * (x.ndim - 2)]
        return jnp.pad(x, padding).reshape(len(x), -1, chunk_len, *x.shape[2:]).swapaxes(0, 1)

    def join(x: jax.Array) -> jax.Array:
        return x.swapaxes(0, 1).reshape(x.shape[1], -1, *x.shape[3:])[:, :length]

    def step(number: jax.Array, parts: tuple[jax.Array, ...]) -> tuple[jax.Array, Any]:
        return number + 1, jax.checkpoint(function)(number, parameters, *parts)

    _, found = jax.lax.scan(step, jnp.zeros((), jnp.int32), tuple(map(split, arrays)))
    return jax.tree.map(join, found)
