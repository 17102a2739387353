"""Writes docs/_generated: the tables of models, recipes, environments and weights, from registries
and cards.

    python docs/generate.py

Run it when a model, a recipe or a card is new or different; tests/docs/test_generated.py says when.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import re
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zoo import envs, hub, registry

FOLDER = Path(__file__).resolve().parent / "_generated"
PARAMETERS = FOLDER / "parameters.json"
"""Model -> number of parameters: kept, since counting builds every model."""

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "bag_of_embeddings": ("bag_of_embeddings",),
    "mlp": ("mlp",),
    "lstm": ("lstm", "recurrent", "seq2seq"),
    "resnet": ("resnet",),
    "transformer": ("transformer",),
    "reformer": ("reformer",),
    "policy": ("policy",),
}
"""Page of docs/families -> the modules of zoo.models that it describes."""

TITLES = {
    "bag_of_embeddings": "Bag of embeddings",
    "mlp": "Multilayer perceptron",
    "lstm": "LSTM and other recurrent models",
    "resnet": "ResNet",
    "transformer": "Transformer",
    "reformer": "Reformer",
    "policy": "Policies for reinforcement learning",
}

OPEN = {
    "vocab_size": 8000,
    "num_classes": 10,
    "input_shape": (32, 32, 3),
    "observation_shape": (4,),
    "num_actions": 2,
}
"""Sizes that the data decides, as they are taken to count parameters."""

MADE = "<!-- Written by docs/generate.py: do not edit. -->\n\n"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table. Numbers are aligned by the style sheet's default."""
    head = list(header)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def family_of(module: str) -> str:
    """The page of a module below zoo.models."""
    part = module.removeprefix("zoo.models.").partition(".")[0]
    for family, modules in FAMILIES.items():
        if part in modules:
            return family
    raise LookupError(f"{module} has no page: add it to FAMILIES in docs/generate.py")


def count_parameters() -> dict[str, int]:
    """Model -> its number of parameters with the sizes OPEN. Takes some seconds."""
    from zoo.storage import weights

    counts = {}
    for name in registry.list_models():
        config = registry.models.get(name)()
        fields = {k: v for k, v in OPEN.items() if getattr(config, k, 0) is None}
        shapes = dataclasses.replace(config, **fields).variable_shapes()
        counts[name] = weights.count(shapes["params"])[0]
    return counts


def models(counts: Mapping[str, int]) -> dict[str, str]:
    """Family -> a table of its models."""
    rows: dict[str, list[list[str]]] = {family: [] for family in FAMILIES}
    for name in registry.list_models():
        function = registry.models.get(name)
        summary = first_line(function)
        rows[family_of(function.__module__)].append([f"`{name}`", f"{counts[name]:,}", summary])
    return {
        family: table(["model", "parameters", "what it is"], lines)
        for family, lines in rows.items()
    }


def first_line(function: Any) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def recipe_model(name: str) -> str:
    """The family of a recipe's model."""
    from zoo.train import recipe_files

    return family_of(type(recipe_files.get(name).model).__module__)


def recipes() -> str:
    """A table of the recipes for each task."""
    parts = []
    for task, summaries in registry.recipes.summaries().items():
        subject = task.rpartition(".")[2].replace("_", " ")
        rows = [
            [f"`{name}`", f"[{TITLES[recipe_model(name)]}]({recipe_model(name)}.md)", line]
            for name, line in summaries.items()
        ]
        title = f"**{subject.capitalize()}**"
        parts.append(f"{title}\n\n{table(['recipe', 'model', 'what it trains'], rows)}")
    return "\n\n".join(parts)


def environments() -> str:
    """A table of the environments."""
    rows = []
    for name in registry.list_environments():
        env = envs.create(name)
        space = env.observation_space, env.action_space
        numbers = f"{space[0].shape[0]} numbers"
        actions = (
            f"0 to {space[1].num - 1}"
            if isinstance(space[1], envs.Discrete)
            else (f"{space[1].shape[0]} in [{space[1].low:g}, {space[1].high:g}]")
        )
        summary = first_line(registry.environments.get(name))
        rows.append([f"`{name}`", numbers, actions, str(env.max_steps), summary])
    return table(["name", "observation", "action", "steps", "what it is"], rows)


def paragraphs(docstring: str) -> str:
    """A recipe's docstring as Markdown: commands become blocks."""
    parts = []
    for part in docstring.partition("\nArgs:")[0].strip().split("\n\n"):
        if part.startswith(("zoo ", "pip ")):
            parts.append(f"```sh\n{part}\n```")
        else:
            parts.append(part.replace("*", r"\*"))
    return "\n\n".join(parts)


def recipes_of(family: str) -> str:
    """Each recipe of a family with its docstring: settings' source, command, what it reached."""
    parts = [
        f"### `{name}`\n\n{paragraphs(inspect.getdoc(registry.recipes.get(name)) or '')}"
        for name in registry.list_recipes()
        if recipe_model(name) == family
    ]
    return "\n\n".join(parts)


def cards() -> dict[str, dict[str, Any]]:
    """Name -> card, as TOML has it."""
    return {
        name: tomllib.loads(hub.find(name).read_text(encoding="utf-8"))
        for name in hub.list_pretrained()
    }


HEADLINE = ("test/bleu", "test/accuracy", "test/return", "validation/loss")
"""The metric that a row shows: the first of these that a card has. A tagger's is its F1: most words
are outside all entities, so that its accuracy is always high."""


