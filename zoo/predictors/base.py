"""The base class of the predictors: a model, its weights, and what turns raw input into arrays."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import numpy as np
from flax import linen as nn

from zoo.config import Mistake, TypeMistake, ValueMistake, reference, shown
from zoo.predictors.batching import Array
from zoo.tokenizers import Tokenizer, nfc

if TYPE_CHECKING:
    from zoo.storage.cards import Card

UNLIMITED = 2**30
"""`max_len` of a model that sets no limit, such as a recurrent one."""


class NoAnswerError(Mistake, FloatingPointError):
    """A model's numbers are NaN or infinite, so that no answer follows from them."""


PREDICTORS: dict[str, type[Predictor]] = {}
"""Task -> predictor. A subclass of Predictor that names its task is entered when it is defined."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Predictor(abc.ABC):
    """A model with its weights and all that it needs to take raw input.

    A subclass is the whole front of one task: it names the task and the command that asks it,
    answers, prints its answers, and has sample inputs for `zoo export` and `zoo verify`.
    Predictors are compared by identity. To move one to another device, replace its `variables`
    (`dataclasses.replace`).
    """

    task: ClassVar[str]
    """The `task` of a card whose model becomes this predictor."""
    command: ClassVar[str] = "predict"
    """The shell command that asks it."""

    module: nn.Module
    """The Linen module."""
    variables: Mapping[str, Any]
    """Its variables, as `module.apply` takes them."""
    tokenizer: Tokenizer | None
    """What turns text into ids; None if the model does not read text."""
    card: Card
    """Everything else that is known of the model."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "task" not in vars(cls):
            return
        other = PREDICTORS.get(cls.task)
        if other is not None and reference(other) != reference(cls):
            raise ValueMistake(
                f"{reference(cls)} and {reference(other)} are both for the task {cls.task!r}; "
                "give the task of one of them another name"
            )
        PREDICTORS[cls.task] = cls

    @abc.abstractmethod
    def printed(self, items: Sequence[str], *, top_k: int | None = None) -> Iterator[str]:
        """The answers as `command` prints them, one string for each item.

        Args:
          items: texts, or paths of files.
          top_k: the number of classes to show, of a classifier.
        """

    @abc.abstractmethod
    def sample_inputs(self) -> dict[str, Any]:
        """Inputs of several kinds that this model takes, by what a card says of them."""

    @abc.abstractmethod
    def plain_answers(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        """The answers to some of `sample_inputs()` as numbers, strings, lists and dicts.

        A card keeps the first one, and `zoo verify` compares them all.
        """

    @property
    def max_len(self) -> int:
        """The most tokens that the model takes."""
        return self.card.config.max_positions or UNLIMITED

    def several(self, items: Any) -> list[Any]:
        """The items of a list, or of any other iterable.

        Raises:
          TypeError: it is something else, such as bytes or a mapping.
        """
        if isinstance(items, bytes | Mapping) or not isinstance(items, Iterable):
            raise TypeMistake(
                f"{type(self).__name__} takes one item or a list of items; "
                f"got {type(items).__name__} ({shown(items)})"
            )
        return list(items)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, which is brought to Unicode's NFC as training data is.

        Raises:
          TypeError: it is not a string.
          ValueError: the card has no tokenizer, or the tokenizer cannot take the text.
        """
        if not isinstance(text, str):
            raise TypeMistake(
                "this model takes a string or a list of strings; "
                f"got {type(text).__name__} ({shown(text)})"
            )
        return self._text_tokenizer.encode(nfc(text))

    def token_ids(self, tokens: Sequence[int | str]) -> tuple[int, ...]:
        """The ids of tokens, of which a string must be one token.

        Raises:
          ValueError: a string is several tokens.
        """
        found: list[int] = []
        for token in [tokens] if isinstance(tokens, str) else tokens:
            ids = self.encode(token) if isinstance(token, str) else [token]
            if len(ids) != 1:
                raise ValueMistake(
                    f"suppress has {token!r}, which is {len(ids)} tokens of this model; give "
                    "strings of one token, or ids"
                )
            found += ids
        return tuple(found)

    def checked(self, values: jax.Array | Array) -> Array:
        """Probabilities or scores, of which none is NaN.

        Raises:
          NoAnswerError: one is.
        """
        array = np.asarray(values)
        if np.isnan(array).any():
            raise NoAnswerError(
                f"the model {self.card.name!r} has no answer: its numbers are NaN or infinite. Its "
                "training diverged or its weights are damaged; take other weights, such as an "
                "earlier step of the run (zoo.load(run, step=…))"
            )
        return array

    @property
    def _text_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ValueMistake(
                f"the card {self.card.name!r} has no tokenizer, so its model does not read text"
            )
        return self.tokenizer

    def __repr__(self) -> str:
        leaves = jax.tree.leaves(self.variables.get("params", {}))
        parts = [
            type(self.card.config).__name__,
            f"{sum(leaf.size for leaf in leaves):,} parameters",
            self.card.config.precision,
        ]
        if leaves and isinstance(leaves[0], jax.Array):
            parts += sorted(f"{device.platform}:{device.id}" for device in leaves[0].devices())
        return f"<{type(self).__name__} {self.card.name}: {', '.join(parts)}>"
