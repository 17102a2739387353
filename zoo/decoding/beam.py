"""Beam search: the loop that keeps the N best beginnings of each row.

Shapes: `B` batch, `N` beams, `V` vocabulary, `L` the most tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoo import xla
from zoo.config import ConfigError
from zoo.decoding.controls import NEVER, Bans
from zoo.decoding.sampling import Prefix, Step, begin


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
        if not 0 <= self.length_penalty <= 10:  # float32 holds the power for any length
            raise ConfigError(f"length_penalty is {self.length_penalty:g}; it is 0 to 10")


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
    finite: Bool[Array, "B"]
    """Whether all of a row's logits were finite."""
    cache: Any
    """The model's."""


def beam_search(
    step: Step,
    cache: Any,
    length_penalty: float | Float[Array, ""],
    *,
    size: int,
    batch: int,
    length: int,
    eos_id: int,
    until: int | Int[Array, ""] | None = None,
    prefix: Prefix | None = None,
    bans: Bans | None = None,
) -> tuple[Int[Array, "B N L"], Float[Array, "B N"]]:
    """The N best sequences of at most `until` tokens.

    A row is finished when no sequence that goes on can outrank those that have ended: scores only
    fall, so the most that it can reach is its score of now, ranked at the greatest length.
    Sequences that have not ended by then are ranked as they are.

    Args:
      step: the model.
      cache: the model's, with one beam a row.
      length_penalty: how sequences are ranked, see `Beam`.
      size: the number of beams N.
      batch: the number of rows B.
      length: the most tokens L for which there is room.
      eos_id: the token that ends a sequence; negative if there is none. Within a prefix it ends
        nothing.
      until: the most tokens; None: L.
      prefix: tokens that each row must begin with. They count in the score.
      bans: what may not be chosen. A penalty counts in the score.

    Returns:
      The sequences, best first, each with its end and zeros after it, and their scores without
      length penalty: -inf where a row has fewer than N sequences, NaN where a logit was NaN.
    """
    n = size
    until = length if until is None else jnp.minimum(until, length)

    def rank(score: Array, tokens: Int[Array, ""] | int) -> Array:
        return score / ((5.0 + tokens) / 6.0) ** length_penalty

    def body(state: Beams) -> Beams:
        logits, cache = step(state.last[..., None], state.cache)
        # Left as [B, N, 1, V]: XLA:CPU would add the bias twice for another shape.
        vocabulary = logits.shape[-1]
        normaliser = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        if bans is not None:
            own = (logits - normaliser).reshape(batch * n, vocabulary)
            given = jnp.zeros((batch,), jnp.int32) if prefix is None else prefix.lengths
            allowed = bans.apply(
                own,
                state.tokens.reshape(batch * n, -1),
                state.position,
                jnp.repeat(given, n),
                eos_id,
            )
            inside = (state.position < given)[:, None, None, None]
            allowed = allowed.reshape(logits.shape) + normaliser
            logits = jnp.where(inside, logits, allowed)
        if prefix is not None:
            logits = _forced(logits, prefix, state.position)
        candidates = state.scores[..., None, None] + (logits - normaliser)
        # At most N of the 2 N candidates end here, so at least N are left to go on.
        scores, where = xla.top_k(candidates.reshape(batch, n * vocabulary), 2 * n)
        parents, token = where // vocabulary, where % vocabulary
        tokens = jnp.take_along_axis(state.tokens, parents[..., None], axis=1)
        tokens = jax.lax.dynamic_update_slice_in_dim(
            tokens, token[..., None], state.position, axis=2
        )
        ends = token == eos_id
        if prefix is not None:
            ends = ends & (state.position >= prefix.lengths)[:, None]

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
            finite=state.finite & jnp.all(jnp.isfinite(normaliser), axis=(1, 2, 3)),
            cache=cache.reorder(_pick(parents, best)),
        )

    def unfinished(state: Beams) -> Bool[Array, ""]:
        overtaking = rank(state.scores[:, 0], until) > state.ended_ranks[:, -1]
        return (state.position < until) & jnp.any(overtaking)

    state = jax.lax.while_loop(
        unfinished, body, _first_beams(step, cache, n, batch, length, prefix)
    )
    cut = jnp.where(state.position == until, rank(state.scores, until), NEVER)
    _, best = jax.lax.top_k(jnp.concatenate([state.ended_ranks, cut], 1), n)
    scores = _pick(jnp.concatenate([state.ended_scores, state.scores], 1), best)
    return (
        _pick(jnp.concatenate([state.ended, state.tokens], 1), best),
        jnp.where(state.finite[:, None], scores, jnp.nan),
    )


def _first_beams(
    step: Step, cache: Any, n: int, batch: int, length: int, prefix: Prefix | None
) -> Beams:
    """One sequence in each row: that of `begin`."""
    state = begin(step, cache, batch, length, prefix=prefix, counted="all")
    nothing = jnp.zeros((batch, n, length), jnp.int32)
    never = jnp.full((batch, n), NEVER, jnp.float32)
    return Beams(
        position=state.position,
        last=jnp.broadcast_to(state.last[:, None], (batch, n)),
        tokens=jnp.broadcast_to(state.tokens[:, None], nothing.shape),
        scores=never.at[:, 0].set(state.scores),
        ended=nothing,
        ended_scores=never,
        ended_ranks=never,
        finite=jnp.isfinite(state.scores),
        cache=state.cache.reorder(jnp.zeros((batch, n), jnp.int32)),
    )


def _forced(
    logits: Float[Array, "B N 1 V"], prefix: Prefix, position: Int[Array, ""]
) -> Float[Array, "B N 1 V"]:
    """The logits; within a row's prefix, those of all tokens but the prefix's are -inf."""
    at = jnp.minimum(position, prefix.tokens.shape[1] - 1)
    token = jax.lax.dynamic_index_in_dim(prefix.tokens, at, axis=1)  # [B, 1]
    forced = (position < prefix.lengths)[:, None, None, None]
    other = jnp.arange(logits.shape[-1], dtype=jnp.int32)[None] != token  # [B, V]
    other = other[:, None, None]
    return jnp.where(forced & other, NEVER, logits)


def _pick(values: Array, beams: Int[Array, "B M"]) -> Array:
    """The values [B, M, …] of some beams, out of those of all, [B, N, …]."""
    beams = beams.reshape(beams.shape + (1,) * (values.ndim - 2))
    return jnp.take_along_axis(values, beams, axis=1)
