from __future__ import annotations

import json
from pathlib import Path

import pytest

from zoo.pipelines.sources import locations, opening


@pytest.fixture
def write(tmp_path):
    """Writes a file and gives its path."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def message(error: type[Exception], function, *arguments, **keywords) -> str:
    """The text of the error that a call raises; it must be one line."""
    with pytest.raises(error) as raised:
        function(*arguments, **keywords)
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.fixture
def no_folders(monkeypatch, tmp_path):
    """A machine without data."""
    for variable in ("TFDS_DATA_DIR", "ZOO_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_folders_are_looked_into_in_order(monkeypatch, no_folders, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", "/t")
    monkeypatch.setenv("ZOO_DATA_DIR", "~/z")
    home = tmp_path / "home"
    assert locations.tfds_folders("/d") == [
        Path("/d"),
        Path("/d/tfds"),
        Path("/t"),
        home / "z/tfds",
        home / "tensorflow_datasets",
    ]
    assert locations.text_folders("/d") == [Path("/d"), Path("/d/text"), home / "z/text"]


def test_data_folders_say_which_exist(monkeypatch, no_folders, tmp_path):
    (tmp_path / "text").mkdir()
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    assert locations.data_folders() == {
        tmp_path / "tfds": False,
        tmp_path / "home/tensorflow_datasets": False,
        tmp_path / "text": True,
    }


def test_a_file_is_found_where_it_lies_and_in_the_folders(monkeypatch, no_folders, write, tmp_path):
    (tmp_path / "data/text").mkdir(parents=True)
    path = write("data/text/a.csv", "text\nx\n")
    assert locations.find_file(path) == path
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "data"))
    assert locations.find_file("a.csv") == path
    write("a.csv", "text\ny\n")
    assert locations.find_file("a.csv") == Path("a.csv")


def test_a_missing_file_is_looked_for_and_guessed(no_folders, write):
    write("reviews.csv", "")
    assert message(FileNotFoundError, locations.find_file, "review.csv", "/d") == (
        "no file 'review.csv'; did you mean 'reviews.csv'?; looked for review.csv, /d/review.csv, "
        "/d/text/review.csv"
    )


@pytest.fixture
def prepared(no_folders, tmp_path):
    """Makes folders as TFDS prepares them."""

    def prepare(*builds: str) -> str:
        for build in builds:
            (tmp_path / "tfds" / build).mkdir(parents=True)
            (tmp_path / "tfds" / build / "dataset_info.json").touch()
        return str(tmp_path / "tfds")

    return prepare


def test_a_data_set_is_found_with_or_without_version_and_configuration(prepared):
    root = prepared("mnist/3.0.9", "mnist/3.0.10", "imdb/plain_text/1.0.0", "wikiann/en/1.0.0")
    for name, build in {
        "mnist": "mnist/3.0.10",
        "mnist:3.0.9": "mnist/3.0.9",
        "imdb": "imdb/plain_text/1.0.0",
        "wikiann/en": "wikiann/en/1.0.0",
        "wikiann/en:1.0.0": "wikiann/en/1.0.0",
    }.items():
        assert locations.find_tfds(name, root) == Path(root, build)


def test_the_default_configuration_is_that_of_tfds(prepared):
    root = prepared("wmt/de-en/1.0.0", "wmt/fr-en/1.0.0")
    Path(root, "wmt/.config").mkdir()
    default = {"default_config_name": "fr-en"}
    Path(root, "wmt/.config/metadata.json").write_text(json.dumps(default))
    assert locations.find_tfds("wmt", root) == Path(root, "wmt/fr-en/1.0.0")


def test_several_configurations_are_listed(prepared):
    root = prepared("wmt/de-en/1.0.0", "wmt/fr-en/1.0.0")
    assert message(LookupError, locations.find_tfds, "wmt", root) == (
        "wmt has the configurations 'de-en', 'fr-en'; name one, as in wmt/de-en"
    )


def test_a_missing_data_set_says_where_it_was_looked_for_and_how_to_get_it(prepared):
    root = prepared("imdb_reviews/plain_text/1.0.0")
    text = message(FileNotFoundError, opening.from_tfds, "imdb_review", "train", root)
    home = Path("~/tensorflow_datasets").expanduser()
    assert text == (
        f"no data set 'imdb_review' in {root}, {root}/tfds, {home}; did you mean 'imdb_reviews'? "
        "(there: 'imdb_reviews'). Download and prepare it with --data.download (in Python "
        "download=True of the data); or where there is a network by `tfds build imdb_review "
        "--data_dir DIR/tfds`, and let ZOO_DATA_DIR or --data.data-dir point to DIR"
    )
