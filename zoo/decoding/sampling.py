"""Greedy decoding and sampling: the loop that chooses a token for each row, again and again.

Shapes: `B` batch, `N` beams, `T` tokens, `V` vocabulary, `L` the most tokens, `P` length of the
prefixes, `R` rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from zoo import xla
from zoo.config import ConfigError
from zoo.decoding.controls import NEVER, Bans

Step = Callable[..., tuple[Float[Array, "B N T V"], Any]]

START = 0
"""The token that is read before the first one."""

COLDEST, HOTTEST = 1e-6, 1e6
"""Temperatures by which float32 divides logits without overflow, and without making all equal."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is drawn from its logits.

    Raises:
      ConfigError: a value is out of its range.
    """

    temperature: float = 0.0
    """Divides the logits, up to 1e6; 0 takes the most probable token (greedy decoding), and so does
    what is below 1e-6."""
    top_k: int | None = None
    """Draw from the k most probable tokens only (Fan et al. 2018)."""
    top_p: float | None = None
    """Draw from the smallest set of tokens that is this probable (Holtzman et al. 2020)."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= HOTTEST:
            raise ConfigError(
                f"temperature is {self.temperature:g}; it is 0 (greedy) to {HOTTEST:g}"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k is {self.top_k}; it is a number of tokens, 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; it is a probability, above 0 and up to 1")

    def choice(self) -> Choice:
        """The same as arguments of a compiled loop."""
        if self.temperature < COLDEST or self.top_k == 1:
            return Choice(greedy=True)
        return Choice(
            temperature=float(self.temperature),
            # A few sizes of what is sorted, so that another k seldom compiles.
            most=None if self.top_k is None else 1 << (self.top_k - 1).bit_length(),
            top_k=None if self.top_k is None else min(self.top_k, 2**31 - 1),
            # Rounded sums of all probabilities may be 1 before the last token.
            top_p=None if self.top_p is None else float(self.top_p if self.top_p < 1 else 2),
        )


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("temperature", "top_k", "top_p"),
    meta_fields=("greedy", "most"),
)
@dataclass(frozen=True, kw_only=True)
class Choice:
    """A `Sampling` as a compiled loop takes it: numbers, and what the program depends on."""

    greedy: bool = False
    """Whether the most probable token is always taken. Decides the program."""
    most: int | None = None
    """`top_k` rounded up to a power of two, which decides the program."""
    temperature: Any = None
    """A number."""
    top_k: Any = None
    """A whole number; None: all tokens."""
    top_p: Any = None
    """A number; None: all tokens."""


class Prefix(NamedTuple):
    """Tokens that an answer must begin with."""

    tokens: Int[Array, "B P"]
    lengths: Int[Array, "B"]
    """Number of a row's tokens; the rest is padding."""


def read_prefix(
    step: Step, cache: Any, prefix: Prefix
) -> tuple[Int[Array, ""], Int[Array, "B"], Float[Array, "B"], Any]:
    """Reads as much of all prefixes at once as the shortest one has.

    Returns:
      The number of tokens of the shortest prefix. Each row's token at its end, which is not read
      yet: the last one of the shortest prefix, or START. The score of the tokens up to there. The
      cache, in which START and all of these tokens but the last are read.
    """
    count = jnp.min(prefix.lengths)
    read = jnp.pad(prefix.tokens, ((0, 0), (1, 0)), constant_values=START)  # [B, P + 1]
    logits, cache = step(read[:, None, :-1], cache, count)
    counted = jnp.arange(prefix.tokens.shape[1], dtype=jnp.int32)[None] < count
    weights = jnp.broadcast_to(counted, prefix.tokens.shape).astype(jnp.float32)
    scores = log_probabilities(logits[:, 0], prefix.tokens, weights)
    last = jax.lax.dynamic_index_in_dim(read, count, axis=1, keepdims=False)
    return count, last, scores, cache


class Sampled(NamedTuple):
    """The state of sampling, which `begin` makes and `sample` continues."""

    position: Int[Array, ""]
    """Number of tokens chosen so far."""
    last: Int[Array, "B"]
    """The token to be read next."""
    tokens: Int[Array, "B L"]
    """The tokens chosen: the end of the sequence is one of them, after it there are zeros. Of a
    prefix that is longer than what was chosen so far, the rest follows."""
    given: Int[Array, "B"]
    """Length of each row's prefix."""
    done: Bool[Array, "B"]
    """Whether a row's sequence has ended."""
    scores: Float[Array, "B"]
    """The score of the tokens chosen, if it is asked for, or 0; NaN where a logit is NaN."""
    cache: Any
    """The model's."""

    def rows(self, indices: Int[Array, "R"]) -> Sampled:
        """The state whose row r continues row `indices[r]`."""
        parts = self.last, self.tokens, self.given, self.done, self.scores
        last, tokens, given, done, scores = (jnp.take(part, indices, axis=0) for part in parts)
        cache = self.cache.rows(indices)
        return Sampled(self.position, last, tokens, given, done, scores, cache)


Counted = Literal["nothing", "new", "all"]
"""Which tokens count in a score: those after the prefix, or all."""


