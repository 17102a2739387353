"""How arrays lie on a mesh, and that a training does not depend on it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

import zoo
from zoo.config import ConfigError
from zoo.models.axes import AXES, axes_of
from zoo.pipelines.base import Share
from zoo.train import layout, sharding
from zoo.train.optimizers import Adafactor, Adam
from zoo.train.sharding import MeshConfig, of_array
from zoo.train.state import shapes_of_state

CHECKOUT = Path(__file__).parents[2]

PROGRAM = textwrap.dedent(
    """
    import json, sys
    sys.path.insert(0, "benchmarks")
    import meshes
    meshes.force_devices()
    from pathlib import Path
    from zoo.storage.checkpoints import Checkpoints
    from zoo.train import saving
    from zoo.train.state import Progress

    folder, found = Path(sys.argv[1]), {}
    trainings = {layout: meshes.Training(layout) for layout in meshes.LAYOUTS}
    half, whole = 3, 6

    def restored(layout, number):
        with_shapes = trainings[layout]
        store = Checkpoints(folder / str(number), read_only=True)
        state, _ = saving.restore(store, with_shapes.shapes(), 0, with_shapes.mesh)
        return state

    for number, (layout, training) in enumerate(trainings.items()):
        state, losses = training.losses(training.state(), 0, half)
        store = Checkpoints(folder / str(number))
        saving.save(store, state, Progress(step=half), None, None)
        store.close()
        found[layout] = losses
    one, *many = meshes.LAYOUTS
    for number, layout in enumerate(meshes.LAYOUTS):
        onto = many[2] if layout == many[3] else many[1] if layout == one else one
        _, after = trainings[onto].losses(restored(onto, number), half, whole)
        found[f"{layout} -> {onto}"] = after
    print(json.dumps(found))
    """
)


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """Losses of the first steps on each layout, and of the next ones on another."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path_factory.mktemp("meshes"))],
        cwd=CHECKOUT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Involuntary full rematerialization" not in ended.stderr
    return json.loads(ended.stdout)


def test_every_layout_gives_the_losses_of_one_device(losses):
    one = losses["1 device"]
    for name in ("data 8", "fsdp 8", "tensor 8", "fsdp 4 x tensor 2"):
        assert losses[name] == pytest.approx(one, abs=1e-4), name


def test_a_checkpoint_goes_on_on_another_layout(losses):
    after = {name: values for name, values in losses.items() if "->" in name}
    assert len(after) == 5
    assert "1 device -> fsdp 8" in after and "fsdp 8 -> 1 device" in after
    for name, values in after.items():
        assert values == pytest.approx(after["data 8 -> 1 device"], abs=1e-5), name


def mesh(data=1, fsdp=1, tensor=1):
    """A mesh of devices that need not be there."""
    return AbstractMesh((data, fsdp, tensor), sharding.NAMES)


def shapes(name, optimizer, on, **changes):
    config = zoo.create(name, **changes).config
    return shapes_of_state(config.build(), config, optimizer.build(10), on, tuple)


def whole(tree):
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("sizes", [{"fsdp": 8}, {"fsdp": 4, "tensor": 2}])
def test_a_device_holds_an_eighth_of_transformer_big(sizes):
    state = shapes("transformer_big", Adam(learning_rate=1.0), mesh(**sizes), vocab_size=33_300)
    kept = (state.params, state.optimizer)
    assert sharding.held(kept) <= 1.15 * whole(kept) / 8


def test_what_an_optimizer_keeps_lies_as_its_parameters_do():
    for optimizer in (
        Adam(learning_rate=1.0, freeze=("embedding/.*",)),
        Adafactor(learning_rate=1),
    ):
        state = shapes("transformer_lm_tiny", optimizer, mesh(fsdp=2), vocab_size=64)
        params = {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)
        }
        kept = jax.tree_util.tree_leaves_with_path(state.optimizer)
        found = 0
        for path, leaf in kept:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            like = [x for end, x in params.items() if name.endswith(f"/{end}")]
            if like and like[0].shape == leaf.shape:
                assert leaf.sharding.spec == like[0].sharding.spec, name
                found += 1
        assert found >= len(params) / 3


@pytest.mark.parametrize(
    ("path", "shape", "spec"),
    [
        ("params/decoder/block_0/attention/query/kernel", (64, 64), ("fsdp", "tensor")),
        ("optimizer/0/mu/decoder/block_0/attention/out/kernel", (64, 64), ("tensor", "fsdp")),
        ("params/decoder/attention/query/kernel", (6, 64, 64), (None, "fsdp", "tensor")),
        ("params/embedding/embedding", (64, 30), ("tensor",)),  # 4 does not divide 30
        ("params/embedding/embedding", (65, 64), (None, "fsdp")),
        ("params/mlp/up/bias", (64,), ("tensor",)),
        ("params/norm/scale", (64,), ()),
        ("params/stem/kernel", (7, 7, 4, 64), (None, None, None, "fsdp")),
        ("params/mine", (64, 7), ("fsdp",)),
        ("params/mine", (3, 7), ()),
        ("step", (), ()),
    ],
)
def test_axes_are_divided_by_name(path, shape, spec):
    assert of_array(path, shape, mesh(fsdp=4, tensor=2)).spec == PartitionSpec(*spec)


