"""Where weights are put and computed with, predictors in several threads and in other processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

CHECKOUT = Path(__file__).parents[2]

EIGHT = """
import dataclasses, os, sys
import jax, numpy as np
import zoo
from jax.sharding import NamedSharding, PartitionSpec
from zoo import hub
from zoo.storage.cards import Card

devices = jax.devices()
run, exported = sys.argv[1:]

def places(model):
    return {str(d) for leaf in jax.tree.leaves(model.variables) for d in leaf.devices()}

# Published weights and those of a run are put on the same device.
for given, expected in ((None, 0), ("cpu", 0), ("cpu:3", 3), (devices[5], 5)):
    for source in (run, exported):
        assert places(zoo.load(source, device=given)) == {str(devices[expected])}, (source, given)
with jax.default_device(devices[2]):
    assert places(zoo.load(run)) == places(zoo.load(exported)) == {str(devices[2])}
    assert places(zoo.load(exported, device="cpu:1")) == {str(devices[1])}
assert hub.open_model(run, device="cpu:4").variables["params"]["head"]["bias"].devices() == {
    devices[4]
}

# It answers there, also where the default is another device.
image = np.arange(64, dtype=np.uint8).reshape(8, 8)
expected = zoo.load(exported)(image)
there = zoo.load(exported, device="cpu:6")
with jax.default_device(devices[1]):
    answer = there(image)
assert answer.label == expected.label

# Weights over all devices: kernels by columns where they divide, the others copied.
mesh = jax.make_mesh((8,), ("model",))
def sharding(leaf):
    spec = (None, "model") if leaf.ndim == 2 and leaf.shape[1] % 8 == 0 else ()
    return NamedSharding(mesh, PartitionSpec(*spec))
variables = there.variables
spread = dataclasses.replace(
    there, variables=jax.device_put(variables, jax.tree.map(sharding, variables))
)
kernel = spread.variables["params"]["hidden_0"]["kernel"]
assert len(kernel.addressable_shards) == 8 and kernel.addressable_shards[0].data.shape == (64, 1)
for images in ([image] * 3, [image]):
    for found, single in zip(spread(images), there(images), strict=True):
        assert found.label == single.label
        assert abs(found.probability - single.probability) < 1e-5

print("equal")
"""


@pytest.fixture
def model(tmp_path):
    """(the folder of a run, the folder of its export) of a small classifier of images."""
    import numpy as np

    import zoo
    from zoo.models.mlp import MLPConfig
    from zoo.storage import cards, checkpoints

    config = MLPConfig(input_shape=(8, 8, 1), num_classes=2, hidden_sizes=(8,))
    numbers = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: numbers.standard_normal(leaf.shape, np.float32), config.variable_shapes()
    )
    run = tmp_path / "run"
    run.mkdir()
    cards.Card(
        name="run",
        task="image_classification",
        config=config,
        labels=("no", "yes"),
        preprocessing={"height": 8, "width": 8, "channels": 1},
    ).save(run / cards.RUN_CARD)
    store = checkpoints.Checkpoints(run / checkpoints.FOLDER)
    nothing = {"count": jax.numpy.zeros(())}
    store.save(1, variables=jax.device_put(variables), optimizer=nothing, progress={}, metrics=None)
    store.close()
    zoo.export(run, tmp_path / "out")
    return run, tmp_path / "out"


def test_weights_are_where_they_were_asked_for(model):
    ended = subprocess.run(
        [sys.executable, "-c", EIGHT, *map(str, model)],
        cwd=CHECKOUT,
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "equal\n", ended.stderr


@pytest.mark.parametrize("name", ["cpu:1", "cpu:x", "tpu", "gpu:0", "", ":0"])
def test_a_device_that_is_not_there_is_refused(model, name):
    import zoo

    with pytest.raises(ValueError, match=r"there is no device '.*' in this process; it has cpu:0"):
        zoo.load(model[1], device=name)
    with pytest.raises(ValueError, match="device is 3; give a"):
        zoo.load(model[1], device=3)


def of_threads(model, items, threads: int, calls: int):
    """Answers of several threads at once, each asking every item in an order of its own."""

    def ask(thread: int):
        return {
            index % len(items): model(items[index % len(items)])
            for index in range(thread, thread + calls)
        }

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(ask, range(threads)))


def test_threads_get_the_answers_that_one_gets(model):
    import numpy as np

    import zoo

    items = [np.full((8, 8), value, np.uint8) for value in range(0, 250, 25)]
    expected = [zoo.load(model[1])(item) for item in items]
    loaded = zoo.load(model[1])  # nothing of it is compiled or made before the threads begin
    for found in of_threads(loaded, items, threads=8, calls=20):
        assert found == {index: expected[index] for index in found}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("bag_of_embeddings_imdb", [f"{'good ' * n}film" for n in range(40)]),
        ("transformer_ende_small", ["A dog.", "Two men are sitting on a bench.", "No."]),
    ],
)
def test_eight_threads_ask_two_hundred_times_each(name, items):
    import zoo

    expected = [zoo.load(name)(item) for item in items]
    for found in of_threads(zoo.load(name), items, threads=8, calls=200):
        assert found == {index: expected[index] for index in found}


@pytest.mark.slow
def test_eight_threads_draw_what_one_draws():
    import zoo

    model = zoo.load("transformer_shakespeare")

    def ask(prompt):
        return model.generate(prompt, max_new_tokens=12)

    prompts = ["ROMEO:\n", "To be", "O "]
    expected = [ask(prompt) for prompt in prompts]
    for found in of_threads(ask, prompts, threads=8, calls=200):
        assert found == {index: expected[index] for index in found}


def test_threads_load_at_once(model):
    import zoo

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda n: zoo.load(model[n % 2]), range(16)))
    for one in loaded:
        assert jax.tree.all(
            jax.tree.map(lambda a, b: bool((a == b).all()), one.variables, loaded[0].variables)
        )


def ask(model, item):
    return model(item)


@pytest.mark.slow  # pickling itself is in tests/predictors
def test_a_predictor_goes_to_a_process_that_is_spawned(model, monkeypatch):
    import numpy as np

    import zoo

    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    loaded = zoo.load(model[1])
    item = np.full((8, 8), 77, np.uint8)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(ask, loaded, item).result() == loaded(item)
