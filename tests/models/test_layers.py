"""zoo.models.layers: activations against trax's, and dropout."""

import jax
import numpy as np
import pytest


def test_dropout_scales_what_it_keeps_and_does_nothing_in_evaluation(key):
    from zoo.models.layers import Dropout

    x = jax.numpy.ones((64, 64))
    dropped = np.asarray(Dropout(0.1).apply({}, x, train=True, rngs={"dropout": key()}))
    assert set(np.unique(dropped)) == {0.0, np.float32(256 / 230)}
    np.testing.assert_array_equal(Dropout(0.1).apply({}, x, train=False), x)


def test_activations_are_what_their_names_say():
    from zoo.models.layers import ACTIVATIONS

    x = np.linspace(-6, 6, 97, dtype=np.float32)
    assert float(ACTIVATIONS["gelu"](1.0)) == pytest.approx(0.8413447)  # x Φ(x), the erf form
    assert float(ACTIVATIONS["gelu_tanh"](1.0)) == pytest.approx(0.8411920)
    for name, expected in {
        "swish": x / (1 + np.exp(-x)),
        "leaky_relu": np.where(x > 0, x, 0.01 * x),
        "elu": np.where(x > 0, x, np.expm1(x)),
        "selu": 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
        "softplus": np.log1p(np.exp(x)),
        "hard_tanh": np.clip(x, -1, 1),
        "trax_hard_sigmoid": np.clip(1 + x, 0, 1),
        "exp": np.exp(x),
    }.items():
        np.testing.assert_allclose(
            ACTIVATIONS[name](jax.numpy.asarray(x)), expected, 1e-5, 1e-6, err_msg=name
        )


@pytest.mark.shared
def test_every_activation_of_trax_computes_what_trax_computed(shared):
    from zoo.interop import trax
    from zoo.models.layers import ACTIVATIONS

    golden = np.load(shared / "golden" / "open" / "layers" / "layers.npz")
    names = [name.removeprefix("act_") for name in golden if name.startswith("act_")]
    names.remove("x")
    assert len(names) == 13
    for name in names:
        config = trax.config("MLP", activation_fn=name)
        found = ACTIVATIONS[config.activation](jax.numpy.asarray(golden["act_x"]))
        np.testing.assert_allclose(found, golden[f"act_{name}"], 1e-5, 1e-6, err_msg=name)
    assert trax.parse_call("MLP((2, 1), activation_fn=tl.ParametricRelu)").activation == "relu"
    assert trax.config("TransformerLM", vocab_size=9, ff_activation="Elu").activation == "elu"
