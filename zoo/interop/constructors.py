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
from zoo.models.base import ModelConfig

if TYPE_CHECKING:
    from zoo.models.layers import Activation
    from zoo.models.recurrent import CellName

ACTIVATIONS: Mapping[str, Activation] = {
    "Relu": "relu",
    "Gelu": "gelu",
    "FastGelu": "gelu_tanh",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Swish": "swish",
}
"""trax's layer -> the zoo's name."""

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
        activation=_activation(ff_activation),
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
        activation=_activation(ff_activation),
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

    return TransformerEncoderConfig(
        vocab_size=vocab_size,
        num_classes=n_classes,
        d_model=d_model,
        d_ff=d_ff,
        num_layers=n_layers,
        num_heads=n_heads,
        max_len=max_len,
        dropout_rate=dropout,
        activation=_activation(ff_activation),
        average_padding=True,  # trax averages over all positions
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
        activation=_activation(ff_activation),
    )


def _bag_of_embeddings(*, vocab_size: int, d_feature: int, n_classes: int) -> ModelConfig:
    """The tutorials' `Serial(Embedding, Mean, Dense, LogSoftmax)`, which has no constructor."""
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig

    return BagOfEmbeddingsConfig(
        vocab_size=vocab_size, d_model=d_feature, num_classes=n_classes, average_padding=True
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
    from zoo.models.lstm import LSTMSeq2SeqConfig

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

    if not layer_widths:
        raise ConfigError("MLP(layer_widths=()) has no layers; give the width of at least one")
    *hidden_sizes, num_classes = layer_widths
    return MLPConfig(
        hidden_sizes=tuple(hidden_sizes),
        num_classes=num_classes,
        activation=_activation(activation_fn),
        activate_output=out_activation,
        flatten=flatten,
    )


def _reformer_lm(
    vocab_size: int,
    *,
    d_model: int = 512,
    d_ff: int = 2048,
    d_attention_key: int = 64,
    d_attention_value: int = 64,
    n_layers: int = 6,
    n_heads: int = 8,
    dropout: float = 0.1,
    max_len: int = 2048,
    attention_type: Any = "SelfAttention",
    pos_type: str | None = None,
    pos_axial_shape: tuple[int, ...] | None = (),
    pos_d_axial_embs: tuple[int, ...] | None = None,
    axial_pos_shape: tuple[int, ...] | None = (),
    d_axial_pos_embs: tuple[int, ...] | None = None,
    pos_start_from_zero_prob: float = 1.0,
    pos_max_offset_to_add: int = 0,
    ff_activation: str = "FastGelu",
    ff_use_sru: Any = 0,
    ff_chunk_size: int = 0,
    ff_sparsity: Any = 0,
    loss_sparsity_type: str | None = "mult",
    loss_sparsity: int = 0,
    loss_d_lowrank: int = 0,
    loss_sparsity_prob: float | None = None,
    attention_chunk_size: int = 0,
) -> ModelConfig:
    from zoo.models.reformer.models import ReformerLMConfig

    _at_default(
        "ReformerLM",
        pos_start_from_zero_prob=(pos_start_from_zero_prob, 1.0),
        pos_max_offset_to_add=(pos_max_offset_to_add, 0),
        ff_use_sru=(ff_use_sru, 0),
        ff_sparsity=(ff_sparsity, 0),
        loss_sparsity_type=(loss_sparsity_type, "mult"),
        loss_sparsity=(loss_sparsity, 0),
        loss_d_lowrank=(loss_d_lowrank, 0),
        loss_sparsity_prob=(loss_sparsity_prob, None),
    )
    if d_axial_pos_embs is not None:  # the names up to 1.3.6, which needed no pos_type
        shape, widths = axial_pos_shape or (), d_axial_pos_embs
    else:
        shape, widths = _axial("ReformerLM", pos_type, pos_axial_shape, pos_d_axial_embs)
    types = attention_type if isinstance(attention_type, list | tuple) else [attention_type]
    return ReformerLMConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        d_ff=d_ff,
        d_key=d_attention_key,
        d_value=d_attention_value,
        num_layers=n_layers,
        num_heads=n_heads,
        dropout_rate=dropout,
        max_len=max_len,
        attention=tuple(_attention_type(kind) for kind in types),
        axial_shape=shape,
        axial_widths=widths,
        activation=_activation(ff_activation),
        ff_chunk_len=ff_chunk_size or None,
    )


