"""Writing and reading through windows: when one is full, its second half begins the next."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo import decoding
from zoo.decoding import Bans, Choice, Counted, Prefix, Sampled
from zoo.predictors import generation
from zoo.predictors.base import UNLIMITED
from zoo.predictors.batching import Array, power_of_two
from zoo.predictors.generation import Ids, following_keys, jax_keys, prefixes


@dataclass(frozen=True)
class Windows:
    """Where the windows of a text begin."""

    size: int
    """The most tokens of a window."""

    @property
    def kept(self) -> int:
        """The tokens of a full window with which the next one begins."""
        return self.size // 2

    @property
    def stride(self) -> int:
        """The tokens from the beginning of one window to that of the next."""
        return self.size - self.kept

    def of(self, texts: list[Ids]) -> tuple[list[int], list[Ids], list[int]]:
        """The windows of several texts.

        Returns:
          For each window: the number of its text, its tokens, and how many of them are context.
        """
        owners, pieces, firsts = [], [], []
        for owner, ids in enumerate(texts):
            for start in range(0, max(len(ids) - self.size, 0) + self.stride, self.stride):
                owners.append(owner)
                pieces.append(ids[start : start + self.size])
                firsts.append(self.kept if start else 0)
        return owners, pieces, firsts

    def last(self, prompt: Ids) -> Ids:
        """The part of a prompt that is read: the window in which what follows is written."""
        beyond = len(prompt) - self.size
        return prompt if beyond < 0 else prompt[(beyond // self.stride + 1) * self.stride :]


class Written(NamedTuple):
    """The tokens and scores of several rows so far."""

    tokens: Array
    """int32 [rows, T]: those of the prompt, of its last window, and the new ones."""
    scores: Array
    """float32 [rows]."""
    last: bool
    """Whether nothing will follow."""


@dataclass(frozen=True)
class Writer:
    """A module that continues prompts of any length."""

    module: nn.Module
    variables: Mapping[str, Any]
    windows: Windows
    eos_id: int
    """The token that ends a text; negative if there is none."""

    def begin(self, starts: list[Ids], number: int, rows: Array | None, until: int) -> Sampled:
        """The state after the prompts, see `decoding.begin`.

        Args:
          starts: the prompts, see `Windows.last`.
          number: of rows that read them.
          rows: which of these rows each row of the state continues; None: the state has the same.
          until: the most tokens, prompts included.
        """
        # Room in a few sizes only, so that few programs are compiled.
        room = min(max(power_of_two(until), 64), self.windows.size)
        prefix = prefixes(starts, number, room)
        state: Sampled = _begin(self.module, self.variables, prefix, rows, number=number, room=room)
        return state

    def write(
        self,
        state: Sampled,
        position: int,
        keys: Array,
        until: Array,
        choice: Choice,
        counted: Counted = "nothing",
        *,
        bans: Bans | None = None,
        piece: int = UNLIMITED,
    ) -> Iterator[Written]:
        """Goes on until each row has ended or has `until` tokens. A full window slides on.

        Args:
          state: of `begin`. It is donated.
          position: the number of tokens that it has read or chosen.
          keys: of the rows.
          until: int32 [rows], prompts included.
          choice: how tokens are drawn.
          counted: which tokens count in the scores.
          bans: what may not be chosen.
          piece: yield after this many tokens.
        """
        size, kept, stride = self.windows.size, self.windows.kept, np.int32(self.windows.stride)
        gone = np.zeros((len(until), 0), np.int32)
        while True:
            goal = min(position + piece, int(until.max()), size)
            state = _advance(
                self.module,
                self.variables,
                state,
                keys,
                np.minimum(until, goal),
                choice,
                bans,
                eos_id=self.eos_id,
                counted=counted,
            )
            position, tokens = goal, np.asarray(state.tokens)[:, :goal]
            last = position == until.max() or bool(np.all(state.done))
            yield Written(np.concatenate([gone, tokens], axis=1), np.asarray(state.scores), last)
            if last:
                return
            if position == size:
                gone = np.concatenate([gone, tokens[:, :stride]], axis=1)
                state = _slide(
                    self.module,
                    self.variables,
                    tokens[:, stride:],
                    state.given - stride,
                    state.done,
                    state.scores,
                    room=size,
                )
                until, position = until - stride, kept
                keys = following_keys(keys)  # the places of the new window have been drawn for


@functools.partial(jax.jit, static_argnames=("module", "number", "room"))
def _begin(
    module: nn.Module,
    variables: Any,
    prefix: Prefix | None,
    rows: jax.Array | None,
    *,
    number: int,
    room: int,
) -> Sampled:
    cache = module.apply(variables, number, room, method="start")
    step = generation.step(module, variables)
    state = decoding.begin(step, cache, number, room, prefix=prefix)
    return state if rows is None else state.rows(rows)


@functools.partial(jax.jit, static_argnames=("module", "room"))
def _slide(
    module: nn.Module,
    variables: Any,
    kept: jax.Array,
    given: jax.Array,
    done: jax.Array,
    scores: jax.Array,
    *,
    room: int,
) -> Sampled:
    """The state of a new window, which begins with the tokens `kept`, int32 [rows, K]."""
    rows, count = kept.shape
    cache = module.apply(variables, rows, room, method="start")
    prefix = Prefix(kept, jnp.full((rows,), count, jnp.int32)) if count else None
    step = generation.step(module, variables)
    state = decoding.begin(step, cache, rows, room, prefix=prefix)
    return state._replace(given=given, done=done, scores=scores)


@functools.partial(
    jax.jit, static_argnames=("module", "eos_id", "counted"), donate_argnames="state"
)
def _advance(
    module: nn.Module,
    variables: Any,
    state: Sampled,
    keys: jax.Array,
    until: jax.Array,
    choice: Choice,
    bans: Bans | None,
    *,
    eos_id: int,
    counted: Counted,
) -> Sampled:
    """The state in which each row has ended or has `until` tokens, int32 [rows]."""
    step = generation.step(module, variables)
    keys = jax_keys(keys)
    return decoding.sample(
        step, state, keys, choice, eos_id=eos_id, until=until, counted=counted, bans=bans
    )
