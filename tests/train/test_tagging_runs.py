"""A tagger from data to answers: trained, resumed, evaluated, exported, asked by the command."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

import zoo
from zoo.config import ConfigError
from zoo.pipelines import TaggingData
from zoo.pipelines.base import LabelError
from zoo.storage.cards import Card
from zoo.train import Adam, InitFrom, Recipe, Tagging

PLACES = ("London", "Paris", "Rome")
PEOPLE = ("Anna Lee", "Ben Ray", "Cleo Fox")


def rows():
    """Nine sentences in which each word has only one tag."""
    found = []
    for place in PLACES:
        for person in PEOPLE:
            words = [*person.split(), "went", "to", place, "."]
            found.append((words, ["B-per", "I-per", "O", "O", "B-geo", "O"]))
    return found


@pytest.fixture(scope="module")
def recipe(toy_tagger):
    return Recipe(
        name="tiny",
        model=toy_tagger(),
        data=TaggingData(holdout=0.25, max_len=8),
        task=Tagging(),
        optimizer=Adam(learning_rate=0.1),
        steps=40,
        batch_size=4,
        eval_every=20,
        checkpoint_every=20,
        log_every=20,
    )


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    """A finished run, which the tests only read."""
    return zoo.fit(recipe, tmp_path_factory.mktemp("tagger") / "run", data=rows(), quiet=True)


def test_a_tagger_is_trained_chosen_by_f1_exported_and_asked(run, zoo_command, tmp_path):
    assert run.metrics["validation/f1"] == 1.0
    assert run.metrics["validation/accuracy"] == 1.0
    card = Card.read(run.workdir / "card.toml")
    assert card.task == "tagging"
    assert card.labels == ("B-geo", "B-per", "I-per", "O")
    assert dict(card.best) == {"metric": "validation/f1", "mode": "max"}
    resolved = json.loads((run.workdir / "recipe.json").read_text())
    assert resolved["task"]["labels"] == list(card.labels)
    assert (run.workdir / "vocabulary.vocab").read_text().split()[:3] == ["<pad>", "<eos>", "<unk>"]

    zoo.export(run.workdir, tmp_path / "names", samples=("Anna went to Rome.",))
    sample = zoo.card(tmp_path / "names").samples[0]["output"]
    assert [line.split("\t")[:2] for line in sample.splitlines()] == [
        *(["Anna", "B-per"], ["went", "O"], ["to", "O"], ["Rome", "B-geo"], [".", "O"])
    ]
    code, out, err = zoo_command("predict", tmp_path / "names", "Ben Ray went", "", "to Paris.")
    assert (code, err) == (0, "")
    lines = [line.split("\t")[:2] for line in out.split("\n")]
    assert lines == [
        *(["Ben", "B-per"], ["Ray", "I-per"], ["went", "O"], [""]),
        [""],
        *(["to", "O"], ["Paris", "B-geo"], [".", "O"], [""]),
        [""],
    ]
    code, _, err = zoo_command("predict", tmp_path / "names", "Ben", "--top-k", "2")
    assert (code, err) == (
        2,
        "zoo: top_k is for classifiers; a tagger gives each word one tag\n",
    )
    code, out, _ = zoo_command("verify", tmp_path / "names")
    assert code == 0
    assert "FAILED" not in out


def test_a_run_is_resumed_and_evaluated_with_the_labels_it_began_with(run, recipe, tmp_path):
    shutil.copytree(run.workdir, tmp_path / "run")
    more = dataclasses.replace(recipe, steps=60)
    with pytest.raises(ConfigError, match="began with other rows: train had"):
        zoo.fit(more, tmp_path / "run", data=rows()[:5], quiet=True)
    again = zoo.fit(more, tmp_path / "run", data=rows(), quiet=True)
    assert again.metrics["validation/f1"] == 1.0
    few = [(["Anna", "went"], ["B-per", "O"]), ([], [])]
    found = zoo.evaluate(again.workdir, data=few)
    assert found["test/f1"] == 1.0
    assert set(found) == {
        f"test/{name}" for name in ("loss", "accuracy", "precision", "recall", "f1")
    }


def test_evaluation_counts_entities_not_words(run):
    # The model finds both entities; the data say that there is a third and that one is longer.
    words = ["Anna", "Lee", "went", "to", "Rome", "."]
    tags = ["B-per", "I-per", "B-geo", "O", "B-geo", "B-geo"]
    found = zoo.evaluate(run.workdir, data=[(words, tags)])
    assert found["test/precision"] == 1.0
    assert found["test/recall"] == 0.5
    assert found["test/f1"] == pytest.approx(2 / 3)


def test_tags_that_the_checkpoint_does_not_know_are_refused_with_both_sides(run, recipe, tmp_path):
    others = [(["Anna"], ["B-who"]), (["Rome"], ["O"])] * 4
    expected = (
        r"sentence 1 has the tag 'B-who', which is not one of the 4 tags 'B-geo', 'B-per', "
        r"'I-per', 'O'; the data has 'B-who', 'O'"
    )
    with pytest.raises(LabelError, match=expected):
        zoo.evaluate(run.workdir, data=others)
    with pytest.raises(ConfigError, match=f"{expected}.*start its head afresh"):
        zoo.fit(recipe, tmp_path / "tuned", data=others, init_from=str(run.workdir), quiet=True)


def test_other_tags_take_a_fresh_head(run, recipe, tmp_path):
    others = [
        ([word], [tag]) for word, tag in (("Anna", "B-who"), ("Rome", "O"), ("went", "O"))
    ] * 3
    source = InitFrom(source=str(run.workdir), skip=("head/.*",))
    tuned = zoo.fit(recipe, tmp_path / "tuned", data=others, init_from=source, quiet=True)
    assert [tag.label for tag in zoo.load(tuned.workdir)("Anna went")] == ["B-who", "O"]


def test_the_recipe_trains_on_files_of_one_s_own(zoo_command, tmp_path):
    lines = [
        "".join(f"{word} {tag}\n" for word, tag in zip(words, tags, strict=True))
        for words, tags in rows()
    ]
    (tmp_path / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "test.txt").write_text(lines[0], encoding="utf-8")
    code, _, err = zoo_command(
        *("train", "lstm_ner", "--workdir", tmp_path / "run", "--quiet"),
        *("--data.data-dir", tmp_path, "--data.encoding", "utf-8"),
        *("--data.train", "train.txt", "--data.test", "test.txt", "--data.tag-column", "1"),
        *("--model.d-model", "4", "--steps", "2", "--batch-size", "4", "--eval-every", "2"),
    )
    assert (code, err) == (0, "")
    metrics = zoo.card(tmp_path / "run").metrics
    assert {"validation/f1", "test/f1", "test/precision", "test/recall"} <= set(metrics)
    assert [tag.word for tag in zoo.load(tmp_path / "run")("Anna's here.")] == [
        *("Anna", "'s", "here", "."),
    ]


def test_the_recipe_s_own_corpus_and_others_are_its_flags():
    recipe = zoo.recipe("lstm_ner")
    assert recipe.data.train == ("kaggle_ner/ner_dataset.csv",)
    assert recipe.data.test_share == 0.1
    assert recipe.task.best.metric == "validation/f1"
    changed = zoo.override(recipe, {"data.name": "wikiann/en", "data.train": ("train",)})
    assert (changed.data.name, changed.data.train) == ("wikiann/en", ("train",))
