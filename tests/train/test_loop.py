"""The loop learns, resumes bit for bit, keeps the best and the latest, and stops when it should."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np
import pytest

import zoo
from zoo.config import ConfigError
from zoo.pipelines import TranslationData
from zoo.storage.cards import Card
from zoo.tokenizers import TokenizerConfig
from zoo.train import (
    Best,
    Interrupted,
    NonFiniteError,
    TextClassification,
    loop,
    recipe_files,
    verification,
)

CHECKOUT = Path(__file__).parents[2]


def assert_same(left, right):
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right), strict=True
    ):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def stop_at(step, how):
    """A callback that calls `how` at the report of a step."""

    def callback(report):
        if report.step == step and "train/loss" in report.metrics:
            return how()

    return callback


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def steps_in(workdir):
    return sorted(
        int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()
    )


def records_of(result):
    lines = (result.workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_learns_eight_examples_by_heart(run):
    result = run(steps=60, eval_every=60, checkpoint_every=60, log_every=20, data__holdout=0.0)
    assert records_of(result)[-1]["train/loss"] < 0.1
    classify = zoo.load(result.workdir)
    assert classify("A ship at sea").label == "sea"
    assert [answer.label for answer in classify(["the bird flies", "boats on the water"])] == [
        "sky",
        "sea",
    ]


def test_a_result_is_a_line_and_in_a_notebook_a_table_with_the_learning_curve(run, learning_curve):
    result = run()
    assert repr(result).startswith(f"<Result {result.workdir}: step 4, ")
    assert len(repr(result)) < 500
    html = result._repr_html_()
    assert "validation/loss" in html and "data:image/png;base64," in html
    (result.workdir / learning_curve).unlink()
    assert "img" not in result._repr_html_()


def test_equal_recipes_give_equal_runs_and_another_seed_another(run):
    first, second, third = run("a"), run("b"), run("c", seed=1)
    assert_same(first.state.variables, second.state.variables)
    assert not np.array_equal(
        first.state.params["head"]["kernel"], third.state.params["head"]["kernel"]
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_a_signal_interrupted_resumes_bit_for_bit(run, number):
    whole = run("whole")
    with pytest.raises(
        Interrupted,
        match=r"interrupted at step 3 of 4; saved to .*halves. The same command again resumes",
    ):
        run("halves", callbacks=[stop_at(3, lambda: os.kill(os.getpid(), number))])
    assert 3 in steps_in(whole.workdir.parent / "halves")
    halves = run("halves")
    assert_same(whole.state.variables, halves.state.variables)
    assert_same(whole.state.optimizer, halves.state.optimizer)
    assert {**whole.metrics} == {**halves.metrics}
    steps = [record["step"] for record in records_of(halves) if "train/loss" in record]
    assert steps == [1, 2, 3, 4]


def test_a_run_that_was_killed_resumes_bit_for_bit(run, rows):
    whole = run("whole")
    program = textwrap.dedent(
        """
        import os, pickle, signal, sys, time
        import zoo
        recipe, rows, workdir = pickle.load(open(sys.argv[1], "rb"))
        def kill(report):
            if report.step == 3:
                while not (workdir / "checkpoints" / "2").exists():  # it is saved meanwhile
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
        zoo.fit(recipe, workdir, data=rows, callbacks=[kill], quiet=True)
        """
    )
    workdir = whole.workdir.parent / "killed"
    pickled = whole.workdir.parent / "job.pickle"
    pickled.write_bytes(
        pickle.dumps((recipe_files.read(whole.workdir / "recipe.json"), rows, workdir))
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, pickled], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert steps_in(workdir) == [2]
    killed = run("killed")
    assert_same(whole.state.variables, killed.state.variables)
    assert_same(whole.state.optimizer, killed.state.optimizer)


def test_a_half_written_checkpoint_is_not_the_end_of_a_run(run):
    whole = run("whole")
    with pytest.raises(Interrupted):
        run("halves", callbacks=[stop_at(3, terminate)])
    for path in (whole.workdir.parent / "halves" / "checkpoints" / "3").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:7])
    halves = run("halves")
    log = (halves.workdir / "train.log").read_text()
    assert "the checkpoint of step 3 in " in log
    assert " cannot be read (" in log
    assert_same(whole.state.variables, halves.state.variables)


def test_the_same_command_after_the_end_does_nothing(run, capsys):
    first = run()
    before = (first.workdir / "card.toml").read_text()
    second = run()
    assert_same(first.state.variables, second.state.variables)
    assert dict(second.metrics) == pytest.approx(dict(first.metrics), abs=1e-5)
    assert (first.workdir / "card.toml").read_text() == before


def test_more_steps_go_on_from_the_last_one(run, monkeypatch):
    card = run(steps=2).workdir / "card.toml"
    assert Card.read(card).training["steps"] == 2
    with monkeypatch.context() as patch:
        patch.delattr(loop, "conclude")  # killed at the very end
        with pytest.raises(NameError):
            run(steps=4)
    assert not Card.read(card).metrics
    assert run(steps=4).state.step == 4
    assert Card.read(card).training["steps"] == 4


def test_a_split_that_the_model_cannot_read_is_refused_before_the_first_step(tmp_path):
    for name, length in (("train", 3), ("test", 9)):
        (tmp_path / f"{name}.tsv").write_text(f"{'a ' * length}\t{'b ' * length}\n" * 4)
    data = TranslationData(
        train=(str(tmp_path / "train.tsv"),),
        test=(str(tmp_path / "test.tsv"),),
        source_column=0,
        target_column=1,
        holdout=0.0,
        tokenizer=TokenizerConfig(kind="words"),
        boundaries=(4, 8, 12),
    )
    recipe = zoo.override(zoo.recipe("transformer_copy"), {"data": data, "model.max_len": 11})
    with pytest.raises(ConfigError) as error:
        zoo.fit(recipe, tmp_path / "run", quiet=True)
    assert str(error.value) == (
        "the test split has a sentence that is padded to 12 tokens, and the model reads up to "
        "max_len=11; take data without such sentences, or a model with more positions"
    )


def test_another_recipe_in_the_same_folder_is_refused_with_the_differences(run):
    workdir = run().workdir
    with pytest.raises(ConfigError) as error:
        run(optimizer__learning_rate=0.1, batch_size=2)
    assert str(error.value) == (
        f"{workdir} holds a run of another recipe, so it cannot be resumed with this one: "
        "optimizer.learning_rate is 0.05 there, 0.1 now; batch_size is 4 there, 2 now; use another "
        "workdir, or the recipe of the run; or change it from here on with --allow-change "
        "optimizer.learning_rate --allow-change batch_size (zoo.fit: allow_change="
        "('optimizer.learning_rate', 'batch_size'))"
    )


def test_a_run_that_never_saved_leaves_its_folder_to_another_recipe(run):
    with pytest.raises(ConfigError, match="matches no parameter"):
        run(optimizer__freeze=("nothing",))
    assert run().state.step == 4


def test_a_run_belongs_to_the_rows_that_it_began_with(run, recipe):
    workdir = run(steps=2).workdir
    assert Card.read(workdir / "card.toml").command == ""
    with pytest.raises(ConfigError, match=r"began with rows and cannot go on with the recipe's da"):
        zoo.fit(recipe(), workdir, quiet=True)
    with pytest.raises(ConfigError, match=r"was trained on rows that were handed over, and its re"):
        zoo.evaluate(workdir)
    assert "rows that were handed over" in verification.metric(workdir, 1000).detail
    assert zoo.export(workdir, workdir.parent / "out", data="My own.").recipe == ""


def test_of_two_runs_in_one_folder_the_second_is_refused_and_the_first_goes_on(run):
    refused = []

    def train_again():
        with pytest.raises(
            ConfigError, match=r"another process trains in .*run; wait until it has"
        ):
            run("run")
        refused.append(True)

    result = run("run", callbacks=[stop_at(3, train_again)])
    assert refused
    assert_same(result.state.variables, run("alone").state.variables)
    run("run")  # is free again


def test_a_loss_that_is_not_finite_stops_the_run_at_its_step_and_is_not_saved(run):
    with pytest.raises(
        NonFiniteError,
        match=r"the loss of step 2 is not finite; the checkpoint of step 1 in .* is good.*"
        r"--optimizer.learning-rate 1e\+29 --allow-change optimizer.learning_rate",
    ):
        # What step 1 made of the weights is finite, and shows in the loss of step 2.
        run(steps=9, optimizer__learning_rate=1e30, checkpoint_every=1, eval_every=9, log_every=9)


def test_parameters_that_are_not_finite_are_not_saved(run):
    with pytest.raises(NonFiniteError, match=r"is not finite; nothing was saved yet"):
        run(
            steps=9,
            optimizer__learning_rate=float("inf"),
            checkpoint_every=1,
            eval_every=9,
            log_every=9,
        )


def test_callbacks_see_the_metrics_and_can_end_the_run(run):
    seen = []

    def callback(report):
        seen.append((report.step, sorted(report.metrics)))
        return report.step == 2

    result = run(steps=9, callbacks=[callback])
    names = ["accuracy", "f1", "loss"]
    assert seen == [
        (1, [f"train/{n}" for n in names]),
        (2, [f"train/{n}" for n in names]),
        (2, [f"validation/{n}" for n in names]),
    ]
    assert result.state.step == 2
    assert run(steps=9).state.step == 2, "a run that was ended stays ended"
    assert run(steps=10).state.step == 10, "unless more steps are asked for"
    other = run("other", steps=9, eval_every=9, callbacks=[stop_at(3, lambda: True)])
    assert "validation/accuracy" in other.metrics


def test_patience_ends_a_run_that_gets_no_better(run):
    result = run(steps=50, optimizer__learning_rate=1e-9, eval_every=1, patience=3)
    assert result.state.step == 4  # the first evaluation is the best, three do not improve on it
    slow = {"optimizer__learning_rate": 1e-9, "eval_every": 1}
    assert run(steps=50, patience=3, **slow).state.step == 4
    assert run(steps=50, patience=5, **slow).state.step == 6
    assert run(steps=7, patience=None, **slow).state.step == 7


def test_of_equally_good_checkpoints_the_first_is_the_best_everywhere(run):
    """The accuracy of the held-out rows is 0 at both evaluations, their loss is not the same."""
    result = run(patience=5)
    records = records_of(result)
    first, last = (record for record in records if "validation/accuracy" in record)
    assert first["validation/accuracy"] == last["validation/accuracy"]
    assert first["validation/loss"] != last["validation/loss"]
    assert zoo.load(result.workdir).card.checkpoint == first["step"] == 2
    assert result.metrics["validation/loss"] == first["validation/loss"]
    card = zoo.card(result.workdir)
    assert card.metrics["validation/loss"] == pytest.approx(first["validation/loss"], abs=1e-5)


def test_a_folder_holds_what_was_promised(run, learning_curve):
    workdir = run().workdir
    names = {path.name for path in workdir.iterdir()}
    assert {
        "card.toml",
        "recipe.json",
        "metrics.jsonl",
        learning_curve,
        "train.log",
        "vocabulary.vocab",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert (workdir / learning_curve).read_bytes().startswith(b"\x89PNG")
    log = (workdir / "train.log").read_text()
    assert "embedding" in log
    assert "steps/s" in log or "s/step" in log
    assert "waiting for data" in log


def test_a_profile_is_written_on_demand(recipe, rows, tmp_path):
    zoo.fit(
        recipe(steps=12, eval_every=12, checkpoint_every=12),
        tmp_path / "run",
        data=rows,
        profile_at=2,
        quiet=True,
    )
    assert list((tmp_path / "run").rglob("*.xplane.pb"))


def test_an_interrupted_run_loads_like_a_finished_one(run, tmp_path, capsys):
    seen = {}

    def keep(report):
        seen[report.step] = jax.device_get(report.state.variables)
        if report.step == 3:
            terminate()

    with pytest.raises(Interrupted):
        run(callbacks=[keep], eval_every=2)
    latest = zoo.load(tmp_path / "run", step="latest")
    assert "at step 3 (as asked)" in capsys.readouterr().err
    assert_same(latest.variables, seen[3])
    assert latest.card.checkpoint == 3
    best = zoo.load(tmp_path / "run")
    assert "(best validation/accuracy)" in capsys.readouterr().err
    assert best.card.checkpoint == 2
    assert_same(best.variables, seen[2])


def test_a_task_that_chooses_by_what_it_does_not_measure_is_refused(run, recipe, rows, tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Misspelt(TextClassification):
        best: ClassVar[Best] = Best("validation/accuracy_", "max")

    with pytest.raises(
        ConfigError, match=r"by 'validation/accuracy_', but the metrics are validation/loss, val"
    ):
        zoo.fit(recipe(task=Misspelt()), tmp_path / "run", data=rows, quiet=True)


def test_a_tenth_of_the_run_is_between_two_evaluations_unless_the_recipe_says_so(run):
    result = run(steps=21, eval_every=None, checkpoint_every=None, log_every=50)
    steps = [record["step"] for record in records_of(result) if "validation/loss" in record]
    assert steps == [*range(2, 21, 2), 21]


def test_each_step_drops_other_units(run):
    """With equal rows and a learning rate of 0, nothing but dropout can change the loss."""
    losses = []
    run(
        data=[("sea", "sea")] * 8,
        callbacks=[lambda report: losses.append(report.metrics["train/loss"])],
        data__labels=("sea", "sky"),
        data__holdout=0.0,
        model__dropout_rate=0.5,
        optimizer__learning_rate=0.0,
    )
    assert len(losses) == 4
    assert len(set(losses)) > 1
