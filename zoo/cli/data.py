"""`zoo data`: what a recipe trains on."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from zoo.cli.parsing import parse, parse_known
from zoo.cli.training import recipe_of

if TYPE_CHECKING:
    import numpy as np

    from zoo.pipelines.base import Data, Example
    from zoo.train.recipe import Recipe

COUNTED = 200
"""Examples whose lengths and labels are counted."""

WIDTH = 100
"""Characters of a value."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Shows what a recipe trains on: examples, shapes, lengths and labels.

    It takes the flags of `zoo train` too, such as --data.train.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """A name, FILE.py:FUNCTION or a run's recipe.json."""
    split: str = "train"
    """Which split: train, validation or test."""
    examples: int = 3
    """How many examples to show."""


def data(words: list[str]) -> int:
    """Shows what a recipe trains on: examples, shapes, labels."""
    if not words or {"-h", "--help"} & set(words):
        parse(Options, words, prog="zoo data")
    options, rest = parse_known(Options, words, prog="zoo data")
    from zoo.train.fine_tuning import load_source
    from zoo.train.setup import set_up

    recipe, _ = recipe_of([options.name, *rest], "zoo data")
    setup = set_up(recipe, source=load_source(recipe.init_from))
    for line in describe(setup.recipe, setup.data, options.split, options.examples):
        print(line)
    return 0


def describe(recipe: Recipe, data: Data, split: str, number: int) -> Iterator[str]:
    """The lines that `zoo data` prints.

    Args:
      recipe: resolved.
      data: its data.
      split: of which examples are shown.
      number: of examples that are shown.

    Raises:
      LookupError: there is no such split.
    """
    facts = data.facts
    sizes = ", ".join(f"{count:,} {name}" for name, count in facts.num_examples.items())
    yield f"data of {recipe.name or 'this recipe'}: {sizes} examples"
    for reason, count in facts.left_out.items():
        yield f"left out: {count:,} rows ({reason})"
    if facts.tokenizer is not None:
        yield f"tokenizer: {type(facts.tokenizer).__name__}, {facts.tokenizer.vocab_size:,} ids"
    examples = data.examples(split, max(number, 1))
    for place, example in enumerate(examples[:number], start=1):
        yield f"\n{split} example {place}"
        yield from _example(example)
    yield ""
    if examples and _is_sequence(examples[0].arrays["inputs"]):  # images would all be opened
        examples = data.examples(split, COUNTED)
        yield from _lengths(examples)
        if facts.labels:
            yield from _label_counts(examples, facts.labels)
    elif facts.labels:
        yield _cut(f"labels ({len(facts.labels)}): {', '.join(facts.labels)}", 10 * WIDTH)
    if split == "train":
        yield from _batch(next(iter(data.train(recipe.batch_size, seed=recipe.seed))))


def _example(example: Example) -> Iterator[str]:
    for name, value in example.raw.items():
        yield f"  {name:<10} {_raw(value)}"
    for name, array in example.arrays.items():
        yield f"  {name:<10} {_shape(array)}  {_values(array)}"


def _raw(value: Any) -> str:
    if hasattr(value, "dtype"):
        return f"{_shape(value)}  {_values(value)}"
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return _cut(" ".join(value))
    return _cut(value if isinstance(value, str) else repr(value))


def _is_sequence(array: np.ndarray[Any, Any]) -> bool:
    """Whether an input is a row of ids."""
    return array.ndim == 1 and array.dtype.kind == "i"


def _lengths(examples: Sequence[Example]) -> Iterator[str]:
    for name in ("inputs", "targets"):
        arrays = [example.arrays[name] for example in examples]
        if _is_sequence(arrays[0]):
            lengths = [len(array) for array in arrays]
            yield (
                f"lengths of {name} in the first {len(lengths)} examples: {min(lengths)} to "
                f"{max(lengths)}, median {statistics.median(lengths):.0f}"
            )


def _label_counts(examples: Sequence[Example], labels: Sequence[str]) -> Iterator[str]:
    targets = (example.arrays["targets"].ravel().tolist() for example in examples)
    counts = collections.Counter(labels[index] for indices in targets for index in indices)
    listed = ", ".join(f"{label} {counts[label]}" for label in labels)
    yield f"labels ({len(labels)}), with their numbers in the first {len(examples)} examples:"
    yield f"  {_cut(listed, 10 * WIDTH)}"


def _batch(batch: Mapping[str, np.ndarray[Any, Any]]) -> Iterator[str]:
    shapes = ", ".join(f"{name} {_shape(array)}" for name, array in batch.items())
    yield f"first batch: {shapes}"


def _shape(array: np.ndarray[Any, Any]) -> str:
    return f"{array.dtype} [{', '.join(map(str, array.shape))}]"


def _values(array: np.ndarray[Any, Any]) -> str:
    """The values of a small array or of ids, the range of any other."""
    if array.ndim == 0 or _is_sequence(array):
        return _cut(" ".join(map(str, array.ravel().tolist())))
    if array.size == 0:
        return ""
    low, high = array.min(), array.max()
    return f"all {low:g}" if low == high else f"{low:g} to {high:g}"


def _cut(text: str, width: int = WIDTH) -> str:
    text = text.replace("\n", "\\n")
    return text if len(text) <= width else f"{text[: width - 1]}…"
