"""Greedy decoding, sampling and beam search over a step function, each one loop on the device.

A model is a function here, `step(tokens [B, N], cache) -> (logits [B, N, V], cache)`, which reads
one token for each beam and gives the logits of the next. The cache is a pytree of the model's own.
For beam search it has a method `reorder(parents [B, N])`, which gives the cache in which beam n
continues what beam `parents[:, n]` has read. The first token that is read is START.

Shapes: `B` batch, `N` beams, `V` vocabulary, `L` the most new tokens, `P` length of the prefixes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from zoo import xla
from zoo.config import ConfigError

Step = Callable[[Int[Array, "B N"], Any], tuple[Float[Array, "B N V"], Any]]

START = 0
"""The token that is read before the first one."""

NEVER = -jnp.inf
"""The score of what must not be chosen."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is drawn from its logits.

    Raises:
      ConfigError: a value is out of its range.
    """

    temperature: float = 0.0
    """Divides the logits; 0 takes the most probable token (greedy decoding)."""
    top_k: int | None = None
    """Draw from the k most probable tokens only (Fan et al. 2018)."""
    top_p: float | None = None
    """Draw from the smallest set of tokens that is this probable (Holtzman et al. 2020)."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}; it is 0 (greedy) or more")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k is {self.top_k}; it is a number of tokens, 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; it is a probability, above 0 and up to 1")

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0 or self.top_k == 1


@dataclass(frozen=True, kw_only=True)
class Beam:
    """Beam search, which ranks sequences by score / ((5 + length) / 6) ** length_penalty.

    A score is the sum of the log-probabilities of the tokens, end of sequence included (Wu et al.
    2016, section 7, without coverage).

    Raises:
      ConfigError: a value is out of its range.
    """

    size: int = 4
    """Sequences that are extended at the same time."""
    length_penalty: float = 0.6
    """0 ranks by the score itself, which favours short sequences; 1 by about the mean a token."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"beam_size is {self.size}; it is 1 or more")
        if not 0 <= self.length_penalty < math.inf:
            raise ConfigError(f"length_penalty is {self.length_penalty}; it is 0 or more")


class Prefix(NamedTuple):
    """Tokens that an answer must begin with."""

    tokens: Int[Array, "B P"]
    lengths: Int[Array, "B"]
    """Number of a row's tokens; the rest is padding."""

    def force(
        self, logits: Float[Array, "B N V"], position: Int[Array, ""]
    ) -> Float[Array, "B N V"]:
        """The logits; within a row's prefix, those of all tokens but the prefix's are -inf."""
        at = jnp.minimum(position, self.tokens.shape[1] - 1)
        token = jax.lax.dynamic_index_in_dim(self.tokens, at, axis=1)  # [B, 1]
        forced = (position < self.lengths)[:, None, None]
        other = jnp.arange(logits.shape[-1])[None, None] != token[..., None]
        return jnp.where(forced & other, NEVER, logits)


class Sampled(NamedTuple):
    """The state of sampling, which `begin` makes and `sample` continues."""

    position: Int[Array, ""]
    """Number of tokens chosen so far."""
    last: Int[Array, "B"]
    """The token to be read next."""
    tokens: Int[Array, "B L"]
    """The tokens chosen: the end of the sequence is one of them, after it there are zeros."""
    done: Bool[Array, "B"]
    """Whether a row's sequence has ended."""
    cache: Any
    """The model's."""


def begin(cache: Any, batch: int, length: int) -> Sampled:
    """The state before the first token, with room for `length` tokens."""
    return Sampled(
        position=jnp.zeros((), jnp.int32),
        last=jnp.full((batch,), START, jnp.int32),
        tokens=jnp.zeros((batch, length), jnp.int32),
        done=jnp.zeros((batch,), bool),
        cache=cache,
    )


