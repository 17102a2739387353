"""Runs on images: batch normalisation through the loop, files to predictions, every recipe."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from PIL import Image

import zoo
from zoo.cli import main
from zoo.config import ConfigError
from zoo.models.mlp import MLPConfig
from zoo.pipelines.base import Facts
from zoo.pipelines.sources.opening import from_tfds
from zoo.train import sharding
from zoo.train.state import TrainState, check_batch_size

CHECKOUT = Path(__file__).parents[2]


def test_a_resumed_run_has_the_same_weights_and_statistics(image_recipe, image_rows, tmp_path):

    changes = {"data__augment__pad": 1, "data__augment__mixup": 0.2, "data__augment__cutmix": 1.0}
    whole = zoo.fit(image_recipe(**changes), tmp_path / "whole", data=image_rows, quiet=True)
    zoo.fit(image_recipe(**changes, steps=2), tmp_path / "parts", data=image_rows, quiet=True)
    resumed = zoo.fit(image_recipe(**changes), tmp_path / "parts", data=image_rows, quiet=True)
    leaves = jax.tree.leaves(whole.state.variables)
    for a, b in zip(leaves, jax.tree.leaves(resumed.state.variables), strict=True):
        np.testing.assert_array_equal(a, b)
    statistics = whole.state.variables["batch_stats"]["stem_norm"]
    assert (statistics["mean"] != 0).all() and (statistics["var"] != 1).all()


def test_a_run_and_what_is_exported_of_it_read_image_files(
    image_recipe, image_rows, tmp_path, capsys
):

    result = zoo.fit(
        image_recipe(steps=30, eval_every=30), tmp_path / "run", data=image_rows, quiet=True
    )
    zoo.export(result.workdir, tmp_path / "noise")
    for name, value in (("dark", 50), ("bright", 150)):
        Image.new("RGB", (9, 7), (value,) * 3).save(tmp_path / f"{name}.png")
    files = [str(tmp_path / "dark.png"), str(tmp_path / "bright.png")]
    expected = [prediction.label for prediction in zoo.load(result.workdir)(files)]
    # Evaluation too resizes them to the model's size, which the recipe does not say.
    predictions = zoo.load(result.workdir)(files)
    losses = [-np.log(p.probabilities[str(n)]) for n, p in enumerate(predictions)]
    metrics = zoo.evaluate(result.workdir, data={"image": files, "label": ["0", "1"]})
    assert metrics["test/loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "noise"), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == expected
    assert [line.split("\t")[1] for line in lines] == files
    assert expected == ["0", "1"]
    assert main(["predict", str(tmp_path / "noise"), str(tmp_path / "none.png")]) == 2
    assert capsys.readouterr().err == f"zoo: there is no image '{tmp_path}/none.png'\n"


def test_a_run_is_resumed_and_fine_tuned_with_images_of_the_size_it_began_with(
    image_recipe, image_rows, tmp_path
):
    # An MLP takes images of one size. The second session's are larger, and are made smaller.
    recipe = dataclasses.replace(image_recipe(steps=1), model=MLPConfig(hidden_sizes=(4,)))
    source = zoo.fit(recipe, tmp_path / "run", data=image_rows, quiet=True)
    larger = {**image_rows, "image": image_rows["image"].repeat(2, axis=1).repeat(2, axis=2)}
    more = dataclasses.replace(recipe, steps=2)
    options = {"quiet": True, "allow_change": ("data",)}
    resumed = zoo.fit(more, tmp_path / "run", data=larger, **options)
    assert resumed.state.step == 2
    tuned = zoo.fit(
        recipe, tmp_path / "tuned", data=larger, init_from=str(source.workdir), quiet=True
    )
    for result in (resumed, tuned):
        assert zoo.card(result.workdir).preprocessing["height"] == 8


def test_a_classifier_prepares_no_more_images_than_it_computes_at_once(monkeypatch):
    from zoo.predictors import ImageClassifier, classifiers
    from zoo.preprocessing import ImagePreprocessing
    from zoo.storage.cards import Card

    prepared, seen = [], []

    def probabilities(module, variables, rows):
        seen.append(len(prepared))
        return np.tile([0.25, 0.75], (len(rows), 1))

    def prepare(self, image):
        prepared.append(image)
        return np.zeros((1, 1, 1), np.float32)

    monkeypatch.setattr(classifiers, "probabilities", probabilities)
    monkeypatch.setattr(ImagePreprocessing, "__call__", prepare)
    card = Card(
        name="toy",
        task="image_classification",
        config=None,
        labels=("no", "yes"),
        preprocessing={"height": 1, "width": 1, "channels": 1},
    )
    classify = ImageClassifier(module=None, variables={}, tokenizer=None, card=card)
    assert [prediction.label for prediction in classify(["a"] * 70)] == ["yes"] * 70
    assert seen == [64, 70]
    assert classify([]) == []


def test_a_batch_of_one_image_trains_where_positions_are_left(image_recipe, image_rows, tmp_path):

    result = zoo.fit(
        image_recipe(batch_size=1, steps=2), tmp_path / "run", data=image_rows, quiet=True
    )
    leaves = jax.tree.leaves(result.state.variables)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    rows = {"image": image_rows["image"][:, :1, :1], "label": image_rows["label"]}
    with pytest.raises(ConfigError, match="cannot train on one value a channel"):
        zoo.fit(image_recipe(batch_size=1, steps=2), tmp_path / "small", data=rows, quiet=True)


def test_devices_that_cannot_share_a_batch_are_refused():
    mesh = Mesh(np.array(jax.devices() * 3).reshape(3, 1, 1), sharding.NAMES)
    plain = TrainState(step=0, variables={"params": {}}, optimizer=(), key=None)
    check_batch_size(8, plain, mesh)
    means = plain.replace(variables={"params": {}, "batch_stats": {}})
    carried = plain.replace(carry=(np.zeros(8),))
    for state, why in (
        (means, "padding rows would count in the means of batch normalisation"),
        (carried, "the state carried from batch to batch has no entries for padding rows"),
    ):
        check_batch_size(9, state, mesh)
        with pytest.raises(ConfigError) as error:
            check_batch_size(8, state, mesh)
        assert str(error.value) == (
            "batch_size is 8, which the mesh (data 3, fsdp 1, tensor 1) cannot share equally: "
            f"{why}; take a multiple of 3"
        )


def test_another_data_set_s_classes_are_refused_with_both_sides(image_recipe, image_rows, tmp_path):

    result = zoo.fit(image_recipe(steps=1), tmp_path / "run", data=image_rows, quiet=True)
    others = {**image_rows, "label": np.array(["cat", "dog"])[image_rows["label"]]}
    with pytest.raises(ConfigError, match="'cat', which is not one of the 2 classes '0', '1'; the"):
        zoo.evaluate(result.workdir, data=others)


def test_the_digits_train_without_tensorflow(tmp_path):
    program = """
        import sys
        for name in ("tensorflow", "tensorflow_datasets"):
            sys.modules[name] = None  # importing it fails
        import zoo
        recipe = zoo.override(zoo.recipe("mlp_digits"), {"steps": 40, "eval_every": 20})
        result = zoo.fit(recipe, sys.argv[1], quiet=True)
        assert result.metrics["test/accuracy"] > 0.8
        assert zoo.evaluate(sys.argv[1], limit=100)["test/accuracy"] > 0.7
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path / "run"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"card.toml", "metrics.jsonl", "learning_curve.png"} <= names
    assert not any(name.startswith("events") for name in names)


