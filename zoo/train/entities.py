"""Entities in tagged sentences, found and counted as in seqeval's default mode.

A tag is `O`, outside all entities, or a prefix, a hyphen and a type, such as `B-geo`. `B` begins an
entity and `I` continues one; `E` ends one and `S` is one by itself, in the schemes that have them.
An `I` that follows nothing of its type begins an entity too. These are the rules of conlleval, the
script of the CoNLL tasks (Tjong Kim Sang and De Meulder 2003), from which seqeval took them. Tags
of nothing but prefixes (`B`, `I`, `O`) have one type. Any other tag without a prefix is `I` of the
type that it names, so adjacent words are one entity. (seqeval would take its first letter for the
prefix.) `scheme` tells which letters are prefixes, and reads those of other schemes as these.

Shapes: B sentences, T words, C tags. Padding is `O`, and so ends an entity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

PREFIXES = "OBIES"
"""The prefixes. A tag's prefix is an index into this string."""

OUTSIDE, BEGIN, _, END, SINGLE = range(len(PREFIXES))


SCHEMES = {
    "IO": {"I": "I"},
    "BIO": {"B": "B", "I": "I"},
    "BIOES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
    "BMES": {"B": "B", "M": "I", "E": "E", "S": "S"},
    "BMEWO": {"B": "B", "M": "I", "E": "E", "W": "S"},
}
"""The schemes by name: what each of their letters is in BIOES."""

_FORMS = (
    r"(?P<letter>[A-Z])(-(?P<type>.*))?",
    r"(?P<letter>[A-Z])_(?P<type>.+)",
    r"(?P<type>.+)[-_](?P<letter>[A-Z])",
)
"""The ways to write a tag: `B-geo`, or `B` without a type; `B_geo`; `geo-B` and `geo_B`."""


class Scheme(NamedTuple):
    """How a set of tags marks entities."""

    name: str
    """One of `SCHEMES`, `mixed`, or `plain` where no tag has a prefix and none is `O`."""
    tags: tuple[tuple[str, str], ...]
    """The prefix, one of `PREFIXES`, and the type of each tag."""


def scheme(labels: Sequence[str]) -> Scheme:
    """The scheme of a set of tags: the first one that has all letters of its prefixes.

    Conlleval's rules read IOB1, where only an entity right after another one begins with `B`, as
    they read IOB2; both are BIO here.

    >>> scheme(("O", "B-geo", "L-geo", "U-geo"))
    Scheme(name='BILOU', tags=(('O', ''), ('B', 'geo'), ('E', 'geo'), ('S', 'geo')))
    """
    inside = [label for label in labels if label != "O"]
    for form in _FORMS:
        matches = [re.fullmatch(form, label) for label in inside]
        letters = {match["letter"] for match in matches if match}
        if None not in matches and letters & {"B", "I"}:
            for name, meaning in SCHEMES.items():
                if letters <= meaning.keys():
                    return Scheme(name, tuple(_tag(label, form, meaning) for label in labels))
    letters = {label[0] for label in inside if label[1:2] == "-"} & {*"BIES"}
    tags = tuple(_tag(label, r"(?P<letter>[BIES])-(?P<type>.*)", _BIES) for label in labels)
    if letters:
        return Scheme("mixed", tags)
    return Scheme("IO" if "O" in labels else "plain", tags)


_BIES = SCHEMES["BIOES"]


def _tag(label: str, form: str, meaning: Mapping[str, str]) -> tuple[str, str]:
    if label == "O":
        return "O", ""
    match = re.fullmatch(form, label)
    return (meaning[match["letter"]], match["type"] or "") if match else ("I", label)


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
    parsed = scheme(labels).tags
    types = {kind: number for number, kind in enumerate(sorted({kind for _, kind in parsed}), 1)}
    prefixes = [PREFIXES.index(prefix) for prefix, _ in parsed]
    numbers = [types[kind] if prefix != "O" else 0 for prefix, kind in parsed]
    return np.array(prefixes, np.int32), np.array(numbers, np.int32)
