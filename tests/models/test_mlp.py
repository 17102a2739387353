"""MLP: trax's numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "vision"

CASES = {
    "mlp": {"hidden_sizes": (20,), "num_classes": 10},
    "mlp_outact": {"hidden_sizes": (9, 7), "num_classes": 5, "activate_output": True},
    "mlp_tanh_noflatten": {
        "hidden_sizes": (6,),
        "num_classes": 4,
        "activation": "tanh",
        "flatten": False,
    },
}


def trax_model(name):
    from zoo.models.mlp import MLPConfig

    golden = {name: jnp.asarray(array) for name, array in np.load(GOLDEN / f"{name}.npz").items()}
    fields = CASES[name]
    names = [f"hidden_{index}" for index in range(len(fields["hidden_sizes"]))] + ["head"]
    params = {
        layer: {"kernel": golden[f"w{2 * index}"], "bias": golden[f"w{2 * index + 1}"]}
        for index, layer in enumerate(names)
    }
    return golden, MLPConfig(**fields).build(), params, names


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_trax_s(name):
    golden, module, params, _ = trax_model(name)
    np.testing.assert_allclose(
        module.apply({"params": params}, golden["x"]), golden["y"], rtol=1e-4, atol=2e-5
    )


def test_loss_and_gradients_are_trax_s():
    golden, module, params, names = trax_model("mlp")

    def loss(params):
        logits = module.apply({"params": params}, golden["grad_x"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, golden["grad_labels"])
        return (losses * golden["grad_weights"]).sum() / golden["grad_weights"].sum()

    value, gradients = jax.value_and_grad(loss)(params)
    np.testing.assert_allclose(value, golden["grad_loss"], rtol=1e-5)
    found = [gradients[layer][part] for layer in names for part in ("kernel", "bias")]
    for index, gradient in enumerate(found):
        expected = golden[f"grad_g{index:03d}"]
        assert np.linalg.norm(gradient - expected) <= 1e-4 * np.linalg.norm(expected)