RECIPES = (
    "resnet20_cifar10",
    "resnet20_cifar10_cpu",
    "resnet50_imagenet",
    "resnet_folder",
    "wide_resnet_cifar10",
)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_decays_no_scale_or_bias_and_ends_slowly(name):
    """The patterns of the optimizer, and the schedule to its end."""

    recipe = zoo.recipe(name)
    facts = Facts(decides={"num_classes": 10, "input_shape": (32, 32, 3)})
    config = recipe.resolve(facts).model
    shapes = config.variable_shapes()
    decays = recipe.optimizer.decays(shapes["params"])
    spared = {path[-1].key for path, on in jax.tree_util.tree_leaves_with_path(decays) if not on}
    assert spared == {"scale", "bias"}
    schedule = recipe.optimizer.schedule_fn(recipe.steps)
    assert schedule(recipe.steps - 1) <= 0.02 * recipe.optimizer.learning_rate


@pytest.fixture
def imagenet(tmp_path):
    """A data set of ImageNet's schema, written by TFDS: images of several sizes in two classes."""
    import tensorflow_datasets as tfds

    from zoo.pipelines.tfdata import tensorflow

    tf = tensorflow()
    random = np.random.default_rng(0)

    def rows(count, labels):
        for number in range(count):
            shape = (*random.integers(20, 40, 2), 3)
            label = number % 2 if labels else -1
            image = np.full(shape, 60 + 120 * (number % 2), np.uint8)
            yield {"image": image, "label": label, "file_name": f"{number}.JPEG"}

    def dataset(count, labels=True):
        spec = {
            "image": tf.TensorSpec([None, None, 3], tf.uint8),
            "label": tf.TensorSpec([], tf.int64),
            "file_name": tf.TensorSpec([], tf.string),
        }
        return tf.data.Dataset.from_generator(lambda: rows(count, labels), output_signature=spec)

    tfds.dataset_builders.store_as_tfds_dataset(
        "imagenet2012",
        version="5.1.0",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=["n01440764", "n01443537"]),
                "file_name": tfds.features.Text(),
            }
        ),
        split_datasets={
            "train": dataset(100),
            "validation": dataset(10),
            "test": dataset(4, labels=False),
        },
        data_dir=tmp_path,
    )
    return tmp_path


@pytest.mark.filterwarnings("ignore")  # what TFDS's writer warns of
def test_the_imagenet_recipe_trains_on_a_small_set_of_its_schema(imagenet, tmp_path):

    recipe = zoo.override(
        zoo.recipe("resnet50_imagenet"),
        {
            "model.stage_sizes": (1, 1),
            "model.width": 4,
            "data.data_dir": str(imagenet),
            "data.height": 16,
            "data.width": 16,
            "data.resize": 18,
            "batch_size": 8,
            "steps": 2,
            "eval_every": 2,
            "checkpoint_every": 2,
        },
    )
    result = zoo.fit(recipe, tmp_path / "run", quiet=True)
    assert {"test/accuracy", "validation/accuracy"} <= set(result.metrics)
    card = zoo.card(tmp_path / "run")
    assert card.labels == ("n01440764", "n01443537")
    assert card.preprocessing["resize"] == 18
    facts = recipe.data.open().facts
    assert facts.num_examples == {"train": 99, "validation": 1, "test": 10}
    # Evaluation and the predictor agree on every image, opened from the same bytes.
    source = from_tfds("imagenet2012", "validation", str(imagenet), decode_all=False)
    classify = zoo.load(result.workdir)
    losses = [
        -np.log(classify(row["image"]).probabilities[card.labels[row["label"]]])
        for row in source.stream.as_numpy_iterator()
    ]
    assert result.metrics["test/loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert zoo.evaluate(result.workdir)["test/loss"] == pytest.approx(np.mean(losses), rel=1e-5)
