"""An export: of which weights its card speaks, and that it is there whole or not at all."""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest


@pytest.fixture
def config():
    from zoo.models.mlp import MLPConfig

    return MLPConfig(input_shape=(8, 8, 1), num_classes=2, hidden_sizes=(3,))


@pytest.fixture
def card(config):
    from zoo.storage.cards import Card

    return Card(
        name="toy",
        task="image_classification",
        config=config,
        labels=("no", "yes"),
        preprocessing={"height": 8, "width": 8, "channels": 1},
    )


def filled(config, number: float):
    return jax.tree.map(
        lambda leaf: np.full(leaf.shape, number, np.float32), config.variable_shapes()
    )


@pytest.fixture
def run(tmp_path, card, config):
    """The folder of a run with the best checkpoint at 40 and the latest at 600."""
    from zoo.storage import cards, checkpoints

    folder = tmp_path / "run"
    folder.mkdir()
    dataclasses.replace(
        card,
        best={"metric": "validation/accuracy", "mode": "max"},
        metrics={"test/accuracy": 0.9},
        command="zoo eval run",
        training={"steps": 600},
    ).save(folder / cards.RUN_CARD)
    best = checkpoints.Best("validation/accuracy", "max")
    store = checkpoints.Checkpoints(folder / checkpoints.FOLDER, best)
    for step, accuracy in ((40, 0.9), (600, 0.8)):
        store.save(
            step,
            variables=jax.device_put(filled(config, step)),
            optimizer={"count": jax.numpy.zeros(())},
            progress={},
            metrics={"validation/accuracy": accuracy},
        )
    store.close()
    return folder


def value(model) -> float:
    return float(model.variables["params"]["head"]["bias"][0])


def emptied(run: Path, step: int) -> None:
    for path in (run / "checkpoints" / str(step) / "variables").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


@pytest.mark.parametrize(
    ("step", "found", "metrics", "said"),
    [
        ("best", 40, True, "best validation/accuracy"),
        (40, 40, True, "as asked"),
        ("latest", 600, False, "as asked"),
        (600, 600, False, "as asked"),
        ("average", 600, False, "the mean of the checkpoints up to it"),
    ],
)
def test_a_card_has_only_the_metrics_of_its_weights(
    run, tmp_path, capsys, step, found, metrics, said
):
    import zoo

    loaded = zoo.load(run, step=step)
    assert f"({said})" in capsys.readouterr().err
    exported = zoo.export(run, tmp_path / "out", step=step)
    assert value(loaded) == value(zoo.load(tmp_path / "out")) == found
    for card in (loaded.card, exported):
        assert bool(card.metrics) == bool(card.command) == metrics


def test_if_the_best_cannot_be_read_the_card_does_not_speak_of_it(run, tmp_path, capsys):
    import zoo

    emptied(run, 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = zoo.load(run)
        exported = zoo.export(run, tmp_path / "out")
    assert value(loaded) == value(zoo.load(tmp_path / "out")) == 600
    assert (loaded.card.metrics, exported.metrics, exported.command) == ({}, {}, "")
    said = capsys.readouterr().err
    assert "step 600 (since the best one, of step 40, cannot be read)" in said
    assert "exporting step 600" in said
    assert "nothing was measured on it" in said


def test_metrics_that_cannot_be_read_hide_no_run(run):
    import zoo

    (run / "checkpoints" / "40" / "metrics" / "metrics").write_text("")
    assert value(zoo.load(run)) == 600


def test_the_command_of_an_exported_card_works_where_it_was_exported(run, tmp_path, monkeypatch):
    import zoo

    monkeypatch.chdir(tmp_path)
    assert zoo.export(run, "out/my toys").command == "zoo eval 'out/my toys'"


def test_an_export_can_be_read_by_whom_the_umask_allows(tmp_path, card, config):
    from zoo import hub

    before = os.umask(0o077)
    try:
        hub.write_model(tmp_path / "toy", card, filled(config, 1), None)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "toy").iterdir()} == {0o600}


@pytest.mark.parametrize("at", ["zoo.storage.weights.save", "zoo.hub.verification.check_values"])
def test_an_export_that_fails_leaves_the_one_before(tmp_path, card, config, monkeypatch, at):
    from zoo import hub

    hub.write_model(tmp_path / "toy", card, filled(config, 1), None)
    before = {path.name: path.read_bytes() for path in (tmp_path / "toy").iterdir()}

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(at, fail)
    with pytest.raises(OSError, match="no space left"):
        hub.write_model(tmp_path / "toy", card, filled(config, 2), None)
    assert {path.name: path.read_bytes() for path in (tmp_path / "toy").iterdir()} == before


def test_no_card_is_ever_beside_other_weights(tmp_path, card, config, monkeypatch):
    """Killed between any two changes of a second export, a folder has no card or the right one."""
    from zoo import hub
    from zoo.storage.files import sha256

    folder = tmp_path / "toy"
    hub.write_model(folder, card, filled(config, 1), None)
    seen = []

    def watched(change):
        def call(path, *arguments, **named):
            change(path, *arguments, **named)
            if (folder / "toy.toml").is_file():
                digest = sha256(folder / "toy.safetensors")
                seen.append(digest in (folder / "toy.toml").read_text())
            else:
                seen.append(None)

        return call

    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, watched(getattr(Path, name)))
    hub.write_model(folder, card, filled(config, 2), None)
    assert False not in seen
    assert None in seen
    assert seen[-1] is True
