"""Shared by the predictors that write text: the end of a text, prefixes, random keys, scores."""

from __future__ import annotations

import collections
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo import decoding
from zoo.config import ValueMistake
from zoo.decoding import Prefix
from zoo.predictors.batching import SHORTEST, Array, padded, power_of_two

Ids = list[int]

EOS = 1
"""The end of a sequence, in every vocabulary of the zoo."""


@dataclass(frozen=True)
class Stops:
    """Strings before which a text ends; False if there are none."""

    strings: tuple[str, ...] = ()

    @classmethod
    def of(cls, strings: Sequence[str] | str) -> Stops:
        """Raises ValueError if one is empty."""
        strings = (strings,) if isinstance(strings, str) else tuple(strings)
        if not all(isinstance(each, str) and each for each in strings):
            raise ValueMistake(f"stop is {list(strings)}; it is strings that are not empty")
        return cls(strings)

    def __bool__(self) -> bool:
        return bool(self.strings)

    def found(self, text: str) -> bool:
        """Whether the text has one of them."""
        return any(each in text for each in self.strings)

    def cut(self, text: str) -> str:
        """The text before the first of them."""
        return text[
            : min((text.find(each) for each in self.strings if each in text), default=len(text))
        ]

    def sure(self, text: str) -> str:
        """The text without an end that may be the beginning of one of them."""
        begun = [
            size
            for each in self.strings
            for size in range(1, min(len(each), len(text) + 1))
            if text.endswith(each[:size])
        ]
        return text[: len(text) - max(begun, default=0)]


NO_STOPS = Stops()


@dataclass(frozen=True)
class Scored:
    """A text and its score."""

    text: str
    score: float
    """The sum of the log-probabilities of its tokens (in nats), its end included if it has one."""


def until_end(tokens: Array) -> Ids:
    """The tokens before the first end of sequence; all of them if there is none."""
    ends = np.flatnonzero(tokens == EOS)
    return [int(token) for token in tokens[: ends[0] if len(ends) else None]]


def prefixes(sequences: Sequence[Sequence[int]], rows: int, longest: int) -> Prefix | None:
    """The tokens with which each of `rows` answers must begin.

    Args:
      sequences: the beginnings. Rows beyond them repeat the first.
      rows: of the batch.
      longest: the greatest padded length.

    Returns:
      The beginnings; None if all are empty.
    """
    sizes = [len(sequence) for sequence in sequences]
    if not max(sizes):
        return None
    lengths = np.array(sizes + sizes[:1] * (rows - len(sizes)), np.int32)
    width = min(max(power_of_two(max(sizes)), SHORTEST), longest)
    return Prefix(jnp.asarray(padded(sequences, rows, width, 0)), jnp.asarray(lengths))


def draw_keys(seed: int, beginnings: Sequence[object], repeats: int) -> Array:
    """The random keys of `repeats` answers to each item, uint32 [items · repeats, 2].

    A key is a hash of the seed, of what the item's answers begin with (lists of ids), and of the
    answer's number among all answers to equal items. So answers are independent of each other, and
    the n-th one to an item is the same whatever else is asked.
    """
    numbers: collections.Counter[str] = collections.Counter()
    keys = []
    for beginning in map(repr, beginnings):
        for _ in range(repeats):
            text = f"{seed} {numbers[beginning]} {beginning}"
            keys.append(hashlib.blake2b(text.encode(), digest_size=8).digest())
            numbers[beginning] += 1
    return np.frombuffer(b"".join(keys), "<u4").reshape(-1, 2)


def following_keys(keys: Array) -> Array:
    """Other keys that follow from those of `draw_keys`, for a text that goes on in a new window."""
    own = (hashlib.blake2b(key.tobytes(), digest_size=8).digest() for key in keys)
    return np.frombuffer(b"".join(own), "<u4").reshape(-1, 2)


def jax_keys(keys: jax.Array) -> jax.Array:
    """Those of `draw_keys` as JAX takes them, whatever generator is JAX's default."""
    return jax.random.wrap_key_data(keys, impl="threefry2x32")


def sources_of(items: Sequence[int], rows: int) -> tuple[list[int], Array | None]:
    """Which items must be read for a batch of answers, and which of them each row continues.

    Args:
      items: of each row the item that it answers; answers to one item are adjacent.
      rows: of the batch. Those beyond the items repeat the first.

    Returns:
      The items without repetition, and int32 [rows]: for each row the item's place among them. None
      where each row has an item of its own.
    """
    distinct = list(dict.fromkeys(items))
    if len(distinct) == len(items):
        return distinct, None
    places = {item: place for place, item in enumerate(distinct)}
    of_rows = [places[item] for item in items]
    return distinct, np.array(of_rows + of_rows[:1] * (rows - len(of_rows)), np.int32)


def step(module: nn.Module, variables: Any) -> decoding.Step:
    """The step of `zoo.decoding` for a module that has `extend`."""
    return functools.partial(module.apply, variables, method="extend")


@functools.partial(jax.jit, static_argnames="module")
def scores(
    module: nn.Module,
    variables: Any,
    arguments: tuple[jax.Array, ...],
    lengths: jax.Array,
    firsts: jax.Array | int = 0,
) -> jax.Array:
    """The score of each row of the last argument, float32 [B].

    Args:
      module: gives the logits of the last argument's tokens.
      variables: its variables.
      arguments: what it is called with; the last one is int32 [B, T].
      lengths: of the sequences in the last argument, int32 [B]; what follows them is padding.
      firsts: the first token of each that counts, int32 [B].
    """
    logits = module.apply(variables, *arguments, train=False)
    tokens = arguments[-1]
    positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)
    firsts = jnp.broadcast_to(firsts, lengths.shape)
    counted = (firsts[:, None] <= positions[None]) & (positions[None] < lengths[:, None])
    weights = counted.astype(jnp.float32)
    return decoding.log_probabilities(jnp.asarray(logits), tokens, weights)
