"""From a name or a folder to a model: what is found, and every message where nothing is."""

from __future__ import annotations

import pytest


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    import zoo

    with pytest.raises(
        FileNotFoundError,
        match=r"neither a run nor an exported model: it should hold one card .* found none",
    ):
        zoo.load(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text("")
    with pytest.raises(FileNotFoundError, match=r"found a\.toml, b\.toml"):
        zoo.load(tmp_path)


def test_an_unknown_name_is_a_lookup_error():
    import zoo

    with pytest.raises(
        LookupError, match="no published model or run folder named 'transfomer_ende'"
    ):
        zoo.load("transfomer_ende")


def test_every_published_card_can_be_read():
    import zoo

    for name in zoo.list_pretrained():
        assert zoo.card(name).name == name
