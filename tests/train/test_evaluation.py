"""zoo.evaluate: every example once, in any batch size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import zoo
from zoo.storage import cards
from zoo.train import Translation, verification


def test_every_example_counts_once_in_any_batch_size(run, rows):
    result = run(data__holdout=0.0)
    classify = zoo.load(result.workdir)
    accuracy = np.mean([classify(text).label == label for text, label in rows])
    loss = -np.mean([np.log(classify(text).probabilities[label]) for text, label in rows])
    path = result.workdir / "recipe.json"
    original = path.read_text()
    for batch_size in (1, 3, 8, 64):
        path.write_text(original.replace('"batch_size": 4', f'"batch_size": {batch_size}'))
        metrics = zoo.evaluate(result.workdir, data=rows)
        assert metrics["test/accuracy"] == pytest.approx(accuracy)
        assert metrics["test/loss"] == pytest.approx(loss, rel=1e-5)


def test_the_validation_split_is_read_as_in_training(recipe, rows, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    result = zoo.fit(recipe(data__train=(str(path),)), tmp_path / "run", quiet=True)
    assert zoo.evaluate(result.workdir) == pytest.approx(dict(result.metrics), abs=1e-5)
    with pytest.raises(LookupError, match="the data has no split 'tset'; it has train, validation"):
        zoo.evaluate(result.workdir, "tset")


def test_a_sample_is_always_the_same(run, rows):
    workdir = run(data__holdout=0.0).workdir
    whole = zoo.evaluate(workdir, data=rows)
    assert zoo.evaluate(workdir, data=rows, limit=len(rows)) == whole
    sample = zoo.evaluate(workdir, data=rows, limit=3)
    assert sample != whole
    assert zoo.evaluate(workdir, data=rows, limit=3) == sample


def test_verify_measures_the_metric_where_the_data_is_there(recipe, rows, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    result = zoo.fit(recipe(data__train=(str(path),)), tmp_path / "run", quiet=True)
    metric = verification.metric(result.workdir, 1000)
    assert metric.holds
    assert metric.detail.startswith("validation/accuracy ")

    card = cards.Card.read(tmp_path / "run" / cards.RUN_CARD)
    for metrics, holds, detail in (
        ({"validation/accuracy": 1.5}, False, "on about 1000 examples, 1.50000 in the card"),
        ({"test/accuracy": 1.0}, None, "the card has no accuracy of what was measured"),
    ):
        path = tmp_path / "run" / cards.RUN_CARD
        dataclasses.replace(card, metrics=metrics).save(path)
        metric = verification.metric(result.workdir, 1000)
        assert metric.holds is holds
        assert metric.detail.endswith(detail)


def test_translations_are_judged_by_beams_except_to_choose_a_checkpoint():
    asked = []

    def translate(sentences, beam_size):
        asked.append((len(sentences), beam_size))
        return sentences

    class Pairs:
        def pairs(self, split, limit):
            return ["a b c d"] * (limit or 5), ["a b c d"] * (limit or 5)

    task = Translation(bleu_sentences=2, beam_size=3)
    for options in ({}, {"limit": 4}, {"quick": True}, {"quick": True, "limit": 1}):
        metrics, note = task.measure_answers(lambda: translate, Pairs(), "train", **options)
        assert metrics == {"bleu": pytest.approx(100)}
        assert "version:" in note
    assert asked == [(5, 3), (4, 3), (2, 1), (1, 1)]


def test_rows_that_are_handed_over_are_all_evaluated_however_long(run, rows):
    workdir = run(data__holdout=0.0, data__max_len=4, data__overlong="drop").workdir
    classify = zoo.load(workdir)
    accuracy = np.mean([classify(text).label == label for text, label in rows])
    assert zoo.evaluate(workdir, data=rows)["test/accuracy"] == pytest.approx(accuracy)


def test_rows_may_be_handed_over_by_split_in_training_and_in_evaluation(recipe, rows, tmp_path):
    splits = {"train": rows, "validation": rows[:4], "test": rows[:3]}
    result = zoo.fit(recipe(), tmp_path / "run", data=splits, quiet=True)
    assert {name.partition("/")[0] for name in result.metrics} == {"validation", "test"}
    for split in ("validation", "test"):
        alone = zoo.evaluate(result.workdir, data=splits[split])["test/loss"]
        measured = zoo.evaluate(result.workdir, split, data=splits)
        assert measured[f"{split}/loss"] == pytest.approx(alone)
    assert "test/loss" in zoo.evaluate(result.workdir, data=splits)
    with pytest.raises(LookupError, match="the data has no split 'dev'; it has train, validation"):
        zoo.evaluate(result.workdir, "dev", data=splits)


def test_a_class_may_be_called_none_and_a_folder_by_a_dot(recipe, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    others = [(text, "None" if label == "sky" else label) for text, label in rows]
    zoo.fit(recipe(), ".", data=others, quiet=True)
    classify = zoo.load(".")
    assert classify.card.name == tmp_path.name
    assert classify.card.labels == ("None", "sea")
    assert "test/accuracy" in zoo.evaluate(".", data=others)
    latest = zoo.export(".", tmp_path / "latest", step="latest")
    assert (dict(latest.metrics), latest.command) == ({}, "")
    assert zoo.export(".", tmp_path / "best").metrics
