"""What a step needs of the elements that come in, so that steps in a wrong order are refused.

TensorFlow would say so in terms of its own, or not at all: a filter by length after a step that
makes batches would measure the number of rows of each batch, and drop whole batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zoo.config import ValueMistake
from zoo.pipelines.base import ColumnError, quoted
from zoo.pipelines.ops.execution import Step
from zoo.pipelines.tfdata import Dataset, Tensor

Need = Callable[[str, str, Tensor], None]
"""Takes the name of a step, the name of a feature and its `tf.TensorSpec`; raises ValueMistake."""


def needing(name: str, keys: Sequence[str], need: Need, step: Step) -> Step:
    """The step, which refuses datasets whose features are not as it needs them.

    Args:
      name: of the step, for the message.
      keys: the features that it works on.
      need: what each of them must be.
      step: the step.
    """

    def run(dataset: Dataset) -> Dataset:
        spec = dataset.element_spec
        if not isinstance(spec, dict):
            raise ValueMistake(
                f"{name} takes elements that are dicts, such as {{'inputs': …}}; these are {spec}"
            )
        for key in keys:
            if key not in spec:
                raise ColumnError(
                    f"{name} works on the feature {key!r}; here there are {quoted(list(spec))} "
                    "(select(…) renames features)"
                )
            need(name, key, spec[key])
        return step(dataset)

    return run


def anything(name: str, key: str, spec: Tensor) -> None:
    """The feature must only be there."""


def text(name: str, key: str, spec: Tensor) -> None:
    """The feature must be one text."""
    if spec.dtype.name != "string":
        raise ValueMistake(
            f"{name} takes texts, and {key!r} has {_described(spec)}; it is tokenized already, or "
            "is no text"
        )
    if spec.shape.rank:
        raise ValueMistake(
            f"{name} takes single texts, and {key!r} has {_described(spec)}; put {name} before the "
            "step that makes batches"
        )


def texts(name: str, key: str, spec: Tensor) -> None:
    """The feature must be text, of any shape."""
    if spec.dtype.name != "string":
        raise ValueMistake(
            f"{name} has a table of texts here, and {key!r} has {_described(spec)}; give it a "
            f"table of numbers, or put {name} before the step that makes the texts numbers"
        )


def keys(name: str, key: str, spec: Tensor) -> None:
    """The feature must have numbers, of any shape, for a table whose keys are numbers."""
    if spec.dtype.name == "string":
        raise ValueMistake(f"{name} has a table of numbers here, and {key!r} is text")


def single(name: str, key: str, spec: Tensor) -> None:
    """The feature must not be a batch of ids."""
    if spec.shape.rank == 2 and spec.dtype.name in ("int32", "int64"):
        raise ValueMistake(
            f"{name} takes single examples, and {key!r} has {_described(spec)}, a batch: its first "
            "axis counts rows. Batches are made once: leave out one of the two steps"
        )


def numbers(name: str, key: str, spec: Tensor) -> None:
    """The feature must not be text."""
    if spec.dtype.name == "string":
        raise ValueMistake(
            f"{name} takes numbers, and {key!r} is text; put tokenize(…) or look_up(…) before "
            f"{name}"
        )


def sequence(name: str, key: str, spec: Tensor) -> None:
    """The feature must be the sequence of one example, not text, nor a batch of ids."""
    numbers(name, key, spec)
    if spec.shape.rank == 0:
        raise ValueMistake(f"{name} takes sequences, and {key!r} has {_described(spec)}")
    if (spec.shape.rank or 1) > 1 and spec.dtype.is_integer:
        raise ValueMistake(
            f"{name} takes single examples, and {key!r} has {_described(spec)}, a batch: its first "
            f"axis counts rows. Put {name} before the step that makes batches"
        )


def batch(name: str, key: str, spec: Tensor) -> None:
    """The feature must be a batch of sequences."""
    numbers(name, key, spec)
    if spec.shape.rank is not None and spec.shape.rank < 2:
        raise ValueMistake(
            f"{name} takes batches, and {key!r} has {_described(spec)}; put {name} after the step "
            "that makes batches"
        )


def _described(spec: Tensor) -> str:
    sizes = ", ".join("?" if size is None else str(size) for size in spec.shape)
    return f"the shape [{sizes}] ({spec.dtype.name})"
