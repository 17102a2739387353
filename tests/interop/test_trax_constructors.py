"""trax's calls as configs: defaults, names of layers, and every message about a wrong one."""

from __future__ import annotations

import pytest

from zoo.config import ConfigError
from zoo.interop import trax


def test_defaults_are_trax_s():
    config = trax.config("MLP")
    assert (config.hidden_sizes, config.num_classes) == ((128,), 64)
    assert (config.activation, config.trax, config.flatten) == ("relu", None, True)
    assert config.input_shape is None


def test_arguments_become_the_zoo_s_fields():
    config = trax.config(
        "MLP", layer_widths=[9, 7, 5], activation_fn="tl.FastGelu", out_activation=True, mode="eval"
    )
    assert (config.hidden_sizes, config.num_classes) == ((9, 7), 5)
    assert (config.activation, config.trax.activate_output) == ("gelu_tanh", True)
    config = trax.config("BagOfEmbeddings", vocab_size=50, d_feature=16, n_classes=3)
    assert (config.vocab_size, config.d_model, config.num_classes) == (50, 16, 3)
    assert config.trax.average_padding


TRANSFORMERS = ("Transformer", "TransformerLM", "TransformerEncoder", "TransformerDecoder")


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_transformers_have_trax_s_defaults(name):
    pytest.importorskip("zoo.models.transformer")
    vocabulary = "input_vocab_size" if name == "Transformer" else "vocab_size"
    config = trax.config(name, **{vocabulary: 33}, mode="predict", dropout_shared_axes=(1,))
    assert type(config).__name__ == f"{name}Config"
    sizes = (config.vocab_size, config.d_model, config.d_ff, config.num_heads, config.max_len)
    assert sizes == (33, 512, 2048, 8, 2048)
    assert (config.dropout_rate, config.activation) == (0.1, "relu")
    if name == "Transformer":
        assert (config.num_encoder_layers, config.num_decoder_layers) == (6, 6)
        assert config.target_vocab_size is None
    else:
        assert config.num_layers == 6
    if name == "TransformerEncoder":
        assert (config.num_classes, config.trax.average_padding) == (10, True)


def test_the_arguments_of_a_transformer_become_the_zoo_s_fields():
    pytest.importorskip("zoo.models.transformer")
    config = trax.parse_call(
        "trax.models.Transformer(input_vocab_size=13, output_vocab_size=17, d_model=64, d_ff=128,"
        " n_encoder_layers=2, n_decoder_layers=3, n_heads=2, max_len=256, dropout=0.05,"
        " dropout_shared_axes=(-2,), mode='predict', ff_activation=tl.Gelu)"
    )
    assert (config.vocab_size, config.target_vocab_size) == (13, 17)
    assert (config.d_model, config.d_ff, config.num_heads, config.max_len) == (64, 128, 2, 256)
    assert (config.num_encoder_layers, config.num_decoder_layers) == (2, 3)
    assert (config.dropout_rate, config.activation) == (0.05, "gelu")
    assert trax.config("TransformerDecoder").vocab_size is None


def test_the_recurrent_models_have_trax_s_defaults():
    config = trax.config("RNNLM", vocab_size=33)
    assert (config.vocab_size, config.d_model, config.num_layers) == (33, 512, 2)
    assert (config.cell, config.dropout_rate) == ("lstm", 0.1)
    call = "RNNLM(33, rnn_cell=tl.GRUCell, rnn_cell_d_state_multiplier=1)"
    assert trax.parse_call(call).cell == "gru"
    config = trax.config("GRULM")
    assert (config.vocab_size, config.d_model, config.num_layers) == (256, 512, 1)
    assert config.cell == "gru"
    config = trax.config("LSTMSeq2SeqAttn", n_attention_heads=4)
    assert (config.vocab_size, config.target_vocab_size, config.d_model) == (256, 256, 512)
    assert (config.num_encoder_layers, config.num_decoder_layers, config.num_heads) == (2, 2, 4)
    assert config.trax.encode_padding and not config.bidirectional
    config = trax.config("LSTMTagger", vocab_size=9, d_model=4, n_classes=3)
    assert (config.vocab_size, config.d_model, config.num_classes) == (9, 4, 3)
    assert config.pad_id is None and not config.bidirectional


def test_the_resnets_have_trax_s_defaults():
    config = trax.config("Resnet50", non_linearity="tl.Gelu", mode="train")
    assert (config.width, config.num_classes, config.stage_sizes) == (64, 1001, (3, 4, 6, 3))
    assert (config.norm_momentum, config.trax.pool_window) == (0.999, 7)
    assert (config.activation, config.zero_init) == ("gelu", False)
    config = trax.parse_call("WideResnet(widen_factor=4)")
    assert (config.num_blocks, config.widen_factor, config.num_classes) == (3, 4, 10)
    assert (config.norm_momentum, config.trax.pool_window) == (0.9, 8)


