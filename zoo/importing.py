"""From a checkpoint of trax to a folder that `zoo.load` reads: what `zoo import-trax` does."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import hub, tokenizers
from zoo.hub import Card
from zoo.interop import trax
from zoo.models.base import ModelConfig
from zoo.tokenizers import Tokenizer

TASKS: Mapping[str, str] = {
    "TransformerConfig": "translation",
    "TransformerLMConfig": "language_modeling",
    "TransformerEncoderConfig": "text_classification",
    "BagOfEmbeddingsConfig": "text_classification",
    "RecurrentLMConfig": "language_modeling",
    "LSTMSeq2SeqConfig": "translation",
    "MLPConfig": "image_classification",
    "ResNetConfig": "image_classification",
    "WideResNetConfig": "image_classification",
}
"""Config class -> what a model of it is for."""

CONVOLUTIONS = ("ResNetConfig", "WideResNetConfig")
"""The config classes of networks that take images of several sizes."""

LISTED = 10
"""Most names that an error message lists."""


def import_trax(
    file: str | Path,
    folder: str | Path,
    config: ModelConfig,
    *,
    vocabulary: str | Path | None = None,
    image_shape: tuple[int, int, int] | None = None,
    labels: str | Path | None = None,
) -> Card:
    """Writes card, safetensors and vocabulary of a model that trax trained.

    Args:
      file: the checkpoint, in any format of trax.
      folder: where to write; its name becomes the model's.
      config: as `trax.config` or `trax.parse_call` gives it, or a registered model's.
      vocabulary: for a model of text: a SentencePiece model (`.model`) or one of trax's own files
        of subwords. Without one, text is ids between spaces.
      image_shape: for a model of images: height, width and channels, where they are not square, or
        not of the usual size of a network of convolutions.
      labels: for a classifier: a text file with the name of a class a line, in their order.

    Returns:
      The card that was written. Checkpoints have no names of classes: without `labels` they are
      "0", "1", ….

    Raises:
      FileNotFoundError: a file is not there.
      CheckpointError: the file is no checkpoint of trax, or one of another model.
      ValueError: the vocabulary is larger than the model's, the images are of another size, the
        labels are more or fewer than the classes, or the model answers no task of the zoo.
      FileExistsError: the folder holds another model.
    """
    file, folder = Path(file), Path(folder)
    task = TASKS.get(type(config).__name__)
    if task is None:
        raise ValueError(
            f"a {type(config).__name__} has no task that zoo.load knows "
            f"({', '.join(sorted(set(TASKS.values())))}); use zoo.interop.trax in Python"
        )
    checkpoint = trax.read(file)
    if image_shape is not None and type(config).__name__ in CONVOLUTIONS:
        config = dataclasses.replace(config, **{"input_shape": image_shape})
    config = trax.complete(config, checkpoint)
    variables = trax.to_variables(checkpoint, config)

    details: dict[str, Any] = {}
    tokenizer = None
    if task == "image_classification":
        config, details["preprocessing"] = _images(config, image_shape)
    else:
        tokenizer = _tokenizer(config, vocabulary)
        details["tokenizer"] = tokenizers.describe(tokenizer)
        if vocabulary is not None:
            details["tokenizer"]["file"] = f"vocabulary{_suffix(Path(vocabulary))}"
        if hasattr(config, "max_len") and task == "text_classification":
            details["preprocessing"] = {"max_len": config.max_len}
    if task.endswith("classification"):
        details["labels"] = _labels(config.required("num_classes"), labels)
    elif labels is not None:
        raise ValueError(f"labels are for classifiers; this is a model of {task}")
    card = Card(
        name=folder.name,
        task=task,
        config=config,
        description=f"Imported from {file.name}, a checkpoint of trax.",
        **details,
    )
    return hub.write_model(folder, card, variables, tokenizer)


def _suffix(vocabulary: Path) -> str:
    return ".model" if vocabulary.suffix == ".model" else ".vocab"


def _tokenizer(config: ModelConfig, vocabulary: str | Path | None) -> Tokenizer:
    sizes = [config.required("vocab_size")]
    if getattr(config, "target_vocab_size", None) is not None:
        sizes.append(config.required("target_vocab_size"))
    rows = min(sizes)
    if vocabulary is None:
        return tokenizers.IdTokenizer(rows)
    kind = "sentencepiece" if _suffix(Path(vocabulary)) == ".model" else "subwords"
    tokenizer = tokenizers.load(kind, vocabulary)
    if tokenizer.vocab_size > rows:
        raise ValueError(
            f"the vocabulary {vocabulary} has {tokenizer.vocab_size} entries, but the model only "
            f"{rows}: it is another model's"
        )
    if tokenizer.vocab_size < rows:
        print(
            f"zoo: the vocabulary has {tokenizer.vocab_size} entries, the model {rows}: "
            f"the last {rows - tokenizer.vocab_size} stand for no text",
            file=sys.stderr,
        )
    return tokenizer


def _labels(number: int, file: str | Path | None) -> tuple[str, ...]:
    if file is None:
        return tuple(map(str, range(number)))
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    names = tuple(name for line in lines if (name := line.strip()))
    if len(set(names)) != number or len(names) != number:
        listed = ", ".join(map(repr, names[:LISTED])) + (", …" if len(names) > LISTED else "")
        raise ValueError(
            f"{file} names {len(set(names))} different classes in {len(names)} lines ({listed}), "
            f"but the model has {number}"
        )
    return names


def _images(config: Any, shape: tuple[int, int, int] | None) -> tuple[ModelConfig, dict[str, Any]]:
    """The config for images of a shape, and how they are prepared.

    A checkpoint of an MLP has the number of values alone. trax gives its models bytes as they come,
    from 0 to 255; where yours saw others, change `mean` and `std` in the card.
    """
    if type(config).__name__ in CONVOLUTIONS:
        config.example_inputs(1)  # says what to give where the shape is not known
        return config, _as_they_come(*config.input_shape)
    if not config.flatten:
        raise ValueError(
            "an MLP with flatten=False takes no images; use zoo.interop.trax in Python"
        )
    values = math.prod(config.input_shape)
    if shape is None:
        squares = [(math.isqrt(values // channels), channels) for channels in (1, 3)]
        shapes = [(side, side, channels) for side, channels in squares]
        shape = next((found for found in shapes if math.prod(found) == values), None)
    if shape is None or math.prod(shape) != values:
        raise ValueError(
            f"the model takes {values} values, which are no "
            f"{' x '.join(map(str, shape)) if shape else 'square'} image; give the image_shape: "
            "height, width and channels"
        )
    return dataclasses.replace(config, input_shape=shape), _as_they_come(*shape)


def _as_they_come(height: int, width: int, channels: int) -> dict[str, Any]:
    """Images of that shape with their bytes as values, 0 to 255."""
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "mean": (0.0,),
        "std": (1 / 255,),
    }
