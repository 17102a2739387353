"""What is narrowed for inference, and that it changes no answer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("name", "fields", "float32"),
    [
        ("reformer_lm_tiny", {"vocab_size": 64}, ("embedding", "positions", "scale", "bias")),
        (
            "resnet20_cifar",
            {"num_classes": 3, "input_shape": (8, 8, 3)},
            ("scale", "bias", "mean", "var"),
        ),
    ],
)
def test_bfloat16_stores_every_kernel_in_half_the_bytes(name, fields, float32):
    import zoo
    from zoo.models import dense
    from zoo.storage import weights

    config = zoo.create(name, **fields).config.in_precision("bfloat16")
    module = config.build()
    numbers = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(numbers.uniform(0.01, 0.1, leaf.shape), leaf.dtype),
        config.variable_shapes(),
    )
    narrow = dense.convert(variables, "bfloat16")
    kept = {
        path.rpartition("/")[2]
        for path, leaf in weights.flatten(narrow).items()
        if leaf.dtype == jnp.float32
    }
    assert kept <= {*float32, "positions_0", "positions_1"}, kept
    inputs = [
        jnp.asarray(numbers.integers(1, 9, leaf.shape), leaf.dtype)
        for leaf in config.example_inputs(2)
    ]
    answer = jax.jit(module.apply)
    np.testing.assert_allclose(
        answer(narrow, *inputs), answer(variables, *inputs), rtol=1e-5, atol=1e-5
    )
