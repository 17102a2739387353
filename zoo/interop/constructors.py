"""trax's constructors as configs of the zoo: their arguments, their defaults, their names.

Each function here has the signature of a model of trax (its last version) and gives the config of
the same model. Layers that trax takes as classes are given by name.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_type_hints

from zoo import config as configs
from zoo.config import ConfigError
from zoo.interop.arguments import activation, evaluate, expression, last_name
from zoo.interop.reformers import reformer, reformer_lm
from zoo.models.base import ModelConfig

if TYPE_CHECKING:
    from zoo.models.recurrent import CellName

CELLS: Mapping[str, tuple[CellName, int]] = {"LSTMCell": ("lstm", 2), "GRUCell": ("gru", 1)}
"""trax's cell -> the zoo's name, and the width of its state as a multiple of its output's."""

MODES = ("train", "eval", "predict")

Axes = tuple[int, ...] | None
"""`dropout_shared_axes`: which random numbers training shares. It is no part of the model."""


def _transformer(
    input_vocab_size: int,
    *,
    output_vocab_size: int | None = None,
    d_model: int = 512,
    d_ff: int = 2048,
    n_encoder_layers: int = 6,
    n_decoder_layers: int = 6,
    n_heads: int = 8,
    max_len: int = 2048,
    dropout: float = 0.1,
    dropout_shared_axes: Axes = None,
    ff_activation: str = "Relu",
) -> ModelConfig:
    from zoo.models.transformer import TransformerConfig

    return TransformerConfig(
        vocab_size=input_vocab_size,
        target_vocab_size=output_vocab_size,
        d_model=d_model,
        d_ff=d_ff,
        num_encoder_layers=n_encoder_layers,
        num_decoder_layers=n_decoder_layers,
        num_heads=n_heads,
        max_len=max_len,
        dropout_rate=dropout,
        activation=activation(ff_activation),
    )


def _transformer_lm(
    vocab_size: int,
    *,
    d_model: int = 512,
    d_ff: int = 2048,
    n_layers: int = 6,
    n_heads: int = 8,
    max_len: int = 2048,
    dropout: float = 0.1,
    dropout_shared_axes: Axes = None,
    ff_activation: str = "Relu",
) -> ModelConfig:
    from zoo.models.transformer import TransformerLMConfig

    return TransformerLMConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        d_ff=d_ff,
        num_layers=n_layers,
        num_heads=n_heads,
        max_len=max_len,
        dropout_rate=dropout,
        activation=activation(ff_activation),
    )


def _transformer_encoder(
    vocab_size: int,
    *,
    n_classes: int = 10,
    d_model: int = 512,
    d_ff: int = 2048,
    n_layers: int = 6,
    n_heads: int = 8,
    max_len: int = 2048,
    dropout: float = 0.1,
    dropout_shared_axes: Axes = None,
    ff_activation: str = "Relu",
) -> ModelConfig:
    from zoo.models.transformer import TransformerEncoderConfig
    from zoo.models.trax.transformer import TransformerEncoderQuirks

    return TransformerEncoderConfig(
        vocab_size=vocab_size,
        num_classes=n_classes,
        d_model=d_model,
        d_ff=d_ff,
        num_layers=n_layers,
        num_heads=n_heads,
        max_len=max_len,
        dropout_rate=dropout,
        activation=activation(ff_activation),
        trax=TransformerEncoderQuirks(average_padding=True),
    )


def _transformer_decoder(
    vocab_size: int | None = None,
    *,
    d_model: int = 512,
    d_ff: int = 2048,
    n_layers: int = 6,
    n_heads: int = 8,
    max_len: int = 2048,
    dropout: float = 0.1,
    dropout_shared_axes: Axes = None,
    ff_activation: str = "Relu",
) -> ModelConfig:
    from zoo.models.transformer import TransformerDecoderConfig

    return TransformerDecoderConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        d_ff=d_ff,
        num_layers=n_layers,
        num_heads=n_heads,
        max_len=max_len,
        dropout_rate=dropout,
        activation=activation(ff_activation),
    )


def _bag_of_embeddings(*, vocab_size: int, d_feature: int, n_classes: int) -> ModelConfig:
    """The tutorials' `Serial(Embedding, Mean, Dense, LogSoftmax)`, which has no constructor."""
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.models.trax.bag_of_embeddings import BagOfEmbeddingsQuirks

    return BagOfEmbeddingsConfig(
        vocab_size=vocab_size,
        d_model=d_feature,
        num_classes=n_classes,
        trax=BagOfEmbeddingsQuirks(average_padding=True),
    )


