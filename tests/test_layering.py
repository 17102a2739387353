"""Who may import whom: the table of the design, held against the source by `ast`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ZOO = Path(__file__).resolve().parents[1] / "zoo"
TENSORFLOW = {"tensorflow", "tensorflow_datasets"}


@dataclass(frozen=True)
class Row:
    """What the parts of one row may import from zoo, besides each other."""

    parts: str
    imports: str = ""
    inside: str = ""
    """… and what only inside a function or under TYPE_CHECKING."""
    never: frozenset[str] = frozenset()
    """Packages from outside that they must not import."""


FOUNDATION = Row("config files lazy registry")  # and the standard library, nothing else
BELOW_TRAIN = (
    "config files lazy registry tokenizers models decoding preprocessing weights checkpoints"
    " interop pipelines cards fetching hub predictors"
)
TABLE = (
    FOUNDATION,
    Row("tokenizers", "config", never=frozenset({"jax", *TENSORFLOW})),
    Row("preprocessing", "config", never=frozenset({"jax", *TENSORFLOW})),
    Row("models", "config lazy registry", never=frozenset({"optax", "clu", *TENSORFLOW})),
    Row("decoding", "config", never=frozenset({"flax", "optax", "clu", *TENSORFLOW})),
    Row("weights checkpoints interop", "config models", never=frozenset({"clu", *TENSORFLOW})),
    Row(
        "pipelines",
        "config lazy registry tokenizers preprocessing",
        never=frozenset({"jax", "flax", "optax", "clu"}),
    ),
    Row(
        "cards fetching hub predictors",
        "config files lazy registry models decoding tokenizers preprocessing weights interop"
        " pretrained",
        inside="checkpoints",  # it imports Orbax, which only whoever reads a run should wait for
        never=frozenset({"optax", "clu", *TENSORFLOW}),
    ),
    Row("importing", "config models tokenizers interop hub"),
    Row("train", BELOW_TRAIN),
    Row("inspection verification", BELOW_TRAIN, inside="train zoo"),
    # The command and the public list start at once: they import nothing until they are used.
    Row("cli", "", inside=f"{BELOW_TRAIN} train inspection verification importing zoo"),
    Row("zoo", "lazy", inside=f"{BELOW_TRAIN} train"),
)


def imports(tree: ast.Module, package: list[str]) -> Iterator[tuple[str, bool, int]]:
    """(dotted name, whether importing the module imports it too, line) of every import."""

    def visit(node: ast.AST, now: bool) -> Iterator[tuple[str, bool, int]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, now, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            if name == "zoo":  # `from zoo import hub` imports the part, not the list
                yield from ((f"zoo.{alias.name}", now, node.lineno) for alias in node.names)
            else:
                yield name, now, node.lineno
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in ast.iter_child_nodes(node):
                yield from visit(child, False)
        else:
            now = now and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, now)

    return visit(tree, True)


def violations(source: str, path: str) -> list[str]:
    """What the file `path` (relative to zoo/) imports against the table, a line each."""
    *folders, module = path.removesuffix(".py").split("/")
    part = folders[0] if folders else module.replace("__init__", "zoo")
    row = next((row for row in TABLE if part in row.parts.split()), None)
    if row is None:
        return [f"zoo/{path}: the part {part!r} has no row in {Path(__file__).name}"]
    found = []
    for name, now, line in imports(ast.parse(source), ["zoo", *folders]):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0] or "zoo"
        when = "when it is imported" if now else "inside a function"
        if top == "zoo":
            allowed = f"{row.parts} {row.imports} {'' if now else row.inside}".split()
            wrong = target not in allowed
        else:
            wrong = (
                top in row.never
                or (now and top in TENSORFLOW)
                or (row is FOUNDATION and top not in sys.stdlib_module_names)
            )
        if wrong:
            found.append(f"zoo/{path}:{line}: {part} must not import {name} {when}")
    return found


def test_every_import_follows_the_table():
    files = sorted(ZOO.rglob("*.py"))
    assert files
    found = [
        line for f in files for line in violations(f.read_text(), f.relative_to(ZOO).as_posix())
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("models/mlp.py", "from zoo import train", "zoo.train when"),
        ("models/mlp.py", "def f():\n    from zoo.train.loop import run", "zoo.train.loop inside"),
        ("models/mlp.py", "from ..pipelines import text", "zoo.pipelines when"),
        ("models/mlp.py", "from .. import hub", "zoo.hub when"),
        ("models/mlp.py", "import optax.losses", "optax.losses when"),
        ("models/mlp.py", "import zoo", "zoo when"),
        ("pipelines/text.py", "import tensorflow as tf", "tensorflow when"),
        ("pipelines/text.py", "def f():\n    import jax.numpy", "jax.numpy inside"),
        ("config.py", "import numpy", "numpy when"),
        ("hub.py", "class A:\n    import zoo.checkpoints", "zoo.checkpoints when"),
        ("cli.py", "from zoo import hub", "zoo.hub when"),
        ("__init__.py", "from zoo.train import run", "zoo.train when"),
        ("utils.py", "", "no row"),
    ],
)
def test_an_import_against_the_table_is_found(path, source, wrong):
    (found,) = violations(source, path)
    assert wrong in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/mlp.py", "from zoo.models.base import ModelConfig"),
        ("models/mlp.py", "from . import base\nimport jax"),
        ("models/reformer/lsh.py", "from ..base import ModelConfig"),
        ("pipelines/text.py", "if TYPE_CHECKING:\n    import tensorflow as tf"),
        ("pipelines/text.py", "def f():\n    import tensorflow as tf"),
        ("hub.py", "def f():\n    from zoo import checkpoints"),
        ("cli.py", "if TYPE_CHECKING:\n    from zoo.train.recipe import Recipe"),
        ("__init__.py", "if TYPE_CHECKING:\n    from zoo.train import run"),
        ("train/loop.py", "from zoo import hub\nimport optax"),
    ],
)
def test_an_import_that_the_table_allows_is_let_through(path, source):
    assert violations(source, path) == []
