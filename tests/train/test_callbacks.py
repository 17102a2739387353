"""Callbacks: what they are told and when, a stop by file, trackers, samples."""

from __future__ import annotations

import math
import sys
import types

import numpy as np
import pytest

import zoo
from zoo.cli import main
from zoo.config import ConfigError, PackageMistake
from zoo.models.mlp import MLPConfig
from zoo.train import Callback, Interrupted, MLflow, Samples, WeightsAndBiases, callbacks, signals
from zoo.train.callbacks import samples


class Recorder(Callback):
    """Notes every event with its step."""

    def __init__(self, ends_at=None):
        self.events, self.metrics, self.ends_at = [], {}, ends_at

    def note(self, event, report):
        self.events.append((event, report.step))
        self.metrics[event] = report.metrics

    def on_step(self, report):
        self.note("step", report)
        return True  # which ends nothing

    def on_report(self, report):
        self.note("report", report)

    def on_eval(self, report):
        self.note("eval", report)
        return report.step == self.ends_at

    def on_checkpoint(self, report):
        self.note("checkpoint", report)
        assert report.step in report.run.store.steps()

    def on_end(self, report):
        self.note("end", report)


def test_a_callback_is_told_of_everything_in_its_order(run):
    recorder = Recorder()
    result = run(callbacks=[recorder], log_every=2)
    first = [("step", 1), ("step", 2), ("report", 2), ("eval", 2), ("checkpoint", 2)]
    second = [("step", 3), ("step", 4), ("report", 4), ("eval", 4), ("checkpoint", 4), ("end", 4)]
    assert recorder.events == first + second
    assert recorder.metrics["step"] == {}
    assert "train/loss" in recorder.metrics["report"]
    assert "validation/loss" in recorder.metrics["eval"]
    assert recorder.metrics["end"] == result.metrics


def test_an_evaluation_may_end_the_run_and_a_predictor_answers(run):
    recorder, answers = Recorder(ends_at=2), []

    class Asks(Callback):
        def on_eval(self, report):
            answers.append(report.predictor()("a ship at sea").probability)
            report.say("asked")

    result = run(callbacks=[recorder, Asks()])
    assert int(result.state.step) == 2
    assert recorder.events[-1] == ("end", 2)
    assert answers == [zoo.load(result.workdir, step=2)("a ship at sea").probability]
    assert "asked" in (result.workdir / "train.log").read_text().splitlines()


def test_a_file_named_stop_interrupts_the_run_once(run, monkeypatch):
    monkeypatch.setattr(signals, "LOOKS_EVERY", 0.0)
    recorder = Recorder()

    class Touch(Callback):
        def on_step(self, report):
            if report.step == 3:
                (report.run.workdir / "STOP").touch()

    with pytest.raises(Interrupted, match=r"interrupted at step 3 of 4; saved") as error:
        run(callbacks=[Touch(), recorder])
    assert error.value.exit_code == 128 + 15
    assert recorder.events[-2:] == [("checkpoint", 3), ("end", 3)]
    result = run()
    assert int(result.state.step) == 4
    assert not (result.workdir / "STOP").exists()


@pytest.fixture
def tracker(monkeypatch):
    """A stand-in for the packages of both trackers, which notes all calls."""
    calls = []

    def call(name):
        def noted(*args, **kwargs):
            calls.append((name, args, kwargs))
            return fake

        return noted

    names = "init log finish set_experiment start_run log_params log_metrics end_run".split()
    fake = types.SimpleNamespace(**{name: call(name) for name in names})
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return calls


def test_weights_and_biases_get_recipe_and_metrics(run, tracker):
    result = run(callbacks=[WeightsAndBiases(project="topics", tags=["sea"])], log_every=2)
    (first, _, options), *logged, (last, _, _) = tracker
    assert (first, last) == ("init", "finish")
    assert (options["project"], options["tags"], options["name"]) == ("topics", ["sea"], "run")
    assert options["config"]["optimizer.learning_rate"] == 0.05
    steps = [(kwargs["step"], sorted(args[0])[0]) for _, args, kwargs in logged]
    assert [step for step, _ in steps] == [2, 2, 4, 4, 4]
    assert logged[-1][1][0] == result.metrics
    tracker.clear()
    run(callbacks=[WeightsAndBiases()], steps=6)
    assert tracker[0][2]["id"] == options["id"], "a resumed run goes on in its record"


