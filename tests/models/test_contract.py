"""What every registered model owes.

Shapes without a run, gradients everywhere, a config that survives a card.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import registry

OPEN = {"vocab_size": 11, "num_classes": 3, "input_shape": (4, 4, 1)}
"""Values for what the data would decide."""

COUNTS = {"bag_of_embeddings": 11 * 256 + 257 * 3, "mlp": 17 * 512 + 513 * 512 + 513 * 3}
"""Parameters with these values: a change here changes what old checkpoints fit."""


def config_of(name):
    config = registry.models.get(name)()
    missing = {
        field: value for field, value in OPEN.items() if getattr(config, field, "absent") is None
    }
    return dataclasses.replace(config, **missing)


@pytest.mark.parametrize("name", registry.list_models())
def test_shapes_and_parameter_counts(name):
    config = config_of(name)
    module, inputs = config.build(), config.example_inputs(2)
    variables = jax.eval_shape(lambda *inputs: module.init(jax.random.key(0), *inputs), *inputs)
    logits = jax.eval_shape(module.apply, variables, *inputs)
    assert logits.shape == (2, 3)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == COUNTS[name]


@pytest.mark.parametrize("name", registry.list_models())
def test_a_gradient_reaches_every_parameter(name, key):
    config = config_of(name)
    module = config.build()
    inputs = [
        jax.random.randint(key(), (16, *item.shape[1:]), 1, 11)
        if item.dtype == jnp.int32
        else jax.random.normal(key(), (16, *item.shape[1:]))
        for item in config.example_inputs(2)
    ]
    variables = module.init(key(), *inputs)
    gradients = jax.grad(lambda v: (module.apply(v, *inputs) ** 2).sum())(variables)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


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
def test_what_the_data_decides_is_never_guessed(name, key):
    from zoo.config import ConfigError

    config = registry.models.get(name)()
    with pytest.raises(ConfigError, match=r"is not set: give"):
        config.build().init(
            key(), *[jnp.zeros(item.shape, item.dtype) for item in config.example_inputs(1)]
        )


def test_create_changes_fields_and_refuses_unknown_ones():
    import zoo
    from zoo.config import ConfigError

    module = zoo.create("mlp", input_shape=(2, 2, 1), num_classes=3, hidden_sizes=(5,))
    assert module.config.hidden_sizes == (5,)
    with pytest.raises(
        ConfigError, match=r"MLPConfig has no field 'dropout'; did you mean 'dropout_rate'\?"
    ):
        zoo.create("mlp", dropout=0.1)
