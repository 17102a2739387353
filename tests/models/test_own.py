"""A Linen module of the user's as a model of a recipe."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn


class Net(nn.Module):
    """A module that knows nothing of the zoo."""

    width: int = 64
    sizes: tuple[int, ...] = (3, 4)
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    num_classes: int | None = None

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(self.num_classes or 1)(self.activation(nn.Dense(self.width)(x)))


class WithoutTrain(nn.Module):
    def __call__(self, x):
        return x


class NeedsAFunction(nn.Module):
    activation: Callable[[jax.Array], jax.Array]

    def __call__(self, x, *, train=False):
        return x


def test_its_fields_are_a_config_that_builds_it():
    from zoo.models.own import module

    config = module(Net, width=8, inputs=(((5,), "float32"),))
    assert config.build() == Net(width=8)
    shapes = config.variable_shapes()
    assert shapes["params"]["Dense_1"]["kernel"].shape == (5, 8)
    assert config == module(Net, width=8, inputs=[[[5], "float32"]]) and hash(config)


def test_its_config_goes_to_json_pickle_and_back_under_its_own_name():
    from zoo import config as configs
    from zoo.models.base import ModelConfig
    from zoo.models.own import module

    config = module(Net, width=8, sizes=[1, 2])
    text = configs.to_json(config)
    assert f'"type": "{__name__}:Net"' in text and "activation" not in text
    assert configs.from_json(ModelConfig, text) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert configs.override(config, {"width": 9}).build().width == 9


def test_a_module_of_unknown_inputs_is_given_tokens():
    from zoo.models.own import module

    (tokens,) = module(Net).example_inputs(2)
    assert tokens.shape == (2, 16) and tokens.dtype == jnp.int32


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (Net, {"widht": 3}, "Net has no field 'widht'; did you mean 'width'?"),
        (WithoutTrain, {}, "WithoutTrain.__call__ takes no `train`"),
        (NeedsAFunction, {}, "NeedsAFunction needs 'activation', whose type .* cannot be written"),
    ],
)
def test_what_cannot_be_a_model_is_refused(cls, fields, message):
    from zoo.config import ConfigError
    from zoo.models.own import module

    with pytest.raises(ConfigError, match=message):
        module(cls, **fields)


def test_a_class_inside_a_function_is_refused():
    from zoo.config import ConfigError
    from zoo.models.own import module

    class Local(nn.Module):
        def __call__(self, x, *, train=False):
            return x

    with pytest.raises(ConfigError, match="is defined inside a function"):
        module(Local)


def test_a_file_cannot_name_what_is_neither_the_users_nor_optax():
    from zoo import config as configs
    from zoo.config import ConfigError
    from zoo.models.base import ModelConfig

    for name in ("os:system", "builtins:eval", "flax.linen:Dense"):
        with pytest.raises(ConfigError, match=r"is not (part of the zoo|known here)"):
            configs.from_dict(ModelConfig, {"type": name})
