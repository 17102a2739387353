"""What every predictor is: a frozen dataclass of a model, its weights and what raw input needs."""

from __future__ import annotations

import abc
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.tokenizers import IdTokenizer, Tokenizer

if TYPE_CHECKING:
    from zoo.storage.cards import Card

UNLIMITED = 2**30
"""Tokens that a model takes which sets no limit, as a recurrent one."""

CHECK_TEXT = "It is nice to learn new things today!"
"""The text of the check values in a card …"""

CHECK_IDS = "3 4 5"
"""… and that of a model whose text is ids."""


@dataclass(frozen=True, kw_only=True)
class Predictor(abc.ABC):
    """A model with its weights and all that it needs to take raw input."""

    module: nn.Module
    variables: Mapping[str, Any]
    tokenizer: Tokenizer | None
    card: Card

    @abc.abstractmethod
    def check(self) -> dict[str, Any]:
        """An input that every predictor of this class takes, and the first values of the answer.

        They go into the card.
        """

    @abc.abstractmethod
    def show(self, item: str) -> str:
        """The answer to a text, or to the image at a path, as a person would read it."""

    @property
    def max_len(self) -> int:
        """The most tokens that the model takes."""
        return self.card.config.max_positions or UNLIMITED

    @property
    def limit(self) -> str:
        """What `max_len` follows from, for error messages."""
        return self.card.config.described_limit

    @property
    def check_text(self) -> str:
        """A text that this model can read."""
        return CHECK_IDS if isinstance(self.tokenizer, IdTokenizer) else CHECK_TEXT

    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        Raises:
          TypeError: it is not a string.
          ValueError: the card has no tokenizer, or the tokenizer cannot take the text.
        """
        if not isinstance(text, str):
            raise TypeError(
                "this model takes a string or a list of strings; "
                f"got {type(text).__name__} ({text!r})"
            )
        if self.tokenizer is None:
            raise ValueError(
                f"the card {self.card.name!r} has no tokenizer, so it cannot read text"
            )
        return self.tokenizer.encode(text)


@functools.partial(jax.jit, static_argnums=0)
def probabilities(module: nn.Module, variables: Any, inputs: jax.Array) -> jax.Array:
    """The probabilities of the classes, float32 [..., C], as the softmax of a model's logits."""
    logits = module.apply(variables, inputs, train=False)
    return jax.nn.softmax(jnp.asarray(logits, jnp.float32), axis=-1)


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below `number` (1 for 0)."""
    return 1 << max(number - 1, 0).bit_length()