def test_the_table_names_the_matrices_of_every_sequence_model():
    """A matrix without names would be divided over fsdp only, also with tensor axes."""
    unnamed = set()
    configs = [zoo.registry.models.get(name)() for name in zoo.list_models()]
    for config in {type(config): config for config in configs}.values():
        if not hasattr(config, "vocab_size"):
            continue
        sizes = {"vocab_size": 64, "num_classes": 8}
        config = zoo.override(
            config, {key: size for key, size in sizes.items() if hasattr(config, key)}
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(config.variable_shapes()):
            text = jax.tree_util.keystr(path, simple=True, separator="/")
            if leaf.ndim > 1 and "norm" not in text and axes_of(text, leaf.ndim) is None:
                unnamed.add(text.rpartition("/")[2])
    assert unnamed <= {"bias"} | {f"axial_{i}" for i in range(9)}, unnamed
    names = {name for _, axes in AXES for name in axes}
    assert sharding.RULES.keys() <= names


@pytest.mark.parametrize(
    ("config", "available", "sizes"),
    [
        ({}, 8, (8, 1, 1)),
        ({"fsdp": 4}, 8, (2, 4, 1)),
        ({"data": 1, "fsdp": -1, "tensor": 2}, 8, (1, 4, 2)),
        ({"data": 1}, 8, (1, 1, 1)),
    ],
)
def test_minus_one_is_what_is_left(config, available, sizes):
    assert MeshConfig(**config).sizes(available) == sizes


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"data": 3, "fsdp": 4},
            "data 3, fsdp 4, tensor 1, which takes 12 devices, but there are 8",
        ),
        ({"tensor": 3}, "tensor 3, which takes a multiple of 3 devices, but there are 8"),
        ({"fsdp": 16}, "which takes a multiple of 16 devices, but there are 8"),
        ({"fsdp": -1}, "only one of them can be -1"),
        ({"fsdp": 0}, "mesh.fsdp is 0; it must be 1 or more, or -1"),
    ],
)
def test_a_mesh_that_does_not_multiply_to_the_devices(config, message):
    with pytest.raises(ConfigError, match=message):
        MeshConfig(**config).sizes(8)


def test_show_tells_how_a_recipe_lies_on_devices_that_are_not_there():
    recipe = zoo.override(
        zoo.recipe("transformer_copy"), {"mesh.fsdp": 4, "mesh.tensor": 2, "batch_size": 6}
    )
    described = layout.describe(recipe).splitlines()
    assert described[0] == "transformer_copy on 8 device(s) (data 1, fsdp 4, tensor 2)"
    (row,) = (line for line in described if "encoder/block_*/mlp/up/kernel" in line)
    assert row.split()[1:] == "[64, 128] embed over fsdp, mlp over tensor [16, 64]".split()
    assert "a batch of 6 is divided into 4 part(s)" in described


@dataclasses.dataclass(frozen=True)
class Device:
    """Of a mesh that is not there."""

    process_index: int


@pytest.mark.parametrize(
    ("processes", "sizes", "shares"),
    [
        ([0] * 8, (8, 1, 1), [Share(0, 1, 8)]),
        ([0, 0, 1, 1], (2, 2, 1), [Share(0, 2, 2), Share(1, 2, 2)]),
        ([0, 1, 2, 3], (1, 4, 1), [Share(n, 4, 1) for n in range(4)]),
        ([0, 1, 2, 3], (2, 1, 2), [Share(0, 2, 1)] * 2 + [Share(1, 2, 1)] * 2),
        ([0, 1], (1, 1, 2), [Share(0, 1, 1)] * 2),  # both compute parts of all rows
        ([0, 1, 0, 1], (4, 1, 1), [Share(0, 1, 4)] * 2),  # no equal block has the rows of one
    ],
)
def test_a_process_reads_the_rows_of_its_devices(processes, sizes, shares, monkeypatch):
    @dataclasses.dataclass(frozen=True, eq=False)
    class Layout:
        devices: np.ndarray
        shape: dict

    devices = np.array([Device(number) for number in processes]).reshape(sizes)
    for number, expected in enumerate(shares):
        monkeypatch.setattr(jax, "process_index", lambda number=number: number)
        found = sharding.share(Layout(devices, dict(zip(sharding.NAMES, sizes, strict=True))))
        assert found == expected


def test_host_arrays_are_put_where_they_belong():
    one = sharding.make_mesh(MeshConfig(data=1))
    tree = {"embedding": np.arange(8.0).reshape(4, 2)}
    placed = sharding.put(tree, sharding.of_tree(tree, one))
    np.testing.assert_array_equal(placed["embedding"], tree["embedding"])
    assert sharding.put(placed, placed)["embedding"] is placed["embedding"]
