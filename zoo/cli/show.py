"""`zoo show`: everything that has a name, as text."""

from __future__ import annotations

import inspect
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from zoo.cli.parsing import parse, parse_known
from zoo.cli.training import recipe_of
from zoo.config import is_url

MOST = 40
"""Most parameters in a table."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Shows a card, a recipe, a model or an environment.

    With `--mesh.fsdp 8` and the like: how the parameters of a recipe lie on such a mesh, and what a
    device holds; takes the flags of `zoo train` too.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Of a model, a recipe, published weights or an environment; or a run's folder."""
    resolve: bool = False
    """Read the data of a recipe and fill in what it decides."""
    memory: bool = False
    """Show instead what memory a training step of a recipe takes, and which length fits; takes the
    flags of `zoo train` too."""
    code: Path | None = None
    """The Python file that defines the model, if it is one of your own."""


def show(words: list[str]) -> int:
    """Shows a card, a recipe, a model or an environment."""
    on_mesh = any(word.startswith("--mesh.") for word in words)
    if not ("--memory" in words or on_mesh) or {"-h", "--help"} & set(words):
        options = parse(Options, words, prog="zoo show")
        print(describe(options.name, resolve=options.resolve, code=options.code))
        return 0
    from zoo.train import layout, memory

    options, rest = parse_known(Options, words, prog="zoo show")
    own = [] if options.code is None else ["--code", str(options.code)]
    recipe, _ = recipe_of([options.name, *own, *rest], "zoo show")
    if options.memory:
        print(memory.describe(recipe, list(memory.of_recipe(recipe))))
    else:
        print(layout.describe(recipe))
    return 0


def describe(name: str, *, resolve: bool = False, code: Path | None = None) -> str:
    """Everything that has a name, as text: a card, a recipe, a model, an environment.

    Raises:
      UnknownNameError: nothing has that name.
    """
    from zoo import hub, registry
    from zoo.envs import names as envs
    from zoo.storage.remote import place

    parts = []
    if place(name).is_dir() or name in hub.list_pretrained():
        parts.append(_card(hub.find(name), code))
    if name in registry.list_recipes() or ".py:" in name:
        parts.append(_recipe(name, resolve))
    if name in registry.list_models():
        function = registry.models.get(name)
        parts.append(
            f"model {name}\n{_doc(function)}\n\n{_config(function())}\n{_parameters(function())}"
        )
    is_environment = envs.GYMNASIUM_ID.fullmatch(name) and not is_url(name)
    if name in registry.list_environments() or is_environment:
        parts.append(_environment(name))
    if not parts:
        known = {
            *hub.list_pretrained(),
            *registry.list_recipes(),
            *registry.list_models(),
            *registry.list_environments(),
        }
        raise registry.UnknownNameError(
            "model, recipe, published weights, environment or run", name, tuple(sorted(known))
        )
    return "\n\n".join(parts)


def _doc(function: Any) -> str:
    return inspect.getdoc(function) or ""


def _card(path: Path, code: Path | None) -> str:
    from zoo import config as configs
    from zoo import hub

    card = hub.card(path, code=code)
    content = configs.flatten(tomllib.loads(path.read_text(encoding="utf-8")))
    lines = [f"card {path}"]
    for key, value in content.items():
        text = str(value)
        lines.append(f"  {key} = {text if len(text) <= 100 else text[:97] + '…'}")
    return "\n".join(lines) + "\n" + _parameters(card.config)


def _recipe(name: str, resolve: bool) -> str:
    from zoo.train import recipe_files

    function = recipe_files.find(name)
    recipe = recipe_files.named(function(), function)
    note = "\n(`--resolve` reads the data and fills in what is None because the data decides it)"
    if resolve:
        recipe, note = recipe.resolve(), ""
    described = f"recipe {name}\n{_doc(function)}\n\n{_config(recipe)}{note}"
    return f"{described}\n{_parameters(recipe.model)}" if resolve else described


def _environment(name: str) -> str:
    from zoo import envs, registry

    env = envs.create(name)
    inner = env
    while isinstance(inner, envs.Wrapper):
        inner = inner.env
    doc = _doc(registry.environments.get(name)) if name in registry.list_environments() else ""
    docs = "\n\n".join(part for part in (doc, _doc(type(inner))) if part)
    return (
        f"environment {name}\n{docs}\n\n  observation: {env.observation_space}\n"
        f"  action: {env.action_space}\n  steps: {env.max_steps or 'without a limit'}\n"
        f"{_config(env)}"
    )


def _config(config: Any) -> str:
    from zoo import config as configs

    leaves = configs.flatten(configs.to_dict(config))
    return "\n".join(f"  {path} = {value}" for path, value in leaves.items())


def _parameters(config: Any) -> str:
    """A table of the parameters' shapes, which `jax.eval_shape` gives without making any."""
    from zoo.config import ConfigError
    from zoo.storage import weights

    try:
        variables = config.variable_shapes()
    except ConfigError as error:
        return f"parameters: {error}"
    leaves = weights.flatten(variables["params"])
    rows = [(path, str(list(leaf.shape)), f"{leaf.size:,}") for path, leaf in leaves.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"  {path:<{widths[0]}}  {shape:<{widths[1]}}  {size:>{widths[2]}}"
        for path, shape, size in rows[:MOST]
    ]
    if len(rows) > MOST:
        lines.append(f"  … and {len(rows) - MOST} more")
    number, size = weights.count(variables["params"])
    return "\n".join([f"parameters: {number:,} ({size / 1e6:.1f} MB as float32)", *lines])
