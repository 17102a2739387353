"""ResNets: trax's numbers, the papers' sizes, and what the fields do."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

TOLERANCE = {"resnet50": 2e-4, "wideresnet": 2e-5, "wideresnet_n1": 2e-5}
"""Of logits, by the golden file (CHECK.md)."""
CLASSES = {"resnet50": "Resnet50", "wideresnet": "WideResnet", "wideresnet_n1": "WideResnet"}


@pytest.mark.shared
@pytest.mark.parametrize("name", TOLERANCE)
def test_logits_and_running_statistics_are_trax_s(shared, name):
    from zoo.interop import trax

    path = shared / "golden" / "open"
    kwargs = json.loads((path / "manifest.json").read_text())[f"vision/{name}.npz"]["kwargs"]
    golden = dict(np.load(path / "vision" / f"{name}.npz"))
    checkpoint = trax.read(path / "vision" / f"{name}.pkl.gz")
    images = jnp.asarray(golden["images"])
    config = trax.config(CLASSES[name], **kwargs)
    # trax's files do not say how large the images are: 200 and 224 leave the same map of 7 x 7.
    config = dataclasses.replace(config, input_shape=images.shape[1:])
    module, variables = config.build(), trax.to_variables(checkpoint, config)
    close = {"rtol": 1e-4, "atol": TOLERANCE[name]}

    @jax.jit
    def run(variables, images):
        before = module.apply(variables, images)
        logits, changed = module.apply(variables, images, train=True, mutable=["batch_stats"])
        return before, logits, changed, module.apply({**variables, **changed}, images)

    before, logits, changed, after = run(variables, images)
    np.testing.assert_allclose(before, golden["eval_logits"], **close)
    np.testing.assert_allclose(logits, golden["train_logits"], **close)
    np.testing.assert_allclose(after, golden["eval_logits_after_train"], **close)

    state = tuple(golden[f"new_state_{i:03d}"] for i in range(len(checkpoint.state)))
    expected = trax.to_variables(dataclasses.replace(checkpoint, state=state), config)
    assert jax.tree.structure(changed["batch_stats"]) == jax.tree.structure(expected["batch_stats"])
    jax.tree.map(
        lambda found, expected: np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5),
        changed["batch_stats"],
        expected["batch_stats"],
    )
