"""From a name or a folder to a model: what is found, and every message where nothing is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    import zoo

    with pytest.raises(
        FileNotFoundError,
        match=r"neither a run nor an exported model: it should hold one card .* found none",
    ):
        zoo.load(tmp_path)
    (tmp_path / "card.toml").mkdir()
    with pytest.raises(FileNotFoundError, match="found none"):
        zoo.load(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text("")
    with pytest.raises(FileNotFoundError, match=r"found a\.toml, b\.toml"):
        zoo.load(tmp_path)


def test_a_folder_without_a_card_does_not_hide_a_published_model(tmp_path, monkeypatch, capsys):
    import zoo
    from zoo.hub import opening

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlp_mnist").mkdir()
    opening._say_once.cache_clear()
    assert zoo.card("mlp_mnist").name == "mlp_mnist"
    assert zoo.card("mlp_mnist").metrics
    (said,) = capsys.readouterr().err.splitlines()
    assert said == (
        f"zoo: the folder {tmp_path}/mlp_mnist has no card; the published mlp_mnist is taken"
    )
    with pytest.raises(FileNotFoundError, match="neither a run nor an exported model"):
        zoo.card(tmp_path / "mlp_mnist")


def test_a_folder_with_a_card_goes_before_a_published_model_and_says_so(
    tmp_path, monkeypatch, capsys
):
    import dataclasses

    import zoo
    from zoo.hub import opening

    card = dataclasses.replace(zoo.card("mlp_mnist"), description="mine")
    (tmp_path / "mlp_mnist").mkdir()
    card.save(tmp_path / "mlp_mnist" / "mlp_mnist.toml")
    monkeypatch.chdir(tmp_path)
    opening._say_once.cache_clear()
    assert zoo.card("mlp_mnist").description == "mine"
    assert "mlp_mnist hides the published model of that name" in capsys.readouterr().err
    (tmp_path / "mlp_mnist" / "other.toml").write_text("")
    with pytest.raises(FileNotFoundError, match="it hides the published model mlp_mnist"):
        zoo.card("mlp_mnist")


NOBODY = """
import os, pwd, sys
def nobody(_): raise KeyError
pwd.getpwuid = nobody
os.environ.pop("HOME", None)
from zoo.cli import main
print([main(command.split()) for command in sys.argv[1:]])
"""
"""The command of an account without a home folder and without an entry among the users."""


def test_everything_works_for_an_account_without_a_home(tmp_path):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ZOO_", "XDG_", "JAX_COMPILATION", "TFDS"))
    }
    commands = "predict bag_of_embeddings_imdb fine", "translate transformer_ende"
    asked = subprocess.run(
        [sys.executable, "-c", NOBODY, *commands],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert "pos 0." in asked.stdout
    assert asked.stdout.endswith("[0, 2]\n"), asked.stderr
    assert "set ZOO_CACHE to a folder" in asked.stderr
    assert list(tmp_path.iterdir()) == [], "no folder named ~"


def test_an_unknown_name_is_a_lookup_error():
    import zoo

    with pytest.raises(
        LookupError, match="no published model or run folder named 'transfomer_ende'"
    ):
        zoo.load("transfomer_ende")


def test_every_published_card_can_be_read():
    import zoo

    for name in zoo.list_pretrained():
        card = zoo.card(name)
        assert card.name == name
        fetched = any(file.urls for file in card.files)
        assert bool(card.alternative) == fetched, "what is fetched names a model that need not be"


def test_published_weights_are_small_enough_to_be_installed():
    sizes = [path.stat().st_size for path in (CHECKOUT / "pretrained").iterdir() if path.is_file()]
    assert max(sizes) <= 20e6
    assert sum(sizes) <= 80e6
