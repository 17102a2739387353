"""trax's constructors as configs of the zoo: their names, arguments and defaults.

Each constructor here has the arguments of a model of trax (its last version) and returns the config
of that model. Layers, which trax takes as classes, are given by name.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from zoo import config as configs
from zoo.config import ConfigError
from zoo.interop.arguments import activation, evaluate, expression, last_name
from zoo.interop.reformers import reformer, reformer_lm
from zoo.models.base import ModelConfig
from zoo.models.lstm import LSTMTaggerConfig
from zoo.models.mlp import MLPConfig
from zoo.models.recurrent import CellName, RecurrentLMConfig
from zoo.models.resnet import ResNetConfig, WideResNetConfig
from zoo.models.seq2seq import LSTMSeq2SeqConfig
from zoo.models.transformer import (
    TransformerConfig,
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    TransformerLMConfig,
)
from zoo.models.trax.lstm import LSTMSeq2SeqQuirks
from zoo.models.trax.mlp import MLPQuirks
from zoo.models.trax.resnet import ResNetQuirks, WideResNetQuirks
from zoo.models.trax.transformer import TransformerEncoderQuirks

CELLS: Mapping[str, tuple[CellName, int]] = {"LSTMCell": ("lstm", 2), "GRUCell": ("gru", 1)}
"""trax's cell -> the zoo's name, and the width of the state divided by that of the output."""

MODES = ("train", "eval", "predict")

Axes = tuple[int, ...] | None
"""`dropout_shared_axes`: which random numbers training shares. It is not part of the model."""


REQUIRED = inspect.Parameter.empty
"""In place of a default: the argument must be given."""

Argument = tuple[str | None, Any, Any]
"""Our field (None: no part of the model), trax's type and trax's default."""

TRANSFORMER: Mapping[str, Argument] = {
    "d_model": ("d_model", int, 512),
    "d_ff": ("d_ff", int, 2048),
    "n_heads": ("num_heads", int, 8),
    "max_len": ("max_len", int, 2048),
    "dropout": ("dropout_rate", float, 0.1),
    "dropout_shared_axes": (None, Axes, None),
    "ff_activation": ("activation", str, "Relu"),
}
"""The arguments that all Transformers of trax have."""

LAYERS: Mapping[str, Argument] = {"n_layers": ("num_layers", int, 6)}
BOTH_LAYERS: Mapping[str, Argument] = {
    "n_encoder_layers": ("num_encoder_layers", int, 6),
    "n_decoder_layers": ("num_decoder_layers", int, 6),
}


def _renamed(
    cls: Callable[..., ModelConfig],
    arguments: Mapping[str, Argument],
    *,
    positional: int = 1,
    **fixed: Any,
) -> Callable[..., ModelConfig]:
    """A constructor of trax whose arguments are fields of a config under other names.

    Args:
      cls: the config class.
      arguments: those of trax's constructor.
      positional: number of arguments that may be given by position.
      fixed: fields that trax's model always has like this.
    """

    def construct(**values: Any) -> ModelConfig:
        fields = {}
        for name, (field, _, default) in arguments.items():
            value: Any = values.get(name, default)
            if field is not None:
                fields[field] = activation(value) if field == "activation" else value
        return cls(**fields, **fixed)

    either, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, either if place < positional else keyword, default=default)
        for place, (name, (_, _, default)) in enumerate(arguments.items())
    ]
    construct.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    construct.__annotations__ = {name: kind for name, (_, kind, _) in arguments.items()}
    return construct


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


def _mlp(
    layer_widths: tuple[int, ...] = (128, 64),
    *,
    activation_fn: str = "Relu",
    out_activation: bool = False,
    flatten: bool = True,
) -> ModelConfig:
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
    if norm.rpartition(".")[2] != "BatchNorm":
        raise ConfigError(f"Resnet50.norm is {norm!r}; the zoo has only BatchNorm")
    return ResNetConfig(
        width=d_hidden,
        num_classes=n_output_classes,
        activation=activation(non_linearity),
        norm_momentum=0.999,
        zero_init=False,
        trax=ResNetQuirks(),
    )


CONSTRUCTORS: Mapping[str, Callable[..., ModelConfig]] = {
    "Transformer": _renamed(
        TransformerConfig,
        {
            "input_vocab_size": ("vocab_size", int, REQUIRED),
            "output_vocab_size": ("target_vocab_size", int | None, None),
            **BOTH_LAYERS,
            **TRANSFORMER,
        },
    ),
    "TransformerLM": _renamed(
        TransformerLMConfig, {"vocab_size": ("vocab_size", int, REQUIRED), **LAYERS, **TRANSFORMER}
    ),
    "TransformerEncoder": _renamed(
        TransformerEncoderConfig,
        {
            "vocab_size": ("vocab_size", int, REQUIRED),
            "n_classes": ("num_classes", int, 10),
            **LAYERS,
            **TRANSFORMER,
        },
        trax=TransformerEncoderQuirks(average_padding=True),
    ),
    "TransformerDecoder": _renamed(
        TransformerDecoderConfig,
        {"vocab_size": ("vocab_size", int | None, None), **LAYERS, **TRANSFORMER},
    ),
    "BagOfEmbeddings": _bag_of_embeddings,
    "RNNLM": _rnn_lm,
    "GRULM": _renamed(
        RecurrentLMConfig,
        {
            "vocab_size": ("vocab_size", int, 256),
            "d_model": ("d_model", int, 512),
            "n_layers": ("num_layers", int, 1),
        },
        cell="gru",
        dropout_rate=0.0,
    ),
    "LSTMSeq2SeqAttn": _renamed(
        LSTMSeq2SeqConfig,
        {
            "input_vocab_size": ("vocab_size", int, 256),
            "target_vocab_size": ("target_vocab_size", int, 256),
            "d_model": ("d_model", int, 512),
            "n_encoder_layers": ("num_encoder_layers", int, 2),
            "n_decoder_layers": ("num_decoder_layers", int, 2),
            "n_attention_heads": ("num_heads", int, 1),
            "attention_dropout": ("attention_dropout_rate", float, 0.0),
        },
        positional=2,
        dropout_rate=0.0,
        trax=LSTMSeq2SeqQuirks(encode_padding=True),
    ),
    # The courses' `Serial(Embedding, LSTM, Dense, LogSoftmax)`, in which 0 is a word.
    "LSTMTagger": _renamed(
        LSTMTaggerConfig,
        {
            "vocab_size": ("vocab_size", int, REQUIRED),
            "d_model": ("d_model", int, REQUIRED),
            "n_classes": ("num_classes", int, REQUIRED),
        },
        positional=0,
        bidirectional=False,
        dropout_rate=0.0,
        pad_id=None,
    ),
    "MLP": _mlp,
    "ReformerLM": reformer_lm,
    "Reformer": reformer,
    "Resnet50": _resnet50,
    "WideResnet": _renamed(
        WideResNetConfig,
        {
            "n_blocks": ("num_blocks", int, 3),
            "widen_factor": ("widen_factor", int, 1),
            "n_output_classes": ("num_classes", int, 10),
            "bn_momentum": ("norm_momentum", float, 0.9),
        },
        positional=0,
        trax=WideResNetQuirks(),
    ),
}
"""By trax's name. BagOfEmbeddings and LSTMTagger are networks of trax's users, without a name."""


def config(name: str, **kwargs: Any) -> ModelConfig:
    """The config of the model that trax's constructor made, from its name and its arguments.

    >>> config("Transformer", input_vocab_size=33300, d_ff=2048, mode="predict")  # doctest: +SKIP

    Args:
      name: `Transformer`, `TransformerLM`, `TransformerEncoder`, `TransformerDecoder`, `RNNLM`,
        `GRULM`, `LSTMSeq2SeqAttn`, `MLP`, `Resnet50`, `WideResnet`, `ReformerLM`, `Reformer`,
        `BagOfEmbeddings` for the tutorials' `Serial(Embedding, Mean, Dense, LogSoftmax)`, with
        `vocab_size`, `d_feature` and `n_classes`, or `LSTMTagger` for the courses'
        `Serial(Embedding, LSTM, Dense, LogSoftmax)`, with `vocab_size`, `d_model` and `n_classes`.
      kwargs: trax's own, with trax's defaults. A layer is given by name: `ff_activation="Gelu"`.
        `attention_type` is a name, a mapping such as {"type": "LSHSelfAttention", "chunk_len": 64},
        or a list of these, one for each layer in turn. `mode` and `dropout_shared_axes` are
        accepted; they are not part of the model.

    Raises:
      ConfigError: a name or argument is unknown, or an argument is missing or of another type.
    """
    return _call(name, (), kwargs)


def parse_call(text: str) -> ModelConfig:
    """The config of a call to a constructor of trax, written in Python. It is never evaluated.

    >>> parse_call("trax.models.MLP((128, 10), activation_fn=tl.Tanh)")  # doctest: +SKIP

    Args:
      text: the call. Its arguments are literals and names of layers, such as `tl.Gelu`.

    Raises:
      ConfigError: it is not such a call, or as for `config`.
    """
    call = expression(text)
    name = last_name(call.func) if isinstance(call, ast.Call) else None
    if not isinstance(call, ast.Call) or name is None:
        raise ConfigError(
            f"{text!r:.200} is not a call such as Transformer(input_vocab_size=33300)"
        )
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