def _reformer(
    input_vocab_size: int,
    *,
    output_vocab_size: int | None = None,
    d_model: int = 512,
    d_ff: int = 2048,
    n_encoder_layers: int = 6,
    n_decoder_layers: int = 6,
    n_heads: int = 8,
    dropout: float = 0.1,
    max_len: int = 2048,
    ff_activation: str = "Relu",
    ff_dropout: float | None = None,
    pos_type: str | None = None,
    pos_axial_shape: tuple[int, ...] | None = None,
    pos_d_axial_embs: tuple[int, ...] | None = None,
    ff_use_sru: Any = 0,
    ff_chunk_size: int = 0,
    ff_sparsity: Any = 0,
) -> ModelConfig:
    from zoo.models.reformer.models import ReformerConfig
    from zoo.models.reformer.self_attention import SelfAttentionConfig

    _at_default(
        "Reformer",
        ff_dropout=(ff_dropout, None),
        ff_use_sru=(ff_use_sru, 0),
        ff_sparsity=(ff_sparsity, 0),
    )
    if d_model % n_heads:
        raise ConfigError(f"Reformer: d_model={d_model} must be a multiple of n_heads={n_heads}")
    shape, widths = _axial("Reformer", pos_type, pos_axial_shape, pos_d_axial_embs)
    return ReformerConfig(
        vocab_size=input_vocab_size,
        target_vocab_size=output_vocab_size,
        d_model=d_model,
        d_ff=d_ff,
        d_key=d_model // n_heads,
        d_value=d_model // n_heads,
        num_encoder_layers=n_encoder_layers,
        num_decoder_layers=n_decoder_layers,
        num_heads=n_heads,
        dropout_rate=dropout,
        max_len=max_len,
        attention=(SelfAttentionConfig(first_padding_visible=True),),
        sum_source=True,
        axial_shape=shape,
        axial_widths=widths,
        activation=_activation(ff_activation),
        ff_chunk_len=ff_chunk_size or None,
    )


def _at_default(model: str, **arguments: tuple[object, object]) -> None:
    """Raises ConfigError where an argument has another value than (value, default) says."""
    for name, (value, default) in arguments.items():
        if value != default:
            raise ConfigError(
                f"{model}.{name} is {value!r}; the zoo has only what trax computes at {default!r}"
            )


POSITION_TYPES = ("sin-cos", "fixed-base", "infinite", "infinite-affine", "time-bin")
"""What trax takes as `pos_type`; any other text means axial."""


def _axial(
    model: str,
    pos_type: str | None,
    shape: tuple[int, ...] | None,
    widths: tuple[int, ...] | None,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and widths of axial position encodings; empty for a plain table."""
    if not pos_type:
        return (), ()
    if pos_type in POSITION_TYPES:
        raise ConfigError(
            f"{model}.pos_type is {pos_type!r}; the zoo has None, a trained table, and 'axial'"
        )
    if widths is None:
        raise ConfigError(f"{model}.pos_type is {pos_type!r}; give pos_d_axial_embs with it")
    return shape or (), widths


WITHOUT_EFFECT = ("mode", "predict_mem_len", "predict_drop_len", "max_length_for_buckets")
"""Arguments of attention that are accepted at any value."""

SELF_ATTENTION: Mapping[str, tuple[str, Any]] = {
    "share_qk": ("share_qk", bool),
    "chunk_len": ("chunk_len", int | None),
    "n_chunks_before": ("chunks_before", int),
    "n_chunks_after": ("chunks_after", int),
    "bias": ("use_bias", bool),
}
"""Argument of trax's `SelfAttention` -> our field and its type."""

LSH_SELF_ATTENTION: Mapping[str, tuple[str, Any]] = {
    "chunk_len": ("chunk_len", int),
    "n_chunks_before": ("chunks_before", int),
    "n_chunks_after": ("chunks_after", int),
    "n_hashes": ("num_hashes", int),
    "n_buckets": ("num_buckets", int | tuple[int, ...] | None),
}
"""… and of `LSHSelfAttention`."""


def _attention_type(kind: Any) -> Any:
    """A type of attention by its name, or as a mapping with its arguments beside its `type`."""
    from zoo.models.reformer.lsh_attention import LSHAttentionConfig
    from zoo.models.reformer.self_attention import SelfAttentionConfig

    if isinstance(kind, str):
        text = kind
        kind = _value(_expression(text), text)
    arguments = dict(kind) if isinstance(kind, Mapping) else {"type": kind}
    name = str(arguments.pop("type", None)).rpartition(".")[2]
    known = {"SelfAttention": SELF_ATTENTION, "LSHSelfAttention": LSH_SELF_ATTENTION}
    if name not in known:
        raise ConfigError(
            f"no attention of trax named {name!r} is known{configs.did_you_mean(name, known)} "
            f"(known: {', '.join(known)}); give its name, or a mapping with its `type`"
        )
    if name == "LSHSelfAttention" and not arguments.get("bias"):
        arguments.pop("bias", None)  # with a bias, trax's does not run
    fields = {}
    for argument, value in arguments.items():
        if argument in WITHOUT_EFFECT:
            continue
        if argument not in known[name]:
            raise ConfigError(
                f"{name} has no argument {argument!r}"
                f"{configs.did_you_mean(argument, known[name])} "
                f"(arguments: {', '.join(known[name])})"
            )
        field, annotation = known[name][argument]
        fields[field] = configs.check(value, annotation, f"{name}.{argument}")
    if name == "SelfAttention":
        return SelfAttentionConfig(**fields, wrap_around=True, decode_all=True)
    return LSHAttentionConfig(**fields, wrap_around=True, count_next=True)


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
    "ReformerLM": _reformer_lm,
    "Reformer": _reformer,
}
"""By trax's name, save for BagOfEmbeddings and LSTMTagger."""


