"""The user's code: files under names of their own, references, and what is never imported."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from dataclasses import dataclass

import pytest

from zoo import config as configs
from zoo.config import ConfigError, from_dict, load_file, reference, resolve, running, to_dict


@dataclass(frozen=True, kw_only=True)
class Base:
    """What files of the tests inherit from."""


OWN = """
from dataclasses import dataclass
from test_code import Base

@dataclass(frozen=True, kw_only=True)
class Net(Base):
    width: int = {width}

def loss():
    return {width}
"""


@pytest.fixture
def write(tmp_path):
    """Writes a file below the test's folder."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_file_named_like_a_module_of_python_replaces_nothing(write):
    module = load_file(write("json.py", "value = 3"))
    assert module.value == 3
    assert sys.modules["json"] is json
    assert sys.modules[module.__name__] is module


def test_a_file_is_executed_once_and_again_after_an_edit(write):
    path = write("mine.py", OWN.format(width=1))
    first = load_file(path)
    assert load_file(str(path)) is first
    saved = to_dict(first.Net())
    assert saved == {"type": "mine:Net", "width": 1}
    again = load_file(write("mine.py", OWN.format(width=2)))
    assert (again.loss(), first.loss()) == (2, 1)
    assert from_dict(Base, {"type": "mine:Net"}) == again.Net(width=2)
    assert type(from_dict(Base, saved)) is again.Net


def test_of_two_files_with_one_name_the_one_asked_for_last_is_meant(write):
    first = load_file(write("a/same.py", OWN.format(width=1)))
    second = load_file(write("b/same.py", OWN.format(width=2)))
    assert resolve("same:loss") is second.loss
    load_file(first.__file__)
    assert resolve("same:loss") is first.loss
    assert type(from_dict(Base, {"type": "same:Net"})) is first.Net


def test_a_file_finds_its_own_neighbours_and_notices_their_edits(write):
    program = "import helper_of_tests\nvalue = helper_of_tests.value"
    write("a/helper_of_tests.py", "value = 'a'")
    write("b/helper_of_tests.py", "value = 'b'")
    path, before = write("a/one.py", program), list(sys.path)
    assert load_file(path).value == "a"
    assert load_file(write("b/two.py", program)).value == "b"
    assert sys.path == before
    write("a/helper_of_tests.py", "value = 'edited'")
    assert load_file(path).value == "edited"


def test_what_a_file_imports_later_is_found_while_it_runs(write):
    write("a/later_of_tests.py", "value = 3")
    path = write(
        "a/lazy.py", "def get():\n    import later_of_tests\n    return later_of_tests.value"
    )
    module = load_file(path)
    with pytest.raises(ModuleNotFoundError):
        module.get()
    with running(path):
        assert module.get() == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nx.y", "bad.py:2: AttributeError: 'int' object has no attribute 'y'"),
        ("\ndef f(:", "bad.py:2: SyntaxError: invalid syntax"),
        (
            "import no_such_module",
            "bad.py:1: ModuleNotFoundError: No module named 'no_such_module'",
        ),
    ],
)
def test_an_error_in_a_file_is_one_line_with_its_place_and_nothing_is_left(write, text, message):
    path = write("bad.py", text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_file(path)
    assert not [name for name in sys.modules if name.startswith("bad@")]
    with pytest.raises(FileNotFoundError, match=r"/gone\.py does not exist; give the path of a"):
        load_file(path.with_name("gone.py"))


def test_references_are_short_and_resolve_to_what_they_name(monkeypatch):
    assert reference(ConfigError) == "zoo.config:ConfigError"
    assert reference(Base) == "test_code:Base"
    assert resolve("test_code:Base") is Base
    assert resolve("test_code:Base.__init__") is Base.__init__
    assert resolve("zoo.config:ConfigError") is ConfigError
    with pytest.raises(ConfigError, match="is not part of the zoo"):  # Python's own, though loaded
        resolve("json:JSONDecoder.decode")
    monkeypatch.setattr(Base, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/somewhere/script.py", raising=False)
    assert reference(Base) == "script:Base"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "absent:Net",
            "absent:Net is not part of the zoo. If you trust absent.py, say where it is: "
            "code='absent.py' in Python, --code absent.py in the shell",
        ),
        ("json:nothing", "json:nothing is not part of the zoo. If you trust json.py, say where"),
        (
            "absent.nets:Net",
            "absent.nets:Net is not known here: import absent.nets first, or install a package "
            "that declares it under the entry points 'zoo.models'",
        ),
        ("__main__:Net", "__main__:Net was defined in a session without a file; put it into one"),
        ("x:f.<locals>.Net", "x:f.<locals>.Net is defined inside a function; move it to the top"),
    ],
)
def test_a_reference_imports_nothing_and_the_error_says_what_to_write(name, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolve(name)
    with pytest.raises(ConfigError) as error:
        from_dict(Base, {"type": name})
    assert message in str(error.value) and str(error.value).startswith("Base: ")
    assert "absent" not in sys.modules


def test_an_installed_package_that_declares_models_is_imported(write, monkeypatch):
    path = write("nets_of_tests.py", OWN.format(width=4))
    monkeypatch.syspath_prepend(path.parent)
    with pytest.raises(ConfigError):
        resolve("nets_of_tests:Net")
    entry = importlib.metadata.EntryPoint("net", "nets_of_tests:Net", "zoo.models")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [entry] if group == entry.group else []
    )
    assert from_dict(Base, {"type": "nets_of_tests:Net"}).width == 4
    assert resolve("nets_of_tests:loss")() == 4


def test_the_source_of_a_class_is_the_file_as_it_was_executed(write):
    path = write("mine.py", OWN.format(width=1))
    net = load_file(path).Net
    source = configs.source_of(net)
    assert source["file"] == "mine.py" and re.fullmatch("[0-9a-f]{64}", source["sha256"])
    path.write_text("")
    assert configs.source_of(net) == source
    assert configs.source_of(Base)["file"] == "test_code.py"
