"""Several data sets and several tasks in one run: turns, metrics, exact resume, refusals."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections import Counter

import jax
import numpy as np
import pytest

import zoo
from zoo import config as configs
from zoo.cli.training import recipe_of
from zoo.config import ConfigError, LookupMistake
from zoo.pipelines import LanguageModelingData, Mixture, Part, TextClassificationData
from zoo.pipelines.mixture import part_of
from zoo.tokenizers import TokenizerConfig
from zoo.train import (
    Interrupted,
    LanguageModeling,
    Recipe,
    Samples,
    Several,
    TextClassification,
    memory,
)

TEXTS = TextClassificationData(
    tokenizer=TokenizerConfig(kind="words", lowercase=True), holdout=0.25
)
TASKS = {"plain": TextClassification(), "smooth": TextClassification(label_smoothing=0.2)}


def mixture(**weights):
    return Mixture.of({"plain": TEXTS, "smooth": TEXTS}, weights=weights)


@pytest.fixture(scope="module")
def data(rows):
    return {"plain": rows, "smooth": [(f"{text} again", label) for text, label in rows]}


@pytest.fixture(scope="module")
def several(recipe):
    """A recipe of two tasks, three quarters of the steps for the first."""
    return recipe(
        data=mixture(plain=3.0), task=Several.of(TASKS), steps=8, eval_every=8, log_every=8
    )


@pytest.fixture(scope="module")
def whole(several, data, tmp_path_factory):
    """A finished run of it."""
    folder = tmp_path_factory.mktemp("several") / "whole"
    return zoo.fit(several, folder, data=data, callbacks=[Samples(number=4)], quiet=True)


def test_turns_are_drawn_by_weight_and_are_a_function_of_seed_and_step(data):
    opened = mixture(plain=3.0).open(data)
    turns = list(itertools.islice(opened.turns(0), 9000))
    assert Counter(turns)["plain"] / 9000 == pytest.approx(0.75, abs=0.02)
    assert turns == list(itertools.islice(opened.turns(0), 9000))
    assert turns != list(itertools.islice(opened.turns(1), 9000))
    batches = list(itertools.islice(opened.train(4, seed=0), 12))
    assert [part_of(batch)[0] for batch in batches] == turns[:12]
    later = list(itertools.islice(opened.train(4, seed=0, start=7), 5))
    for batch, again in zip(batches[7:], later, strict=True):
        jax.tree.map(np.testing.assert_array_equal, batch, again)
    # Each part goes through its own batches, one after the other.
    own = opened.parts["smooth"].train(4, seed=0)
    for batch in batches:
        name, arrays = part_of(batch)
        if name == "smooth":
            jax.tree.map(np.testing.assert_array_equal, arrays, next(own))


def test_each_task_has_metrics_of_its_own_and_the_mean_chooses(whole):
    lines = (whole.workdir / "metrics.jsonl").read_text().splitlines()
    train, evaluated = (json.loads(line) for line in lines)
    assert {"train/plain/loss", "train/smooth/loss"} <= train.keys()
    parts = [evaluated[f"validation/{name}/accuracy"] for name in TASKS]
    assert evaluated["validation/accuracy"] == pytest.approx(np.mean(parts))
    classify = zoo.load(whole.workdir)
    assert classify("a ship at sea").label in ("sea", "sky")
    assert classify.card.best["metric"] == "validation/accuracy"
    assert {"plain/train", "smooth/train"} <= classify.card.rows.keys()
    assert (whole.workdir / "samples.md").read_text().count("\n| ") >= 3
    assert (whole.workdir / "train.log").read_text().count("smooth/loss") == 2


def test_a_resumed_run_ends_as_if_it_had_not_been_interrupted(several, data, whole, tmp_path):
    """The interruption is between two reports: the sums of both tasks are kept."""

    def terminate(report):
        if report.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    class Terminates(zoo.train.Callback):
        on_step = staticmethod(terminate)

    with pytest.raises(Interrupted):
        zoo.fit(several, tmp_path / "run", data=data, callbacks=[Terminates()], quiet=True)
    halves = zoo.fit(several, tmp_path / "run", data=data, quiet=True)
    jax.tree.map(np.testing.assert_array_equal, halves.state.variables, whole.state.variables)
    assert dict(halves.metrics) == dict(whole.metrics)
    records = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (whole.workdir, tmp_path / "run")
    ]
    for a, b in zip(*records, strict=True):
        own = {name for name in a if name.endswith(("loss", "accuracy", "f1"))}
        assert {name: a[name] for name in own} == {name: b[name] for name in own}


def test_one_task_may_have_several_data_sets_some_only_evaluated(recipe, data, tmp_path):
    one = recipe(data=mixture(smooth=0.0), steps=3, eval_every=3, accumulate=2, ema=0.5)
    result = zoo.fit(one, tmp_path / "run", data=data, quiet=True)
    assert {"validation/plain/loss", "validation/smooth/loss"} <= result.metrics.keys()
    assert "validation/ema/smooth/loss" in result.metrics
    line = (tmp_path / "run/metrics.jsonl").read_text().splitlines()[0]
    assert not any(name.startswith("train/smooth") for name in json.loads(line))
    again = zoo.evaluate(tmp_path / "run", data=data)
    assert {"test/loss", "test/plain/loss", "test/smooth/loss"} == {
        name for name in again if name.endswith("loss")
    }


def test_a_recipe_of_several_tasks_is_written_read_and_has_flags(several, tmp_path):
    assert configs.from_json(Recipe, configs.to_json(several)) == several
    assert hash(several.task) == hash(Several.of(TASKS))
    path = tmp_path / "recipe.json"
    path.write_text(configs.to_json(several))
    found, _ = recipe_of([str(path), "--steps", "3", "--batch-size", "2"], "zoo train")
    assert (found.steps, found.task) == (3, several.task)


def test_the_memory_of_the_largest_part_is_estimated(several, tmp_path):
    paths = []
    for number, text in enumerate(("a b", "a b c d e f g h i j")):
        paths.append(tmp_path / f"{number}.csv")
        paths[-1].write_text("text,label\n" + f"{text},sea\n{text},sky\n" * 8)
    parts = {
        name: configs.override(TEXTS, {"train": (str(path),), "holdout": 0.0})
        for name, path in zip(TASKS, paths, strict=True)
    }
    recipe = configs.override(several, {"data": Mixture.of(parts), "mesh.data": 1})
    estimate = next(memory.of_recipe(recipe))
    assert estimate.inputs[1] >= 10


def test_what_does_not_fit_together_is_refused_in_one_line(recipe, several, data):
    with pytest.raises(ConfigError, match=r"the tasks are 'plain', 'smooth', but the data has no"):
        recipe(task=Several.of(TASKS))
    with pytest.raises(ConfigError, match=r"the tasks are 'plain', but the data has 'plain'"):
        recipe(task=Several.of({"plain": TextClassification()}), data=mixture())
    with pytest.raises(ConfigError, match=r"two parts are named 'a'"):
        Mixture(parts=(Part(name="a", data=TEXTS), Part(name="a", data=TEXTS)))
    with pytest.raises(ConfigError, match=r"a part is named 'a/b'; a name has a character"):
        Part(name="a/b", data=TEXTS)
    with pytest.raises(ConfigError, match=r"weight of 'a' is -1.0; it must be 0 or more"):
        Part(name="a", data=TEXTS, weight=-1.0)
    with pytest.raises(ConfigError, match=r"no part of 'plain', 'smooth' has a weight above 0"):
        mixture(plain=0.0, smooth=0.0)
    with pytest.raises(ConfigError, match=r"a weight for 'smoth', but the parts are 'plain'"):
        mixture(smoth=1.0)
    with pytest.raises(ConfigError, match=r"is a mixture of 'plain', 'smooth'; hand over the rows"):
        mixture().open(data["plain"])
    with pytest.raises(LookupMistake, match=r"no part has a split 'tset'"):
        mixture().open(data).having("tset")
    text = LanguageModelingData(tokenizer=TokenizerConfig(kind="bytes"), length=8, overlap=0)
    mixed = Mixture.of({"plain": TEXTS, "text": text})
    with pytest.raises(ConfigError, match=r"the tasks are"):
        recipe(task=Several.of({**TASKS}), data=mixed)
    assert (
        recipe(
            task=Several.of({"plain": TextClassification(), "text": LanguageModeling()}), data=mixed
        ).task.best.metric
        == "validation/loss"
    )