def sample(
    step: Step,
    state: Sampled,
    keys: PRNGKeyArray,
    sampling: Sampling,
    *,
    eos_id: int,
    prefix: Prefix | None = None,
    until: int | Int[Array, ""] | None = None,
) -> Sampled:
    """Chooses tokens until all rows have ended, or until there are `until` of them.

    Args:
      step: the model.
      state: of `begin`, or of an earlier call, which this one continues.
      keys: one for each row, [B]. Nothing else in the batch changes a row's tokens.
      sampling: how tokens are drawn.
      eos_id: the token that ends a sequence; negative if there is none.
      prefix: tokens that each row must begin with.
      until: the number of tokens at which to stop, such as for streaming; None: when `state` is
        full.

    Returns:
      The state with the new tokens, see `Sampled.tokens`.
    """
    room = state.tokens.shape[1]
    until = room if until is None else jnp.minimum(until, room)

    def body(state: Sampled) -> Sampled:
        logits, cache = step(state.last[:, None], state.cache)
        if prefix is not None:
            logits = prefix.force(logits, state.position)
        token = _choose(logits[:, 0], keys, state.position, sampling)
        token = jnp.where(state.done, 0, token)
        return Sampled(
            position=state.position + 1,
            last=token,
            tokens=jax.lax.dynamic_update_slice_in_dim(
                state.tokens, token[:, None], state.position, axis=1
            ),
            done=state.done | (token == eos_id),
            cache=cache,
        )

    def unfinished(state: Sampled) -> Bool[Array, ""]:
        return (state.position < until) & ~jnp.all(state.done)

    return jax.lax.while_loop(unfinished, body, state)


def _choose(
    logits: Float[Array, "B V"], keys: PRNGKeyArray, position: Int[Array, ""], how: Sampling
) -> Int[Array, "B"]:
    if how.greedy:
        return xla.argmax(logits)
    logits = logits / how.temperature
    if how.top_k is not None and how.top_k < logits.shape[-1]:
        least = jax.lax.top_k(logits, how.top_k)[0][:, -1:]
        logits = jnp.where(logits < least, NEVER, logits)
    if how.top_p is not None and how.top_p < 1:
        logits = jnp.where(logits < _nucleus(logits, how.top_p), NEVER, logits)

    def noise(key: PRNGKeyArray) -> Float[Array, "V"]:
        return jax.random.gumbel(jax.random.fold_in(key, position), logits.shape[-1:])

    # The greatest of logits with Gumbel noise is a draw from their softmax.
    return xla.argmax(logits + jax.vmap(noise)(keys))


def _nucleus(logits: Float[Array, "B V"], share: float) -> Float[Array, "B 1"]:
    """The least logit in the smallest set of tokens with this share of the probability."""
    ordered = jnp.sort(logits, axis=-1, descending=True)
    probabilities = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    return jnp.min(jnp.where(before < share, ordered, jnp.inf), axis=-1, keepdims=True)


class Beams(NamedTuple):
    """The state of beam search: N sequences that go on, and the N best that have ended."""

    position: Int[Array, ""]
    """Number of tokens chosen so far."""
    last: Int[Array, "B N"]
    """The tokens to be read next."""
    tokens: Int[Array, "B N L"]
    """The sequences that go on."""
    scores: Float[Array, "B N"]
    """Their scores, best first; NEVER where there is no sequence."""
    ended: Int[Array, "B N L"]
    """The sequences that have ended."""
    ended_scores: Float[Array, "B N"]
    """Their scores."""
    ended_ranks: Float[Array, "B N"]
    """Their scores with the length penalty, best first; NEVER where there is no sequence."""
    cache: Any
    """The model's."""


