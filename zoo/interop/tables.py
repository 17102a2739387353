"""Which array of a checkpoint is which parameter: one function a model, in trax's order.

trax stores no names, only the arrays in the order of its layers. Each function here gives that
order for one config class of the zoo, as paths below `params/`, one for each array. No array is
transposed: a kernel is [in, out] in both libraries. An array whose first rows are one parameter and
whose last rows are another has the paths of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.interop.checkpoint import Array
from zoo.interop.files import CheckpointError
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
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    TransformerLMConfig,
)

Path = str | tuple[str, ...]
"""The parameter of an array, or those whose rows it has, one after the other. `name[3]` is the
fourth entry of a parameter that stacks several layers."""

# Layers.

DENSE = ("kernel", "bias")
LAYER_NORM = ("scale", "bias")
BATCH_NORM = ("bias", "scale")


def _arrays(path: str, names: Sequence[str]) -> Iterator[str]:
    yield from (f"{path}/{name}" for name in names)


def _attention(path: str) -> Iterator[str]:
    for projection in ("query", "key", "value", "out"):
        yield from _arrays(f"{path}/{projection}", DENSE)


def _activation(path: str, config: Any, number: int = 0) -> Iterator[str]:
    """The array of the n-th activation in a module, if it has one."""
    if config.activation == "thresholded":
        yield f"{path}ThresholdedLinear_{number}/threshold"


def _mlp(path: str, config: Any) -> Iterator[str]:
    yield from _arrays(f"{path}/up", DENSE)
    yield from _activation(f"{path}/", config)
    yield from _arrays(f"{path}/down", DENSE)


def _blocks(path: str, number: int, config: Any, *, cross_attention: bool = False) -> Iterator[str]:
    for index in range(number):
        block = f"{path}/block_{index}"
        yield from _arrays(f"{block}/attention_norm", LAYER_NORM)
        yield from _attention(f"{block}/attention")
        if cross_attention:
            yield from _arrays(f"{block}/cross_attention_norm", LAYER_NORM)
            yield from _attention(f"{block}/cross_attention")
        yield from _arrays(f"{block}/mlp_norm", LAYER_NORM)
        yield from _mlp(f"{block}/mlp", config)
    yield from _arrays(f"{path}/norm", LAYER_NORM)


def _recurrent(path: str, cell: str = "lstm") -> Iterator[Path]:
    """trax multiplies input and state, concatenated, with one kernel."""
    for name in ("gates",) if cell == "lstm" else ("gates", "candidate"):
        yield f"{path}/input_{name}/kernel", f"{path}/recurrent_{name}/kernel"
        yield f"{path}/input_{name}/bias"


def _layers(path: str, number: int, cell: str = "lstm") -> Iterator[Path]:
    for index in range(number):
        yield from _recurrent(f"{path}/layer_{index}", cell)


# Models.


def _transformer(config: Any) -> Iterator[str]:
    yield "embedding/embedding"
    yield "encoder/positions"
    yield from _blocks("encoder", config.num_encoder_layers, config)
    if config.target_vocab_size is not None:
        yield "target_embedding/embedding"
    yield "decoder/positions"
    yield from _blocks("decoder", config.num_decoder_layers, config, cross_attention=True)
    yield from _arrays("logits", DENSE)


def _transformer_lm(config: Any) -> Iterator[str]:
    yield from _transformer_decoder(config)
    yield from _arrays("logits", DENSE)


def _transformer_encoder(config: Any) -> Iterator[str]:
    yield "embedding/embedding"
    yield "encoder/positions"
    yield from _blocks("encoder", config.num_layers, config)
    yield from _arrays("head", DENSE)


def _transformer_decoder(config: Any) -> Iterator[str]:
    yield from _arrays("embedding", ("embedding",) if config.vocab_size is not None else DENSE)
    yield "decoder/positions"
    yield from _blocks("decoder", config.num_layers, config)


def _bag_of_embeddings(config: Any) -> Iterator[str]:
    yield "embedding/embedding"
    yield from _arrays("head", DENSE)


def _mlp_classifier(config: Any) -> Iterator[str]:
    for index in range(len(config.hidden_sizes)):
        yield from _arrays(f"hidden_{index}", DENSE)
        yield from _activation("", config, index)
    yield from _arrays("head", DENSE)
    if config.trax and config.trax.activate_output:
        yield from _activation("", config, len(config.hidden_sizes))


def _resnet(config: Any) -> Iterator[str]:
    yield from _convolution("stem", "stem_norm")
    yield from _activation("", config)
    for stage, blocks in enumerate(config.stage_sizes):
        for block in range(blocks):
            path = f"stage_{stage}_block_{block}"
            if block == 0 and (stage > 0 or config.block == "bottleneck"):
                yield from _convolution(f"{path}/shortcut", f"{path}/shortcut_norm")
            for index in range(3 if config.block == "bottleneck" else 2):
                yield from _convolution(f"{path}/conv_{index}", f"{path}/norm_{index}")
                yield from _activation(f"{path}/", config, index)  # the last one is of the sum
    yield from _arrays("head", DENSE)


def _convolution(path: str, norm: str) -> Iterator[str]:
    yield from _arrays(path, DENSE)
    yield from _arrays(norm, BATCH_NORM)


def _wide_resnet(config: Any) -> Iterator[str]:
    yield from _arrays("stem", DENSE)
    for stage in range(3):
        yield from _arrays(f"stage_{stage}_shortcut", DENSE)
        for block in range(config.num_blocks):
            for index in range(2):
                path = f"stage_{stage}_block_{block}"
                yield from _arrays(f"{path}/norm_{index}", BATCH_NORM)
                yield from _arrays(f"{path}/conv_{index}", DENSE)
    yield from _arrays("norm", BATCH_NORM)
    yield from _arrays("head", DENSE)


def _recurrent_lm(config: Any) -> Iterator[Path]:
    yield "embedding/embedding"
    yield from _layers("layers", config.num_layers, config.cell)
    yield from _arrays("logits", DENSE)


def _lstm_tagger(config: Any) -> Iterator[Path]:
    yield "embedding/embedding"
    yield from _layers("layers", config.num_layers)
    yield from _arrays("head", DENSE)


def _lstm_seq2seq(config: Any) -> Iterator[Path]:
    yield "embedding/embedding"
    yield from _layers("encoder", config.num_encoder_layers)
    yield "target_embedding/embedding"
    yield from _layers("reader", 1)
    yield from _attention("attention")
    yield from _layers("decoder", config.num_decoder_layers)
    yield from _arrays("logits", DENSE)


HEADS = ("query", "key", "value", "out")


def _reformer_stack(path: str, config: Any, number: int, *, reads_source: bool) -> Iterator[str]:
    """Positions and layers; each function of a layer comes after its layer norm."""
    axes = range(len(config.axial_shape))
    yield from _arrays(path, [f"axial_{axis}" for axis in axes] or ["positions"])
    kinds, _ = config.cycle(number)
    for index in range(number):
        repetition, place = divmod(index, len(kinds))
        kind = kinds[place]
        # If queries are also the keys, as always with hashing, keys have no projection.
        shared = getattr(kind, "share_qk", True)
        attention = [f"heads/{name}" for name in HEADS if not (shared and name == "key")]
        if getattr(kind, "use_bias", False):
            attention += [f"{name}_bias" for name in attention[:-1]]
        up, down = ([f"{name}/{array}" for array in DENSE] for name in ("up", "down"))
        mlp = [*up, *_activation("", config), *down]
        functions = {"attention": attention}
        if reads_source:
            functions["cross_attention"] = [f"heads/{name}" for name in HEADS]
        for function, arrays in (functions | {"mlp": mlp}).items():
            for array in [*(f"norm/{name}" for name in LAYER_NORM), *arrays]:
                yield f"{path}/layer_{place}/{function}/{array}[{repetition}]"


def _reformer_lm(config: Any) -> Iterator[str]:
    yield "embedding/embedding"
    yield from _reformer_stack("decoder", config, config.num_layers, reads_source=False)
    yield from _arrays("norm", LAYER_NORM)
    yield from _arrays("logits", DENSE)


def _reformer(config: Any) -> Iterator[str]:
    yield "embedding/embedding"
    yield from _reformer_stack("encoder", config, config.num_encoder_layers, reads_source=False)
    yield from _arrays("encoder_norm", LAYER_NORM)
    if config.target_vocab_size is not None:
        yield "target_embedding/embedding"
    yield from _reformer_stack("decoder", config, config.num_decoder_layers, reads_source=True)
    yield from _arrays("decoder_norm", LAYER_NORM)
    yield from _arrays("logits", DENSE)


# Sizes that may be None in a config: the first array has a row for each input, and the last one,
# the bias of the head, a value for each class.


def _vocabulary(config: Any, arrays: Sequence[Array]) -> dict[str, Any]:
    return {"vocab_size": len(arrays[0])}


def _vocabulary_and_classes(config: Any, arrays: Sequence[Array]) -> dict[str, Any]:
    return {"vocab_size": len(arrays[0]), "num_classes": len(arrays[-1])}


def _vectors(config: Any, arrays: Sequence[Array]) -> dict[str, Any]:
    """Without a vocabulary, trax's `TransformerDecoder` takes vectors."""
    return {"input_size": len(arrays[0])} if config.vocab_size is None else {}


