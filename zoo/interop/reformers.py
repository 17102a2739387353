"""Configs of the zoo from calls to trax's Reformer constructors, and from its attention types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo import config as configs
from zoo.config import ConfigError
from zoo.interop.arguments import activation, evaluate, expression
from zoo.models.base import ModelConfig
from zoo.models.reformer.attention import SelfAttentionConfig
from zoo.models.reformer.hashing import LSHAttentionConfig
from zoo.models.reformer.heads import AttentionConfig
from zoo.models.reformer.models import ReformerConfig, ReformerLMConfig
from zoo.models.trax.reformer import ReformerQuirks


def reformer_lm(
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
    kinds = tuple(_attention_type(kind) for kind in types)
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
        attention=kinds,
        pad_id=None,
        axial_shape=shape,
        axial_widths=widths,
        activation=activation(ff_activation),
        ff_chunk_len=ff_chunk_size or None,
        trax=ReformerQuirks(
            wrap_around=any(kind.chunk_len is not None for kind in kinds),
            decode_all=True,
            count_next=True,
        ),
    )


def reformer(
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
        axial_shape=shape,
        axial_widths=widths,
        activation=activation(ff_activation),
        ff_chunk_len=ff_chunk_size or None,
        trax=ReformerQuirks(first_padding_visible=True, sum_source=True),
    )


def _at_default(model: str, **arguments: tuple[object, object]) -> None:
    """Raises ConfigError where an argument has another value than (value, default) says."""
    for name, (value, default) in arguments.items():
        if value != default:
            raise ConfigError(
                f"{model}.{name} is {value!r}; the zoo has only what trax computes at {default!r}"
            )


POSITION_TYPES = ("sin-cos", "fixed-base", "infinite", "infinite-affine", "time-bin")
"""Values of trax's `pos_type` that the zoo does not have; any other text means axial."""


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


WITHOUT_EFFECT = (
    "mode",
    "attention_dropout",
    "output_dropout",
    "predict_mem_len",
    "predict_drop_len",
    "max_length_for_buckets",
    "n_parallel_heads",
    "use_python_loop",
    "use_reference_code",
)
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
"""The same for `LSHSelfAttention`."""

ATTENTION: Mapping[str, tuple[type[AttentionConfig], Mapping[str, tuple[str, Any]]]] = {
    "SelfAttention": (SelfAttentionConfig, SELF_ATTENTION),
    "LSHSelfAttention": (LSHAttentionConfig, LSH_SELF_ATTENTION),
}
"""trax's class -> our config and its arguments."""


def _attention_type(kind: Any) -> AttentionConfig:
    """The kind of attention that trax's class is.

    Args:
      kind: the name of the class, a call to it in Python, or a mapping with the name as `type` and
        its arguments.
    """
    if isinstance(kind, str):
        text = kind
        kind = evaluate(expression(text), text)
    arguments = dict(kind) if isinstance(kind, Mapping) else {"type": kind}
    name = str(arguments.pop("type", None)).rpartition(".")[2]
    if name not in ATTENTION:
        raise ConfigError(
            f"no attention of trax named {name!r} is known{configs.did_you_mean(name, ATTENTION)} "
            f"(known: {', '.join(ATTENTION)}); give its name, or a mapping with its `type`"
        )
    config, known = ATTENTION[name]
    if name == "LSHSelfAttention" and not arguments.get("bias"):
        arguments.pop("bias", None)  # with a bias, trax's does not run
    fields = {}
    for argument, value in arguments.items():
        if argument in WITHOUT_EFFECT:
            continue
        if argument not in known:
            raise ConfigError(
                f"{name} has no argument {argument!r}{configs.did_you_mean(argument, known)} "
                f"(arguments: {', '.join(known)})"
            )
        field, annotation = known[argument]
        fields[field] = configs.check(value, annotation, f"{name}.{argument}")
    return config(**fields)
