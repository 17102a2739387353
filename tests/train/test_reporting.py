"""What a run says about its speed, and where TensorFlow is missing."""

from __future__ import annotations

import sys

import pytest

from zoo.train import learning_curve, reporting


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(reporting, "time", clock)
    return clock


@pytest.fixture
def reporter(tmp_path, clock):
    reporter = reporting.Reporter(tmp_path, steps=2000, quiet=True)
    reporter.begin(1697)
    yield reporter
    reporter.close()


def test_the_speed_is_that_of_the_steps_alone(reporter, clock, tmp_path):
    clock.now += 60  # the first step is compiled
    reporter.after_step(1698)
    with reporter.waiting():
        clock.now += 1
    clock.now += 5
    reporter.train(1700, {"train/loss": 1.0}, 0.1)
    with reporter.pause():  # an evaluation
        clock.now += 1000
    clock.now += 200
    reporter.train(1800, {"train/loss": 1.0}, 0.1)
    first, second = learning_curve.read_metrics(tmp_path / reporting.METRICS)
    assert (first["train/steps_per_second"], first["train/data_wait"]) == (
        0.5,
        pytest.approx(1 / 6),
    )
    assert (second["train/steps_per_second"], second["train/data_wait"]) == (0.5, 0)
    log = (tmp_path / reporting.LOG).read_text().splitlines()
    assert log[0].endswith("| 2.0 s/step, 17% waiting for data, 0:10:00 left")
    assert log[1].endswith("| 2.0 s/step, 0% waiting for data, 0:06:40 left")


def test_without_tensorflow_there_are_no_event_files(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    reporter = reporting.Reporter(tmp_path, steps=1, quiet=True)
    reporter.begin(0)
    reporter.train(1, {"train/loss": 1.0}, 0.1)
    reporter.close()
    assert {path.name for path in tmp_path.iterdir()} == {reporting.METRICS, reporting.LOG}


class Full:
    """Standard output that takes so many lines."""

    def __init__(self, lines, error):
        self.left, self.error = lines, error

    def isatty(self):
        return False

    def write(self, text):
        if not self.left:
            raise self.error
        self.left -= text.count("\n")

    def flush(self):
        pass


@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left"), ValueError("closed")],
)
def test_an_output_that_takes_no_more_lines_does_not_end_a_run(
    tmp_path, monkeypatch, capsys, error
):
    monkeypatch.setattr(sys, "stdout", Full(2, error))
    reporter = reporting.Reporter(tmp_path, steps=4)
    reporter.begin(0)
    for step in range(1, 5):
        reporter.say(f"step {step}")
    reporter.close()
    assert (tmp_path / "train.log").read_text() == "step 1\nstep 2\nstep 3\nstep 4\n"
    (remark,) = capsys.readouterr().err.splitlines()
    assert "the run goes on" in remark and "train.log" in remark


def test_a_bar_is_drawn_only_where_somebody_watches(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    reporter = reporting.Reporter(tmp_path, steps=4)
    reporter.begin(0)
    reporter.after_step(1)
    reporter.say("step 1")
    reporter.close()
    assert capsys.readouterr().out == "step 1\n"