def _inputs_and_classes(config: Any, arrays: Sequence[Array]) -> dict[str, Any]:
    return {"input_shape": (len(arrays[0]),), "num_classes": len(arrays[-1])}


def _images(stride: int) -> Callable[[Any, Sequence[Array]], dict[str, Any]]:
    """The shape of square images whose side is a multiple of `stride`.

    The head has a row for each channel of each window of the last map, and the stem's kernel
    [height, width, channels, features] has the number of channels.
    """

    def sizes(config: Any, arrays: Sequence[Array]) -> dict[str, Any]:
        known: dict[str, Any] = {"num_classes": len(arrays[-1])}
        features = arrays[-3].shape[-1] if len(arrays) > 2 and arrays[-3].ndim else 0
        if config.trax and features and arrays[0].ndim == 4 and arrays[-2].ndim:
            windows, rest = divmod(len(arrays[-2]), features)
            across = math.isqrt(windows)
            if across**2 != windows and not rest and config.input_shape is None:
                raise CheckpointError(
                    f"the head reads {windows} windows, so the images were not square, and the "
                    "checkpoint does not say their shape; give image_shape (in Python input_shape "
                    "of the config): height, width and channels"
                )
            side = stride * (across + config.trax.pool_window - 1)
            known["input_shape"] = (side, side, arrays[0].shape[2])
        return known

    return sizes


