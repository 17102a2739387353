"""From a checkpoint of trax to a folder that `zoo.load` reads: what `zoo import-trax` does."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import tokenizers
from zoo.hub import exporting
from zoo.interop import trax
from zoo.models.base import ModelConfig
from zoo.storage.cards import Card
from zoo.tokenizers import Tokenizer, WordTokenizer

TASKS: Mapping[str, str] = {
    "TransformerConfig": "translation",
    "TransformerLMConfig": "language_modeling",
    "TransformerEncoderConfig": "text_classification",
    "BagOfEmbeddingsConfig": "text_classification",
    "RecurrentLMConfig": "language_modeling",
    "LSTMSeq2SeqConfig": "translation",
    "LSTMTaggerConfig": "tagging",
    "MLPConfig": "image_classification",
    "ReformerLMConfig": "language_modeling",
    "ReformerConfig": "translation",
    "ResNetConfig": "image_classification",
    "WideResNetConfig": "image_classification",
}
"""Config class -> what a model of it is for."""

CONVOLUTIONS = ("ResNetConfig", "WideResNetConfig")
"""The config classes of networks that take images of several sizes."""

UNKNOWN = ("UNK", "<UNK>", "<unk>", "[UNK]")
"""How files of words write the word for unknown ones."""

PADDING = ("PAD", "<PAD>", "<pad>", "[PAD]")
"""… and that for padding."""


def import_trax(
    file: str | Path,
    folder: str | Path,
    config: ModelConfig,
    *,
    vocabulary: str | Path | None = None,
    words: str | Path | None = None,
    tags: str | Path | None = None,
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
      words: for a tagger instead: its words, one a line in the order of their ids. One of `UNKNOWN`
        stands for unknown words. Where no other has a capital letter, words are lowered first.
      tags: for a tagger: its tags, one a line in the order of the classes.
      image_shape: for a model of images: height, width and channels, where they are not square, or
        not of the usual size of a network of convolutions.
      labels: for a classifier: its classes, one a line in their order.

    Returns:
      The card that was written. Classes are named "0", "1", …, save by `tags` or `labels`:
      checkpoints have no names.

    Raises:
      FileNotFoundError: a file is not there.
      CheckpointError: the file is no checkpoint of trax, or one of another model.
      ValueError: the vocabulary is larger than the model's, there are more or fewer tags or labels
        than classes, a line of a file is broken, the images are of another size, the model answers
        no task of the zoo, or a file is given that does not go with its task.
      FileExistsError: the folder holds another model.
    """
    file, folder = Path(file), Path(folder)
    task = TASKS.get(type(config).__name__)
    if task is None:
        raise ValueError(
            f"a {type(config).__name__} has no task that zoo.load knows "
            f"({', '.join(sorted(set(TASKS.values())))}); use zoo.interop.trax in Python"
        )
    _check_files(task, vocabulary, words, tags, labels)
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
        vocabulary = vocabulary if words is None else words
        tokenizer = _tokenizer(config, vocabulary) if words is None else _words(config, Path(words))
        details["tokenizer"] = tokenizers.describe(tokenizer)
        if vocabulary is not None:
            details["tokenizer"]["file"] = f"vocabulary{_suffix(Path(vocabulary))}"
        if hasattr(config, "max_len") and task == "text_classification":
            details["preprocessing"] = {"max_len": config.max_len}
    if task.endswith("classification"):
        details["labels"] = _labels(config.size_of("num_classes"), "labels", labels)
    elif task == "tagging":
        details["labels"] = _labels(config.size_of("num_classes"), "tags", tags)
    card = Card(
        name=folder.name,
        task=task,
        config=config,
        description=f"Imported from {file.name}, a checkpoint of trax.",
        **details,
    )
    return exporting.write_model(folder, card, variables, tokenizer)


def _suffix(vocabulary: Path) -> str:
    return ".model" if vocabulary.suffix == ".model" else ".vocab"


def _check_files(
    task: str, vocabulary: object, words: object, tags: object, labels: object
) -> None:
    """Raises ValueError where a file is given that a model of this task does not take."""
    if task == "tagging" and vocabulary is not None:
        raise ValueError(
            f"a tagger takes words, not subwords: give {vocabulary} as words, if it has one a line"
        )
    for file, name in ((words, "words"), (tags, "tags")):
        if task != "tagging" and file is not None:
            raise ValueError(f"{name} ({file}) go with a tagger; this is a model of {task}")
    if labels is not None and not task.endswith("classification"):
        raise ValueError(f"labels ({labels}) go with a classifier; this is a model of {task}")


def _labels(number: int, what: str, path: str | Path | None) -> tuple[str, ...]:
    """The names of the classes, from a file of tags or of labels."""
    if path is None:
        return tuple(map(str, range(number)))
    names = _entries(Path(path))
    if "" in names:
        raise ValueError(
            f"{path}, line {names.index('') + 1} is empty; it must be a {what.removesuffix('s')}"
        )
    if len(names) != number:
        raise ValueError(
            f"{path} has {len(names)} {what}, but the model {number} classes: it is another model's"
        )
    return tuple(names)


def _words(config: ModelConfig, path: Path) -> WordTokenizer:
    entries = _entries(path)
    _check_size(str(path), len(entries), config.size_of("vocab_size"))
    unknown = next((word for word in UNKNOWN if word in entries), None)
    if unknown is None:
        print(
            f"zoo: none of the words of {path} stands for unknown ones ({', '.join(UNKNOWN)}): a "
            "sentence with another word is refused",
            file=sys.stderr,
        )
    lowercase = all(word == word.lower() for word in entries if word not in (*UNKNOWN, *PADDING))
    return WordTokenizer(entries, lowercase=lowercase, unknown=unknown)


def _entries(path: Path) -> list[str]:
    """The lines of a file of words or tags.

    Raises:
      ValueError: one has white space in it or stands there twice; or the file is not UTF-8.
    """
    # As the scripts count them that such files come from.
    entries = [
        entry for line in tokenizers.read_lines([path]) for entry in f"{line}\n".splitlines()
    ]
    first: dict[str, int] = {}
    for number, entry in enumerate(entries, start=1):
        if " " in entry or "\t" in entry:
            raise ValueError(
                f"{path}, line {number}: {entry!r:.40} has white space; the file must have one a "
                "line and nothing else, since the line is the number"
            )
        if entry in first:
            raise ValueError(
                f"{path}: {entry!r:.40} stands in line {first[entry]} and again in line {number}; "
                "each must stand there once"
            )
        first[entry] = number
    return entries


def _check_size(what: str, entries: int, rows: int) -> None:
    """Raises ValueError where a vocabulary is larger than the model's; says where it is smaller."""
    if entries > rows:
        raise ValueError(
            f"the vocabulary {what} has {entries} entries, but the model only {rows}: it is "
            "another model's"
        )
    if entries < rows:
        print(
            f"zoo: the vocabulary has {entries} entries, the model {rows}: "
            f"the last {rows - entries} stand for no text",
            file=sys.stderr,
        )


def _tokenizer(config: ModelConfig, vocabulary: str | Path | None) -> Tokenizer:
    sizes = [config.size_of("vocab_size")]
    if getattr(config, "target_vocab_size", None) is not None:
        sizes.append(config.size_of("target_vocab_size"))
    rows = min(sizes)
    if vocabulary is None:
        return tokenizers.IdTokenizer(rows)
    kind = "sentencepiece" if _suffix(Path(vocabulary)) == ".model" else "subwords"
    tokenizer = tokenizers.load(kind, vocabulary)
    _check_size(str(vocabulary), tokenizer.vocab_size, rows)
    return tokenizer


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
