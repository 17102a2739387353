"""The tables of the site say what the registry and the cards say today."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest
from blocks import CHECKOUT

STALE = "the pages in docs/_generated are out of date: run python docs/generate.py"


@pytest.fixture(scope="module")
def generate():
    place = CHECKOUT / "docs" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_are_those_of_today(generate):
    from zoo import registry

    counts = json.loads(generate.PARAMETERS.read_text(encoding="utf-8"))
    assert [*counts] == [*registry.list_models()], STALE
    pages = generate.pages(counts)
    assert {path.name for path in generate.FOLDER.glob("*.md")} == pages.keys(), STALE
    for name, text in pages.items():
        assert (generate.FOLDER / name).read_text(encoding="utf-8") == text, f"{name}: {STALE}"


def test_the_line_of_a_name_is_a_whole_sentence_and_commands_are_blocks(generate):
    """The tables and `zoo list` show only the first line of a docstring."""
    from zoo import registry

    for known in (registry.models, registry.recipes, registry.environments):
        for names in known.summaries().values():
            assert not {name for name, line in names.items() if not line.endswith(".")}
    for page in generate.FOLDER.glob("*_recipes.md"):
        prose = page.read_text(encoding="utf-8").split("```")[::2]
        assert not re.findall(r"^(?:zoo|pip|make|python) .*", "".join(prose), re.MULTILINE)


@pytest.mark.slow
def test_the_numbers_of_parameters_are_those_of_today(generate):
    counts = json.loads(generate.PARAMETERS.read_text(encoding="utf-8"))
    assert counts == generate.count_parameters(), STALE


def test_each_family_has_a_page_that_includes_what_is_generated_for_it(generate):
    for family in generate.FAMILIES:
        text = (CHECKOUT / "docs" / "families" / f"{family}.md").read_text(encoding="utf-8")
        for part in ("models", "fields", "recipes", "results"):
            assert f"{{include}} ../_generated/{family}_{part}.md" in text