def config(name: str, **kwargs: Any) -> ModelConfig:
    """The config of the model that trax's constructor made, from its name and its arguments.

    >>> config("Transformer", input_vocab_size=33300, d_ff=2048, mode="predict")  # doctest: +SKIP

    Args:
      name: `Transformer`, `TransformerLM`, `TransformerEncoder`, `TransformerDecoder`, `RNNLM`,
        `GRULM`, `LSTMSeq2SeqAttn`, `MLP`, `ReformerLM`, `Reformer`, `BagOfEmbeddings` for the
        tutorials' `Serial(Embedding, Mean, Dense, LogSoftmax)`, with `vocab_size`, `d_feature` and
        `n_classes`, or `LSTMTagger` for the courses' `Serial(Embedding, LSTM, Dense, LogSoftmax)`,
        with `vocab_size`, `d_model` and `n_classes`.
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
    call = _expression(text)
    name = _last_name(call.func) if isinstance(call, ast.Call) else None
    if not isinstance(call, ast.Call) or name is None:
        raise ConfigError(f"{text!r} is not a call, as Transformer(input_vocab_size=33300)")
    kwargs = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ConfigError(f"{text!r}: write the arguments out, `**` cannot be read")
        kwargs[keyword.arg] = _value(keyword.value, text)
    return _call(name, [_value(argument, text) for argument in call.args], kwargs)


def _expression(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{text!r} is not a call in Python: {error}") from error


def _value(node: ast.expr, text: str) -> Any:
    name = _last_name(node)
    if name is not None:
        return name
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item, text) for item in node.elts]
    if isinstance(node, ast.Call) and _last_name(node.func) == "partial" and len(node.args) == 1:
        # As attention is given: functools.partial(tl.LSHSelfAttention, chunk_len=64)
        arguments = {str(keyword.arg): _value(keyword.value, text) for keyword in node.keywords}
        return {"type": _value(node.args[0], text), **arguments}
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ConfigError(
            f"{text!r}: {ast.unparse(node)!r} is neither a literal nor the name of a layer; write "
            "its value"
        ) from None


def _last_name(node: ast.expr) -> str | None:
    """`Gelu` of `Gelu`, `tl.Gelu` and `trax.layers.Gelu`; None of what is no dotted name."""
    last = node.id if isinstance(node, ast.Name) else None
    if isinstance(node, ast.Attribute) and _last_name(node.value) is not None:
        last = node.attr
    return last


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


def _activation(layer: str) -> Activation:
    name = layer.rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise ConfigError(
            f"no activation of trax named {layer!r} is known"
            f"{configs.did_you_mean(name, ACTIVATIONS)} (known: {', '.join(ACTIVATIONS)})"
        )
    return ACTIVATIONS[name]