@dataclass(frozen=True)
class Table:
    """The arrays of one config class."""

    order: Callable[[Any], Iterator[Path]]
    """Config -> the paths of its parameters, in trax's order."""
    sizes: Callable[[Any, Sequence[Array]], dict[str, Any]]
    """Config and arrays -> values for fields that are None."""


TABLES: Mapping[type[ModelConfig], Table] = {
    TransformerConfig: Table(_transformer, _vocabulary),
    TransformerLMConfig: Table(_transformer_lm, _vocabulary),
    TransformerEncoderConfig: Table(_transformer_encoder, _vocabulary_and_classes),
    TransformerDecoderConfig: Table(_transformer_decoder, _vectors),
    BagOfEmbeddingsConfig: Table(_bag_of_embeddings, _vocabulary_and_classes),
    RecurrentLMConfig: Table(_recurrent_lm, _vocabulary),
    LSTMTaggerConfig: Table(_lstm_tagger, _vocabulary_and_classes),
    LSTMSeq2SeqConfig: Table(_lstm_seq2seq, _vocabulary),
    MLPConfig: Table(_mlp_classifier, _inputs_and_classes),
    ReformerLMConfig: Table(_reformer_lm, _vocabulary),
    ReformerConfig: Table(_reformer, _vocabulary),
    ResNetConfig: Table(_resnet, _images(32)),
    WideResNetConfig: Table(_wide_resnet, _images(4)),
}
