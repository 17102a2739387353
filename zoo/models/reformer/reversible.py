"""Reversible residual layers (Gomez et al. 2017; Kitaev et al. 2020, section 3).

Two streams pass through a stack of branches. Each branch reads one stream and changes the other:
(x1, x2) -> (x2, x1 + branch(x2)). The inputs of a branch follow from its outputs, so that
back-propagation need not store them: it starts from the last two streams and recomputes the
earlier ones on its way down.

The stack is a cycle of branches, repeated, and its parameters are stacked along a leading axis, so
that it runs as one compiled loop. Unrolled, its memory would grow with depth after all: the
compiler keeps more alive than it must.

Shapes: `*b` any leading axes, `T` positions, `D` width of a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Streams = tuple[Float[Array, "*b T D"], Float[Array, "*b T D"]]


class Extras(NamedTuple):
    """The inputs of a branch through which no gradient flows."""

    masks: Any = None
    """The same for all branches."""
    rotations: Any = None
    """Of this branch in this repetition. For a whole stack: one entry for each branch of the cycle,
    stacked over the repetitions, or None."""
    rng: Any = None
    """The key for dropout; None: no dropout. For a whole stack: the key that all are made of."""
    choices: Any = None
    """What the branch returned beside its change in the forward pass; None in the forward pass
    itself. The recomputed stream differs from the first by rounding errors: a branch that chooses
    between near equals, such as the order of positions, returns its choice, to be given it again.
    For a whole stack: like `rotations`."""


Branch = Callable[[Array, Any, Extras], tuple[Array, Any]]
"""(stream, memory, extras) -> (change of the other stream, choices).

The memory, such as the source that a decoder reads, is the same for all branches, and gradients
flow into it. Choices are integers or ()."""


def forward(
    branches: Sequence[Branch], streams: Streams, memory: Any, extras: Sequence[Extras]
) -> tuple[Streams, tuple[Any, ...]]:
    """The streams after one cycle of branches, and what each of them chose."""
    choices = []
    for branch, extra in zip(branches, extras, strict=True):
        x1, x2 = streams
        change, choice = branch(x2, memory, extra)
        streams = x2, x1 + change
        choices.append(choice)
    return streams, tuple(choices)


def backward(
    branches: Sequence[Callable[..., tuple[Array, Any]]],
    parameters: Sequence[Any],
    streams: Streams,
    memory: Any,
    extras: Extras,
    gradients: Streams,
) -> tuple[Streams, tuple[Any, ...], Streams, Any]:
    """The backward pass of a whole stack: what went in, and the gradients.

    Args:
      branches: of one cycle, as functions of their parameters and of what a `Branch` takes.
      parameters: of each branch, stacked over the repetitions.
      streams: as they came out.
      memory: as in the forward pass.
      extras: as in the forward pass, with the choices made in it.
      gradients: of the streams that came out.

    Returns:
      The streams that went in, and the gradients of the parameters, of these streams and of the
      memory.
    """

    def cycle(carry: Any, step: Any) -> tuple[Any, Any]:
        streams, gradients, of_memory = carry
        repetition, weights, rotations, choices = step
        each = split(extras._replace(rotations=rotations, choices=choices), repetition)
        of_weights = []
        for branch, own, extra in reversed(list(zip(branches, weights, each, strict=True))):
            (x2, y2), (of_x2, of_x1) = streams, gradients

            def change(
                own: Any, x2: Array, memory: Any, branch: Any = branch, extra: Extras = extra
            ) -> Array:
                changed: Array = branch(own, x2, memory, extra)[0]
                return changed

            changed, pull = jax.vjp(change, own, x2, memory)
            of_own, through, of_seen = pull(of_x1)
            streams = y2 - changed, x2
            gradients = of_x1, of_x2 + through
            of_memory = jax.tree.map(jnp.add, of_memory, of_seen)
            of_weights.append(of_own)
        return (streams, gradients, of_memory), tuple(reversed(of_weights))

    nothing = jax.tree.map(jnp.zeros_like, memory)
    carry, of_parameters = jax.lax.scan(
        cycle,
        (streams, gradients, nothing),
        (jnp.arange(repetitions(parameters)), parameters, extras.rotations, extras.choices),
        reverse=True,
    )
    streams, gradients, of_memory = carry
    return streams, of_parameters, gradients, of_memory


def repetitions(parameters: Any) -> int:
    """How often the cycle of branches with these parameters is repeated."""
    return len(jax.tree.leaves(parameters)[0])


def split(extras: Extras, repetition: Array) -> list[Extras]:
    """The extras of each branch of a cycle in one repetition.

    Args:
      extras: `rotations` and `choices` have one entry for each branch; `choices` may be None.
      repetition: the number of the repetition.
    """
    number = len(extras.rotations)
    return [
        Extras(
            masks=extras.masks,
            rotations=extras.rotations[place],
            rng=None
            if extras.rng is None
            else jax.random.fold_in(extras.rng, repetition * number + place),
            choices=None if extras.choices is None else extras.choices[place],
        )
        for place in range(number)
    ]
