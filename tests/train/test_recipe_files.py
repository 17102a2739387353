"""Recipes by name, in files of the user's, and in the folder of a run."""

from __future__ import annotations

import sys
import textwrap

import pytest

import zoo
from zoo.config import ConfigError
from zoo.train import recipe_files

OWN = """
    import dataclasses
    import zoo
    from neighbour import STEPS

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class OwnTask(zoo.train.ImageClassification):
        sharpness: float = {sharpness}

    def own(batch_size: int = 8) -> zoo.Recipe:
        same = dataclasses.replace(zoo.recipe("mlp_digits"), name="", task=OwnTask())
        return dataclasses.replace(same, steps=STEPS, batch_size=batch_size)

    def wrong():
        return 3

    def broken():
        return {{}}["b"]
"""


@pytest.fixture
def write(tmp_path):
    """Writes a file of recipes, with a neighbour that it imports."""

    def write(name="own.py", sharpness=1.0):
        (tmp_path / "neighbour.py").write_text("STEPS = 7\n")
        path = tmp_path / name
        path.write_text(textwrap.dedent(OWN.format(sharpness=sharpness)))
        return path

    yield write
    sys.modules.pop("neighbour", None)


@pytest.mark.parametrize("name", ["own.py", "json.py", "my recipes-2.py", "zoo.py"])
def test_a_file_may_have_any_name_and_finds_its_neighbours(write, name):
    before = sys.modules.get(name.removesuffix(".py"))
    recipe = zoo.recipe(f"{write(name)}:own", batch_size=4)
    assert (recipe.name, recipe.steps, recipe.batch_size) == ("own", 7, 4)
    assert type(recipe.task).__name__ == "OwnTask"
    assert sys.modules.get(name.removesuffix(".py")) is before


def test_after_an_edit_the_new_class_is_used(write):
    first = zoo.recipe(f"{write(sharpness=1.0)}:own")
    second = zoo.recipe(f"{write(sharpness=2.0)}:own")
    assert (first.task.sharpness, second.task.sharpness) == (1.0, 2.0)
    written = zoo.config.to_json(second)
    again = zoo.config.from_json(zoo.Recipe, written)
    assert again == second
    assert type(again.task) is type(second.task)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("own.py:onw", LookupError, "has no function 'onw'; did you mean 'own'?"),
        ("own.py:wrong", ConfigError, "wrong returned int; a recipe function returns a zoo.Recipe"),
        ("own.py:broken", ConfigError, "own.py:18: KeyError: 'b'"),
        ("absent.py:own", FileNotFoundError, "absent.py does not exist; give the path of a Python"),
        ("absent.json", FileNotFoundError, "absent.json does not exist; the folder of a run has a"),
    ],
)
def test_what_is_not_a_recipe_says_what_it_is(write, source, error, message):
    folder = write().parent
    with pytest.raises(error) as raised:
        zoo.recipe(f"{folder}/{source}")
    assert message in str(raised.value)


def test_a_recipe_s_function_may_be_asked_for_its_parameters(write):
    import inspect

    function = recipe_files.find(f"{write()}:own")
    assert function.__name__ == "own"
    assert inspect.signature(function).parameters["batch_size"].default == 8
