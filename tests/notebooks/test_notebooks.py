"""The notebooks: text without outputs, public names only; executed, they say nothing wrong.

`make docs-slow` executes them for the site; here each one is a test of its own.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.md"))

LIMIT = 180
"""Seconds for a notebook with ZOO_DOCS_FAST=1 on two cores."""

TINY = [
    "import zoo\nmodel = zoo.load('bag_of_embeddings_imdb')\nmodel",
    "model('A film to remember.')",
    "zoo.load('transformer_ende_small')('A dog runs.', max_new_tokens=8)",
    """
import asyncio
loop = asyncio.get_running_loop()  # a notebook runs inside one
answer = await asyncio.to_thread(model, 'A dull film.')
answer.label
""",
]
"""Load, predict, translate, and await inside the kernel's event loop."""


def code_of(notebook: Path) -> list[str]:
    """The code cells of a notebook."""
    return re.findall(
        r"^```\{code-cell\} ipython3\n(.*?)^```$", notebook.read_text(encoding="utf-8"), re.M | re.S
    )


def execute(notebook, folder: Path, limit: int) -> None:
    """Executes the cells of a notebook in a kernel of its own, inside a folder."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient: pip install nbclient")
    pytest.importorskip("ipykernel", reason="needs ipykernel: pip install ipykernel")
    client = nbclient.NotebookClient(
        notebook,
        timeout=limit,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 5


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_text_that_uses_public_names_which_there_are(notebook):
    text = notebook.read_text(encoding="utf-8")
    assert text.startswith("---\njupytext:\n") and "name: python3\n---\n\n# " in text
    assert "{code-cell}" in text and "output" not in text.split("---\n")[1]
    for cell in code_of(notebook):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zoo"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert not alias.name.startswith("_")
                    assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
            elif isinstance(node, ast.Attribute):
                assert not re.match("_[^_]", node.attr), f"{node.attr} is private"


def test_a_kernel_loads_models_and_answers_inside_its_event_loop(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat: pip install nbclient")
    cells = [nbformat.v4.new_code_cell(source) for source in TINY]
    notebook = nbformat.v4.new_notebook(cells=cells)
    execute(notebook, tmp_path, limit=120)
    loaded, predicted, translated, awaited = (cell.outputs[-1].data for cell in notebook.cells)
    assert "TextClassifier bag_of_embeddings_imdb" in loaded["text/plain"]
    assert "pos" in predicted["text/html"] and "Prediction(" in predicted["text/plain"]
    assert "Hund" in translated["text/plain"]
    assert awaited["text/plain"] == "'neg'"


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_its_time_and_leaves_nothing(notebook, tmp_path, monkeypatch):
    jupytext = pytest.importorskip("jupytext", reason="needs jupytext: pip install jupytext")
    monkeypatch.setenv("ZOO_DOCS_FAST", "1")
    monkeypatch.setenv("TERM", "dumb")
    content = jupytext.read(notebook)
    execute(content, tmp_path, LIMIT)
    assert not list(tmp_path.iterdir())
    for cell in content.cells:
        for output in cell.get("outputs", []):
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            assert "\x1b" not in output.get("text", ""), "a line for a terminal"
