"""From a checkpoint of trax to a folder that `zoo.load` reads: what `zoo import-trax` does."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import tokenizers
from zoo.config import ValueMistake, local, say
from zoo.hub import exporting
from zoo.interop import trax
from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
from zoo.models.base import ModelConfig
from zoo.models.lstm import LSTMTaggerConfig
from zoo.models.mlp import MLPConfig
from zoo.models.recurrent import RecurrentLMConfig
from zoo.models.reformer.models import ReformerConfig, ReformerLMConfig
from zoo.models.resnet import ResNetConfig, WideResNetConfig
from zoo.models.seq2seq import LSTMSeq2SeqConfig
from zoo.models.transformer import (
    TransformerConfig,
    TransformerEncoderConfig,
    TransformerLMConfig,
)
from zoo.predictors import (
    ImageClassifier,
    LanguageModel,
    Predictor,
    Tagger,
    TextClassifier,
    Translator,
)
from zoo.storage.cards import Card
from zoo.tokenizers import Tokenizer, WordTokenizer

PREDICTORS: Mapping[type[ModelConfig], type[Predictor]] = {
    TransformerConfig: Translator,
    TransformerLMConfig: LanguageModel,
    TransformerEncoderConfig: TextClassifier,
    BagOfEmbeddingsConfig: TextClassifier,
    RecurrentLMConfig: LanguageModel,
    LSTMSeq2SeqConfig: Translator,
    LSTMTaggerConfig: Tagger,
    MLPConfig: ImageClassifier,
    ReformerLMConfig: LanguageModel,
    ReformerConfig: Translator,
    ResNetConfig: ImageClassifier,
    WideResNetConfig: ImageClassifier,
}
"""The predictor of each kind of config."""

UNKNOWN = ("UNK", "<UNK>", "<unk>", "[UNK]")
"""The entry for unknown words, as files of words write it."""

PADDING = ("PAD", "<PAD>", "<pad>", "[PAD]")
"""The entry for padding, as files of words write it."""


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
      file: the checkpoint, in any of trax's formats.
      folder: where to write; its name becomes the model's.
      config: from `trax.config` or `trax.parse_call`, or a registered model's.
      vocabulary: for a model of text: a SentencePiece model (`.model`) or one of trax's own files
        of subwords. Without one, text is ids between spaces.
      words: for a tagger instead: its words, one a line in the order of their ids. One of `UNKNOWN`
        stands for unknown words. If no other has a capital letter, words are lowercased first.
      tags: for a tagger: its tags, one a line in the order of the classes.
      image_shape: for a model of images: height, width and channels, if they are not square, or not
        of the usual size of a convolutional network.
      labels: for a classifier: its classes, one a line in their order.

    Returns:
      The card that was written. Without `tags` or `labels` classes are named "0", "1", …:
      checkpoints have no names.

    Raises:
      FileNotFoundError: a file does not exist.
      CheckpointError: the file is not a checkpoint of trax, or one of another model.
      ValueError: the vocabulary is larger than the model's, there are more or fewer tags or labels
        than classes, a line of a file is broken, the images have another size, the model has no
        task in the zoo, or a file does not go with its task.
      FileExistsError: the folder holds another model.
    """
    file = local(file)
    predictor = PREDICTORS.get(type(config))
    if predictor is None:
        tasks = sorted({known.task for known in PREDICTORS.values()})
        raise ValueMistake(
            f"a {type(config).__name__} has no task that zoo.load knows ({', '.join(tasks)}); use "
            "zoo.interop.trax in Python"
        )
    _check_files(predictor, vocabulary, words, tags, labels)
    folder = exporting.checked(folder)
    checkpoint = trax.read(file)
    if image_shape is not None and isinstance(config, ResNetConfig | WideResNetConfig):
        config = dataclasses.replace(config, input_shape=image_shape)
    config = trax.complete(config, checkpoint)
    variables = trax.to_variables(checkpoint, config)

    details: dict[str, Any] = {}
    tokenizer = None
    if predictor is ImageClassifier:
        config, details["preprocessing"] = _images(config, image_shape)
    else:
        vocabulary = vocabulary if words is None else words
        tokenizer = _tokenizer(config, vocabulary) if words is None else _words(config, Path(words))
        details["tokenizer"] = tokenizers.describe(tokenizer)
        if vocabulary is not None:
            details["tokenizer"]["file"] = f"vocabulary{_suffix(Path(vocabulary))}"
        if hasattr(config, "max_len") and predictor is TextClassifier:
            details["preprocessing"] = {"max_len": config.max_len}
    if predictor in (TextClassifier, ImageClassifier):
        details["labels"] = _labels(config.size_of("num_classes"), "labels", labels)
    elif predictor is Tagger:
        details["labels"] = _labels(config.size_of("num_classes"), "tags", tags)
    card = Card(
        name=folder.name,
        task=predictor.task,
        config=config,
        description=f"Imported from {file.name}, a checkpoint of trax.",
        **details,
    )
    return exporting.write_model(folder, card, variables, tokenizer)


