"""Stacked layers: the same model, run in a loop."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_variables
from test_transformer import ids, language, translation

from zoo.config import ConfigError
from zoo.models import stacks
from zoo.storage import weights


def close(found, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )


@pytest.mark.parametrize("remat", [pytest.param(False, marks=pytest.mark.slow), True])
def test_stacked_layers_give_the_logits_and_the_gradients_of_the_same_layers(remat, key):
    sizes = {"num_encoder_layers": 2, "num_decoder_layers": 3, "dropout_rate": 0.0, "remat": remat}
    module, variables = random_variables(dataclasses.replace(translation(), **sizes), key())
    arguments = ids(key(), 2, 5), ids(key(), 2, 6)

    @jax.jit
    def values(params):
        def loss(params):
            logits = module.apply({"params": params}, *arguments, train=True)
            return jnp.sum(jnp.sin(logits)), logits

        return jax.grad(loss, has_aux=True)(params)

    expected = values(variables["params"])
    gradients, logits = values(stacks.stacked(variables["params"]))
    assert {"blocks_2", "blocks_3"} == {*gradients["encoder"], *gradients["decoder"]} - {
        "positions",
        "norm",
    }
    close((stacks.unstacked(gradients), logits), expected)


def test_each_stacked_layer_drops_by_a_key_of_its_own(key):
    module, variables = random_variables(dataclasses.replace(language(), num_layers=3), key())
    stacked, tokens = stacks.stacked(variables), ids(key(), 2, 6)

    @jax.jit
    def logits(rng):
        return module.apply(stacked, tokens, train=True, rngs={"dropout": rng})

    first, other = key(), key()
    np.testing.assert_array_equal(logits(first), logits(first))
    assert np.abs(logits(first) - logits(other)).max() > 1e-3


def test_stacking_only_renames():
    tree = {
        "decoder": {
            **{f"block_{i}": {"kernel": np.full((2, 2), i)} for i in range(11)},
            "norm": {"scale": np.ones(2)},
        },
        "stage_0_block_0": {"kernel": np.ones(3)},
    }
    stacked = stacks.stacked((tree, {"count": np.int32(1)}), np.stack)
    assert weights.flatten(stacked[0]).keys() == {
        "decoder/blocks_11/kernel",
        "decoder/norm/scale",
        "stage_0_block_0/kernel",
    }
    assert stacks.are_in(stacked) and not stacks.are_in(tree)
    back, _ = stacks.unstacked(stacked)
    jax.tree.map(np.testing.assert_array_equal, back, tree)
    assert stacks.paths("a/blocks_2") == ["a/block_0", "a/block_1"]
    assert stacks.paths("my_blocks_2/kernel") == ["my_blocks_2/kernel"]


@pytest.mark.parametrize(
    "blocks",
    [
        {"block_0": {"a": np.ones(2)}, "block_1": {"b": np.ones(2)}},
        {"block_0": {"a": np.ones(2)}, "block_1": {"a": np.ones(3)}},
        {"block_1": {"a": np.ones(2)}},
    ],
)
def test_layers_that_differ_are_not_stacked(blocks):
    with pytest.raises(ConfigError, match="must match all layers or none"):
        stacks.stacked({"decoder": blocks})
