"""Paths of the user's: `~` is the home folder everywhere, and a URL is refused everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.config import Mistake, local


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local("~/runs/a") == local(Path("~/runs/a")) == tmp_path / "runs" / "a"
    assert local("~") == tmp_path
    for path in ("runs/a", "/runs/~", "a:b", "C:/runs", "mine.py:recipe"):
        assert local(path) == Path(path)


@pytest.mark.parametrize("given", ["gs://b/run", Path("gs://b/run"), "s3a://b/x", "hdfs:///x"])
def test_a_url_is_refused_also_as_a_path(given):
    with pytest.raises(Mistake, match=r"^\w+://.* is not on this machine"):
        local(given)


def test_messages_about_a_url_of_a_file_and_a_missing_home_say_what_to_write():
    with pytest.raises(Mistake, match="write the path without file://"):
        local("file:///tmp/x")
    with pytest.raises(Mistake, match="there is no home folder ~nobody-here; write the whole path"):
        local("~nobody-here/x")


def test_what_is_no_name_of_a_file_is_refused():
    import zoo

    for name in ("a" * 300, "~" + "a" * 300, "\0", "a\0.toml", "\ud800", "~\ud800/x"):
        with pytest.raises(Mistake, match=r"is not the name of a file: ") as error:
            local(name)
        assert len(str(error.value)) < 200
        for find in (zoo.load, zoo.card):
            with pytest.raises(Mistake, match=r"is not the name of a file: "):
                find(name)
    for name in (None, 3, b"a", ["a"]):
        with pytest.raises(TypeError, match="a name or a path is a string"):
            local(name)


def _fit(path):
    import zoo

    zoo.fit("mlp_digits", path)


def _export(path):
    import zoo

    zoo.export("mlp_mnist", path)


def _load(path):
    import zoo

    zoo.load(path)


def _code(path):
    import zoo

    zoo.load("mlp_mnist", code=path)


def _init_from(path):
    import zoo

    zoo.fit("mlp_digits", "never", init_from=path)


def _recipe(path):
    import zoo

    zoo.recipe(f"{path}/recipe.json")


def _recipe_function(path):
    import zoo

    zoo.recipe(f"{path}/mine.py:recipe")


def _data(path):
    from zoo.pipelines.sources import locations

    locations.find_file(f"{path}/my.csv")


def _data_dir(path):
    from zoo.pipelines.sources import locations

    locations.find_tfds("mnist", path)


def _images(path):
    from zoo.pipelines.sources import image_files

    image_files.read(path, "image", "label")


def _image(path):
    from zoo import preprocessing

    preprocessing.read(f"{path}/cat.png")


def _vocabulary(path):
    from zoo import tokenizers

    tokenizers.load("sentencepiece", f"{path}/v.model")


def _trax(path):
    from zoo.interop import trax

    trax.read(f"{path}/model.pkl.gz")


PLACES = (_fit, _export, _load, _code, _init_from, _recipe, _recipe_function, _data, _data_dir)
PLACES += (_images, _image, _vocabulary, _trax)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_that_takes_a_path_refuses_a_url_and_makes_no_folder(
    place, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Mistake, match=r"s3://bucket/run\S* is not on this machine"):
        place("s3://bucket/run")
    assert {path.name for path in tmp_path.iterdir()} <= {"never"}


def test_a_cache_and_data_folders_are_in_the_home_folder_too(monkeypatch, tmp_path):
    from zoo.hub import fetching
    from zoo.pipelines.sources import locations

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE", "~/cache")
    assert fetching.cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("ZOO_DATA_DIR", "~/data")
    monkeypatch.setenv("TFDS_DATA_DIR", "gs://tfds-data/datasets")  # TFDS's own, which is elsewhere
    assert tmp_path / "data" / "tfds" in locations.tfds_folders()
    (tmp_path / "my.csv").write_text("text,label\n")
    assert locations.find_file("~/my.csv") == tmp_path / "my.csv"
