"""TFDS data sets that are downloaded on request, by a TFDS that is a stand-in."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from zoo.config import FileMistake
from zoo.pipelines import TextClassificationData
from zoo.pipelines.sources import tfds


@pytest.fixture
def prepared(monkeypatch, tmp_path) -> list[tuple[str, str]]:
    """What was prepared: name and folder."""
    made: list[tuple[str, str]] = []

    def builder(name: str, *, data_dir: str) -> SimpleNamespace:
        def download_and_prepare() -> None:
            if name == "unreachable":
                raise OSError("no route to host\nand more")
            made.append((name, data_dir))
            folder = Path(data_dir, name, "1.0.0")
            folder.mkdir(parents=True)
            (folder / "dataset_info.json").write_text("{}")

        return SimpleNamespace(download_and_prepare=download_and_prepare)

    def opened(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(info=SimpleNamespace(full_name=f"{folder.parent.name}/1.0.0"))

    fake = SimpleNamespace(builder=builder, builder_from_directory=opened)
    monkeypatch.setattr(tfds, "tensorflow", lambda: None)
    monkeypatch.setattr(importlib, "import_module", lambda name: fake)
    for name in ("TFDS_DATA_DIR", "ZOO_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "zoo"))
    return made


def test_a_data_set_is_prepared_once_and_only_on_request(prepared, tmp_path):
    with pytest.raises(FileMistake, match=r"no data set 'toy' in .*/zoo/tfds.*--data\.download"):
        tfds.Prepared("toy")
    assert not prepared
    for _ in range(2):
        assert tfds.Prepared("toy", download=True).name == "toy/1.0.0"
    assert prepared == [("toy", str(tmp_path / "zoo/tfds"))]


def test_the_folder_that_the_config_names_goes_first(prepared, tmp_path):
    tfds.Prepared("toy", str(tmp_path / "own"), download=True)
    (tmp_path / "both/tfds").mkdir(parents=True)
    tfds.Prepared("toy", str(tmp_path / "both"), download=True)
    assert [folder for _, folder in prepared] == [
        str(tmp_path / "own"),
        str(tmp_path / "both/tfds"),
    ]


def test_offline_and_failures_are_one_line(prepared, monkeypatch):
    config = TextClassificationData(name="unreachable", download=True)
    with pytest.raises(FileMistake, match="no route to host") as error:
        config.open()
    assert "\n" not in str(error.value)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(FileMistake, match="not downloaded, because ZOO_OFFLINE is set"):
        config.open()
    assert not prepared
