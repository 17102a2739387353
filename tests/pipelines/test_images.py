from __future__ import annotations

import itertools
import weakref

import numpy as np
import pytest
from PIL import Image

from zoo.config import ConfigError, from_json, to_json
from zoo.pipelines import images
from zoo.pipelines.augment import Augmentation, random_box
from zoo.pipelines.base import DataConfig
from zoo.pipelines.delivery import generator
from zoo.pipelines.images import ImageClassificationData
from zoo.pipelines.sources import image_files
from zoo.pipelines.tfdata import tensorflow
from zoo.preprocessing import ImagePreprocessing, read

# Thirty grey images of 2 x 3; all pixels of an image have its number.
IMAGES = np.repeat(np.arange(30, dtype=np.uint8), 6).reshape(30, 2, 3, 1)
COLUMNS = {"image": IMAGES, "label": np.arange(30) % 3}

either = pytest.mark.parametrize("cache", [True, False], ids=["cached", "streamed"])


def take(batches, number: int) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(batches, number))


def given(cache: bool):
    """The images in memory, or as a stream, which is what they stay without a cache."""
    return COLUMNS if cache else tensorflow().data.Dataset.from_tensor_slices(COLUMNS)


def data(**fields) -> ImageClassificationData:
    return ImageClassificationData(mean=(0.0,), std=(1 / 255,), **fields)


def numbers(batch: dict[str, np.ndarray]) -> list[int]:
    """Which images a batch has."""
    return batch["inputs"][:, 0, 0, 0].round().astype(int).tolist()


@either
def test_a_batch_has_inputs_targets_and_weights(cache):
    opened = ImageClassificationData(cache=cache, holdout=0).open(given(cache))
    (batch,) = take(opened.train(4, seed=0), 1)
    assert {key: (value.shape, value.dtype.name) for key, value in batch.items()} == {
        "inputs": ((4, 2, 3, 1), "float32"),
        "targets": ((4,), "int32"),
        "weights": ((4,), "float32"),
    }
    assert (-1 <= batch["inputs"]).all() and (batch["inputs"] <= 1).all()


def test_facts_say_what_the_data_decides():
    facts = ImageClassificationData(mean=(0.1,), std=(0.3,)).open(COLUMNS).facts
    assert facts.labels == ("0", "1", "2")
    assert facts.decides["num_classes"] == 3
    assert facts.decides["input_shape"] == (2, 3, 1)
    assert facts.num_examples == {"train": 27, "validation": 3}
    assert facts.tokenizer is None and "vocab_size" not in facts.decides
    assert ImagePreprocessing(**facts.preprocessing) == ImagePreprocessing(
        height=2, width=3, channels=1, mean=(0.1,), std=(0.3,)
    )


@either
@pytest.mark.parametrize("start", [1, 4, 17])
def test_a_resumed_run_sees_what_it_would_have_seen(cache, start):
    opened = data(cache=cache, holdout=0, shuffle_buffer=12).open(given(cache))
    whole = take(opened.train(7, seed=2), start + 2)
    resumed = take(opened.train(7, seed=2, start=start), 2)
    assert list(map(numbers, resumed)) == list(map(numbers, whole[start:]))


@either
def test_every_image_occurs_once_an_epoch_with_its_class(cache):
    opened = data(cache=cache, holdout=0).open(given(cache))
    batches = take(opened.train(30, seed=0), 2)
    assert [sorted(numbers(batch)) for batch in batches] == [list(range(30))] * 2
    assert numbers(batches[0]) != numbers(batches[1])
    assert all((np.array(numbers(b)) % 3 == b["targets"]).all() for b in batches)


@either
@pytest.mark.parametrize("batch_size", [1, 7, 30, 64])
def test_evaluation_sees_every_image_once_in_batches_of_any_size(cache, batch_size):
    batches = take(
        data(cache=cache, holdout=0).open(given(cache)).evaluate("train", batch_size), 99
    )
    assert {len(batch["targets"]) for batch in batches} == {batch_size}
    weights = np.concatenate([batch["weights"] for batch in batches])
    seen = np.concatenate([numbers(batch) for batch in batches])
    assert seen[weights == 1].tolist() == list(range(30))


def test_an_unknown_split_lists_the_known_ones():
    with pytest.raises(LookupError) as error:
        data(holdout=0).open(COLUMNS).evaluate("validation", 8)
    assert str(error.value) == "the data has no split 'validation'; it has 'train'"


def test_the_digits_need_no_download():
    opened = ImageClassificationData().open()
    assert opened.facts.num_examples == {"train": 1366, "test": 360, "validation": 71}
    assert opened.facts.decides["input_shape"] == (8, 8, 1)
    (batch,) = take(opened.evaluate("test", 360), 1)
    assert (batch["inputs"].min(), batch["inputs"].max()) == (-1, 1)
    assert np.bincount(batch["targets"]).min() > 20


