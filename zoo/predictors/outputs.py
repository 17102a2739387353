"""The outputs of a module as they are: the predictor of models and losses of the user's own."""

from __future__ import annotations

import contextlib
import functools
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.config import FileMistake, ValueMistake, local, shown
from zoo.predictors.base import Predictor
from zoo.predictors.batching import Array, stacks
from zoo.preprocessing import ArrayPreprocessing

CHECKED = 5
"""Values of each output in a card's check values."""

RAMP = "ramp: ((7 · i) mod 256) / 255 over all values"
"""The first sample input, as a card describes it."""

Item = tuple[Array, ...]
"""One item: an array for each argument of the module."""


class Outputs(Predictor):
    """Arrays -> the module's outputs as NumPy arrays."""

    task: ClassVar[str] = "module"

    def __call__(self, *inputs: Any) -> Any:
        """The outputs for one item or for a batch.

        Args:
          inputs: an array, or nested lists of numbers, for each argument of the module: of one item
            with the shape that the module takes without its batch axis, or [N, …] of a batch.
            A model of named columns also takes a mapping of them or a list of mappings, and a
            model with a tokenizer a string or a list of strings.

        Returns:
          The module's output without its batch axis, or [N, …] of a batch: an array, or a tree of
          arrays if the module returns a tree.

        Raises:
          ValueError: the number of arguments or of axes is wrong, or the arguments have different
            numbers of items.
        """
        items, single = self._items(inputs)
        outputs = self._outputs(items)
        if single:
            return outputs[0]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *outputs) if outputs else np.zeros(0)

    def printed(self, items: Sequence[str], *, top_k: int | None = None) -> Iterator[str]:
        """See `Predictor.printed`. An item is numbers between commas or spaces, nested lists of
        numbers as JSON, the path of a .npy file, or a text if the model has a tokenizer."""
        if top_k is not None:
            raise ValueMistake(f"top_k is for classifiers; {self.card.name} gives its outputs")
        for output in self._outputs([self._read(item) for item in items]):
            yield json.dumps(_rounded(jax.tree.map(lambda leaf: leaf.tolist(), output)))

    def sample_inputs(self) -> dict[str, Any]:
        return {RAMP: self._sample(0), "the same, from i = 1": self._sample(1)}

    def plain_answers(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        return [
            {
                "output": [
                    np.ravel(leaf)[:CHECKED].astype(float).tolist()
                    for leaf in jax.tree.leaves(output)
                ]
            }
            for output in self._outputs(list(inputs))
        ]

    @functools.cached_property
    def _arguments(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shape and dtype of each argument of the module, of one item."""
        return tuple(
            jax.ShapeDtypeStruct(example.shape[1:], example.dtype)
            for example in self.card.config.example_inputs(1)
        )

    def _items(self, inputs: Sequence[Any]) -> tuple[list[Item], bool]:
        """The items of a call, and whether it is one that was not in a batch."""
        expected = self._arguments
        if len(inputs) != len(expected):
            raise ValueMistake(f"this model takes {len(expected)} argument(s); got {len(inputs)}")
        columns, singles = zip(*map(self._column, inputs, expected), strict=True)
        if len(set(map(len, columns))) > 1 or len(set(singles)) > 1:
            counts = ", ".join(str(len(column)) for column in columns)
            raise ValueMistake(f"the arguments have {counts} items; give the same number of each")
        return list(zip(*columns, strict=True)), singles[0]

    def _column(self, value: Any, argument: jax.ShapeDtypeStruct) -> tuple[list[Array], bool]:
        """One argument of each item, and whether it was of one item that was not in a batch."""
        if isinstance(value, str):
            return [self._ids(value)], True
        if isinstance(value, list | tuple) and value and isinstance(value[0], str):
            return [self._ids(text) for text in value], False
        array, axes = as_numbers(self._by_column(value), argument.dtype), len(argument.shape)
        if array.ndim in (axes, axes + 1) and array.shape[array.ndim - axes :] == argument.shape:
            array = self._prepare.scale(array) if self._prepare.mean else array
            return ([array], True) if array.ndim == axes else (list(array), False)
        if self.tokenizer is not None and array.ndim in (axes, axes + 1):  # ids of any length
            return ([array], True) if array.ndim == axes else (list(array), False)
        shape = ", ".join(map(str, argument.shape))
        raise ValueMistake(
            f"an argument has the shape {list(array.shape)}; this model takes one item [{shape}] "
            f"or a batch [N{', ' if shape else ''}{shape}]"
        )

    @functools.cached_property
    def _prepare(self) -> ArrayPreprocessing:
        return ArrayPreprocessing.from_card(self.card.preprocessing)

    def _by_column(self, value: Any) -> Any:
        """A mapping of columns, or a list of such mappings, as numbers in their order."""
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            return [self._by_column(row) for row in value]
        if not isinstance(value, Mapping):
            return value
        columns = self._prepare.columns
        if set(value) != set(columns):
            raise ValueMistake(
                f"an input has the columns {', '.join(map(str, value))}; this model takes "
                f"{', '.join(columns) or 'an array'}"
            )
        return [value[column] for column in columns]

    def _outputs(self, items: Sequence[Item]) -> list[Any]:
        """The output for each item, as a tree of NumPy arrays."""
        outputs: list[Any] = [None] * len(items)
        for indices, rows in stacks(items):
            answers = jax.tree.map(np.asarray, _apply(self.module, self.variables, rows))
            for row, index in enumerate(indices):
                outputs[index] = jax.tree.map(operator.itemgetter(row), answers)
        return outputs

    def _read(self, text: str) -> Item:
        """The item that a text on the command line means."""
        is_file = Path(text).suffix == ".npy"
        if self.tokenizer is not None and not is_file:
            return (self._ids(text),)
        values = read_numbers(text)
        items, _ = self._items(values if len(self._arguments) > 1 and not is_file else [values])
        return items[0]

    def _ids(self, text: str) -> Array:
        return np.asarray(self.encode(text), np.int32)

    def _sample(self, start: int) -> Item:
        def values(argument: jax.ShapeDtypeStruct) -> Array:
            numbers = (np.arange(argument.size) + start) * 7 % 256 / 255
            if jnp.issubdtype(argument.dtype, jnp.integer):
                numbers = (np.arange(argument.size) + start) % 2  # ids that every vocabulary has
            return numbers.astype(argument.dtype).reshape(argument.shape)

        return tuple(map(values, self._arguments))


def as_numbers(value: Any, dtype: Any) -> Array:
    """A value as an array of a dtype.

    Raises:
      ValueMistake: it is not numbers, or the dtype cannot hold them.
    """
    array: Array | None = None
    with contextlib.suppress(ValueError, TypeError, OverflowError, FloatingPointError):
        given = np.asarray(value)
        if given.dtype.kind not in "cSUmM":
            with np.errstate(over="raise", invalid="raise"):
                array = given.astype(dtype)
            if array.dtype.kind in "iu" and not np.array_equal(array, given):
                array = None
    if array is None:
        raise ValueMistake(
            f"{shown(value)} is no input of this model, which takes numbers that {dtype} holds"
        )
    return array


def read_numbers(text: str) -> Any:
    """The numbers that a text on the command line means.

    Raises:
      FileMistake: it is the path of a .npy file that is not there.
      ValueMistake: it is no numbers.
    """
    if Path(text).suffix == ".npy":
        path = local(text)
        if not path.is_file():
            raise FileMistake(f"there is no file {text}")
        try:
            return np.load(path)
        except Exception as error:  # zipfile's, zlib's and NumPy's own
            raise ValueMistake(f"{text} is not an array of NumPy: {error}") from error
    listed = text if "[" in text else f"[{','.join(text.replace(',', ' ').split())}]"
    try:
        return json.loads(listed)
    except (ValueError, RecursionError):
        raise ValueMistake(
            f"{text!r:.60} is not an input of this model; give numbers between commas or "
            "spaces, nested lists of numbers, or the path of a .npy file"
        ) from None


@functools.partial(jax.jit, static_argnums=0)
def _apply(module: nn.Module, variables: Any, inputs: tuple[jax.Array, ...]) -> Any:
    return module.apply(variables, *inputs, train=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
