"""zoo.registry: look-up, did-you-mean, duplicates, and names that match the modules."""

import importlib

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


def test_a_duplicate_names_both_modules():
    known = Registry("pet")
    known.declare({"zoo.cats": ("cat",)})

    def cat():
        return None

    with pytest.raises(
        ValueError, match=f"two pets are named 'cat': in zoo.cats and in {__name__}; rename one"
    ):
        known.register(cat)


@pytest.mark.parametrize("known", [registry.models, registry.recipes], ids=lambda known: known.kind)
def test_what_a_module_registers_is_what_its_package_declares(known):
    for name in known.names():
        function = known.get(name)
        assert function.__name__ == name
        assert function.__doc__, f"{name} has no docstring"
        assert getattr(importlib.import_module(function.__module__), name) is function