def test_the_reformers_have_trax_s_defaults():
    from zoo.models.trax.reformer import ReformerQuirks

    config = trax.config("ReformerLM", vocab_size=9)
    assert (config.d_model, config.d_ff, config.d_key, config.d_value) == (512, 2048, 64, 64)
    assert (config.num_layers, config.num_heads, config.activation) == (6, 8, "gelu_tanh")
    (attention,) = config.attention
    assert (attention.share_qk, attention.chunk_len, attention.chunks_before) == (False, None, 0)
    assert config.trax == ReformerQuirks(decode_all=True, count_next=True)
    config = trax.config("Reformer", input_vocab_size=9, output_vocab_size=7)
    assert (config.vocab_size, config.target_vocab_size, config.d_key) == (9, 7, 64)
    assert (config.num_encoder_layers, config.num_decoder_layers) == (6, 6)
    assert config.activation == "relu"
    assert config.trax == ReformerQuirks(first_padding_visible=True, sum_source=True)
    config = trax.config("ReformerLM", vocab_size=9, attention_type="LSHSelfAttention")
    (attention,) = config.attention
    assert (attention.chunk_len, attention.chunks_before, attention.chunks_after) == (128, 1, 0)
    assert (attention.num_hashes, attention.num_buckets) == (1, None)
    assert config.trax == ReformerQuirks(wrap_around=True, decode_all=True, count_next=True)


@pytest.mark.parametrize(
    "written",
    [
        [{"type": "tl.LSHSelfAttention", "chunk_len": 8, "n_buckets": [4, 6]}, "SelfAttention"],
        ["functools.partial(LSHSelfAttention, chunk_len=8, n_buckets=[4, 6])", "tl.SelfAttention"],
    ],
)
def test_types_of_attention_are_written_as_mappings_or_as_in_python(written):
    config = trax.config("ReformerLM", vocab_size=9, attention_type=written)
    hashed, full = config.attention
    assert (hashed.chunk_len, hashed.num_buckets, full.chunk_len) == (8, (4, 6), None)
    call = (
        "ReformerLM(9, attention_type=[functools.partial(tl.LSHSelfAttention, chunk_len=8,"
        " n_buckets=[4, 6], predict_mem_len=64), tl.SelfAttention])"
    )
    assert trax.parse_call(call) == config
    call = (
        "ReformerLM(9, attention_type=[{'type': tl.LSHSelfAttention, 'chunk_len': 8,"
        " 'n_buckets': (4, 6)}, SelfAttention])"
    )
    assert trax.parse_call(call) == config


@pytest.mark.parametrize(
    "arguments",
    [
        {"pos_type": "axial", "pos_axial_shape": [4, 8], "pos_d_axial_embs": (256, 256)},
        {"axial_pos_shape": (4, 8), "d_axial_pos_embs": [256, 256]},
    ],
)
def test_axial_positions_have_two_names_and_need_their_widths(arguments):
    config = trax.config("ReformerLM", vocab_size=9, **arguments)
    assert (config.axial_shape, config.axial_widths) == ((4, 8), (256, 256))
    # As in trax, the shape alone does nothing.
    assert trax.config("ReformerLM", vocab_size=9, pos_axial_shape=(4, 8)).axial_shape == ()


@pytest.mark.parametrize(
    "call",
    [
        "MLP((9, 5), activation_fn=Tanh)",
        "MLP(layer_widths=[9, 5], activation_fn='Tanh', mode='predict')",
        "  trax.models.MLP(\n  (9, 5),\n  activation_fn=trax.layers.Tanh,\n)\n",
        "tl.MLP(layer_widths=(9, 5), activation_fn=tl.Tanh, out_activation=False)",
    ],
)
def test_a_call_is_read_as_it_was_written(call):
    expected = trax.config("MLP", layer_widths=(9, 5), activation_fn="Tanh")
    assert trax.parse_call(call) == expected


KNOWN = "(known: Transformer, TransformerLM, TransformerEncoder, TransformerDecoder, BagOf"

