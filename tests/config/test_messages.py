"""What is said to the user: mistakes have one base class, and remarks never stop the work."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo import config

ZOO = Path(config.__file__).parents[1]

BUILT_IN = {"ValueError", "TypeError", "LookupError", "FileNotFoundError", "ImportError"}
"""What a mistake of the user's would be without its class."""

OTHERS = {"interop/unpickling.py", "models/layers.py"}
"""They raise for another part of the zoo, which turns it into a mistake, or for its authors."""


def test_a_value_is_shown_in_one_line():
    assert config.shown(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert config.shown("a" * 100) == "'" + "a" * 59


def test_what_the_zoo_refuses_is_a_mistake():
    found = []
    for path in ZOO.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = ast.unparse(node.exc.func)
                if name in BUILT_IN and path.relative_to(ZOO).as_posix() not in OTHERS:
                    found.append(f"{path}:{node.lineno}: raise the class of zoo.config for {name}")
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("ConfigError", (ValueError,)),
        ("TypeMistake", (TypeError,)),
        ("LookupMistake", (LookupError,)),
        ("FileMistake", (FileNotFoundError, OSError)),
        ("PackageMistake", (ImportError,)),
    ],
)
def test_a_mistake_is_of_the_usual_class_too(name, kinds):
    import zoo

    error = getattr(config, name)("what, and what to do")
    assert isinstance(error, (zoo.Mistake, *kinds)) and isinstance(error, zoo.Mistake)
    assert all(isinstance(error, kind) for kind in kinds)
    assert str(error) == "what, and what to do"


def test_the_errors_of_all_parts_are_mistakes():
    import zoo
    from zoo.hub.fetching import HubError
    from zoo.interop.trax import CheckpointError
    from zoo.pipelines.base import ColumnError
    from zoo.registry import UnknownNameError
    from zoo.storage.cards import CardError
    from zoo.train import NonFiniteError

    for kind in (HubError, CheckpointError, ColumnError, UnknownNameError, CardError):
        assert issubclass(kind, zoo.Mistake)
    assert issubclass(NonFiniteError, zoo.Mistake)
    assert isinstance(HubError("a line"), OSError) and str(HubError("a line")) == "a line"


class Broken:
    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise BrokenPipeError


@pytest.mark.parametrize("stderr", [None, Broken(), "closed"], ids=["none", "broken", "closed"])
def test_a_remark_that_nobody_can_read_stops_nothing_and_is_no_answer(
    monkeypatch, capsys, tmp_path, stderr
):
    if stderr == "closed":
        stderr = (tmp_path / "err").open("w")
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    config.say("a remark")
    assert capsys.readouterr().out == ""


def test_only_a_terminal_is_watched(monkeypatch, tmp_path):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with (tmp_path / "log").open("w") as file:
        assert not config.is_watched(file)
    assert not config.is_watched(file)  # closed
    assert not config.is_watched(None)


def test_remarks_go_through_say():
    found = [
        f"{path}:{node.lineno}"
        for path in ZOO.rglob("*.py")
        if path.name != "messages.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        if any(word.arg == "file" for word in node.keywords)
    ]
    assert not found, "\n" + "\n".join(found)
