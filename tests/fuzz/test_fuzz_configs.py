"""Configurations: any field with any value, there and back as JSON, and as flags."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import strategies as st
from properties import Refused, any_texts, asked, holds, scalars

RECIPES = ("bag_of_embeddings_ag_news", "transformer_copy", "resnet_digits", "mlp_mnist")


@pytest.fixture(scope="module")
def recipes():
    """Recipes of several tasks."""
    import zoo

    names = zoo.list_recipes()
    return [zoo.recipe(name) for name in names[:: max(len(names) // 6, 1)]]


def paths_of(recipe):
    from zoo import config as configs

    return [path for path in configs.flatten(configs.to_dict(recipe)) if "type" not in path]


VALUES = st.one_of(
    scalars,
    st.sampled_from([0.1, 1.0, -1.0, 0.0, math.nan, math.inf, 1, 2, 100, "adam", "words", "bytes"]),
    st.lists(scalars, max_size=3),
    st.lists(scalars, max_size=3).map(tuple),
)


@holds(
    few=40,
    seconds=10,
    number=st.integers(0, 50),
    changes=st.lists(
        st.tuples(
            st.integers(0, 200) | any_texts | st.sampled_from(["model", "x.y", ".", ""]), VALUES
        ),
        min_size=1,
        max_size=2,
    ),
)
def test_any_change_makes_a_recipe_that_survives_json_or_is_refused(recipes, number, changes):
    import zoo
    from zoo import config as configs
    from zoo.train import Recipe

    recipe = recipes[number % len(recipes)]
    paths = paths_of(recipe)
    changes = {
        paths[path % len(paths)] if isinstance(path, int) else path: value
        for path, value in changes
    }
    new = asked(zoo.override, recipe, changes)
    if isinstance(new, Refused):
        return
    assert type(new) is type(recipe)
    hash(new)
    assert configs.from_json(Recipe, configs.to_json(new)) == new
    configs.diff(recipe, new)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            any_texts | st.sampled_from(["type", "model", "steps"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@holds(
    few=40,
    seconds=10,
    number=st.integers(0, 50),
    place=st.integers(0, 200),
    value=TREES | st.builds(dict, TREES.filter(lambda x: isinstance(x, dict)), type=any_texts),
    how=st.sampled_from(["replace", "whole", "text", "cut"]),
    text=any_texts,
)
def test_any_json_is_a_recipe_or_is_refused(recipes, number, place, value, how, text):
    from zoo import config as configs
    from zoo.train import Recipe

    content = configs.to_json(recipes[number % len(recipes)])
    if how == "replace":
        tree = json.loads(content)
        paths = list(configs.flatten(tree))
        *path, last = paths[place % len(paths)].split(".")
        inner = tree
        for step in path:
            inner = inner[step]
        inner[last] = value
        content = json.dumps(tree)
    elif how == "whole":
        content = json.dumps(value)
    else:
        at = place * len(content) // 201
        content = content[:at] + (text + content[at + 3 :] if how == "text" else "")
    recipe = asked(configs.from_json, Recipe, content)
    if not isinstance(recipe, Refused):
        assert isinstance(recipe, Recipe)
        assert configs.from_json(Recipe, configs.to_json(recipe)) == recipe


FLAG_VALUES = st.one_of(
    any_texts,
    st.sampled_from(
        ["1", "0", "-1", "1e9", "nan", "inf", "None", "True", "a", "", "--", "-h", "1 2"]
    ),
)


@holds(
    few=8,
    number=st.integers(0, 50),
    words=st.lists(
        st.tuples(st.integers(0, 200) | any_texts, st.lists(FLAG_VALUES, max_size=2)), max_size=3
    ),
)
def test_any_flags_make_a_recipe_or_are_refused(recipes, number, words, capsys):
    from zoo.cli import training
    from zoo.train import Recipe

    recipe = recipes[number % len(recipes)]
    paths = paths_of(recipe)
    given = [recipe.name]
    for path, values in words:
        known = isinstance(path, int)
        flag = paths[path % len(paths)].replace("_", "-") if known else path
        given += [f"--{flag}", *values]
    try:
        made = asked(training.recipe_of, given, "zoo train", lines=True)
    except SystemExit as end:
        assert end.code in (0, None) and {"-h", "--help"} & set(given), (end.code, given)
    else:
        assert isinstance(made, Refused) or isinstance(made[0], Recipe)
    capsys.readouterr()


COMMANDS = (
    *("list", "show", "predict", "translate", "generate", "eval", "export", "verify", "data"),
    *("import-trax", "train-vocab", "train"),
)
WORDS = st.one_of(
    any_texts,
    st.sampled_from(
        [
            *("--help", "-h", "--", "-", "--out", "out", "--step", "best", "1", "--dtype", "int8"),
            *("--top-k", "--prompt", "--code", "--size", "--kind", "--call", "MLP()", "--model"),
            *("--beam-size", "--workdir", ".", "..", "file.csv", "--split", "nan", "--data"),
        ]
    ),
)


@holds(few=10, command=st.sampled_from(COMMANDS) | any_texts, words=st.lists(WORDS, max_size=4))
def test_any_words_end_a_command_with_0_or_2(command, words, tmp_path, monkeypatch, capsys):
    import io
    import sys

    from zoo import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    stdin = io.TextIOWrapper(io.BytesIO(b"a line\n\xff\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    code = cli.main([command, *words])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert code in (0, 1 if command == "verify" else 0, 2), (code, error)
