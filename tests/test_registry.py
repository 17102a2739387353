"""zoo.registry: look-up, did-you-mean, duplicates, and names that match the modules."""

import importlib
import pkgutil

import pytest

from zoo import registry
from zoo.registry import Registry, UnknownNameError


def test_names_are_those_of_the_functions_and_match_shell_patterns():
    known = Registry("pet")

    @known.register
    def cat():
        return "miaow"

    @known.register
    def dog():
        return "woof"

    assert known.names() == ("cat", "dog")
    assert known.names("c*") == ("cat",)
    assert known.get("cat")() == "miaow"


def test_an_unknown_name_is_answered_with_the_closest_and_the_number_known():
    with pytest.raises(UnknownNameError) as error:
        registry.models.get("bag_of_embedings")
    known = len(registry.list_models())
    assert (
        str(error.value)
        == f"no model named 'bag_of_embedings'; did you mean 'bag_of_embeddings'? ({known} known)"
    )
    assert isinstance(error.value, LookupError)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package `pets` of modules that register functions, and its registry."""

    def make(**modules):
        folder = tmp_path / "pets"
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        for module, names in modules.items():
            functions = [f"@registry.pets.register\ndef {name}():\n    ...\n" for name in names]
            (folder / f"{module}.py").write_text("\n\n".join(["raise ImportError", *functions]))
        monkeypatch.syspath_prepend(tmp_path)
        return Registry("pet", "pets")

    return make


def test_names_are_read_and_no_module_is_imported(package):
    assert package(cats=["tom", "felix"], dogs=["rex"]).names() == ("felix", "rex", "tom")


def test_a_duplicate_names_both_modules(package):
    known = package(cats=["tom"], dogs=["tom"])
    message = "two pets are named 'tom': in pets.cats and in pets.dogs; rename one"
    with pytest.raises(ValueError, match=message):
        known.names()


@pytest.mark.parametrize("known", [registry.models, registry.recipes], ids=lambda known: known.kind)
def test_what_is_read_is_what_the_modules_register(known):
    package = importlib.import_module(known._package)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(found.name)
    modules = {function.__name__: function.__module__ for function in known._functions.values()}
    own = {name: module for name, module in modules.items() if module.startswith("zoo.")}
    assert own == {name: at for name, at in known._declared if at.startswith("zoo.")}
    for name in known.names():
        function = known.get(name)
        assert function.__name__ == name
        assert function.__doc__, f"{name} has no docstring"
        assert getattr(importlib.import_module(function.__module__), name) is function


def test_a_package_has_the_names_that_type_checkers_see(tmp_path, monkeypatch):
    folder = tmp_path / "lazy_pets"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from zoo.registry import attach\n"
        "if TYPE_CHECKING:\n"
        "    from lazy_pets import dogs as dogs\n"
        "    from lazy_pets.cats import tom as tom\n"
        "    from lazy_pets.cats import felix\n"
        "    cat = felix\n"
        "__getattr__, __dir__, __all__ = attach(__name__)\n"
    )
    (folder / "cats.py").write_text("tom, felix = 'Tom', 'Felix'\n")
    (folder / "dogs.py").write_text("rex = 'Rex'\n")
    monkeypatch.syspath_prepend(tmp_path)
    pets = importlib.import_module("lazy_pets")
    assert pets.__all__ == ["cat", "dogs", "tom"]
    assert (pets.cat, pets.tom, pets.dogs.rex) == ("Felix", "Tom", "Rex")
    assert [name for name in dir(pets) if not name.startswith("__")] == ["cat", "dogs", "tom"]
    with pytest.raises(AttributeError, match="module 'lazy_pets' has no attribute 'felix'"):
        pets.felix  # noqa: B018
