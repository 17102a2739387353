"""Errors that are no mistakes: their traceback, cut to the user's lines and the zoo's."""

from __future__ import annotations

import pytest

from zoo.cli import failures, main
from zoo.config import ValueMistake, load_file

OWN = """
import jax

def model(x):
    return {'a': x}['b']

def call():
    return jax.jit(model)(1.0)

def shapes():
    return jax.jit(lambda x: x + jax.numpy.ones(7))(jax.numpy.ones((1, 10)))
"""


@pytest.mark.parametrize(("name", "line"), [("call", "{'a': x}['b']"), ("shapes", "ones(7)")])
def test_a_traceback_has_the_users_lines_and_not_those_of_other_packages(tmp_path, name, line):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    module = load_file(path)
    with pytest.raises(Exception) as caught:
        getattr(module, name)()
    text = failures.described(caught.value)
    assert f'File "{path}", line' in text and line in text
    assert "site-packages" not in text and "JAX has removed" not in text
    assert text.splitlines()[-1].endswith("ZOO_DEBUG=1 shows all)")


def test_an_error_without_a_line_of_ones_own_keeps_all():
    with pytest.raises(ValueError) as caught:
        int("x")
    caught.value.__traceback__ = None
    assert "invalid literal" in failures.described(caught.value)


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (KeyError("b"), 1, None),
        (TypeError("an argument too many"), 1, None),
        (FileNotFoundError(2, "No such file", "x"), 2, 1),
    ],
)
def test_only_a_mistake_is_one_line(monkeypatch, capsys, error, code, lines):
    from zoo.cli.main import COMMANDS

    def fail(words):
        raise error

    monkeypatch.setitem(COMMANDS, "list", fail)
    assert main(["list"]) == code
    err = capsys.readouterr().err
    assert "in fail" in err if lines is None else len(err.splitlines()) == lines


def test_devices_that_are_not_there_are_one_line(monkeypatch, capsys):
    import jax

    def devices():
        raise AssertionError

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert failures.missing_devices().startswith("JAX_PLATFORMS is 'cuda', and JAX has no such")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "devices:   JAX_PLATFORMS is 'cuda'" in out
    for line in ("packages:", "cache:", "tensorflow:", "data:", "published:"):
        assert line in out


@pytest.mark.parametrize(
    "error", [ImportError("libfoo.so:\nno"), TypeError("Descriptors"), OSError()]
)
def test_doctor_says_what_is_broken_and_everything_else(monkeypatch, capsys, error):
    import importlib

    from zoo.pipelines import tfdata

    real = importlib.import_module

    def fail(name, *rest):
        if name == "tensorflow":
            raise error
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", fail)
    tfdata.tensorflow.cache_clear()
    try:
        assert main(["doctor"]) == 1
    finally:
        tfdata.tensorflow.cache_clear()
    out = capsys.readouterr().out.splitlines()
    (line,) = [line for line in out if line.startswith("tensorflow: ")]
    assert "TensorFlow is installed and cannot be imported" in line
    assert {"devices:", "data:", "published:"} <= {line.split()[0] for line in out}


def test_doctor_tells_what_is_needed_from_what_may_be_absent(monkeypatch, capsys):
    from zoo.cli import doctor

    def fails_with(error):
        def facts():
            yield "a line"
            raise error

        return facts

    for head, error, code in [
        ("cache:    ", ValueMistake("no home"), 0),
        ("published:", ValueMistake("a broken card"), 1),
        ("data:     ", RuntimeError("a broken\ndisk"), 1),
    ]:
        monkeypatch.setattr(doctor, "FACTS", {head: fails_with(error), "end": lambda: ["there"]})
        assert main(["doctor"]) == code
        assert capsys.readouterr().out.splitlines()[-1] == "end there"
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda n: "absent" if n == "optax" else version(n))
    monkeypatch.setattr(doctor, "FACTS", {"packages: ": doctor._packages})
    assert main(["doctor"]) == 1
    assert "optax absent, and needed" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "_version", lambda n: "absent" if n in doctor.TRAINING else "1")
    monkeypatch.setattr(doctor, "FACTS", {"training: ": doctor._training})
    assert main(["doctor"]) == 0
