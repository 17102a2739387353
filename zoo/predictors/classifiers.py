"""Classifiers of texts and images.

Shapes are bucketed (lengths and numbers of rows to powers of two), so that a handful of
compilations serve all.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from zoo.predictors.base import Predictor, power_of_two, probabilities
from zoo.preprocessing import ImagePreprocessing

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageLike = str | os.PathLike[str] | bytes | Image | np.ndarray[Any, Any]

ROWS = 32
"""Most rows of one forward pass; a longer list takes several."""

SHORTEST = 16
"""Shortest padded length of a text."""


@dataclass(frozen=True)
class Prediction:
    """A class with its probability, and those of all classes, best first (cut by `top_k`)."""

    label: str
    probability: float
    probabilities: Mapping[str, float]


class _Classifier(Predictor):
    """What classifiers share: from arrays, one an item, to predictions by the name of the class."""

    def _predict(
        self, arrays: Sequence[np.ndarray[Any, Any]], top_k: int | None
    ) -> list[Prediction]:
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}; it is the number of classes to show, 1 or more")
        predictions: list[Prediction | None] = [None] * len(arrays)
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, array in enumerate(arrays):
            by_shape.setdefault(array.shape, []).append(index)
        for indices in by_shape.values():
            for start in range(0, len(indices), ROWS):
                chunk = indices[start : start + ROWS]
                rows = np.stack([arrays[index] for index in chunk])
                padding = np.zeros(
                    (power_of_two(len(chunk)) - len(chunk), *rows.shape[1:]), rows.dtype
                )
                answers = probabilities(
                    self.module, self.variables, np.concatenate([rows, padding])
                )
                for index, row in zip(chunk, np.asarray(answers), strict=False):
                    predictions[index] = self._named(row, top_k)
        return [prediction for prediction in predictions if prediction is not None]

    def show(self, item: str) -> str:
        prediction = self([item])[0]  # type: ignore[operator]  # subclasses are called
        return f"{prediction.label} ({prediction.probability:.1%})"

    def _check(self, shown: str, item: Any) -> dict[str, Any]:
        prediction = self._predict([item], None)[0]
        return {"input": shown, "output": dict(list(prediction.probabilities.items())[:5])}

    def _named(self, row: np.ndarray[Any, Any], top_k: int | None) -> Prediction:
        order = np.argsort(-row, kind="stable")[:top_k]
        named = {self.card.labels[index]: float(row[index]) for index in order}
        label = next(iter(named))
        return Prediction(label, named[label], named)


class TextClassifier(_Classifier):
    """Texts -> classes."""

    @overload
    def __call__(self, texts: str, *, top_k: int | None = None) -> Prediction: ...
    @overload
    def __call__(
        self, texts: list[str] | tuple[str, ...], *, top_k: int | None = None
    ) -> list[Prediction]: ...
    def __call__(
        self, texts: str | list[str] | tuple[str, ...], *, top_k: int | None = None
    ) -> Prediction | list[Prediction]:
        """The class of a text, or of each text of a list.

        A text longer than training's `max_len` (`card.preprocessing`) is cut there, as in training.
        """
        if isinstance(texts, str):
            return self._predict([self._ids(texts)], top_k)[0]
        return self._predict([self._ids(text) for text in texts], top_k)

    def check(self) -> dict[str, Any]:
        return self._check(self.check_text, self._ids(self.check_text))

    def _ids(self, text: str) -> np.ndarray[Any, Any]:
        ids = self.encode(text)[: self.card.preprocessing.get("max_len")]
        if len(ids) > self.max_len:
            raise ValueError(
                f"a text of {len(ids)} tokens is longer than this model's max_len={self.max_len}: "
                f"{text[:40]!r}…; cut it"
            )
        padded = np.zeros(min(max(power_of_two(len(ids)), SHORTEST), self.max_len), np.int32)
        padded[: len(ids)] = ids
        return padded


class ImageClassifier(_Classifier):
    """Images -> classes."""

    def check(self) -> dict[str, Any]:
        shape = (self._prepare.height, self._prepare.width, self._prepare.channels)
        ramp = (np.arange(np.prod(shape)) * 7 % 256).astype(np.uint8).reshape(shape)
        return self._check("ramp: (7 · i) mod 256 over all bytes", self._prepare(ramp))

    @functools.cached_property
    def _prepare(self) -> ImagePreprocessing:
        return ImagePreprocessing(**self.card.preprocessing)

    @overload
    def __call__(self, images: ImageLike, *, top_k: int | None = None) -> Prediction: ...
    @overload
    def __call__(
        self, images: list[ImageLike] | tuple[ImageLike, ...], *, top_k: int | None = None
    ) -> list[Prediction]: ...
    def __call__(self, images: Any, *, top_k: int | None = None) -> Prediction | list[Prediction]:
        """The class of an image, or of each image of a list.

        An image is a path, the content of a file, a PIL image or an array [H, W] or [H, W,
        channels], of uint8 or of floats from 0 to 1; a list, or an array [N, H, W, channels], is
        several.
        """
        if not _is_list(images):
            return self._predict([self._prepare(images)], top_k)[0]
        predictions: list[Prediction] = []
        for start in range(0, len(images), ROWS):  # no more images than that are held at once
            arrays = [self._prepare(image) for image in images[start : start + ROWS]]
            predictions += self._predict(arrays, top_k)
        return predictions


def _is_list(images: Any) -> bool:
    return isinstance(images, list | tuple) or (isinstance(images, np.ndarray) and images.ndim == 4)
