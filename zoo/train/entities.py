"""Entities in tagged sentences, found and counted as in seqeval's default mode.

A tag is `O`, outside all entities, or a prefix, a hyphen and a type, such as `B-geo`. `B` begins an
entity and `I` continues one; `E` ends one and `S` is one by itself, in the schemes that have them.
An `I` that follows nothing of its type begins an entity too. These are the rules of conlleval, the
script of the CoNLL tasks (Tjong Kim Sang and De Meulder 2003), from which seqeval took them. A tag
without a hyphen is `I` of the type that it names, so adjacent words are one entity. (seqeval would
take its first letter for the prefix.)

Shapes: B sentences, T words, C tags. Padding is `O`, and so ends an entity.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

PREFIXES = "OBIES"
"""The prefixes. A tag's prefix is an index into this string."""

OUTSIDE, BEGIN, _, END, SINGLE = range(len(PREFIXES))


class Spans(NamedTuple):
    """The entities of a batch, each at the word where it starts."""

    starts: jax.Array
    """Whether an entity starts here: bool [B, T]."""
    last: jax.Array
    """The last word of the entity that starts here: int32 [B, T]."""
    types: jax.Array
    """The type of the tag here: int32 [B, T]; 0 for none."""


def spans(tags: jax.Array, weights: jax.Array, labels: tuple[str, ...]) -> Spans:
    """The entities of a batch.

    Args:
      tags: indices into the labels, [B, T].
      weights: 0 at padding, [B, T].
      labels: the tags by name.
    """
    prefix_of, type_of = _table(labels)
    real = weights > 0
    prefixes = jnp.where(real, jnp.asarray(prefix_of)[tags], OUTSIDE)
    types = jnp.where(real, jnp.asarray(type_of)[tags], 0)

    # A border is a place between words, or at either end, that no entity spans: T + 1 places.
    before, after = _sides(prefixes)
    type_before, type_after = _sides(types)
    border = (
        (type_before != type_after)
        | (before == END)
        | (before == SINGLE)
        | (after == BEGIN)
        | (after == SINGLE)
    )
    inside = prefixes != OUTSIDE
    places = jnp.broadcast_to(jnp.arange(tags.shape[1]), tags.shape)
    ends = jnp.where(inside & border[:, 1:], places, tags.shape[1])
    return Spans(inside & border[:, :-1], jax.lax.cummin(ends, axis=1, reverse=True), types)


def count(
    predictions: jax.Array, targets: jax.Array, weights: jax.Array, labels: tuple[str, ...]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Numbers of entities: found correctly, predicted, and actual; each float32 [].

    An entity is correct if its first word, its last word and its type are. Arguments as in `spans`.
    """
    found, actual = spans(predictions, weights, labels), spans(targets, weights, labels)
    right = found.starts & actual.starts & (found.last == actual.last)
    right &= found.types == actual.types
    number = [jnp.sum(which, dtype=jnp.float32) for which in (right, found.starts, actual.starts)]
    return number[0], number[1], number[2]


def _sides(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The values before and after each place, [B, T + 1]; 0 outside the sentence."""
    return jnp.pad(values, ((0, 0), (1, 0))), jnp.pad(values, ((0, 0), (0, 1)))


def _table(labels: tuple[str, ...]) -> tuple[np.ndarray[tuple[int], np.dtype[np.int32]], ...]:
    """The prefix and the type of each tag, both int32 [C]; `O` has type 0."""
    parsed = [_parse(label) for label in labels]
    types = {kind: number for number, kind in enumerate(sorted({kind for _, kind in parsed}), 1)}
    prefixes = [PREFIXES.index(prefix) for prefix, _ in parsed]
    numbers = [types[kind] if prefix != "O" else 0 for prefix, kind in parsed]
    return np.array(prefixes, np.int32), np.array(numbers, np.int32)


def _parse(label: str) -> tuple[str, str]:
    if label == "O":
        return "O", ""
    prefix, hyphen, kind = label.partition("-")
    return (prefix, kind) if hyphen and prefix in tuple(PREFIXES[1:]) else ("I", label)
