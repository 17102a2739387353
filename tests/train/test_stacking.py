"""Training with stacked layers: the same run, and the same names wherever it can be read."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import zoo
from zoo.config import ConfigError
from zoo.models import stacks
from zoo.models.transformer import TransformerEncoderConfig
from zoo.storage import weights
from zoo.storage.checkpoints import FOLDER, Checkpoints
from zoo.train import Adafactor, Adam, InitFrom, LoRA, layout, saving, sharding

MODEL = TransformerEncoderConfig(
    d_model=8, d_ff=8, num_heads=2, num_layers=2, max_len=16, dropout_rate=0.0
)
ADAM = Adam(
    learning_rate=0.01,
    eps=1e-3,  # the gradients of some biases are nothing but rounding errors
    clip_norm=0.5,
    weight_decay=0.1,
    no_decay=(".*/bias",),
    freeze=("embedding/.*", ".*/mlp/.*"),
    rates=(("encoder/.*", 0.5),),
)
FIELDS = {
    **{"model": MODEL, "optimizer": ADAM, "steps": 4, "ema": 0.5},
    **dict.fromkeys(("eval_every", "checkpoint_every", "log_every"), 4),
}
SHIP = "the ship sails"


def numbers(state):
    """What a step changes, by the names of layers."""
    trees = (state.variables, state.optimizer, state.ema)
    return stacks.unstacked(jax.device_get(trees))


def close(found, expected, tolerance=1e-5):
    def same(a, b):
        np.testing.assert_allclose(a, b, atol=tolerance)

    jax.tree.map(same, numbers(found), numbers(expected))


@pytest.fixture(scope="module")
def trained(recipe, rows, tmp_path_factory):
    """Runs of all steps, one layer after the other and stacked; they are shared: only read them."""
    folder = tmp_path_factory.mktemp("stacked")
    return [
        zoo.fit(recipe(**FIELDS, scan_layers=scan), folder / f"{scan}", data=rows, quiet=True)
        for scan in (False, True)
    ]


def test_a_stacked_run_is_the_run_of_single_layers(trained):
    plain, scanned = trained
    assert "blocks_2" in scanned.state.params["encoder"]
    assert "blocks_2" in scanned.state.ema["params"]["encoder"]
    close(scanned.state, plain.state)
    assert scanned.metrics == pytest.approx(plain.metrics, abs=1e-5)


@pytest.mark.parametrize("step", ["latest", "ema"])
def test_it_answers_as_that_and_has_its_names(trained, step):
    plain, scanned = (zoo.load(result.workdir, step=step) for result in trained)
    assert scanned(SHIP).probability == pytest.approx(plain(SHIP).probability, abs=1e-5)
    assert weights.flatten(scanned.variables).keys() == weights.flatten(plain.variables).keys()
    assert scanned.card.config == plain.card.config


def test_a_checkpoint_of_either_is_restored_as_the_other(trained):
    for result, other in (trained, trained[::-1]):
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
            other.state,
        )
        mesh = other.state.step.sharding.mesh
        store = Checkpoints(result.workdir / FOLDER, read_only=True)
        state, progress = saving.restore(store, shapes, 0, mesh)
        assert progress.step == 4
        assert stacks.are_in(state.optimizer) == stacks.are_in(other.state.optimizer)
        for found, expected in zip(numbers(state), numbers(result.state), strict=True):
            jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("first", [False, True])
def test_a_run_is_resumed_the_other_way(first, run, trained, tmp_path):
    run(**{**FIELDS, "steps": 2, "schedule_steps": 4}, scan_layers=first)
    both = run(**{**FIELDS, "schedule_steps": 4}, scan_layers=not first)
    assert stacks.are_in(both.state.optimizer) is not first
    close(both.state, trained[0].state)
    log = (tmp_path / "run/train.log").read_text()
    assert f"until step 2 scan_layers was {first}, and is {not first} now" in log


@pytest.mark.slow
def test_a_stacked_run_resumes_bit_for_bit(run, trained):
    fields = {**FIELDS, "schedule_steps": 4}
    dropping = {**fields, "model": dataclasses.replace(MODEL, dropout_rate=0.2)}
    run("halves", **{**dropping, "steps": 2}, scan_layers=True)
    resumed = run("halves", **dropping, scan_layers=True)
    whole = run("whole", **dropping, scan_layers=True)
    jax.tree.map(np.testing.assert_array_equal, numbers(resumed.state), numbers(whole.state))


@pytest.mark.slow
def test_adapters_and_fresh_heads_of_stacked_layers(run, trained, tmp_path):
    """The base is a run of single layers, and its digest that of its own weights."""
    plain, _ = trained
    tuning = {
        **FIELDS,
        "optimizer": Adam(learning_rate=0.05),
        "lora": LoRA(targets=("encoder/.*/(query|value)/kernel",), rank=2),
        "init_from": InitFrom(source=str(plain.workdir), skip=("head/.*",)),
        "ema": None,
    }
    tuned = run("tuned", **tuning, scan_layers=True)
    found = tuned.state.params["encoder"]["blocks_2"]["attention"]["query"]["kernel"]
    assert found["a"].shape == (2, 8, 2)
    again = run("again", **{**tuning, "steps": 6, "schedule_steps": 4}, scan_layers=True)
    resumed = run("tuned", **{**tuning, "steps": 6, "schedule_steps": 4}, scan_layers=True)
    jax.tree.map(np.testing.assert_array_equal, numbers(resumed.state), numbers(again.state))
    zoo.export(tuned.workdir, tmp_path / "adapters")
    exported = zoo.load(tmp_path / "adapters")
    assert exported(SHIP) == zoo.load(tuned.workdir)(SHIP)
    pairs = weights.load(tmp_path / "adapters/adapters.safetensors")["params"]["encoder"]
    assert pairs["block_1"]["attention"]["value"]["kernel"]["b"].shape == (2, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": Adam(learning_rate=1.0, freeze=("encoder/block_0/.*",))},
            "optimizer.freeze has other values for encoder/block_0/attention/key/bias than for "
            "encoder/block_1/attention/key/bias, and scan_layers stacks them; treat all layers of "
            "a stack alike, or leave scan_layers out",
        ),
        (
            {"optimizer": Adam(learning_rate=1.0, rates=((".*/block_1/.*", 0.1),))},
            "optimizer.rates has other values for encoder/block_0/attention/key/bias than for "
            "encoder/block_1/",
        ),
        (
            {"optimizer": Adam(learning_rate=1.0, weight_decay=0.1, no_decay=(".*0/mlp/.*",))},
            "optimizer.no_decay has other values for encoder/block_0/mlp/",
        ),
        (
            {"optimizer": Adam(learning_rate=1.0, freeze=("encoder/blocks_2/.*",))},
            "optimizer.freeze has 'encoder/blocks_2/.*', which matches no parameter",
        ),
        (
            {
                "lora": LoRA(targets=("encoder/block_1/mlp/up/kernel",)),
                "init_from": InitFrom(source="SOURCE"),
            },
            "scan_layers stacks layers, and the parameters of block_1 are not the same",
        ),
        (
            {"optimizer": Adafactor(learning_rate=1.0)},
            "scan_layers is set, but Adafactor treats an array as a whole",
        ),
    ],
)
def test_layers_of_a_stack_that_are_treated_differently(changes, message, run, trained):
    if "init_from" in changes:
        changes = {**changes, "init_from": InitFrom(source=str(trained[0].workdir))}
    with pytest.raises(ConfigError) as raised:
        run(**{**FIELDS, **changes}, scan_layers=True)
    assert str(raised.value).startswith(message)


def test_a_model_without_stacks(recipe):
    with pytest.raises(ConfigError, match="but BagOfEmbeddingsConfig has no layers that can be"):
        recipe(scan_layers=True)


def test_a_layer_in_a_stack_lies_as_it_does_by_itself(recipe):
    mesh = layout.abstract(sharding.MeshConfig(data=1, fsdp=4, tensor=2))
    for path, shape in {
        "encoder/block_0/attention/query/kernel": (8, 8),
        "encoder/block_0/attention/out/bias": (8,),
        "0/mu/encoder/block_0/mlp_norm/scale": (8,),
        "encoder/block_0/attention/query/kernel/a": (8, 2),
    }.items():
        single = sharding.of_array(path, shape, mesh).spec
        stack = sharding.of_array(path.replace("block_0", "blocks_16"), (16, *shape), mesh).spec
        assert stack == PartitionSpec(None, *single), path
    changes = {"scan_layers": True, "mesh.fsdp": 4, "mesh.tensor": 2, "batch_size": 8}
    plain = zoo.recipe("transformer_copy")
    described = [
        layout.describe(zoo.override(plain, {**changes, "scan_layers": scan}))
        for scan in (False, True)
    ]
    assert described[0] == described[1]


@pytest.mark.slow
def test_stacked_layers_on_eight_devices(recipe, rows, trained, tmp_path):
    """Trained, and resumed from one device."""
    from test_sharding import assert_loads, train_elsewhere

    halves = recipe(**{**FIELDS, "steps": 2, "schedule_steps": 4}, scan_layers=True)
    whole = recipe(**FIELDS, schedule_steps=4, scan_layers=True)
    many = dataclasses.replace(whole, mesh=sharding.MeshConfig(fsdp=4, tensor=2))
    zoo.fit(halves, tmp_path / "one", data=rows, quiet=True)
    ((both, many),) = train_elsewhere(
        [(many, rows, tmp_path / "one"), (many, rows, tmp_path / "many")],
        tmp_path / "jobs",
        devices=8,
    )
    expected = stacks.unstacked(jax.device_get(trained[0].state.params))
    for _, everywhere, (params, _), _ in (both, many):
        assert everywhere
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
            stacks.unstacked(params),
            expected,
        )
    assert_loads(trained[1], tmp_path / "many")
