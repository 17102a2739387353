"""Who may import whom: the table of the design, held against the source by `ast`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ZOO = Path(__file__).resolve().parents[1] / "zoo"


@dataclass(frozen=True)
class Row:
    """All that one part may import: of zoo besides itself, and of other packages than Python's."""

    zoo: str = ""
    outside: str = ""
    zoo_inside: str = ""
    """… and what only inside a function or under TYPE_CHECKING: it is optional, or slow to import.
    """
    outside_inside: str = ""

    def allows(self, name: str, now: bool) -> bool:
        top, _, rest = name.partition(".")
        if top == "zoo":
            parts = self.zoo if now else f"{self.zoo} {self.zoo_inside}"
            return (rest.partition(".")[0] or "zoo") in parts.split()
        packages = self.outside if now else f"{self.outside} {self.outside_inside}"
        return top in sys.stdlib_module_names or top in packages.split()


BELOW_HUB = (
    "config registry tokenizers models decoding envs preprocessing storage interop predictors "
    "pretrained"
)
TABLE = {
    "config": Row(),
    "registry": Row("config"),
    "tokenizers": Row("config", outside_inside="sentencepiece"),
    "preprocessing": Row("config", "numpy PIL"),
    "xla": Row("", "jax numpy jaxtyping"),
    "models": Row("config registry xla", "jax flax numpy jaxtyping"),
    "decoding": Row("config xla", "jax jaxtyping numpy"),
    "envs": Row("config registry", "jax numpy PIL", outside_inside="gymnasium"),
    "storage": Row(
        "config",
        "etils flax jax numpy orbax safetensors",
        "models preprocessing tokenizers",
        outside_inside="tomli_w",
    ),
    "interop": Row("config models storage", "jax numpy ml_dtypes"),
    "pipelines": Row(
        "config registry tokenizers preprocessing",
        "numpy PIL",
        "",
        "pooch tensorflow tensorflow_datasets",
    ),
    "predictors": Row(
        "config decoding envs models preprocessing tokenizers",
        "jax flax numpy",
        "storage",
        "PIL pysbd",
    ),
    # Listing names waits for no model, and only reading a run waits for Orbax (in storage).
    "hub": Row(BELOW_HUB, outside_inside="jax pooch requests filelock rich"),
    "train": Row(
        f"{BELOW_HUB} hub pipelines xla",
        "jax jaxtyping flax numpy optax clu rich",
        outside_inside="filelock matplotlib PIL sacrebleu scipy sklearn",
    ),
    # The command and the public list start at once: they import the rest when it is used.
    "cli": Row("config registry", "tyro", f"{BELOW_HUB} hub pipelines train zoo", "jax"),
    "zoo": Row("registry", "", f"{BELOW_HUB} hub pipelines train"),
}


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
    if part not in TABLE:
        return [f"zoo/{path}: the part {part!r} has no row in {Path(__file__).name}"]
    found = []
    for name, now, line in imports(ast.parse(source), ["zoo", *folders]):
        own = name == f"zoo.{part}" or name.startswith(f"zoo.{part}.")
        if not own and not TABLE[part].allows(name, now):
            when = "when it is imported" if now else "inside a function"
            found.append(f"zoo/{path}:{line}: {part} must not import {name} {when}")
    return found


def test_every_part_has_a_row_and_the_top_of_the_package_has_few_entries():
    entries = {path.stem for path in ZOO.iterdir() if path.suffix == ".py" or path.is_dir()}
    entries -= {"__init__", "__pycache__"}
    assert entries <= TABLE.keys() - {"zoo"}
    assert len(entries) <= 15


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
        ("hub/opening.py", "class A:\n    import jax", "jax when"),
        ("cli/__init__.py", "from zoo import train", "zoo.train when"),
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
        ("hub/opening.py", "def f():\n    import jax"),
        ("cli/__init__.py", "if TYPE_CHECKING:\n    from zoo.train.recipe import Recipe"),
        ("__init__.py", "if TYPE_CHECKING:\n    from zoo.train import run"),
        ("train/loop.py", "from zoo import hub\nimport optax"),
    ],
)
def test_an_import_that_the_table_allows_is_let_through(path, source):
    assert violations(source, path) == []
