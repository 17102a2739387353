"""Classifiers of texts and images."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, overload

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.config import ValueMistake, pictures
from zoo.predictors import samples
from zoo.predictors.base import Predictor
from zoo.predictors.batching import MOST_ROWS, Array, batches, stacks
from zoo.preprocessing import ImagePreprocessing

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageLike: TypeAlias = str | os.PathLike[str] | bytes | Image | Array

Texts: TypeAlias = list[str] | tuple[str, ...]

CHECKED = 5
"""Probabilities of a card's check values."""


@dataclass(frozen=True)
class Prediction:
    """The most probable class of an input."""

    label: str
    probability: float
    probabilities: Mapping[str, float]
    """Of all classes (or the first `top_k`), most probable first; those of all classes sum to 1."""

    def _repr_html_(self) -> str:
        return pictures.bars(self.probabilities)


@functools.partial(jax.jit, static_argnums=0)
def probabilities(module: nn.Module, variables: Any, inputs: jax.Array) -> jax.Array:
    """The softmax of a model's logits, float32 [..., C]."""
    logits = module.apply(variables, inputs, train=False)
    return jax.nn.softmax(jnp.asarray(logits, jnp.float32), axis=-1)


def of_sequences(predictor: Predictor, sequences: Sequence[Sequence[int]]) -> list[Array]:
    """The probabilities of each sequence: float32 [C], or [padded length, C] from a tagger."""
    answers: list[Any] = [None] * len(sequences)
    lengths = [len(sequence) for sequence in sequences]
    exact = predictor.card.config.exact_lengths
    for batch in batches(lengths, predictor.max_len, exact=exact):
        inputs = batch.pad(sequences, predictor.card.config.padding)
        rows = predictor.checked(probabilities(predictor.module, predictor.variables, inputs))
        for index, row in zip(batch.indices, rows, strict=False):
            answers[index] = row
    return answers


class _Classifier(Predictor):
    """The base of classifiers: from probabilities to predictions by the names of the classes."""

    def printed(self, items: Sequence[str], *, top_k: int | None = None) -> Iterator[str]:
        for prediction in self._predict(list(items), top_k or 1):
            yield "  ".join(
                f"{label} {value:.4f}" for label, value in prediction.probabilities.items()
            )

    def plain_answers(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        return [
            {"output": dict(prediction.probabilities)}
            for prediction in self._predict(list(inputs), CHECKED)
        ]

    def _predict(self, inputs: Sequence[Any], top_k: int | None) -> list[Prediction]:
        if top_k is not None and top_k < 1:
            raise ValueMistake(f"top_k is {top_k}; it is the number of classes to show, 1 or more")
        return [self._named(row, top_k) for row in self._probabilities(inputs)]

    def _probabilities(self, inputs: Sequence[Any]) -> Iterator[Array]:
        """The probabilities of the classes, float32 [C], of each input."""
        raise NotImplementedError

    def _named(self, row: Array, top_k: int | None) -> Prediction:
        order = np.argsort(-row, kind="stable")[:top_k]
        named = {self.card.labels[index]: float(row[index]) for index in order}
        label = next(iter(named))
        return Prediction(label, named[label], named)


class TextClassifier(_Classifier):
    """Texts -> classes."""

    task: ClassVar[str] = "text_classification"

    @overload
    def __call__(self, texts: str, *, top_k: int | None = None) -> Prediction: ...
    @overload
    def __call__(self, texts: Texts, *, top_k: int | None = None) -> list[Prediction]: ...
    def __call__(
        self, texts: str | Texts, *, top_k: int | None = None
    ) -> Prediction | list[Prediction]:
        """The class of a text, or of each text of a list.

        Args:
          texts: a text longer than training's `max_len` (`card.preprocessing`) is cut there, as in
            training.
          top_k: how many classes `Prediction.probabilities` has; None: all.

        Raises:
          TypeError: a text is not a string.
          ValueError: a text is longer than the model's `max_len`, or `top_k` is less than 1.
        """
        if isinstance(texts, str):
            return self._predict([texts], top_k)[0]
        return self._predict(self.several(texts), top_k)

    def sample_inputs(self) -> dict[str, Any]:
        return dict(samples.texts(self._text_tokenizer, self.max_len))

    def _probabilities(self, inputs: Sequence[str]) -> Iterator[Array]:
        yield from of_sequences(self, [self._ids(text) for text in inputs])

    def _ids(self, text: str) -> list[int]:
        ids = self.encode(text)[: self.card.preprocessing.get("max_len")]
        if len(ids) > self.max_len:
            raise ValueMistake(
                f"a text of {len(ids)} tokens is longer than this model's max_len={self.max_len}: "
                f"{text[:40]!r}…; cut it"
            )
        return ids


class ImageClassifier(_Classifier):
    """Images -> classes."""

    task: ClassVar[str] = "image_classification"

    @overload
    def __call__(self, images: ImageLike, *, top_k: int | None = None) -> Prediction: ...
    @overload
    def __call__(
        self, images: list[ImageLike] | tuple[ImageLike, ...], *, top_k: int | None = None
    ) -> list[Prediction]: ...
    def __call__(self, images: Any, *, top_k: int | None = None) -> Prediction | list[Prediction]:
        """The class of an image, or of each image of a list.

        Args:
          images: an image is a path, the content of a file, a PIL image, or an array [H, W] or
            [H, W, channels] of uint8, or of floats from 0 to 1. A list or an array
            [N, H, W, channels] is several.
          top_k: how many classes `Prediction.probabilities` has; None: all.

        Raises:
          ValueError: something is not an image, or `top_k` is less than 1.
        """
        if not _is_list(images):
            return self._predict([images], top_k)[0]
        return self._predict(images, top_k)

    def sample_inputs(self) -> dict[str, Any]:
        prepare = self._prepare
        return samples.images(prepare.height, prepare.width, prepare.channels)

    def _probabilities(self, inputs: Sequence[Any]) -> Iterator[Array]:
        for start in range(0, len(inputs), MOST_ROWS):  # no more images are in memory at once
            items = [(self._prepare(image),) for image in inputs[start : start + MOST_ROWS]]
            answers: list[Any] = [None] * len(items)
            for indices, (rows,) in stacks(items):
                values = self.checked(probabilities(self.module, self.variables, rows))
                for index, row in zip(indices, values, strict=False):
                    answers[index] = row
            yield from answers

    @functools.cached_property
    def _prepare(self) -> ImagePreprocessing:
        return ImagePreprocessing(**self.card.preprocessing)


def _is_list(images: Any) -> bool:
    return isinstance(images, list | tuple) or (isinstance(images, np.ndarray) and images.ndim == 4)
