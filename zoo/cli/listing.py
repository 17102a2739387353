"""`zoo list`: one line about each model, recipe, published model and environment."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from zoo.cli.parsing import Command

Summaries = Mapping[str, Mapping[str, str]]
"""Group -> name -> one line about it."""


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """Lists models, recipes, weights and environments."""

    pattern: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATTERN")] = "*"
    """A shell pattern, such as 'bag*'."""
    kind: Literal["models", "recipes", "published", "environments"] | None = None
    """Only these."""
    plain: bool = False
    """Print only the names, one a line."""

    def run(self) -> None:
        from zoo import registry

        kinds: Mapping[str, Callable[[str], Summaries]] = {
            "models": registry.models.summaries,
            "recipes": registry.recipes.summaries,
            "published": published,
            "environments": environments,
        }
        chosen = {
            kind: summaries(self.pattern)
            for kind, summaries in kinds.items()
            if self.kind in (None, kind)
        }
        if self.plain:
            groups = (group for summaries in chosen.values() for group in summaries.values())
            print(*sorted({name for group in groups for name in group}), sep="\n")
            return
        print("\n\n".join(_section(kind, groups) for kind, groups in chosen.items() if groups))


def published(pattern: str) -> Summaries:
    """Task -> name -> first sentence of the description, of the published models.

    The cards are read as TOML: reading them as cards would import the models' families.
    """
    from zoo import hub

    groups: dict[str, dict[str, str]] = {}
    for name in hub.list_pretrained(pattern):
        card = tomllib.loads(hub.find(name).read_text(encoding="utf-8"))
        group = groups.setdefault(card["task"].replace("_", " "), {})
        group[name] = card.get("description", "").partition(". ")[0].removesuffix(".") + "."
    return dict(sorted(groups.items()))


def environments(pattern: str) -> Summaries:
    """All in one group: those of a module have one name or nearly so."""
    from zoo import registry

    groups = registry.environments.summaries(pattern).values()
    merged = {name: line for group in groups for name, line in sorted(group.items())}
    return {"reinforcement learning": merged} if merged else {}


def _section(kind: str, groups: Summaries) -> str:
    width = max(len(name) for group in groups.values() for name in group)
    lines = [f"{kind} ({sum(map(len, groups.values()))})"]
    for title, group in groups.items():
        lines.append(f"  {title}")
        lines += (f"    {name:<{width}}  {line}".rstrip() for name, line in group.items())
    if sys.stdout.isatty():  # else whoever reads it can cut the lines
        columns = shutil.get_terminal_size().columns
        lines = [line if len(line) <= columns else f"{line[: columns - 1]}…" for line in lines]
    return "\n".join(lines)
