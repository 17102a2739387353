"""The loop learns, resumes bit for bit, keeps the best and the latest, and stops as it should."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

CHECKOUT = Path(__file__).parents[2]


def assert_same(left, right):
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right), strict=True
    ):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def stop_at(step, how):
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


def test_a_run_learns_eight_examples_by_heart(run):
    result = run(steps=60, eval_every=60, checkpoint_every=60, log_every=20, data__holdout=0.0)
    metrics = [
        json.loads(line) for line in (result.workdir / "metrics.jsonl").read_text().splitlines()
    ]
    assert metrics[-1]["train/loss"] < 0.1
    import zoo

    classify = zoo.load(result.workdir)
    assert classify("A ship at sea").label == "sea"
    assert [answer.label for answer in classify(["the bird flies", "boats on the water"])] == [
        "sky",
        "sea",
    ]


def test_equal_recipes_give_equal_runs_and_another_seed_another(run):
    first, second, third = run("a"), run("b"), run("c", seed=1)
    assert_same(first.state.variables, second.state.variables)
    assert not np.array_equal(
        first.state.params["head"]["kernel"], third.state.params["head"]["kernel"]
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_a_signal_interrupted_resumes_bit_for_bit(run, number):
    from zoo.train import Interrupted

    whole = run("whole")
    with pytest.raises(
        Interrupted,
        match=r"interrupted at step 3 of 4; saved to .*halves. The same command again goes on",
    ):
        run("halves", callbacks=[stop_at(3, lambda: os.kill(os.getpid(), number))])
    assert 3 in steps_in(whole.workdir.parent / "halves")
    halves = run("halves")
    assert_same(whole.state.variables, halves.state.variables)
    assert_same(whole.state.optimizer, halves.state.optimizer)
    assert {**whole.metrics} == {**halves.metrics}
    records = [
        json.loads(line) for line in (halves.workdir / "metrics.jsonl").read_text().splitlines()
    ]
    assert [record["step"] for record in records if "train/loss" in record] == [1, 2, 3, 4]


def test_a_run_that_was_killed_resumes_bit_for_bit(run, rows):
    whole = run("whole")
    program = textwrap.dedent(
        """
        import os, pickle, signal, sys
        import zoo
        recipe, rows, workdir = pickle.load(open(sys.argv[1], "rb"))
        def kill(report):
            if report.step == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        zoo.fit(recipe, workdir, data=rows, callbacks=[kill], quiet=True)
        """
    )
    import pickle

    from zoo.train import recipe as recipes

    workdir = whole.workdir.parent / "killed"
    pickled = whole.workdir.parent / "job.pickle"
    pickled.write_bytes(pickle.dumps((recipes.read(whole.workdir / "recipe.json"), rows, workdir)))
    ended = subprocess.run(
        [sys.executable, "-c", program, pickled], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert steps_in(workdir) == [2]
    killed = run("killed")
    assert_same(whole.state.variables, killed.state.variables)
    assert_same(whole.state.optimizer, killed.state.optimizer)


def test_a_half_written_checkpoint_is_not_the_end_of_a_run(run):
    from zoo.storage.checkpoints import CheckpointWarning
    from zoo.train import Interrupted

    whole = run("whole")
    with pytest.raises(Interrupted):
        run("halves", callbacks=[stop_at(3, terminate)])
    for path in (whole.workdir.parent / "halves" / "checkpoints" / "3").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:7])
    with pytest.warns(CheckpointWarning, match="step 3 .* cannot be read"):
        halves = run("halves")
    assert_same(whole.state.variables, halves.state.variables)


def test_the_same_command_after_the_end_does_nothing(run, capsys):
    first = run()
    before = (first.workdir / "card.toml").read_text()
    second = run()
    assert_same(first.state.variables, second.state.variables)
    assert dict(second.metrics) == pytest.approx(dict(first.metrics), abs=1e-5)
    assert (first.workdir / "card.toml").read_text() == before


def test_more_steps_go_on_from_the_last_one(run, monkeypatch):
    from zoo.storage.cards import Card
    from zoo.train.job import Job

    card = run(steps=2).workdir / "card.toml"
    assert Card.read(card).training["steps"] == 2
    with monkeypatch.context() as patch:
        patch.delattr(Job, "conclude")  # killed at the very end
        with pytest.raises(AttributeError):
            run(steps=4)
    assert not Card.read(card).metrics
    assert run(steps=4).state.step == 4
    assert Card.read(card).training["steps"] == 4


def test_of_several_processes_one_signal_ends_all_after_the_same_step(monkeypatch):
    import threading
    from types import SimpleNamespace

    from zoo.train import loop

    event, asked = threading.Event(), []

    def gather(own):
        asked.append(bool(own))
        return np.array([own, True])

    job = SimpleNamespace(due=lambda every: every == due, plan=SimpleNamespace(log_every=5))
    due = 7
    assert not loop._interrupted(event, job)
    monkeypatch.setattr(loop.jax, "process_count", lambda: 2)
    monkeypatch.setattr(loop.multihost_utils, "process_allgather", gather)
    event.set()
    assert not loop._interrupted(event, job)
    due = 5
    event.clear()
    assert loop._interrupted(event, job)
    assert asked == [False]


def test_a_split_that_the_model_cannot_read_is_refused_before_the_first_step():
    from types import SimpleNamespace

    from zoo.config import ConfigError
    from zoo.pipelines.base import Facts
    from zoo.train import job

    facts = Facts(num_examples={"train": 1, "test": 1})
    examples = SimpleNamespace(facts=facts, longest={"train": 99, "test": 12}.get)
    plan = SimpleNamespace(model=SimpleNamespace(longest=12), init_from=None)
    job._check_lengths(plan, examples)
    plan.model.max_positions, plan.model.described_limit = 11, "max_len=11"
    with pytest.raises(ConfigError) as error:
        job._check_lengths(plan, examples)
    assert str(error.value) == (
        "the test split has a sentence that is padded to 12 tokens, and the model reads up to "
        "max_len=11; take data without such sentences, or a model with more positions"
    )


def test_another_recipe_in_the_same_folder_is_refused_with_the_differences(run):
    from zoo.config import ConfigError

    workdir = run().workdir
    with pytest.raises(ConfigError) as error:
        run(optimizer__learning_rate=0.1, batch_size=2)
    assert str(error.value) == (
        f"{workdir} holds a run of another recipe, so it cannot be resumed with this one: "
        "optimizer.learning_rate is 0.05 there, 0.1 now; batch_size is 4 there, 2 now; use "
        "another workdir, or the recipe of the run"
    )


def test_a_run_that_never_saved_leaves_its_folder_to_another_recipe(run):
    from zoo.config import ConfigError

    with pytest.raises(ConfigError, match="matches no parameter"):
        run(optimizer__freeze=("nothing",))
    assert run().state.step == 4


def test_a_run_belongs_to_the_rows_that_it_began_with(run, recipe):
    import zoo
    from zoo.config import ConfigError
    from zoo.hub import verification
    from zoo.storage.cards import Card

    workdir = run(steps=2).workdir
    assert Card.read(workdir / "card.toml").command == ""
    with pytest.raises(ConfigError, match=r"began with rows and cannot go on with the recipe's da"):
        zoo.fit(recipe(), workdir, quiet=True)
    with pytest.raises(ConfigError, match=r"was trained on rows that were handed over, and its re"):
        zoo.evaluate(workdir)
    *_, metric = verification.verify(workdir)
    assert "rows that were handed over" in metric.detail
    assert zoo.export(workdir, workdir.parent / "out", data="My own.").recipe == ""


def test_of_two_runs_in_one_folder_the_second_is_refused_and_the_first_goes_on(run):
    from zoo.config import ConfigError

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
    from zoo.train import NonFiniteError

    with pytest.raises(
        NonFiniteError,
        match=r"the loss of step 2 is not finite; the checkpoint of step 1 in .* is good",
    ):
        # What step 1 made of the weights is finite, and shows in the loss of step 2.
        run(steps=9, optimizer__learning_rate=1e30, checkpoint_every=1, eval_every=9, log_every=9)


def test_parameters_that_are_not_finite_are_not_saved(run):
    from zoo.train import NonFiniteError

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
    other = run("other", steps=9, eval_every=9, callbacks=[stop_at(3, lambda: True)])
    assert "validation/accuracy" in other.metrics


def test_patience_ends_a_run_that_gets_no_better(run):
    result = run(steps=50, optimizer__learning_rate=1e-9, eval_every=1, patience=3)
    assert result.state.step == 4  # the first evaluation is the best, three do not improve on it


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
    import zoo

    zoo.fit(
        recipe(steps=12, eval_every=12, checkpoint_every=12),
        tmp_path / "run",
        data=rows,
        profile_at=2,
        quiet=True,
    )
    assert list((tmp_path / "run").rglob("*.xplane.pb"))


def test_an_interrupted_run_loads_like_a_finished_one(run, tmp_path, capsys):
    import zoo
    from zoo.train import Interrupted

    with pytest.raises(Interrupted):
        run(callbacks=[stop_at(3, terminate)])
    assert zoo.load(tmp_path / "run", step="latest")("a ship").label in ("sea", "sky")
    assert "at step 3 (as asked)" in capsys.readouterr().err
    assert zoo.load(tmp_path / "run").card.checkpoint in (2, 3)
    assert "(best validation/accuracy)" in capsys.readouterr().err
