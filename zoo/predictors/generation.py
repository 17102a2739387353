"""Shared by the predictors that write text: the end of a text, prefixes, random keys, scores."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo import decoding
from zoo.decoding import Prefix
from zoo.predictors.batching import SHORTEST, Array, padded, power_of_two

Ids = list[int]

EOS = 1
"""The end of a sequence, in every vocabulary of the zoo."""


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


def prefixes(sequences: Sequence[Sequence[int]], rows: int, repeats: int) -> Prefix | None:
    """What each of `rows` answers must begin with, repeated for several answers to one item.

    Args:
      sequences: the beginnings. Rows beyond them repeat the first.
      rows: of the batch.
      repeats: answers to each row, which follow one another.

    Returns:
      A prefix of `rows` · `repeats` rows; None if all beginnings are empty.
    """
    longest = max(map(len, sequences))
    if not longest:
        return None
    sizes = [len(sequence) for sequence in sequences]
    lengths = np.array(sizes + sizes[:1] * (rows - len(sizes)), np.int32)
    tokens = padded(sequences, rows, max(power_of_two(longest), SHORTEST))
    return Prefix(jnp.asarray(tokens.repeat(repeats, axis=0)), jnp.asarray(lengths.repeat(repeats)))


def row_keys(seed: int, rows: int, repeats: int) -> jax.Array:
    """Keys for `rows` rows, of which each `repeats` in succession are answers to one item.

    The n-th answer to an item has the n-th key of the seed, whatever else is in the batch.
    """
    numbers = jnp.arange(rows) % repeats
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), numbers)


def step(module: nn.Module, variables: Any) -> decoding.Step:
    """The step of `zoo.decoding` for a module that has `extend`."""

    def step(tokens: jax.Array, cache: Any) -> Any:
        return module.apply(variables, tokens[..., None], cache, method="extend")

    return step


@functools.partial(jax.jit, static_argnames="module")
def scores(
    module: nn.Module, variables: Any, arguments: tuple[jax.Array, ...], lengths: jax.Array
) -> jax.Array:
    """The score of each row of the last argument, float32 [B].

    Args:
      module: gives the logits of the last argument's tokens.
      variables: its variables.
      arguments: what it is called with; the last one is int32 [B, T].
      lengths: of the sequences in the last argument, int32 [B]; what follows them is padding.
    """
    logits = module.apply(variables, *arguments, train=False)
    tokens = arguments[-1]
    weights = (jnp.arange(tokens.shape[1])[None] < lengths[:, None]).astype(jnp.float32)
    return decoding.log_probabilities(jnp.asarray(logits), tokens, weights)