def test_the_digits_are_split_in_the_same_way_each_time():
    found = images.digits()
    assert found["test"].column("label")[:8].tolist() == [0, 8, 8, 9, 8, 3, 7, 5]
    together = np.concatenate([source.column("image") for source in found.values()])
    assert len(np.unique(together, axis=0)) == 1797


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ImportError) as error:
        images.digits()
    assert str(error.value) == (
        "the digits need scikit-learn (No module named 'sklearn.datasets'): "
        'pip install "flax-zoo[train]"'
    )


def test_images_without_a_channel_axis_are_grey():
    opened = data(holdout=0).open({"image": IMAGES[..., 0], "label": COLUMNS["label"]})
    assert opened.facts.decides["input_shape"] == (2, 3, 1)


def test_tuples_may_have_files_and_pillow_images(tmp_path):
    grey = Image.fromarray(IMAGES[7, :, :, 0])
    grey.save(tmp_path / "seven.png")
    opened = data(holdout=0).open([(tmp_path / "seven.png", "file"), (grey, "pillow")])
    assert opened.facts.labels == ("file", "pillow")
    (batch,) = take(opened.train(2, seed=0), 1)
    assert numbers(batch) == [7, 7]


@either
@pytest.mark.parametrize("kind", ["path", "pillow", "array", "content", "of several shapes"])
def test_images_in_a_list_are_cut_out_once(kind, cache, tmp_path):
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 255, (12, 20, 3), np.uint8) for _ in range(2)]
    if kind == "of several shapes":
        arrays[1] = arrays[1][:-1]
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for file, array in zip(files, arrays, strict=True):
        Image.fromarray(array).save(file)
    rows = {
        "path": files,
        "pillow": list(map(Image.fromarray, arrays)),
        "content": [file.read_bytes() for file in files],
    }.get(kind, arrays)
    opened = data(height=6, width=6, resize=8, cache=cache, holdout=0).open(
        {"image": rows, "label": [0, 1]}
    )
    prepare = ImagePreprocessing(**opened.facts.preprocessing)
    assert prepare.shape == (6, 6, 3)
    (batch,) = take(opened.evaluate("train", 2), 1)
    np.testing.assert_array_equal(batch["inputs"], [prepare(array) for array in arrays])


@either
@pytest.mark.parametrize("kind", [object, str])
def test_a_column_of_paths_may_be_an_array(kind, cache, tmp_path):
    paths = np.array([f"{tmp_path}/{number}.png" for number in (3, 5)], kind)
    for path, number in zip(paths, (3, 5), strict=True):
        Image.fromarray(IMAGES[number, ..., 0]).save(path)
    opened = data(cache=cache, holdout=0).open({"image": paths, "label": [0, 1]})
    assert opened.facts.decides["input_shape"] == (2, 3, 1)
    (batch,) = take(opened.evaluate("train", 2), 1)
    assert numbers(batch) == [3, 5]


@either
def test_bytes_of_a_stream_are_files_whatever_the_config_names(cache, tmp_path):
    Image.fromarray(IMAGES[7, ..., 0]).save(tmp_path / "seven.png")
    content = [(tmp_path / "seven.png").read_bytes()] * 2
    stream = tensorflow().data.Dataset.from_tensor_slices({"image": content, "label": [0, 1]})
    named = data(folder=str(tmp_path), height=2, width=3, cache=cache, holdout=0)
    opened = named.open(stream)
    assert opened.facts.decides["input_shape"] == (2, 3, 3)
    (batch,) = take(opened.evaluate("train", 2), 1)
    assert numbers(batch) == [7, 7]


@either
def test_of_files_one_is_decoded_at_a_time(cache, tmp_path, held):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        Image.fromarray(IMAGES[number, ..., 0]).save(path)
    opened = data(cache=cache, holdout=0).open({"image": paths, "label": [0, 1, 0, 1]})
    (batch,) = take(opened.evaluate("train", 4), 1)
    assert numbers(batch) == [0, 1, 2, 3]
    assert max(held) <= 1


