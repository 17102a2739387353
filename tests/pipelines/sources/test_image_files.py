"""Files of images: what is found in a folder, what each epoch sees, and what is wrong with them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo import preprocessing
from zoo.pipelines.augment import Augmentation
from zoo.pipelines.base import LabelError
from zoo.pipelines.images import ImageClassificationData
from zoo.pipelines.sources import image_files
from zoo.preprocessing import ImagePreprocessing

either = pytest.mark.parametrize("cache", [True, False], ids=["cached", "opened each time"])


@pytest.fixture
def folder(tmp_path):
    """Five images of two classes, in several sizes, modes and formats."""
    random = np.random.default_rng(0)
    for name, shape, mode in (
        ("cat/a.png", (9, 12, 3), "RGB"),
        ("cat/b.PNG", (12, 9, 4), "RGBA"),
        ("cat/c.jpg", (20, 20, 3), "CMYK"),
        ("dog/a.png", (1, 1), "L"),
        ("dog/wide.png", (2, 20_000), "L"),
    ):
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(random.integers(0, 255, shape, np.uint8))
        image.convert(mode).save(path)
    (tmp_path / "pets" / "dog" / "notes.txt").write_text("not an image")
    (tmp_path / "pets" / ".cache").mkdir()
    return tmp_path / "pets"


@pytest.mark.parametrize("split", ["", "train"])
def test_what_systems_put_into_folders_is_ignored(folder, split):
    if split:
        (folder / split).mkdir()
        for name in ("cat", "dog"):
            (folder / name).rename(folder / split / name)
    root = folder / split
    for name in (".cache", "cat/.ipynb_checkpoints", "__MACOSX/cat", "@eaDir", "cat/x.jpg"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("cat/._a.png", "cat/Thumbs.db", "cat/desktop.ini", "__MACOSX/cat/._a.png"):
        (root / name).write_bytes(b"\0\5\x16\7")
    Image.new("L", (3, 3)).save(root / "cat/.ipynb_checkpoints/a-checkpoint.png")
    facts = data(folder).open().facts
    assert (facts.labels, facts.num_examples) == (("cat", "dog"), {"train": 5})
    assert facts.left_out == {}


@either
def test_files_that_are_no_images_are_left_out_and_counted(folder, cache, caplog):
    (folder / "cat" / "empty.jpg").touch()
    (folder / "dog" / "page.png").write_text("<html>not found</html>")
    for name in ("cat/c.jpg", "dog/wide.png"):
        content = (folder / name).read_bytes()
        (folder / name).with_stem("half").write_bytes(content[: len(content) // 2])
    opened = data(folder, cache=cache).open()
    assert opened.facts.left_out == {"broken": 4}
    assert opened.facts.num_examples == {"train": 5}
    assert "4 file(s) are left out" in caplog.text
    assert len(take(opened.evaluate("train", 8), 9)) == 1
    assert preprocessing.is_whole(folder / "cat" / "c.jpg")


def test_content_that_looks_like_a_path_is_content(folder):
    target = folder / "cat" / "a.png"
    column = image_files.column([b"path:" + bytes(target), target])
    assert [type(image_files.unpacked(value)) for value in column] == [bytes, type(target)]
    with pytest.raises(ValueError, match="is not an image"):
        data(folder).open([(b"path:" + bytes(target), "cat"), (target, "dog")])


def data(folder, **fields):
    given = {"folder": str(folder), "height": 6, "width": 7, "holdout": 0.0}
    return ImageClassificationData(**(given | fields))


def take(batches, number):
    return list(itertools.islice(batches, number))


@either
@pytest.mark.parametrize("resize", [None, 8])
def test_evaluation_sees_what_a_predictor_sees(folder, cache, resize):
    opened = data(folder, cache=cache, resize=resize).open()
    assert opened.facts.labels == ("cat", "dog")
    assert opened.facts.decides["input_shape"] == (6, 7, 3)
    assert opened.facts.num_examples == {"train": 5}
    (batch,) = take(opened.evaluate("train", 8), 9)
    prepare = ImagePreprocessing(**opened.facts.preprocessing)
    files = ["cat/a.png", "cat/b.PNG", "cat/c.jpg", "dog/a.png", "dog/wide.png"]
    expected = [prepare(folder / file) for file in files]
    np.testing.assert_array_equal(batch["inputs"][:5], expected)
    assert batch["targets"].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert batch["weights"].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]


@either
def test_a_resumed_run_sees_the_same_parts_of_the_same_images(folder, cache):
    augmentation = Augmentation(crop_area=0.2, flip=True, mixup=0.3, cutmix=1.0)
    opened = data(folder, cache=cache, augment=augmentation).open()
    whole = take(opened.train(2, seed=3), 6)
    resumed = take(opened.train(2, seed=3, start=4), 2)
    for ours, theirs in zip(resumed, whole[4:], strict=True):
        assert {key: value.shape for key, value in ours.items()} == {
            "inputs": (2, 6, 7, 3),
            "targets": (2, 2),
            "weights": (2,),
        }
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])
    other = take(opened.train(2, seed=4), 1)[0]
    assert (other["inputs"] != whole[0]["inputs"]).any()


@either
def test_the_parts_of_an_image_change_from_epoch_to_epoch(folder, cache):
    opened = data(folder, cache=cache, augment=Augmentation(crop_area=0.2)).open()
    epochs = take(opened.train(5, seed=0), 3)
    cats = {batch["inputs"][batch["targets"] == 0].sum().item() for batch in epochs}
    assert len(cats) == 3


def test_splits_may_be_folders(folder, tmp_path):
    for split in ("train", "val", "test"):
        for name in ("cat", "dog"):
            path = tmp_path / "split" / split / name
            path.mkdir(parents=True)
            Image.new("RGB", (6, 7)).save(path / "a.png")
    opened = data(tmp_path / "split", holdout=0.5).open()
    assert opened.facts.num_examples == {"train": 2, "validation": 2, "test": 2}
    Image.new("RGB", (6, 7)).save(tmp_path / "cow.png")
    cow = tmp_path / "split" / "val" / "cow"
    cow.mkdir()
    (tmp_path / "cow.png").rename(cow / "a.png")
    with pytest.raises(LabelError) as error:
        data(tmp_path / "split").open()
    assert "'cow', which is not one of the 2 classes 'cat', 'dog'; the data has" in str(error.value)


def test_classes_that_are_not_those_of_the_checkpoint_are_both_named(folder):
    with pytest.raises(LabelError) as error:
        data(folder).open(labels=("bird", "cat"))
    assert str(error.value).endswith(
        "has the label 'dog', which is not one of the 2 classes 'bird', 'cat'; the data has 'cat', "
        "'dog'"
    )


def test_a_class_without_images_is_named(folder):
    (folder / "cow").mkdir()
    with pytest.raises(ValueError) as error:
        data(folder).open()
    assert str(error.value) == (
        f"{folder}: no images (.bmp, .gif, .jpeg, .jpg, .png, .ppm, .tif, .tiff, .webp) of the "
        "class(es) 'cow'; add some, or remove the folder(s)"
    )


def test_a_folder_that_is_not_there_or_has_no_classes_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*/cats'"):
        data(folder / "cats").open()
    with pytest.raises(FileNotFoundError, match="has no folders; it should have one for"):
        data(folder / "cat").open()


@either
def test_a_broken_image_is_named_in_one_line(folder, cache):
    path = folder / "cat" / "broken.jpg"
    content = (folder / "cat" / "c.jpg").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    rows = [(path, "cat"), (folder / "dog" / "a.png", "dog")]
    with pytest.raises(ValueError) as error:
        take(data(folder, cache=cache, channels=3).open(rows).evaluate("train", 8), 1)
    assert str(error.value).startswith(f"{path} cannot be read as an image: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mixup", [0.0, 0.2])
@either
def test_a_file_that_is_damaged_in_its_middle_is_left_out_by_name(folder, cache, mixup, caplog):
    path = folder / "cat" / "damaged.png"
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(path)
    content = bytearray(path.read_bytes())
    content[1000:1040] = b"\xff" * 40
    path.write_bytes(content)
    assert preprocessing.is_whole(path)
    opened = data(folder, cache=cache, augment=Augmentation(mixup=mixup)).open()
    (batch,) = take(opened.evaluate("train", 8), 9)
    assert batch["weights"].sum() == 5
    (batch,) = take(opened.train(6, seed=0), 1)
    assert batch["weights"].sum() == (6 if cache else 4 if mixup else 5)
    assert caplog.text.count(f"left out: {path} cannot be read as an image") == 1


def test_the_size_that_all_files_of_a_folder_have_need_not_be_given(folder):
    for file in folder.glob("*/*.*"):
        Image.new("L", (7, 6)).save(file.with_suffix(".png"))
        if file.suffix != ".png":
            file.unlink()
    opened = ImageClassificationData(folder=str(folder), holdout=0.0).open()
    assert opened.facts.decides["input_shape"] == (6, 7, 3)


@either
def test_a_path_need_not_be_unicode(folder, cache):
    (folder / "cat" / "a.png").rename(folder / "cat" / os.fsdecode(b"caf\xe9.png"))
    (batch,) = take(data(folder, cache=cache).open().evaluate("train", 5), 1)
    assert batch["weights"].tolist() == [1] * 5


def test_what_is_packed_is_unpacked_again(tmp_path):
    assert image_files.unpacked(image_files.packed("a/b.png")) == Path("a/b.png")
    content = b"\x89PNG\r\n\x1a\n\0"
    assert image_files.unpacked(image_files.packed(content)) == content
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = Image.fromarray(np.repeat(grey[..., None], 3, axis=2))
    image.info["icc_profile"] = b"of no use"
    for given, mode in ((grey, "L"), (grey / 255, "L"), (image, "RGB")):
        read = preprocessing.read(image_files.unpacked(image_files.packed(given)))
        assert (read.mode, read.info) == (mode, {})
        np.testing.assert_array_equal(read, preprocessing.read(given))


def test_what_is_no_image_is_refused_in_a_list():
    with pytest.raises(TypeError, match="an image is a path, a Pillow image or an array; got None"):
        image_files.column(["a.png", None])


def test_files_need_a_size(folder):
    from zoo.config import ConfigError

    with pytest.raises(ConfigError, match=r"have several sizes; set data\.height, data\.width and"):
        ImageClassificationData(folder=str(folder)).open()
