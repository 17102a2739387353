"""What a user sees first: the public names, and how soon they are there."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
HEAVY = ("tensorflow", "jax", "flax", "orbax", "matplotlib")


def python(program):
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


def test_every_public_name_resolves_and_is_documented():
    import zoo

    assert sorted(zoo.__all__) == [
        "Mistake",
        "Recipe",
        "arrays",
        "card",
        "create",
        "envs",
        "evaluate",
        "export",
        "fit",
        "list_environments",
        "list_models",
        "list_pretrained",
        "list_recipes",
        "load",
        "module",
        "optax",
        "override",
        "pipelines",
        "predictors",
        "recipe",
        "task",
        "tokenizers",
        "train",
        "with_adapter",
    ]
    for name in zoo.__all__:
        assert getattr(zoo, name).__doc__, name
    assert zoo.fit is zoo.train.run


def test_dir_lists_what_there_is_before_anything_is_used():
    names = python("import zoo, zoo.train, zoo.pipelines; print(*dir(zoo), *dir(zoo.train))")
    assert {"load", "fit", "list_models", "predictors", "__version__"} <= set(names)
    assert {"run", "Recipe", "losses"} <= set(names)
    assert not {"attach", "TYPE_CHECKING"} & set(names)


def test_a_name_that_is_not_there_is_an_attribute_error():
    import zoo

    with pytest.raises(AttributeError, match="module 'zoo' has no attribute 'laod'"):
        zoo.laod  # noqa: B018


def test_a_recipe_is_shown_in_one_line_compared_by_value_and_survives_pickling():
    import zoo

    recipe = zoo.recipe("mlp_digits")
    assert repr(recipe) == (
        "<Recipe mlp_digits: MLPConfig, ImageClassificationData, ImageClassification, Adam, "
        f"{recipe.steps:,} steps of {recipe.batch_size}>"
    )
    again = pickle.loads(pickle.dumps(recipe))
    assert again == recipe == zoo.recipe("mlp_digits")
    assert len({again, recipe}) == 1
    assert zoo.override(recipe, {"steps": 1}) != recipe


def test_listing_imports_nothing_heavy():
    program = f"""
import contextlib, io, sys, zoo, zoo.cli
zoo.list_models(), zoo.list_recipes(), zoo.list_pretrained()
with contextlib.redirect_stdout(io.StringIO()):
    zoo.cli.main(["list"])
print(*(name for name in {HEAVY} if name in sys.modules))
"""
    assert python(program) == []


def test_recipes_and_pipelines_are_made_without_the_packages_for_training():
    program = """
import sys
for name in ("clu", "matplotlib", "sacrebleu", "tensorboard", "tensorflow", "tensorflow_datasets"):
    sys.modules[name] = None
import zoo
for name in zoo.list_recipes():
    zoo.recipe(name)
print("made")
"""
    assert python(program) == ["made"]


def test_a_recipe_is_read_by_a_process_that_has_imported_nothing_of_it(tmp_path):
    written = f"Path({str(tmp_path / 'recipe.json')!r})"
    python(
        "import zoo; from pathlib import Path; from zoo import config;"
        f"{written}.write_text(config.to_json(zoo.recipe('lstm_ner')))"
    )
    names = python(
        "from pathlib import Path; from zoo.train import recipe_files;"
        f"read = recipe_files.read({written});"
        "print(type(read.data).__name__, type(read.model).__name__, type(read.task).__name__)"
    )
    assert names == ["TaggingData", "LSTMTaggerConfig", "Tagging"]