def beam_search(
    step: Step,
    cache: Any,
    beam: Beam,
    *,
    batch: int,
    length: int,
    eos_id: int,
    prefix: Prefix | None = None,
) -> tuple[Int[Array, "B N L"], Float[Array, "B N"]]:
    """The N best sequences of at most L tokens.

    A row is finished when no sequence that goes on can outrank those that have ended: scores only
    fall, so the most that it can reach is its score of now, ranked at length L. Sequences that have
    not ended after L tokens are ranked as they are.

    Args:
      step: the model.
      cache: the model's, with one beam a row.
      beam: the number of beams N, and how they are ranked.
      batch: the number of rows B.
      length: the most tokens L.
      eos_id: the token that ends a sequence; negative if there is none.
      prefix: tokens that each row must begin with.

    Returns:
      The sequences, best first, each with its end and zeros after it, and their scores without
      length penalty: -inf where a row has fewer than N sequences.
    """
    n = beam.size

    def rank(score: Array, tokens: Int[Array, ""] | int) -> Array:
        return score / ((5.0 + tokens) / 6.0) ** beam.length_penalty

    def body(state: Beams) -> Beams:
        logits, cache = step(state.last, state.cache)
        size = logits.shape[-1]
        normaliser = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        if prefix is not None:
            logits = prefix.force(logits, state.position)
        candidates = state.scores[..., None] + (logits - normaliser)
        # At most N of the 2 N candidates end here, so at least N are left to go on.
        scores, where = xla.top_k(candidates.reshape(batch, n * size), 2 * n)
        parents, token = where // size, where % size
        tokens = jnp.take_along_axis(state.tokens, parents[..., None], axis=1)
        tokens = jax.lax.dynamic_update_slice_in_dim(
            tokens, token[..., None], state.position, axis=2
        )
        ends = token == eos_id

        ranks = jnp.where(ends, rank(scores, state.position + 1), NEVER)
        ended_ranks, best = jax.lax.top_k(jnp.concatenate([state.ended_ranks, ranks], 1), n)
        ended = _pick(jnp.concatenate([state.ended, tokens], 1), best)
        ended_scores = _pick(jnp.concatenate([state.ended_scores, scores], 1), best)

        scores, best = jax.lax.top_k(jnp.where(ends, NEVER, scores), n)
        return Beams(
            position=state.position + 1,
            last=_pick(token, best),
            tokens=_pick(tokens, best),
            scores=scores,
            ended=ended,
            ended_scores=ended_scores,
            ended_ranks=ended_ranks,
            cache=cache.reorder(_pick(parents, best)),
        )

    def unfinished(state: Beams) -> Bool[Array, ""]:
        overtaking = rank(state.scores[:, 0], length) > state.ended_ranks[:, -1]
        return (state.position < length) & jnp.any(overtaking)

    nothing = jnp.zeros((batch, n, length), jnp.int32)
    never = jnp.full((batch, n), NEVER)
    state = jax.lax.while_loop(
        unfinished,
        body,
        Beams(
            position=jnp.zeros((), jnp.int32),
            last=jnp.full((batch, n), START, jnp.int32),
            tokens=nothing,
            scores=never.at[:, 0].set(0.0),
            ended=nothing,
            ended_scores=never,
            ended_ranks=never,
            cache=cache.reorder(jnp.zeros((batch, n), jnp.int32)),
        ),
    )
    cut = jnp.where(state.position == length, rank(state.scores, length), NEVER)
    _, best = jax.lax.top_k(jnp.concatenate([state.ended_ranks, cut], 1), n)
    return (
        _pick(jnp.concatenate([state.ended, state.tokens], 1), best),
        _pick(jnp.concatenate([state.ended_scores, state.scores], 1), best),
    )


def _pick(values: Array, beams: Int[Array, "B M"]) -> Array:
    """The values [B, M, …] of some beams, out of those of all, [B, N, …]."""
    beams = beams.reshape(beams.shape + (1,) * (values.ndim - 2))
    return jnp.take_along_axis(values, beams, axis=1)


def log_probabilities(
    logits: Float[Array, "B T V"], tokens: Int[Array, "B T"], weights: Float[Array, "B T"]
) -> Float[Array, "B"]:
    """The score of each row: the weighted sum of the (natural) log-probabilities of its tokens."""
    picked = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return jnp.sum(weights * (picked - jax.nn.logsumexp(logits, axis=-1)), axis=-1)