def test_mlflow_gets_recipe_and_metrics(run, tracker):
    run(callbacks=[MLflow("topics")], log_every=4, eval_every=4)
    names = [name for name, _, _ in tracker]
    assert names[:3] == ["set_experiment", "start_run", "log_params"]
    assert names[3:] == ["log_metrics"] * 3 + ["end_run"]
    assert tracker[2][1][0]["batch_size"] == "4"


def test_what_is_not_finite_is_not_sent(tracker):
    callback = MLflow()
    callback._begun, callback._mlflow = True, sys.modules["mlflow"]
    metrics = {"train/loss": math.nan, "train/accuracy": 0.5}
    callback.on_report(types.SimpleNamespace(metrics=metrics, step=1))
    assert [args for _, args, _ in tracker] == [({"train/accuracy": 0.5},)]


def test_a_tracker_that_is_not_installed_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(PackageMistake, match=r"pip install 'flax-zoo\[wandb\]'"):
        run(callbacks=[WeightsAndBiases()])


def test_samples_are_a_table_for_each_evaluation(run):
    result = run(callbacks=[Samples(number=2)])
    text = (result.workdir / samples.FILE).read_text()
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("##")] == ["## step 2", "## step 4"]
    assert text.count("| input | right | answer |") == 2
    assert len([line for line in lines if "| sea |" in line]) == 2, "the one that is held out"
    run(callbacks=[Samples(number=1)], steps=6)
    again = (result.workdir / samples.FILE).read_text()
    assert again.startswith(text)
    assert again.count("## step") == 3


def test_images_that_are_wrong_are_shown_as_pictures(image_recipe, image_rows, tmp_path):
    recipe = image_recipe(
        model=MLPConfig(hidden_sizes=(4,)), optimizer__learning_rate=0.0, steps=2, eval_every=2
    )
    shown = []

    class Watching(Samples):
        def on_eval(self, report):
            report.show = lambda **given: shown.append(given)
            super().on_eval(report)

    data = {"train": image_rows, "validation": image_rows}
    zoo.fit(recipe, tmp_path / "run", data=data, callbacks=[Watching(number=3)], quiet=True)
    pictures = shown[0]["images"]["samples"]
    assert pictures.shape == (3, 8, 8, 3)
    assert pictures.dtype == np.uint8
    files = sorted(path.name for path in (tmp_path / "run/samples").iterdir())
    assert files == ["2_0.png", "2_1.png", "2_2.png"]
    assert "![](samples/2_0.png)" in (tmp_path / "run/samples.md").read_text()


def test_cells_of_a_table_are_one_line():
    table = samples._table([("a | b", "line\nbreak", " x ")])
    assert table.splitlines()[-1] == "| a \\| b | line break | x |"


def test_the_shell_knows_the_stock_by_name(tmp_path, rows, capsys):
    data = tmp_path / "rows.csv"
    data.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    own = tmp_path / "own.py"
    own.write_text(
        "from zoo.train import Callback\n"
        "class Prints(Callback):\n"
        "    def on_end(self, report):\n"
        "        print('ended at', report.step)\n"
    )
    words = ["train", "bag_of_embeddings_file", "--data.train", str(data), "--steps", "2"]
    words += ["--workdir", str(tmp_path / "run"), "--quiet", "--model.num-buckets", "100"]
    assert main([*words, "--callback", "samples", f"{own}:Prints"]) == 0
    assert "ended at 2" in capsys.readouterr().out
    assert (tmp_path / "run/samples.md").is_file()
    assert main([*words, "--callback", "sample"]) == 2
    assert "there is no callback 'sample'; did you mean 'samples'?" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="known: mlflow, samples, wandb"):
        callbacks.named("watch")
