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


def test_activations_are_trax_s():
    from zoo.models.layers import ACTIVATIONS

    x = np.linspace(-6, 6, 97, dtype=np.float32)
    assert float(ACTIVATIONS["gelu"](1.0)) == pytest.approx(0.8413447)  # x Φ(x), the erf form
    assert float(ACTIVATIONS["gelu_tanh"](1.0)) == pytest.approx(0.8411920)
    np.testing.assert_allclose(ACTIVATIONS["swish"](x), x / (1 + np.exp(-x)), rtol=1e-5, atol=1e-6)
