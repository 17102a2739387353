"""trax's Reformers from trax's own files: logits, loss, gradients, steps with a cache."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.interop import trax
from zoo.storage import weights
from zoo.train import losses

pytestmark = pytest.mark.shared

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
LANGUAGE = ("reformerlm_dense", "reformerlm_lsh", "reformerlm_axial_mixed")
TRANSLATING = ("reformer_shared", "reformer_sep")


@functools.cache
def golden(folder, name):
    """Checkpoint, config and arrays of one of trax's models."""
    kwargs = json.loads((folder / "manifest.json").read_text())[f"reformer/{name}.npz"]["kwargs"]
    arrays = {}
    for kind in ("", ".grad"):
        arrays |= np.load(folder / "reformer" / f"{name}{kind}.npz")
    return (
        trax.read(folder / "reformer" / f"{name}.pkl.gz"),
        trax.config("ReformerLM" if name in LANGUAGE else "Reformer", **kwargs),
        {k: jnp.asarray(v) for k, v in arrays.items() if v.dtype.kind != "U"},
    )


def in_order(arrays, name):
    return [arrays[f"{name}_{i}"] for i in range(9) if f"{name}_{i}" in arrays]


def gradient_norms(tree):
    """Norms of the gradients' differences are relative to these, layer by layer."""
    return {
        path: np.linalg.norm(
            leaf.reshape(len(leaf), -1) if "layer_" in path else leaf.ravel(), axis=-1
        )
        for path, leaf in tree.items()
    }


@pytest.mark.parametrize("name", [*LANGUAGE, *TRANSLATING])
def test_logits_loss_and_gradients_are_trax_s(shared, name):
    checkpoint, config, arrays = golden(shared / "golden" / "open", name)
    variables, module = trax.to_variables(checkpoint, config), config.build()
    inputs = (arrays["src"], arrays["tgt"]) if name in TRANSLATING else (arrays["tokens"],)
    targets = inputs[-1]
    rotations = (in_order(arrays, "rotations"),) if name in LANGUAGE else ()

    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss_of(variables):
        logits = module.apply(variables, *inputs, *rotations)
        total, denominator = losses.cross_entropy(logits, targets, arrays["weights"])
        return total / denominator, logits

    (loss, logits), gradients = jax.jit(loss_of)(variables)
    np.testing.assert_allclose(logits, arrays["logits"], **CLOSE)
    assert float(loss) == pytest.approx(float(arrays["loss"]), rel=1e-5)
    theirs = tuple(arrays[f"g{index:03d}"] for index in range(len(checkpoint.weights)))
    mapped = trax.to_variables(dataclasses.replace(checkpoint, weights=theirs), config)
    found, expected = weights.flatten(gradients), weights.flatten(mapped)
    assert found.keys() == expected.keys()
    differences = gradient_norms({path: found[path] - expected[path] for path in expected})
    for path, norm in gradient_norms(expected).items():
        assert np.all(differences[path] <= 1e-4 * norm), path


@pytest.mark.parametrize("name", LANGUAGE)
def test_steps_with_a_cache_are_trax_s_predict_mode(shared, name):
    checkpoint, config, arrays = golden(shared / "golden" / "open", name)
    variables, module = trax.to_variables(checkpoint, config), config.build()
    tokens = arrays["predict_tokens_in"]
    rows, length = tokens.shape
    rotations = in_order(arrays, "predict_rotations")
    cache = module.apply(variables, rows, length, rotations, method="start")
    step = jax.jit(functools.partial(module.apply, method="extend"))
    for position in range(length):
        logits, cache = step(variables, tokens[:, None, position, None], cache)
        np.testing.assert_allclose(
            logits[:, 0, 0], arrays["predict_logits"][:, position], **CLOSE, err_msg=str(position)
        )


def test_an_array_that_does_not_fit_is_said_with_the_layer_s_number(shared):
    checkpoint, config, _ = golden(shared / "golden" / "open", "reformerlm_lsh")
    arrays = list(checkpoint.weights)
    second = 2 + 11 + 2  # after embedding, positions, the first layer and a layer norm
    arrays[second] = arrays[second][:, :, :3]
    broken = dataclasses.replace(checkpoint, weights=tuple(arrays))
    with pytest.raises(trax.CheckpointError) as error:
        trax.to_variables(broken, config)
    assert str(error.value).splitlines()[1:] == [
        "  + params/decoder/layer_0/attention/heads/query[1] [2, 16, 8]",
        "  - array 15: [2, 16, 3]",
    ]