MISTAKES = {
    "PolicyAndValue()": f"no model of trax named 'PolicyAndValue' is known {KNOWN}",
    "Resnet50(norm=tl.LayerNorm)": "Resnet50.norm is 'LayerNorm'; the zoo has only BatchNorm",
    "RNNLM(3, rnn_cell=tl.SRU)": "no recurrent cell of trax named 'SRU' is known "
    "(known: LSTMCell, GRUCell)",
    "RNNLM(3, rnn_cell=tl.GRUCell)": "RNNLM: rnn_cell_d_state_multiplier is 2; the state of "
    "GRUCell has 1 times its width",
    "Transfomer(3)": "no model of trax named 'Transfomer' is known; did you mean 'Transformer'?",
    "MLP(layer_width=(3,))": "MLP has no argument 'layer_width'; did you mean 'layer_widths'? "
    "(arguments: layer_widths, activation_fn, out_activation, flatten, mode)",
    "MLP(layer_widths='3')": "MLP.layer_widths: '3' is not of type tuple[int, ...]",
    "MLP(flatten=1)": "MLP.flatten: 1 is not of type bool",
    "MLP(layer_widths=())": "MLP(layer_widths=()) has no layers; give the width of at least one",
    "MLP(mode='test')": "MLP.mode is 'test'; it is train, eval, predict",
    "MLP(activation_fn=tl.Maxout)": "no activation of trax named 'Maxout' is known (known: Relu, ",
    "MLP(activation_fn='Geluu')": "no activation of trax named 'Geluu' is known; did you mean",
    "MLP((3,), tl.Tanh)": "MLP: too many positional arguments; give the arguments by name",
    "MLP((3,), layer_widths=(3,))": "MLP: multiple values for argument 'layer_widths'; give",
    "BagOfEmbeddings(vocab_size=3, n_classes=2)": "missing a required argument: 'd_feature'; give",
    "MLP(layer_widths=(3, n))": "'(3, n)' is neither a literal nor the name of a layer; write its",
    "MLP(layer_widths=tuple([3]))": "'tuple([3])' is neither a literal nor the name of a layer",
    "MLP(activation_fn=lambda x: x)": "'lambda x: x' is neither a literal nor the name of a layer",
    "MLP(**{'flatten': True})": "write the arguments out, `**` cannot be read",
    "ReformerLM(9, attention_type='TimeBinCausalAttention')": "no attention of trax named "
    "'TimeBinCausalAttention' is known; did you mean 'SelfAttention'? (known: SelfAttention, LSHS",
    "ReformerLM(9, attention_type={'type': 'LSHSelfAttention', 'n_hash': 2})": "LSHSelfAttention "
    "has no argument 'n_hash'; did you mean 'n_hashes'? (arguments: chunk_len, n_chunks_before",
    "ReformerLM(9, attention_type={'type': 'SelfAttention', 'chunk_len': '3'})": "SelfAttention."
    "chunk_len: '3' is not of type int | None",
    "ReformerLM(9, ff_sparsity=4)": "ReformerLM.ff_sparsity is 4; the zoo has only what trax "
    "computes at 0",
    "ReformerLM(9, pos_type='time-bin')": "ReformerLM.pos_type is 'time-bin'; the zoo has None, a "
    "trained table, and 'axial'",
    "ReformerLM(9, pos_type='axial')": "ReformerLM.pos_type is 'axial'; give pos_d_axial_embs with",
    "Reformer(9, ff_use_sru=1)": "Reformer.ff_use_sru is 1; the zoo has only what trax computes at",
    "Reformer(9, n_heads=7)": "Reformer: d_model=512 must be a multiple of n_heads=7",
    "MLP": "'MLP' is not a call such as Transformer(input_vocab_size=33300)",
    "models[0](3)": "'models[0](3)' is not a call such as Transformer(",
    "[MLP()]": "'[MLP()]' is not a call such as",
    "": "'' is not a call in Python: invalid syntax",
    "MLP(": "'MLP(' is not a call in Python: '(' was never closed",
    "MLP(x=" + "-" * 9000 + "1)": "--- is not a call in Python: ",
    "MLP({[]: 1})": "'{[]: 1}' is neither a literal nor the name of a layer",
    "import os; MLP()": "is not a call in Python: invalid syntax",
}


@pytest.mark.parametrize("call", MISTAKES)
def test_a_wrong_call_is_refused_in_one_line(call):
    with pytest.raises(ConfigError) as error:
        trax.parse_call(call)
    assert MISTAKES[call] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_call_is_never_evaluated(tmp_path):
    there = tmp_path / "there"
    for argument in (f"open({str(there)!r}, 'w')", f"[open({str(there)!r}, 'w')][0]"):
        with pytest.raises(ConfigError):
            trax.parse_call(f"MLP(layer_widths={argument})")
    assert not there.exists()


def test_a_layer_that_is_no_name_is_refused():
    with pytest.raises(ConfigError, match=r"MLP\.activation_fn: .* is not of type str"):
        trax.config("MLP", activation_fn=len)