def begin(
    step: Step,
    cache: Any,
    batch: int,
    length: int,
    *,
    prefix: Prefix | None = None,
    counted: Counted = "nothing",
) -> Sampled:
    """The state before the first token, or with the prefixes read as far as the shortest one goes.

    Args:
      step: the model.
      cache: the model's.
      batch: the number of rows.
      length: the most tokens, those of the prefix included; no less than the prefix's P.
      prefix: tokens that each row must begin with.
      counted: which tokens will count in the score.
    """
    position, tokens = jnp.zeros((), jnp.int32), jnp.zeros((batch, length), jnp.int32)
    last, given = jnp.full((batch,), START, jnp.int32), jnp.zeros((batch,), jnp.int32)
    scores = jnp.zeros((batch,), jnp.float32)
    if prefix is not None:
        within = jnp.arange(prefix.tokens.shape[1], dtype=jnp.int32)[None] < prefix.lengths[:, None]
        tokens = tokens.at[:, : within.shape[1]].set(jnp.where(within, prefix.tokens, 0))
        given = prefix.lengths
        position, last, total, cache = read_prefix(step, cache, prefix)
        scores = total if counted == "all" else scores
    return Sampled(position, last, tokens, given, jnp.zeros((batch,), bool), scores, cache)


def sample(
    step: Step,
    state: Sampled,
    keys: PRNGKeyArray,
    choice: Choice,
    *,
    eos_id: int,
    until: int | Int[Array, "#B"] | None = None,
    counted: Counted = "nothing",
    bans: Bans | None = None,
) -> Sampled:
    """Chooses tokens until each row has ended, or has `until` of them.

    Args:
      step: the model.
      state: of `begin`, or of an earlier call, which this one continues.
      keys: one for each row, [B]. Nothing else in the batch changes a row's tokens.
      choice: how tokens are drawn.
      eos_id: the token that ends a sequence; negative if there is none. Within a prefix it ends
        nothing.
      until: the number of tokens at which to stop, prefix included, for all rows or for each; None:
        when `state` is full. A later call may go on from there, but a row that stopped before
        others has ended.
      counted: which tokens count in the score.
      bans: what may not be chosen; scores do not know of it.

    Returns:
      The state with the new tokens, see `Sampled.tokens`.
    """
    room = state.tokens.shape[1]
    until = jnp.minimum(room if until is None else until, room)

    def body(state: Sampled) -> Sampled:
        done = state.done | (state.position >= until)
        logits, cache = step(state.last[:, None, None], state.cache)
        logits = logits[:, 0, 0]
        allowed = logits
        if bans is not None:
            allowed = bans.apply(logits, state.tokens, state.position, state.given, eos_id)
        token, greatest = _choose(allowed, keys, state.position, choice)
        is_given = state.position < state.given
        own = jax.lax.dynamic_index_in_dim(state.tokens, state.position, axis=1, keepdims=False)
        token = jnp.where(done, 0, jnp.where(is_given, own, token))
        gain = jnp.where(jnp.isfinite(greatest), 0.0, jnp.nan)
        if counted != "nothing":
            picked = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
            score = picked - jax.nn.logsumexp(logits, axis=-1)
            gain += score if counted == "all" else jnp.where(is_given, 0.0, score)
        return Sampled(
            position=state.position + 1,
            last=token,
            tokens=jax.lax.dynamic_update_slice_in_dim(
                state.tokens, token[:, None], state.position, axis=1
            ),
            given=state.given,
            done=done | (~is_given & (token == eos_id)),
            scores=state.scores + jnp.where(done, 0.0, gain),
            cache=cache,
        )

    def unfinished(state: Sampled) -> Bool[Array, ""]:
        return jnp.any(~state.done & (state.position < until))

    return jax.lax.while_loop(unfinished, body, state)


def _choose(
    logits: Float[Array, "B V"], keys: PRNGKeyArray, position: Int[Array, ""], choice: Choice
) -> tuple[Int[Array, "B"], Float[Array, "B"]]:
    """The next token of each row, and the greatest of the values that it was chosen by."""
    if not choice.greedy:
        logits = logits / choice.temperature
        if choice.most is not None:
            best = jax.lax.top_k(logits, min(choice.most, logits.shape[-1]))[0]
            least = jax.lax.dynamic_index_in_dim(
                best, jnp.minimum(choice.top_k, best.shape[-1]) - 1, axis=1
            )
            logits = jnp.where(logits < least, NEVER, logits)
        if choice.top_p is not None:
            logits = jnp.where(logits < _nucleus(logits, choice.top_p), NEVER, logits)

        def noise(key: PRNGKeyArray) -> Float[Array, "V"]:
            own = jax.random.fold_in(key, position)
            return jax.random.gumbel(own, logits.shape[-1:], jnp.float32)

        # The greatest of logits with Gumbel noise is a draw from their softmax.
        logits = logits + jax.vmap(noise)(keys)
    greatest, token = xla.greatest(logits)
    return token, greatest


def _nucleus(logits: Float[Array, "B V"], share: Float[Array, ""]) -> Float[Array, "B 1"]:
    """The least logit in the smallest set of tokens with this share of the probability."""
    ordered = jnp.sort(logits, axis=-1, descending=True)
    probabilities = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    return jnp.min(jnp.where(before < share, ordered, jnp.inf), axis=-1, keepdims=True)


def log_probabilities(
    logits: Float[Array, "B T V"], tokens: Int[Array, "B T"], weights: Float[Array, "B T"]
) -> Float[Array, "B"]:
    """The score of each row: the weighted sum of the (natural) log-probabilities of its tokens."""
    picked = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return jnp.sum(weights * (picked - jax.nn.logsumexp(logits, axis=-1)), axis=-1)
