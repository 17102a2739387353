"""Arrays by name: MLP and bag of embeddings against trax, and the Transformer's table."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from zoo.interop import trax
from zoo.storage import weights

D, F, V, L = 4, 6, 5, 8
"""Sizes of a Transformer of one block a side."""


def small(**fields):
    """The config of a Transformer with the sizes above."""
    from zoo.models.transformer import TransformerConfig

    sizes = {"vocab_size": V, "d_model": D, "d_ff": F, "num_heads": 1, "max_len": L}
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    return TransformerConfig(**(sizes | layers | fields))


BLOCK = [(D,), (D,), *[(D, D), (D,)] * 4, (D,), (D,), (D, F), (F,), (F, D), (D,)]
DECODER_BLOCK = [*[(D,), (D,), *[(D, D), (D,)] * 4] * 2, (D,), (D,), (D, F), (F,), (F, D), (D,)]
SHAPES = [
    *[(V, D), (L, D), *BLOCK, (D,), (D,)],
    *[(L, D), *DECODER_BLOCK, (D,), (D,), (D, V), (V,)],
]
"""The arrays of a Transformer of one block a side, as FORMAT.md counts them: 2 + 16 + 2 + …"""


def arrays(shapes, dtype=np.float32):
    """Arrays of these shapes, each of which has its place in the list as its values."""
    return tuple(np.full(shape, index, dtype) for index, shape in enumerate(shapes))


def places(variables):
    """Name -> the place in the list of the array that it got."""
    return {
        name.removeprefix("params/"): int(leaf.flat[0] if leaf.size else -1)
        for name, leaf in weights.flatten(jax.tree.map(np.asarray, variables)).items()
    }


def test_arrays_get_the_names_of_the_layers_that_own_them():
    variables = trax.to_variables(trax.Checkpoint(arrays(SHAPES)), small())
    found = places(variables)
    assert len(found) == len(SHAPES) == 51
    expected = {
        "embedding/embedding": 0,
        "encoder/positions": 1,
        "encoder/block_0/attention_norm/scale": 2,
        "encoder/block_0/attention/query/kernel": 4,
        "encoder/block_0/attention/out/bias": 11,
        "encoder/block_0/mlp_norm/bias": 13,
        "encoder/block_0/mlp/up/kernel": 14,
        "encoder/norm/scale": 18,
        "decoder/positions": 20,
        "decoder/block_0/attention/key/kernel": 25,
        "decoder/block_0/cross_attention_norm/scale": 31,
        "decoder/block_0/cross_attention/value/bias": 38,
        "decoder/block_0/mlp/down/bias": 46,
        "decoder/norm/bias": 48,
        "logits/kernel": 49,
        "logits/bias": 50,
    }
    assert {name: found[name] for name in expected} == expected


def test_a_vocabulary_of_its_own_stands_before_the_decoder_s_positions():
    shapes = [*SHAPES[:20], (7, D), *SHAPES[20:-2], (D, 7), (7,)]
    config = small(target_vocab_size=7)
    found = places(trax.to_variables(trax.Checkpoint(arrays(shapes)), config))
    assert (found["target_embedding/embedding"], found["decoder/positions"]) == (20, 21)


@pytest.mark.parametrize("shape", [(L, D), (1, L, D), (L + 3, D), (1, L + 3, D)])
def test_tables_of_positions_may_have_an_axis_of_1_and_be_longer(shape):
    shapes = [shape if s == (L, D) else s for s in SHAPES]
    variables = trax.to_variables(trax.Checkpoint(arrays(shapes)), small())
    for side, place in (("encoder", 1), ("decoder", 20)):
        np.testing.assert_array_equal(
            variables["params"][side]["positions"], np.full((L, D), place)
        )


def test_the_one_table_of_positions_of_before_july_2020_serves_both_sides():
    shapes = [*SHAPES[:20], *SHAPES[21:]]
    found = places(trax.to_variables(trax.Checkpoint(arrays(shapes)), small()))
    assert found["encoder/positions"] == found["decoder/positions"] == 1
    assert found["decoder/block_0/attention_norm/scale"] == 20
    assert found["logits/bias"] == 49
    separate = [*SHAPES[:20], (7, D), *SHAPES[21:-2], (D, 7), (7,)]
    with pytest.raises(trax.CheckpointError, match=r"\+ params/decoder/positions \[8, 4\]$"):
        trax.to_variables(trax.Checkpoint(arrays(separate)), small(target_vocab_size=7))


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64])
def test_variables_have_the_dtype_of_the_module_s_own(dtype):
    variables = trax.to_variables(trax.Checkpoint(arrays(SHAPES, dtype)), small())
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    assert places(variables)["logits/kernel"] == 49


def refusal(shapes, config=None):
    with pytest.raises(trax.CheckpointError) as error:
        trax.to_variables(trax.Checkpoint(arrays(shapes)), config or small())
    return str(error.value).splitlines()


def test_another_shape_is_refused_with_both_sides():
    shapes = [(9, 3) if index == 14 else shape for index, shape in enumerate(SHAPES)]
    assert refusal(shapes) == [
        "the checkpoint has 51 arrays, which do not fit the 51 of the TransformerConfig "
        "(+ the model has, - the checkpoint has):",
        "  + params/encoder/block_0/mlp/up/kernel [4, 6]",
        "  - array 14: [9, 3]",
    ]


@pytest.mark.parametrize("shape", [(L - 1, D), (1, L - 1, D), (2, L, D), (L, D + 1), (), (L,)])
def test_a_table_of_positions_that_does_not_fit_is_refused(shape):
    assert refusal([SHAPES[0], shape, *SHAPES[2:]])[1:] == [
        "  + params/encoder/positions [8, 4]",
        f"  - array 1: {list(shape)}",
    ]


def test_a_deeper_checkpoint_is_not_loaded_into_a_shallower_model():
    lines = refusal([*SHAPES[:18], *BLOCK, *SHAPES[18:]])
    assert lines[0].startswith("the checkpoint has 67 arrays, which do not fit the 51 of the")
    assert len(lines) == 1 + 16
    assert all(line.startswith("  - array ") for line in lines[1:])


def test_a_shallower_checkpoint_is_refused_with_the_names_that_it_lacks():
    lines = refusal(SHAPES, small(num_encoder_layers=2))
    assert lines[0].startswith("the checkpoint has 51 arrays, which do not fit the 67 of the")
    assert len(lines) == 1 + 16
    assert all(line.startswith("  + params/encoder/block_") for line in lines[1:])


def test_a_message_has_an_end():
    lines = refusal([(2, 2)] * 51)
    assert len(lines) == 1 + 60 + 1
    assert lines[-1] == "  … and 42 lines more"


@pytest.mark.parametrize("shapes", [[], [(5, 4)], [(), (4,)], [(5, 4), ()]])
def test_a_checkpoint_with_hardly_any_arrays_is_refused(shapes):
    with pytest.raises(
        trax.CheckpointError, match=rf"^the checkpoint has {len(shapes)} arrays, and"
    ):
        trax.to_variables(trax.Checkpoint(arrays(shapes)), small())


def test_a_config_of_a_family_that_trax_never_had_is_refused():
    @dataclass(frozen=True)
    class PerceiverConfig:
        pass

    with pytest.raises(trax.CheckpointError, match="a PerceiverConfig is not a model of trax; k"):
        trax.to_variables(trax.Checkpoint(arrays(SHAPES)), PerceiverConfig())


def test_sizes_that_a_config_leaves_open_come_from_the_arrays():
    checkpoint = trax.Checkpoint(arrays(SHAPES))
    assert trax.complete(small(vocab_size=None), checkpoint) == small()
    mlp = trax.config("MLP", layer_widths=(6, 3))
    checkpoint = trax.Checkpoint(arrays([(4, 6), (6,), (6, 3), (3,)]))
    assert trax.complete(mlp, checkpoint).input_shape == (4,)
    assert places(trax.to_variables(checkpoint, mlp)) == {
        **{"hidden_0/kernel": 0, "hidden_0/bias": 1},
        **{"head/kernel": 2, "head/bias": 3},
    }


# Against trax.


def golden(shared, name):
    """A golden checkpoint with its arrays and the arguments of its constructor."""
    folder = shared / "golden" / "open"
    facts = json.loads((folder / "manifest.json").read_text())[f"{name}.npz"]
    return trax.read(folder / f"{name}.pkl.gz"), np.load(folder / f"{name}.npz"), facts["kwargs"]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mlp", "mlp_outact", "mlp_tanh_noflatten"])
def test_an_mlp_gives_trax_s_outputs(shared, name):
    checkpoint, arrays, kwargs = golden(shared, f"vision/{name}")
    config = trax.config("MLP", **kwargs)
    outputs = config.build().apply(trax.to_variables(checkpoint, config), jnp.asarray(arrays["x"]))
    np.testing.assert_allclose(outputs, arrays["y"], rtol=1e-4, atol=2e-5)


@pytest.mark.shared
def test_a_bag_of_embeddings_gives_trax_s_outputs_also_with_more_padding(shared):
    checkpoint, arrays, kwargs = golden(shared, "classifier/bag_of_embeddings")
    config = trax.config("BagOfEmbeddings", **kwargs)
    variables = trax.to_variables(checkpoint, config)
    for case in ("", "_more_padding"):
        logits = config.build().apply(variables, jnp.asarray(arrays[f"tokens{case}"]))
        expected = arrays[f"log_probs{case}"]
        np.testing.assert_allclose(jax.nn.log_softmax(logits), expected, rtol=1e-4, atol=2e-5)


SEQUENCE_MODELS = {
    "rnn/rnnlm_lstm": ("RNNLM", ("tokens",), "logits"),
    "rnn/rnnlm_gru": ("RNNLM", ("tokens",), "logits"),
    "rnn/grulm": ("GRULM", ("tokens",), "logits"),
    "rnn/grulm_2layer": ("GRULM", ("tokens",), "logits"),
    "rnn/lstm_seq2seq_attn": ("LSTMSeq2SeqAttn", ("src", "tgt"), "log_probs"),
    "transformer/transformer_gelu": ("Transformer", ("src", "tgt"), "logits"),
    "transformer/transformer_sep": ("Transformer", ("src", "tgt"), "logits"),
    "transformer/transformer_shared": ("Transformer", ("src", "tgt"), "logits"),
    "transformer/transformerlm": ("TransformerLM", ("tokens",), "logits"),
    "transformer/transformerencoder": ("TransformerEncoder", ("tokens",), "logits"),
    "transformer/transformerdecoder_vectors": ("TransformerDecoder", ("x",), "y"),
    "transformer/transformerdecoder_vocab": ("TransformerDecoder", ("x",), "y"),
    "real_copy/transformer_copy": ("Transformer", ("src", "tgt"), "logits"),
    "real_copy/transformerlm_copy": ("TransformerLM", ("tokens",), "logits"),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", SEQUENCE_MODELS)
def test_a_model_of_sequences_gives_trax_s_outputs(shared, name):
    model, inputs, output = SEQUENCE_MODELS[name]
    checkpoint, arrays, kwargs = golden(shared, name)
    config = trax.complete(trax.config(model, **kwargs), checkpoint)
    variables = trax.to_variables(checkpoint, config)
    apply = jax.jit(config.build().apply)
    found = apply(variables, *(jnp.asarray(arrays[key]) for key in inputs))
    if output == "log_probs":
        found = jax.nn.log_softmax(found)
    np.testing.assert_allclose(found, arrays[output], rtol=1e-4, atol=2e-5)


@pytest.mark.shared
def test_a_tagger_that_others_trained_tags_as_in_trax(shared):
    folder = shared / "golden" / "open" / "real_soccer_ner"
    arrays = dict(np.load(folder / "io.npz"))
    config = trax.config("LSTMTagger", vocab_size=4691, d_model=50, n_classes=6)
    variables = trax.to_variables(trax.read(folder / "model.pkl.gz"), config)
    apply = jax.jit(config.build().apply)
    for case in ("test", "len1", "long"):
        found = jax.nn.log_softmax(apply(variables, jnp.asarray(arrays[f"{case}_tokens"])))
        np.testing.assert_allclose(found, arrays[f"{case}_log_probs"], rtol=1e-4, atol=2e-5)


@pytest.mark.shared
def test_gradients_are_mapped_as_weights_are(shared):
    checkpoint, _, kwargs = golden(shared, "vision/mlp")
    arrays = np.load(shared / "golden" / "open" / "vision" / "mlp.grad.npz")
    gradients = tuple(arrays[f"g{index:03d}"] for index in range(len(checkpoint.weights)))
    config = trax.config("MLP", **kwargs)
    mapped = trax.to_variables(dataclasses.replace(checkpoint, weights=gradients), config)
    np.testing.assert_array_equal(mapped["params"]["hidden_0"]["bias"], arrays["g001"])


def wide_resnet_for(*shape):
    """The smallest WideResnet for images of a shape, with all arrays zeros, and a state that counts
    up."""
    config = trax.config("WideResnet", n_blocks=1, n_output_classes=3)
    config = dataclasses.replace(config, input_shape=shape)
    from zoo.interop.tables import TABLES

    leaves = weights.flatten(config.variable_shapes())
    names = [f"params/{name}" for name in TABLES[type(config)].order(config)]
    state = []
    for name in names:
        if name.endswith("/scale"):
            for _ in range(2):
                shape = (1, 1, 1, *leaves[name].shape)
                state.append(np.full(shape, len(state), np.float32))
            state.append(np.array(7))
    arrays = tuple(np.zeros(leaves[name].shape, np.float32) for name in names)
    return config, trax.Checkpoint(arrays, tuple(state))


@pytest.fixture
def wide_resnet():
    return wide_resnet_for(32, 32, 1)


def test_the_state_becomes_running_statistics_in_the_order_of_the_layers(wide_resnet):
    config, checkpoint = wide_resnet
    statistics = trax.to_variables(checkpoint, config)["batch_stats"]
    first, last = statistics["stage_0_block_0"]["norm_0"], statistics["norm"]
    assert (first["mean"].shape, first["mean"][0], first["var"][0]) == ((16,), 0, 1)
    assert (last["mean"].shape, last["mean"][0], last["var"][0]) == ((64,), 18, 19)


def test_a_state_that_is_not_the_model_s_is_refused(wide_resnet):
    config, checkpoint = wide_resnet
    with pytest.raises(trax.CheckpointError) as error:
        trax.to_variables(dataclasses.replace(checkpoint, state=()), config)
    assert str(error.value) == (
        "the checkpoint's state has 0 entries; the model's 7 batch normalisations have three each, "
        "21"
    )
    state = (np.zeros((1, 1, 1, 17)), *checkpoint.state[1:])
    with pytest.raises(trax.CheckpointError) as error:
        trax.to_variables(dataclasses.replace(checkpoint, state=state), config)
    assert str(error.value) == (
        "entry 0 of the checkpoint's state has the shape [1, 1, 1, 17]; "
        "batch_stats/stage_0_block_0/norm_0/mean has [16]"
    )


def test_what_a_file_does_not_say_of_images_is_what_leaves_whole_positions(wide_resnet):
    config, checkpoint = wide_resnet
    given = dataclasses.replace(config, input_shape=None, num_classes=None)
    found = trax.complete(given, checkpoint)
    assert found == config


@pytest.mark.parametrize("shape", [(36, 40, 3), (40, 36, 1), (33, 47, 3)])
def test_of_images_that_are_not_square_the_user_says_the_shape(shape):
    config, checkpoint = wide_resnet_for(*shape)
    kernel = trax.to_variables(checkpoint, config)["params"]["head"]["kernel"]
    assert kernel.shape == checkpoint.weights[-2].shape
    with pytest.raises(
        trax.CheckpointError, match=r"the images were not square, .* give image_shape"
    ):
        trax.complete(dataclasses.replace(config, input_shape=None), checkpoint)
    with pytest.raises(trax.CheckpointError) as error:
        trax.to_variables(checkpoint, dataclasses.replace(config, input_shape=(36, 36, shape[2])))
    assert "a row for each window of the last map, of images of (36, 36, " in str(error.value)
    assert "give image_shape" in str(error.value)


THRESHOLDED = {
    "MLP": {"layer_widths": (5, 4, 3), "activation_fn": "tl.ThresholdedLinearUnit"},
    "Resnet50": {"d_hidden": 2, "n_output_classes": 3, "non_linearity": "ThresholdedLinearUnit"},
    **{
        name: {"vocab_size": 11, "n_layers": 2, "ff_activation": "ThresholdedLinearUnit"} | more
        for name, more in {
            "TransformerLM": {"d_model": 8, "d_ff": 12, "n_heads": 2, "max_len": 8},
            "ReformerLM": {"d_model": 8, "d_ff": 12, "n_heads": 2, "max_len": 8},
        }.items()
    },
}


@pytest.mark.parametrize("name", THRESHOLDED)
def test_each_thresholded_linear_unit_has_its_weight(name):
    """It has the place of an array without axes after the dense layer that it follows."""
    from zoo.interop.tables import TABLES

    config = trax.config(name, **THRESHOLDED[name])
    if name == "MLP":
        config = dataclasses.replace(config, input_shape=(6,))
    if name == "Resnet50":
        config = dataclasses.replace(config, input_shape=(64, 64, 3), stage_sizes=(1, 1), trax=None)
    shapes = weights.flatten(config.variable_shapes()["params"])
    thresholds = {path for path in shapes if path.endswith("/threshold")}
    number = {"MLP": 2, "Resnet50": 1 + 3 * 2, "TransformerLM": 2, "ReformerLM": 1}
    assert len(thresholds) == number[name]
    ordered = [path.partition("[")[0] for path in TABLES[type(config)].order(config)]
    assert {*shapes} <= {*ordered}


def test_a_thresholded_linear_unit_cuts_off_at_its_weight():
    arrays = (np.eye(2), np.zeros(2), np.float32(0.5), np.eye(2), np.zeros(2), np.float32(1.0))
    checkpoint = trax.Checkpoint(tuple(np.asarray(array, np.float32) for array in arrays))
    call = "MLP((2, 2), activation_fn=tl.ThresholdedLinearUnit, out_activation=True)"
    config = trax.complete(trax.parse_call(call), checkpoint)
    variables = trax.to_variables(checkpoint, config)
    answer = config.build().apply(variables, jnp.array([[0.2, 2.0]]))
    np.testing.assert_allclose(answer, [[1.0, 2.0]])
