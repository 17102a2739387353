"""What every registered model owes.

Shapes without a run, gradients everywhere, a config that survives a card.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_variables

from zoo import registry
from zoo.models.policy import PolicyConfig, PolicyLSTMConfig

OPEN = {
    "vocab_size": 11,
    "num_classes": 3,
    "input_shape": (4, 4, 1),
    "observation_shape": (4,),
    "num_actions": 2,
}
"""Values for what the data would decide."""

COUNTS = {
    "bag_of_embeddings": 11 * 256 + 257 * 3,
    "gru_lm": 1_585_675,
    "lstm_classifier": 265_347,
    "lstm_lm": 4_209_675,
    "lstm_lm_tiny": 67_467,
    "lstm_seq2seq": 11_557_899,
    "lstm_tagger": 265_347,
    "mlp": 17 * 512 + 513 * 512 + 513 * 3,
    "policy_lstm": 320 + 33_024 + 195,
    "policy_mlp": 2 * 4_480 + 195,
    "policy_mlp_shared": 4_480 + 195,
    "reformer_base": 46_212_107,
    "reformer_lm_base": 19_183_115,
    "reformer_lm_long": 4_414_219,
    "reformer_lm_small": 4_872_971,
    "reformer_lm_tiny": 77_003,
    "reformer_tagger": 299_395,
    "reformer_tiny": 200_331,
    "resnet101": 42_500_035,
    "resnet152": 58_143_683,
    "resnet18": 11_171_779,
    "resnet20_cifar": 268_979,
    "resnet32_cifar": 463_411,
    "resnet34": 21_279_939,
    "resnet50": 23_507_907,
    "resnet56_cifar": 852_275,
    "sru_lm": 1_587_211,
    "transformer_base": 46_248_971,
    "transformer_big": 180_578_315,
    "transformer_decoder_base": 19_969_536,
    "transformer_encoder_base": 19_971_075,
    "transformer_encoder_tiny": 199_043,
    "transformer_lm_base": 19_975_179,
    "transformer_lm_small": 11_442_443,
    "transformer_lm_tiny": 84_875,
    "transformer_small": 6_584_843,
    "transformer_tiny": 201_867,
    "wide_resnet16_4": 2_746_803,
    "wide_resnet28_10": 36_474_419,
}
"""Parameters with these values: a change here changes what old checkpoints fit."""

SMALL = {
    "d_model": 8,
    "d_ff": 12,
    "d_key": 4,
    "d_value": 4,
    "num_heads": 2,
    "num_layers": 1,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "num_blocks": 1,
    "hidden_sizes": (5, 5),
    "stage_sizes": (1, 1),
    "width": 4,
    "widen_factor": 1,
    "zero_init": False,
    "max_len": 8,
    "axial_shape": (2, 4),
    "ff_chunk_len": None,
    "activation": "relu",
    "dropout_rate": 0.0,
}
"""Sizes at which a large model runs quickly; models that differ in nothing else become equal."""


def config_of(name, **sizes):
    config = registry.models.get(name)()
    missing = {
        field: value for field, value in OPEN.items() if getattr(config, field, "absent") is None
    }
    sizes = {field: value for field, value in sizes.items() if hasattr(config, field)}
    return dataclasses.replace(config, **missing, **sizes)


def output_of(config):
    """The shape of the output, without its batch of 2."""
    length = config.example_inputs(2)[0].shape[1]
    if isinstance(config, PolicyConfig):
        return (config.num_actions,)
    if hasattr(config, "num_classes"):
        of_each = (length,) if "Tagger" in type(config).__name__ else ()
        return (*of_each, config.num_classes)
    return (length, config.d_model if "Decoder" in type(config).__name__ else config.vocab_size)


@pytest.mark.parametrize("name", registry.list_models())
def test_shapes_and_parameter_counts(name):
    config = config_of(name)
    module, inputs = config.build(), config.example_inputs(2)
    variables = jax.eval_shape(lambda *inputs: module.init(jax.random.key(0), *inputs), *inputs)
    logits = jax.tree.leaves(jax.eval_shape(module.apply, variables, *inputs))[0]
    assert logits.shape == (2, *output_of(config))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == COUNTS[name]


def small(name):
    """The small config of a model; a Reformer LM has one layer of each kind of attention."""
    from zoo.models.reformer.attention import SelfAttentionConfig
    from zoo.models.reformer.hashing import LSHAttentionConfig
    from zoo.models.reformer.models import ReformerLMConfig

    config = config_of(name, **SMALL)
    if not isinstance(config, ReformerLMConfig):
        return config
    near = SelfAttentionConfig(chunk_len=4, chunks_before=1)
    hashed = LSHAttentionConfig(chunk_len=4, num_hashes=2, num_buckets=4)
    return dataclasses.replace(config, attention=(near, hashed), num_layers=2)


@functools.cache
def kinds():
    """A name for each small config: of models that `SMALL` makes equal, one is enough."""
    return {small(name): name for name in registry.list_models()}


def gradients(config, key):
    """Of a random sum of the outputs, with random weights."""
    module, variables = random_variables(config, key())
    inputs = [
        jax.random.randint(key(), item.shape, 1, 11)
        if item.dtype == jnp.int32
        else jax.random.normal(key(), item.shape)
        for item in config.example_inputs(16)
    ]
    weights = jax.random.normal(key(), (16, *output_of(config)))

    def total(variables):
        if isinstance(config, PolicyLSTMConfig):  # two steps: the first has nothing to remember
            first = jnp.zeros((2, 16), bool)
            twice = jnp.stack([inputs[0], inputs[0]])
            output, _ = module.apply(variables, twice, module.begin(16), first, method="unroll")
            output = jax.tree.map(lambda x: x[1], output)
        else:
            output = module.apply(variables, *inputs)
        if isinstance(config, PolicyConfig):
            return (output.logits * weights).sum() + (output.value * weights[:, 0]).sum()
        return (output * weights).sum()

    return jax.jit(jax.grad(total))(variables)


@pytest.mark.parametrize("name", kinds().values())
def test_a_gradient_reaches_every_parameter(name, key):
    found = gradients(small(name), key)["params"]
    for path, gradient in jax.tree_util.tree_leaves_with_path(found):
        # The softmax depends only on differences of scores, and a bias of all keys changes none.
        if "['key']['bias']" not in jax.tree_util.keystr(path):
            assert np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", kinds().values())
def test_forward_mode_differentiation_works(name):
    """Tracing is enough: a rule that is missing is missed when the program is traced."""
    config = small(name)
    if hasattr(config, "reversible"):  # its backward pass is written out, see the field
        config = dataclasses.replace(config, reversible=False)
    module, inputs = config.build(), config.example_inputs(2)
    variables = config.variable_shapes()

    def derivative(variables, *inputs):
        return jax.jvp(lambda v: module.apply(v, *inputs), (variables,), (variables,))

    found = jax.eval_shape(derivative, variables, *inputs)
    outputs, tangents = (jax.tree.leaves(each)[0] for each in found)
    assert outputs.shape == tangents.shape == (2, *output_of(config))


DECODERS = ("gru_lm", "lstm_lm", "lstm_seq2seq", "reformer_base", "reformer_lm_base")
DECODERS += ("transformer_base", "transformer_lm_base")


def test_whatever_extends_is_a_decoder():
    from zoo.models.base import Decoder, Recurrent

    decoders = set()
    for config in kinds():
        module = config.build()
        if hasattr(module, "extend"):
            assert isinstance(module, Decoder)
            decoders.add(type(module))
        if not isinstance(config, PolicyConfig):  # its memory is of observations
            assert isinstance(module, Recurrent) == config.carries_state
    assert decoders == {type(small(name).build()) for name in DECODERS}


def test_parameters_and_outputs_are_float32_also_where_jax_has_64_bits():
    for config in kinds():
        with jax.enable_x64(True):
            variables = config.variable_shapes()
            inputs = config.example_inputs(1)
            outputs = jax.eval_shape(config.build().apply, variables, *inputs)
        for leaf in jax.tree.leaves((variables, outputs)):
            assert leaf.dtype == jnp.float32, type(config)


@pytest.mark.parametrize("name", DECODERS)
def test_a_cache_keeps_its_shapes_and_takes_more_beams(name):
    config = small(name)
    module, variables = config.build(), config.variable_shapes()
    source = jax.ShapeDtypeStruct((2, 4), jnp.int32)

    def decode(variables, source):
        rows = source if len(config.example_inputs(1)) == 2 else 2
        tokens = jnp.ones((2, 3, 1), jnp.int32)
        cache = module.apply(variables, rows, 8, method="start")
        logits, one = module.apply(variables, tokens[:, :1], cache, method="extend")
        several = one.reorder(jnp.zeros((2, 3), jnp.int32))
        others, three = module.apply(variables, tokens, several, method="extend")
        assert (logits.shape, others.shape) == ((2, 1, 1, 11), (2, 3, 1, 11))
        return [jax.tree.leaves(state) for state in (cache, one, several, three)]

    cache, one, several, three = jax.eval_shape(decode, variables, source)
    assert cache == one
    assert several == three


@pytest.mark.parametrize("name", DECODERS)
def test_tokens_after_the_count_are_not_read_and_rows_go_on_from_others(name, key):
    config = small(name)
    module, variables = random_variables(config, key())
    tokens = jax.random.randint(key(), (2, 2, 6), 2, 11).at[:, 0, 0].set(0)
    source = jnp.array([[3, 4, 5, 0], [6, 7, 8, 9]])

    @jax.jit
    def decode(variables, counts):
        """Reads 3 tokens, 2 under each of two beams, then 1 alone."""

        def read(cache, tokens, place):
            if counts is None:
                return module.apply(variables, tokens, cache, method="extend")
            padded = jnp.pad(tokens, ((0, 0), (0, 0), (0, 2)), constant_values=7)
            logits, cache = module.apply(variables, padded, cache, counts[place], method="extend")
            return logits[:, :, : tokens.shape[2]], cache

        swaps = counts is not None
        order = jnp.array([1, 0]) if swaps else jnp.array([0, 1])
        rows = source[order] if len(config.example_inputs(1)) == 2 else 2
        cache = module.apply(variables, rows, 8, method="start")
        first, cache = read(cache, tokens[order][:, :1, :3], 0)
        if swaps:
            cache = cache.rows(order)
        cache = cache.reorder(jnp.zeros((2, 2), jnp.int32))
        second, cache = read(cache, tokens[:, :, 3:5], 1)
        last, _ = module.apply(variables, tokens[:, :, 5:], cache, method="extend")
        return first[order], second, last

    expected = decode(variables, None)
    for one, other in zip(decode(variables, jnp.array([3, 2])), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", registry.list_models())
def test_a_config_is_hashable_and_survives_json(name):
    from zoo import config as configs
    from zoo.models.base import ModelConfig

    config = config_of(name)
    again = configs.from_json(ModelConfig, configs.to_json(config))
    assert again == config
    assert hash(again) == hash(config)
    assert config.build() == again.build()


@pytest.mark.parametrize("name", registry.list_models())
def test_what_the_data_decides_is_never_guessed(name):
    from zoo.config import ConfigError

    config = registry.models.get(name)()
    with pytest.raises(ConfigError, match=r"is not set: give"):
        config.variable_shapes()


def test_create_changes_fields_and_refuses_unknown_ones():
    import zoo
    from zoo.config import ConfigError

    module = zoo.create("mlp", input_shape=(2, 2, 1), num_classes=3, hidden_sizes=(5,))
    assert module.config.hidden_sizes == (5,)
    with pytest.raises(
        ConfigError, match=r"MLPConfig has no field 'dropout'; did you mean 'dropout_rate'\?"
    ):
        zoo.create("mlp", dropout=0.1)