def _suffix(vocabulary: Path) -> str:
    return ".model" if vocabulary.suffix == ".model" else ".vocab"


def _check_files(
    predictor: type[Predictor], vocabulary: object, words: object, tags: object, labels: object
) -> None:
    """Raises ValueError for a file that a model of this task does not take."""
    if predictor is Tagger and vocabulary is not None:
        raise ValueMistake(
            f"a tagger takes words, not subwords: give {vocabulary} as words, if it has one a line"
        )
    for file, name in ((words, "words"), (tags, "tags")):
        if predictor is not Tagger and file is not None:
            raise ValueMistake(
                f"{name} ({file}) are for a tagger; this is a model of {predictor.task}"
            )
    if labels is not None and predictor not in (TextClassifier, ImageClassifier):
        raise ValueMistake(
            f"labels ({labels}) are for a classifier; this is a model of {predictor.task}"
        )


def _labels(number: int, what: str, path: str | Path | None) -> tuple[str, ...]:
    """The names of the classes, from a file of tags or of labels."""
    if path is None:
        return tuple(map(str, range(number)))
    names = _entries(Path(path))
    if "" in names:
        raise ValueMistake(
            f"{path}, line {names.index('') + 1} is empty; it must be a {what.removesuffix('s')}"
        )
    if len(names) != number:
        raise ValueMistake(
            f"{path} has {len(names)} {what}, but the model {number} classes: it is another model's"
        )
    return tuple(names)


def _words(config: ModelConfig, path: Path) -> WordTokenizer:
    entries = _entries(path)
    _check_size(str(path), len(entries), config.size_of("vocab_size"))
    unknown = next((word for word in UNKNOWN if word in entries), None)
    if unknown is None:
        say(
            f"{path} has no entry for unknown words ({', '.join(UNKNOWN)}): sentences with other "
            "words are refused"
        )
    lowercase = all(word == word.lower() for word in entries if word not in (*UNKNOWN, *PADDING))
    return WordTokenizer(entries, lowercase=lowercase, unknown=unknown)


def _entries(path: Path) -> list[str]:
    """The lines of a file of words or tags.

    Raises:
      ValueError: a line has white space in it or occurs twice, or the file is not UTF-8.
    """
    # Lines are counted as by `str.splitlines`, with which such files are usually read.
    entries = [
        entry for line in tokenizers.read_lines([path]) for entry in f"{line}\n".splitlines()
    ]
    first: dict[str, int] = {}
    for number, entry in enumerate(entries, start=1):
        if " " in entry or "\t" in entry:
            raise ValueMistake(
                f"{path}, line {number}: {entry!r:.40} has white space; each line must be one "
                "entry, because the number of the line is its id"
            )
        if entry in first:
            raise ValueMistake(
                f"{path}: {entry!r:.40} is in line {first[entry]} and again in line {number}; each "
                "entry must occur once"
            )
        first[entry] = number
    return entries


def _check_size(what: str, entries: int, rows: int) -> None:
    """Raises ValueError if a vocabulary is larger than the model's; warns if it is smaller."""
    if entries > rows:
        raise ValueMistake(
            f"the vocabulary {what} has {entries} entries, but the model only {rows}: it is "
            "another model's"
        )
    if entries < rows:
        say(
            f"the vocabulary has {entries} entries, the model {rows}: the last {rows - entries} "
            "have no text"
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

    A checkpoint of an MLP has only the number of values. trax gives its models the bytes
    themselves, 0 to 255; if yours was trained on other values, change `mean` and `std` in the card.
    """
    if isinstance(config, ResNetConfig | WideResNetConfig):
        config.example_inputs(1)  # raises what to give if the shape is not known
        assert config.input_shape is not None
        return config, _unscaled(*config.input_shape)
    if not config.flatten:
        raise ValueMistake(
            "an MLP with flatten=False takes no images; use zoo.interop.trax in Python"
        )
    values = math.prod(config.input_shape)
    if shape is None:
        squares = [(math.isqrt(values // channels), channels) for channels in (1, 3)]
        shapes = [(side, side, channels) for side, channels in squares]
        shape = next((square for square in shapes if math.prod(square) == values), None)
    if shape is None or math.prod(shape) != values:
        raise ValueMistake(
            f"the model takes {values} values, which are not a "
            f"{' x '.join(map(str, shape)) if shape else 'square'} image; give image_shape: "
            "height, width and channels"
        )
    return dataclasses.replace(config, input_shape=shape), _unscaled(*shape)


def _unscaled(height: int, width: int, channels: int) -> dict[str, Any]:
    """The preprocessing of images whose values are their bytes, 0 to 255."""
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "mean": (0.0,),
        "std": (1 / 255,),
    }
