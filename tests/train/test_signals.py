"""Signals end a run with what it has, and with the exit code that schedulers look for."""

from __future__ import annotations

import os
import signal

import pytest

from zoo.cli.main import main
from zoo.train import Interrupted, loop, recipe_files
from zoo.train.signals import Signals


@pytest.fixture(autouse=True)
def hangups():
    """Hangups are not ignored, as under nohup, whatever started the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def drawn(monkeypatch):
    """The folders whose learning curve was drawn."""
    folders = []
    monkeypatch.setattr("zoo.train.learning_curve.draw", folders.append)
    return folders


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_an_interrupted_run_draws_its_curve_and_says_which_signal_it_was(run, drawn, number, code):
    with pytest.raises(Interrupted) as stopped:
        run(callbacks=[lambda report: os.kill(os.getpid(), number)])
    assert stopped.value.exit_code == code
    assert [folder.name for folder in drawn] == ["run"]


def test_a_command_ends_with_that_code(monkeypatch, capsys):
    def interrupted(*args, **options):
        raise Interrupted("interrupted at step 3 of 4", signal.SIGTERM)

    monkeypatch.setattr("zoo.train.run", interrupted)
    monkeypatch.setattr(recipe_files, "function_in", None)
    assert main(["train", "mlp_digits"]) == 143
    assert capsys.readouterr().err == "zoo: interrupted at step 3 of 4\n"


@pytest.mark.parametrize("before", [True, False])
def test_a_signal_after_the_last_step_leaves_the_evaluation_to_the_next_call(
    run, drawn, monkeypatch, before
):
    def terminate(*args, **options):
        os.kill(os.getpid(), signal.SIGTERM)

    def at_the_last_report(report):
        if report.step == 4 and "validation/loss" in report.metrics:
            terminate()

    with monkeypatch.context() as patch:
        if not before:
            patch.setattr(loop, "conclude", terminate)
        with pytest.raises(
            Interrupted, match=r"after the last step; all 4 are saved in .*evaluates"
        ):
            run(callbacks=[at_the_last_report] if before else [])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert "validation/accuracy" in run().metrics


def test_a_handler_that_is_not_pythons_stays(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda number, handler: pytest.fail("was replaced"))
    with Signals().noted():
        pass


def test_a_hangup_is_noted_and_never_the_signal_that_ends_all():
    ended = []
    before = signal.signal(signal.SIGTERM, lambda *_: ended.append("SIGTERM"))
    try:
        signals = Signals()
        with signals.noted():
            for _ in range(2):  # the system and the shell send one each
                os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
            assert (signals.received, ended) == (signal.SIGHUP, [])
            os.kill(os.getpid(), signal.SIGTERM)
            assert ended == ["SIGTERM"]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_hangup_that_is_ignored_stays_so():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    with Signals().noted():
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