def _rnn_lm(
    vocab_size: int,
    *,
    d_model: int = 512,
    n_layers: int = 2,
    rnn_cell: str = "LSTMCell",
    rnn_cell_d_state_multiplier: int = 2,
    dropout: float = 0.1,
) -> ModelConfig:
    from zoo.models.lstm import RecurrentLMConfig

    cell = rnn_cell.rpartition(".")[2]
    if cell not in CELLS:
        raise ConfigError(
            f"no recurrent cell of trax named {rnn_cell!r} is known"
            f"{configs.did_you_mean(cell, CELLS)} (known: {', '.join(CELLS)})"
        )
    name, states = CELLS[cell]
    if rnn_cell_d_state_multiplier != states:
        raise ConfigError(
            f"RNNLM: rnn_cell_d_state_multiplier is {rnn_cell_d_state_multiplier}; the state of "
            f"{cell} has {states} times its width"
        )
    return RecurrentLMConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        num_layers=n_layers,
        cell=name,
        dropout_rate=dropout,
    )


def _gru_lm(vocab_size: int = 256, *, d_model: int = 512, n_layers: int = 1) -> ModelConfig:
    from zoo.models.lstm import RecurrentLMConfig

    return RecurrentLMConfig(
        vocab_size=vocab_size, d_model=d_model, num_layers=n_layers, cell="gru", dropout_rate=0.0
    )


def _lstm_seq2seq(
    input_vocab_size: int = 256,
    target_vocab_size: int = 256,
    *,
    d_model: int = 512,
    n_encoder_layers: int = 2,
    n_decoder_layers: int = 2,
    n_attention_heads: int = 1,
    attention_dropout: float = 0.0,
) -> ModelConfig:
    from zoo.models.seq2seq import LSTMSeq2SeqConfig

    return LSTMSeq2SeqConfig(
        vocab_size=input_vocab_size,
        target_vocab_size=target_vocab_size,
        d_model=d_model,
        num_encoder_layers=n_encoder_layers,
        num_decoder_layers=n_decoder_layers,
        num_heads=n_attention_heads,
        attention_dropout_rate=attention_dropout,
        dropout_rate=0.0,
        read_padding=True,
    )


def _lstm_tagger(*, vocab_size: int, d_model: int, n_classes: int) -> ModelConfig:
    """The courses' `Serial(Embedding, LSTM, Dense, LogSoftmax)`, which has no constructor."""
    from zoo.models.lstm import LSTMTaggerConfig

    return LSTMTaggerConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        num_classes=n_classes,
        bidirectional=False,
        dropout_rate=0.0,
        pad_id=None,  # 0 is a word
    )


def _mlp(
    layer_widths: tuple[int, ...] = (128, 64),
    *,
    activation_fn: str = "Relu",
    out_activation: bool = False,
    flatten: bool = True,
) -> ModelConfig:
    from zoo.models.mlp import MLPConfig
    from zoo.models.trax.mlp import MLPQuirks

    if not layer_widths:
        raise ConfigError("MLP(layer_widths=()) has no layers; give the width of at least one")
    *hidden_sizes, num_classes = layer_widths
    return MLPConfig(
        hidden_sizes=tuple(hidden_sizes),
        num_classes=num_classes,
        activation=activation(activation_fn),
        trax=MLPQuirks(activate_output=True) if out_activation else None,
        flatten=flatten,
    )


def _resnet50(
    *,
    d_hidden: int = 64,
    n_output_classes: int = 1001,
    norm: str = "BatchNorm",
    non_linearity: str = "Relu",
) -> ModelConfig:
    from zoo.models.resnet import ResNetConfig

    if norm.rpartition(".")[2] != "BatchNorm":
        raise ConfigError(f"Resnet50.norm is {norm!r}; the zoo has BatchNorm alone")
    return ResNetConfig(
        width=d_hidden,
        num_classes=n_output_classes,
        activation=activation(non_linearity),
        norm_momentum=0.999,
        pool_window=7,
        stride_on="1x1",
        zero_init=False,
        trax_layers=True,
    )


def _wide_resnet(
    *,
    n_blocks: int = 3,
    widen_factor: int = 1,
    n_output_classes: int = 10,
    bn_momentum: float = 0.9,
) -> ModelConfig:
    from zoo.models.resnet import WideResNetConfig

    return WideResNetConfig(
        num_blocks=n_blocks,
        widen_factor=widen_factor,
        num_classes=n_output_classes,
        norm_momentum=bn_momentum,
        pool_window=8,
        trax_layers=True,
        trax_groups=True,
    )


