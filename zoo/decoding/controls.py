"""Controls of what a model writes: tokens that it may not choose, or chooses less willingly.

`Controls` is what a user asks for; a compiled loop takes `Controls.bans`, whose numbers are
arguments of the program. Without controls there are no bans, and the loop is the one without them.

Shapes: `B` batch, `V` vocabulary, `L` room for tokens.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from zoo.config import ConfigError

NEVER = -jnp.inf
"""The logit of what must not be chosen."""


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What a model may not write.

    Raises:
      ConfigError: a value is out of its range.
    """

    suppress: tuple[int, ...] = ()
    """Ids that are never chosen."""
    repetition_penalty: float = 1.0
    """Divides positive logits of tokens that the text has, and multiplies negative ones (Keskar et
    al. 2019, section 4.1); 1 changes nothing."""
    no_repeat_ngram: int | None = None
    """No sequence of this many tokens is written twice."""
    min_new_tokens: int = 0
    """The text does not end before it has this many new tokens."""

    def __post_init__(self) -> None:
        if not 1e-3 <= self.repetition_penalty <= 1e3:  # so that no logit overflows
            raise ConfigError(
                f"repetition_penalty is {self.repetition_penalty:g}; it is 0.001 to 1000 (1: none)"
            )
        if self.no_repeat_ngram is not None and self.no_repeat_ngram < 1:
            raise ConfigError(f"no_repeat_ngram is {self.no_repeat_ngram}; it is 1 or more")
        if self.min_new_tokens < 0:
            raise ConfigError(f"min_new_tokens is {self.min_new_tokens}; it is 0 or more")

    def __bool__(self) -> bool:
        """Whether there is anything to control."""
        return self != Controls()

    def bans(self, vocab_size: int) -> Bans:
        """The same as arguments of a compiled loop.

        Raises:
          ConfigError: an id is not in the vocabulary, or no id is left.
        """
        suppressed = np.zeros(vocab_size, bool)
        for id_ in self.suppress:
            if not 0 <= id_ < vocab_size:
                raise ConfigError(f"suppress has the id {id_}; ids are 0 to {vocab_size - 1}")
            suppressed[id_] = True
        if suppressed.all():
            raise ConfigError("suppress has all ids of the vocabulary; leave one that is written")
        return Bans(
            suppressed=suppressed if self.suppress else None,
            penalty=None if self.repetition_penalty == 1 else float(self.repetition_penalty),
            ngram=self.no_repeat_ngram,
            least=min(self.min_new_tokens, 2**31 - 1) if self.min_new_tokens else None,
        )


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("suppressed", "penalty", "least"),
    meta_fields=("ngram",),
)
@dataclass(frozen=True, kw_only=True)
class Bans:
    """`Controls` as a compiled loop takes them. None is one that is off; which are decides the
    program."""

    suppressed: Any = None
    """bool [V]."""
    penalty: Any = None
    """A number."""
    ngram: int | None = None
    """A number of tokens, which decides the program."""
    least: Any = None
    """A whole number."""

    def apply(
        self,
        logits: Float[Array, "B V"],
        tokens: Int[Array, "B L"],
        position: Int[Array, ""],
        given: Int[Array, "B"],
        eos_id: int,
    ) -> Float[Array, "B V"]:
        """The logits by which the next token is chosen.

        Args:
          logits: of the model.
          tokens: of the texts.
          position: how many of them have been chosen.
          given: how many of these are the prompt.
          eos_id: the token that ends a text; negative if there is none.
        """
        rows = jnp.arange(len(tokens), dtype=jnp.int32)[:, None]
        places = jnp.arange(tokens.shape[1], dtype=jnp.int32)
        none = jnp.zeros(logits.shape, bool)
        vocabulary = jnp.arange(logits.shape[1], dtype=jnp.int32)
        if self.penalty is not None:
            seen = none.at[rows, tokens].max(
                jnp.broadcast_to((places < position)[None], tokens.shape)
            )
            less = jnp.where(logits > 0, logits / self.penalty, logits * self.penalty)
            logits = jnp.where(seen, less, logits)
        if self.suppressed is not None:
            logits = jnp.where(self.suppressed[None], NEVER, logits)
        if self.least is not None and eos_id >= 0:
            early = (position - given < self.least)[:, None] & (vocabulary == eos_id)[None]
            logits = _without(logits, early)
        if self.ngram is not None and self.ngram <= tokens.shape[1]:
            context = self.ngram - 1
            last = jax.lax.dynamic_slice_in_dim(tokens, position - context, context, axis=1)
            ends = tokens[:, context:]
            repeats = jnp.broadcast_to((places[context:] < position)[None], ends.shape)
            for place in range(context):
                same = tokens[:, place : place + ends.shape[1]] == last[:, place, None]
                repeats = repeats & same
            logits = _without(logits, none.at[rows, ends].max(repeats))
        return logits


def _without(logits: Float[Array, "B V"], banned: Array) -> Float[Array, "B V"]:
    """The logits without the banned ones; in a row that would have none left, all of them."""
    left = jnp.where(banned, NEVER, logits)
    some = jnp.any(left > NEVER, axis=-1, keepdims=True)
    return jnp.where(some, left, logits)
