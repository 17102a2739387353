"""MLP: trax's numbers."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "vision"

CASES = {
    "mlp": {"layer_widths": (20, 10)},
    "mlp_outact": {"layer_widths": (9, 7, 5), "out_activation": True},
    "mlp_tanh_noflatten": {"layer_widths": (6, 4), "activation_fn": "Tanh", "flatten": False},
}
"""Golden file -> the arguments of trax's MLP."""


def trax_model(name):
    """Golden arrays, config, and the checkpoint with trax's weights."""
    from zoo.interop import trax

    golden = {name: jnp.asarray(array) for name, array in np.load(GOLDEN / f"{name}.npz").items()}
    number = 2 * len(CASES[name]["layer_widths"])
    checkpoint = trax.Checkpoint(tuple(golden[f"w{index}"] for index in range(number)))
    return golden, trax.config("MLP", **CASES[name]), checkpoint


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_trax_s(name):
    from zoo.interop import trax

    golden, config, checkpoint = trax_model(name)
    outputs = config.build().apply(trax.to_variables(checkpoint, config), golden["x"])
    np.testing.assert_allclose(outputs, golden["y"], rtol=1e-4, atol=2e-5)


def test_loss_and_gradients_are_trax_s():
    from zoo.interop import trax

    golden, config, checkpoint = trax_model("mlp")

    def loss(variables):
        logits = config.build().apply(variables, golden["grad_x"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, golden["grad_labels"])
        return (losses * golden["grad_weights"]).sum() / golden["grad_weights"].sum()

    value, found = jax.value_and_grad(loss)(trax.to_variables(checkpoint, config))
    np.testing.assert_allclose(value, golden["grad_loss"], rtol=1e-5)
    gradients = tuple(golden[f"grad_g{index:03d}"] for index in range(4))
    expected = trax.to_variables(dataclasses.replace(checkpoint, weights=gradients), config)
    jax.tree.map(assert_close, found, expected)


def assert_close(gradient, expected):
    assert np.linalg.norm(gradient - expected) <= 1e-4 * np.linalg.norm(expected)