CONSTRUCTORS: Mapping[str, Callable[..., ModelConfig]] = {
    "Transformer": _transformer,
    "TransformerLM": _transformer_lm,
    "TransformerEncoder": _transformer_encoder,
    "TransformerDecoder": _transformer_decoder,
    "BagOfEmbeddings": _bag_of_embeddings,
    "RNNLM": _rnn_lm,
    "GRULM": _gru_lm,
    "LSTMSeq2SeqAttn": _lstm_seq2seq,
    "LSTMTagger": _lstm_tagger,
    "MLP": _mlp,
    "ReformerLM": reformer_lm,
    "Reformer": reformer,
    "Resnet50": _resnet50,
    "WideResnet": _wide_resnet,
}
"""By trax's name, save for BagOfEmbeddings and LSTMTagger."""


def config(name: str, **kwargs: Any) -> ModelConfig:
    """The config of the model that trax's constructor made, from its name and its arguments.

    >>> config("Transformer", input_vocab_size=33300, d_ff=2048, mode="predict")  # doctest: +SKIP

    Args:
      name: `Transformer`, `TransformerLM`, `TransformerEncoder`, `TransformerDecoder`, `RNNLM`,
        `GRULM`, `LSTMSeq2SeqAttn`, `MLP`, `Resnet50`, `WideResnet`, `ReformerLM`, `Reformer`,
        `BagOfEmbeddings` for the tutorials' `Serial(Embedding, Mean, Dense, LogSoftmax)`, with
        `vocab_size`, `d_feature` and `n_classes`, or `LSTMTagger` for the courses'
        `Serial(Embedding, LSTM, Dense, LogSoftmax)`, with `vocab_size`, `d_model` and `n_classes`.
      kwargs: trax's own, with trax's defaults. A layer is given by name, as `ff_activation="Gelu"`.
        `attention_type` is a name, or a mapping as {"type": "LSHSelfAttention", "chunk_len": 64},
        or a list of these, one a layer in turn.
        `mode` is accepted, and so is `dropout_shared_axes`: neither is part of the model.

    Raises:
      ConfigError: an unknown name or argument, one that is missing or of another type.
    """
    return _call(name, (), kwargs)


def parse_call(text: str) -> ModelConfig:
    """The config of a call to a constructor of trax, written in Python. It is never evaluated.

    >>> parse_call("trax.models.MLP((128, 10), activation_fn=tl.Tanh)")  # doctest: +SKIP

    Args:
      text: the call. Its arguments are literals and names of layers, as `tl.Gelu`.

    Raises:
      ConfigError: it is no such call, or as with `config`.
    """
    call = expression(text)
    name = last_name(call.func) if isinstance(call, ast.Call) else None
    if not isinstance(call, ast.Call) or name is None:
        raise ConfigError(f"{text!r} is not a call, as Transformer(input_vocab_size=33300)")
    kwargs = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ConfigError(f"{text!r}: write the arguments out, `**` cannot be read")
        kwargs[keyword.arg] = evaluate(keyword.value, text)
    return _call(name, [evaluate(argument, text) for argument in call.args], kwargs)


def _call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> ModelConfig:
    if name not in CONSTRUCTORS:
        raise ConfigError(
            f"no model of trax named {name!r} is known{configs.did_you_mean(name, CONSTRUCTORS)} "
            f"(known: {', '.join(CONSTRUCTORS)})"
        )
    constructor = CONSTRUCTORS[name]
    mode = kwargs.get("mode", MODES[0])
    if mode not in MODES:
        raise ConfigError(f"{name}.mode is {mode!r}; it is {', '.join(MODES)}")
    kwargs = {argument: value for argument, value in kwargs.items() if argument != "mode"}
    known = inspect.signature(constructor)
    for argument in kwargs:
        if argument not in known.parameters:
            raise ConfigError(
                f"{name} has no argument {argument!r}"
                f"{configs.did_you_mean(argument, known.parameters)} "
                f"(arguments: {', '.join(known.parameters)}, mode)"
            )
    try:
        arguments = known.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise ConfigError(f"{name}: {error}; give the arguments by name") from None
    types = get_type_hints(constructor)
    return constructor(
        **{
            argument: configs.check(value, types[argument], f"{name}.{argument}")
            for argument, value in arguments.items()
        }
    )
