"""Reversible residual layers (Gomez et al. 2017; Kitaev et al. 2020, section 3).

Two streams pass through a stack of functions, each of which changes one stream by what it makes of
the other: (x1, x2) -> (x2, x1 + f(x2)). From what comes out all that went before follows, so that
back-propagation keeps the last two streams alone and computes the others anew, from the top down.

The stack is a cycle of functions, repeated: one compiled loop over parameters that are stacked
along a leading axis. So memory does not grow with depth; unrolled, it would (the compiler keeps
more alive than it must).

Shapes: `B` batch, `T` positions, `D` width of a stream.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Streams = tuple[Float[Array, "B T D"], Float[Array, "B T D"]]


class Given(NamedTuple):
    """What a function gets besides parameters and a stream; no gradient flows into any of it."""

    fixed: Any = None
    """The same for all functions, as masks."""
    each: Any = None
    """For this function in this repetition, as rotations."""
    key: Any = None
    """For dropout, another for each function and each repetition; None: there is none."""
    kept: Any = None
    """What the function gave beside its result, where it is called again in the backward pass; None
    in the forward pass. It is how a choice between near equals is not made differently then."""


Function = Callable[[Any, jax.Array, Any, Given], tuple[jax.Array, Any]]
"""(parameters, stream, memory, given) -> (change of the other stream, what to keep: integers).
The memory is what all functions see and gradients flow into, as a decoder's source."""


def forward(
    functions: tuple[Function, ...],
    parameters: tuple[Any, ...],
    streams: Streams,
    memory: Any,
    given: Given,
    keep: bool = True,
) -> tuple[Streams, Any]:
    """The streams after the whole stack, and what its functions kept, stacked.

    Args:
      functions: one cycle.
      parameters: for each function, with a leading axis of repetitions.
      streams: (x1, x2).
      memory: see `Function`.
      given: `each` has an entry for each function, with a leading axis of repetitions; `key` is one
        key, from which those of the functions are made.
      keep: whether anything is kept.
    """

    def cycle(streams: Streams, step: Any) -> tuple[Streams, Any]:
        kept = []
        for parts in _parts(functions, given, step):
            function, weights, extras = parts
            x1, x2 = streams
            change, choice = function(weights, x2, memory, extras)
            streams = x2, x1 + change
            kept.append(choice)
        return streams, tuple(kept) if keep else None

    return jax.lax.scan(cycle, streams, _steps(parameters, given.each, None))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def reversible(
    functions: tuple[Function, ...],
    parameters: tuple[Any, ...],
    streams: Streams,
    memory: Any,
    given: Given,
) -> Streams:
    """`forward`, whose backward pass stores no activations but the last; gradients are the same."""
    return forward(functions, parameters, streams, memory, given, keep=False)[0]


def _forward(
    functions: tuple[Function, ...],
    parameters: tuple[Any, ...],
    streams: Streams,
    memory: Any,
    given: Given,
) -> tuple[Streams, Any]:
    streams, kept = forward(functions, parameters, streams, memory, given)
    return streams, (parameters, streams, memory, given, kept)


def _backward(
    functions: tuple[Function, ...], residuals: Any, gradients: Streams
) -> tuple[Any, Streams, Any, None]:
    parameters, streams, memory, given, kept = residuals
    _, *found = backward(functions, parameters, streams, memory, given, kept, gradients)
    of_parameters, of_streams, of_memory = found
    return of_parameters, of_streams, of_memory, None


reversible.defvjp(_forward, _backward)


def backward(
    functions: tuple[Function, ...],
    parameters: tuple[Any, ...],
    streams: Streams,
    memory: Any,
    given: Given,
    kept: Any,
    gradients: Streams,
) -> tuple[Streams, Any, Streams, Any]:
    """What went in, as computed from what came out, and the gradients.

    Args:
      functions, parameters, memory, given: as in `forward`.
      streams: what `forward` gave.
      kept: what it kept.
      gradients: of the streams that it gave.

    Returns:
      The streams that went in, and the gradients of parameters, of these streams and of the memory.
    """

    def cycle(carry: Any, step: Any) -> tuple[Any, Any]:
        streams, gradients, of_memory = carry
        found = []
        for function, weights, extras in reversed(_parts(functions, given, step)):
            (x2, y2), (of_x2, of_x1) = streams, gradients

            def change(
                weights: Any,
                x2: jax.Array,
                memory: Any,
                function: Function = function,
                extras: Given = extras,
            ) -> jax.Array:
                return function(weights, x2, memory, extras)[0]

            changed, pull = jax.vjp(change, weights, x2, memory)
            of_weights, through, more = pull(of_x1)
            streams = y2 - changed, x2
            gradients = of_x1, of_x2 + through
            of_memory = jax.tree.map(jnp.add, of_memory, more)
            found.append(of_weights)
        return (streams, gradients, of_memory), tuple(reversed(found))

    nothing = jax.tree.map(jnp.zeros_like, memory)
    carry, of_parameters = jax.lax.scan(
        cycle,
        (streams, gradients, nothing),
        _steps(parameters, given.each, kept),
        reverse=True,
    )
    streams, gradients, of_memory = carry
    return streams, of_parameters, gradients, of_memory


def _steps(parameters: Any, each: Any, kept: Any) -> Any:
    """What the loop goes through: number of the repetition, parameters and so on."""
    repetitions = len(jax.tree.leaves(parameters)[0])
    return jnp.arange(repetitions), parameters, each, kept


def _parts(
    functions: tuple[Function, ...], given: Given, step: Any
) -> list[tuple[Function, Any, Given]]:
    """Each function of a cycle with its parameters and the rest, in one repetition."""
    repetition, parameters, each, kept = step
    parts = []
    for place, function in enumerate(functions):
        key = None
        if given.key is not None:
            key = jax.random.fold_in(given.key, repetition * len(functions) + place)
        extras = Given(
            fixed=given.fixed,
            each=None if each is None else each[place],
            key=key,
            kept=None if kept is None else kept[place],
        )
        parts.append((function, parameters[place], extras))
    return parts