def headline(card: Mapping[str, Any]) -> str:
    """A card's main metric in words."""
    metrics = card.get("metrics", {})
    for name in ("test/f1", *HEADLINE) if card["task"] == "tagging" else HEADLINE:
        if name in metrics:
            split, _, what = name.partition("/")
            value = metrics[name]
            return {
                "bleu": f"{value:.1f} BLEU",
                "return": f"a mean return of {value:.1f}",
                "accuracy": f"{value:.2%} accuracy".replace("%", " %"),
                "f1": f"{value:.3f} F1 of entities",
                "loss": f"{value:.3f} nats a symbol",
            }[what] + f" ({split})"
    return "not measured"


def weights_table() -> str:
    rows = []
    for name, card in cards().items():
        size = sum(file["size"] for file in card.get("files", ()))
        where = "downloaded" if card["files"][0].get("urls") else "in the package"
        rows.append(
            [
                f"`{name}`",
                card["task"].replace("_", " "),
                headline(card),
                f"{size / 1e6:.1f} MB, {where}" if size > 1e5 else f"{size / 1e3:.0f} kB, {where}",
            ]
        )
    return table(["name", "task", "reached", "size"], rows)


def hardware(card: Mapping[str, Any]) -> str:
    training = card.get("training", {})
    if "device" not in training:
        return "not stated"
    versions = f"JAX {training['jax']}, Python {training['python']}"
    return f"{training['device']}, {training['cores']} cores; {versions}"


def result(name: str, card: Mapping[str, Any]) -> str:
    """Everything that was measured of a published model."""
    training = card.get("training", {})
    rows = [[f"`{metric}`", f"{value:g}"] for metric, value in card.get("metrics", {}).items()]
    parts = [f"### `{name}`", card["description"]]
    if rows:
        parts.append(table(["metric", "value"], rows))
    facts = []
    if card.get("command"):
        facts.append(f"Measured with: {card['command']}")
    if "seconds" in training:
        facts.append(f"Training: {training['steps']:,} steps in {training['seconds']:,.0f} s")
        facts.append(f"Machine: {hardware(card)}")
    facts.append(f"Data: {card['data']}")
    if card.get("limitations"):
        facts.append(f"Limits: {card['limitations']}")
    facts.append(f"Licence: {card['licence']}")
    parts.append("\n".join(f"- {fact}" for fact in facts))
    return "\n\n".join(parts)


def results_of(family: str) -> str:
    parts = [
        result(name, card)
        for name, card in cards().items()
        if config_family(card["config"]["type"]) == family
    ]
    return "\n\n".join(parts) or "No published weights yet."


def config_family(name: str) -> str:
    """The page of a config class."""
    for found, module in registry.defined_in("zoo.models", r"^class (\w+)"):
        if found == name:
            return family_of(module)
    raise LookupError(name)


def fields_of(family: str) -> str:
    """The configs of a family: each field with its default and what it means."""
    import importlib

    parts = []
    for module in FAMILIES[family]:
        importlib.import_module(f"zoo.models.{module}")
    for name, module in registry.defined_in("zoo.models", r"^class (\w+Config)\("):
        part = module.removeprefix("zoo.models.").partition(".")[0]
        cls = getattr(importlib.import_module(module), name)
        if part not in FAMILIES[family] or inspect.isabstract(cls):
            continue
        notes = field_notes(cls)
        rows = []
        for field in dataclasses.fields(cls):
            default = field.default
            value = re.sub(r"(Config)\([^()]*\)", r"\1(…)", repr(default))  # it has a table too
            shown = "required" if default is dataclasses.MISSING else f"`{value}`"
            if field.default_factory is not dataclasses.MISSING:
                shown = "see the source"
            rows.append([f"`{field.name}`", shown, notes.get(field.name, "")])
        parts.append(f"**`{name}`**\n\n{table(['field', 'default', 'meaning'], rows)}")
    return "\n\n".join(parts)


def field_notes(cls: type) -> dict[str, str]:
    """Field -> its docstring, of a class and those above it."""
    import ast

    notes: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base) or not base.__module__.startswith("zoo."):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
        for field, note in itertools.pairwise(body):
            is_note = isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and is_note:
                text = inspect.cleandoc(str(note.value.value))  # type: ignore[attr-defined]
                notes[ast.unparse(field.target)] = " ".join(text.split())
    return notes


def pages(counts: Mapping[str, int]) -> dict[str, str]:
    """File -> its text."""
    by_family = models(counts)
    every = "\n\n".join(
        f"**[{TITLES[family]}]({family}.md)**\n\n{text}" for family, text in by_family.items()
    )
    made = {
        "models.md": every,
        "environments.md": environments(),
        "recipes.md": recipes(),
        "weights.md": weights_table(),
        "results.md": "\n\n".join(result(name, card) for name, card in cards().items()),
    }
    for family, text in by_family.items():
        made[f"{family}_models.md"] = text
        made[f"{family}_fields.md"] = fields_of(family)
        made[f"{family}_recipes.md"] = recipes_of(family)
        made[f"{family}_results.md"] = results_of(family)
    return {name: f"{MADE}{text}\n" for name, text in made.items()}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    counts = count_parameters()
    PARAMETERS.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    made = pages(counts)
    for path in FOLDER.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