def test_of_a_batch_to_be_cropped_one_file_is_decoded_at_a_time(tmp_path, held):
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path in paths:
        Image.fromarray(random.integers(0, 255, (9, 8, 3), np.uint8)).save(path)
    augmentation = Augmentation(crop_area=0.2)
    opened = data(height=4, width=4, cache=False, holdout=0, augment=augmentation).open(
        {"image": paths, "label": [0, 1, 0, 1]}
    )
    packed = np.array(list(map(image_files.packed, paths)), object)
    found, _ = opened._cropped(packed, [generator(0, row) for row in range(len(paths))])
    assert max(held) <= 1
    prepare = ImagePreprocessing(**opened.facts.preprocessing)
    expected = [
        prepare.cut(read(path), random_box(8, 9, 0.2, generator(0, row)))
        for row, path in enumerate(paths)
    ]
    np.testing.assert_array_equal(found, expected)


@pytest.fixture
def held(monkeypatch) -> list[int]:
    """How many images that were read before are still there at each reading."""
    there: weakref.WeakValueDictionary[int, Image.Image] = weakref.WeakValueDictionary()
    found: list[int] = []

    def counted(image):
        found.append(len(there))
        there[len(found)] = result = read(image)
        return result

    monkeypatch.setattr("zoo.preprocessing.read", counted)
    return found


def test_a_card_decides_what_the_config_leaves_open():
    card = data().open(COLUMNS).facts.preprocessing
    assert data().matching(card) == data(height=2, width=3, channels=1)
    assert data(height=5, channels=3).matching(card) == data(height=5, width=3, channels=3)
    assert data().matching({}) == data()


def test_images_of_several_sizes_need_one():
    several = [(np.zeros((size, 4), np.uint8), size) for size in (4, 5)]
    with pytest.raises(ConfigError) as error:
        data().open(several)
    assert str(error.value) == (
        "the images of the data have several sizes; set data.height, data.width and data.channels"
    )
    assert data(height=4, holdout=0).open(several).facts.decides["input_shape"] == (4, 4, 1)
    several = [(np.zeros((4, 4, *channels), np.uint8), "") for channels in ([], [3])]
    with pytest.raises(ConfigError, match="the images of the data have several sizes; set"):
        data().open(several)


@either
def test_a_stream_of_several_sizes_is_resized_as_a_predictor_does(cache):
    tf = tensorflow()
    arrays = [np.arange(n * n * 3, dtype=np.uint8).reshape(n, n, 3) for n in (5, 8, 12)]
    stream = tf.data.Dataset.from_generator(
        lambda: ({"image": array, "label": i % 2} for i, array in enumerate(arrays)),
        output_signature={
            "image": tf.TensorSpec([None, None, 3], tf.uint8),
            "label": tf.TensorSpec([], tf.int64),
        },
    )
    with pytest.raises(ConfigError, match=r"have several sizes; set data\.height"):
        data(cache=cache).open(stream)
    opened = data(cache=cache, height=6, width=7, holdout=0).open(stream)
    (batch,) = take(opened.evaluate("train", 3), 1)
    prepare = ImagePreprocessing(**opened.facts.preprocessing)
    np.testing.assert_array_equal(batch["inputs"], [prepare(array) for array in arrays])


def test_what_has_no_axes_of_an_image_is_refused():
    with pytest.raises(ConfigError) as error:
        data().open({"image": np.zeros((4, 9)), "label": [0, 1, 0, 1]})
    assert str(error.value) == (
        "the data: column 'image' has values of shape (9,); an image has the shape [H, W] or "
        "[H, W, C]"
    )


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="the data has no rows"):
        data().open([])


def test_a_config_survives_json():
    config = ImageClassificationData(name="cifar10", mean=(0.5, 0.4, 0.3), std=(0.2,))
    assert from_json(DataConfig, to_json(config)) == config
    assert hash(config) == hash(ImageClassificationData(**vars(config)))


@pytest.mark.shared
def test_a_predictor_sees_what_evaluation_sees(shared, tmp_path):
    config = ImageClassificationData(
        name="mnist",
        data_dir=str(shared / "data"),
        train=("train[:50]",),
        test=("test[:20]",),
        mean=(0.1307,),
        std=(0.3081,),
    )
    opened = config.open()
    assert opened.facts.num_examples == {"train": 49, "test": 20, "validation": 1}
    assert opened.facts.labels == tuple("0123456789")
    (batch,) = take(opened.evaluate("test", 20), 1)
    (raw,) = take(_mnist(shared).batch(20).as_numpy_iterator(), 1)
    prepare = ImagePreprocessing(**opened.facts.preprocessing)
    for inputs, pixels in zip(batch["inputs"], raw["image"], strict=True):
        Image.fromarray(pixels[..., 0]).save(tmp_path / "image.png")
        np.testing.assert_array_equal(prepare(tmp_path / "image.png"), inputs)
        np.testing.assert_array_equal(prepare(pixels), inputs)


def _mnist(shared):
    from zoo.pipelines.sources.opening import from_tfds

    return from_tfds("mnist", "test[:20]", str(shared / "data")).dataset
