"""The reference is complete: each public name of each public module has a place and a docstring."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest
from blocks import CHECKOUT

import zoo

DIRECTIVE = re.compile(r"^\.\. automodule:: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)

INTERNAL = {
    "zoo.cli": "commands, which `zoo --help` documents",
}
"""Packages with a list of public names that the reference leaves out, with the reason."""


def directives() -> dict[str, tuple[bool, set[str]]]:
    """Module -> whether its imported names are shown too, and the names that it leaves out."""
    found = {}
    for page in sorted((CHECKOUT / "docs" / "reference").glob("*.md")):
        for module, options in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            assert module not in found, f"{module} is documented twice"
            assert ":members:\n" in options
            left_out = re.search(r":exclude-members: (.*)", options)
            names = {name.strip() for name in left_out[1].split(",")} if left_out else set()
            found[module] = (":imported-members:" in options, names)
    return found


PAGES = directives()


def public_names(module: str) -> list[str]:
    """The names of a module: those of its `__all__`, or what it defines without an underscore."""
    loaded = importlib.import_module(module)
    if hasattr(loaded, "__all__"):
        return list(loaded.__all__)
    return [
        name
        for name, value in vars(loaded).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module
    ]


def modules_with_a_list() -> set[str]:
    """The modules that say themselves which of their names are public."""
    root = Path(zoo.__file__).parent
    return {
        ".".join(("zoo", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        for path in root.rglob("*.py")
        if re.search(r"^__all__|__all__ = attach", path.read_text("utf-8"), re.MULTILINE)
    }


def test_every_public_module_is_in_the_reference():
    assert modules_with_a_list() - INTERNAL.keys() <= PAGES.keys()


def test_every_public_name_has_a_place_in_the_reference():
    documented, wanted = set(), {}
    for module in PAGES:
        loaded = importlib.import_module(module)
        for name in public_names(module):
            value = getattr(loaded, name)
            wanted[f"{module}.{name}"] = value
            if name not in PAGES[module][1]:
                documented.add(id(value))
    packages = {name for name, value in wanted.items() if inspect.ismodule(value)}
    missing = [
        name
        for name, value in wanted.items()
        if id(value) not in documented | set(map(id, packages))
    ]
    missing = [name for name in missing if getattr(wanted[name], "__name__", "") not in PAGES]
    assert not missing, "no page in docs/reference has " + ", ".join(missing)


def test_no_name_is_shown_by_two_packages_that_import_it():
    """Sphinx would warn of it, and the site is built with warnings as errors."""
    places: dict[tuple[str, str], set[str]] = {}
    for package in (module for module, (imported, _) in PAGES.items() if imported):
        loaded = importlib.import_module(package)
        for name in set(public_names(package)) - PAGES[package][1]:
            value = getattr(loaded, name)
            home = getattr(value, "__module__", package)
            if (inspect.isclass(value) or inspect.isfunction(value)) and home != package:
                places.setdefault((home, value.__name__), set()).add(package)
    twice = {".".join(name): packages for name, packages in places.items() if len(packages) > 1}
    assert not twice, "add to :exclude-members: of one of them"


@pytest.mark.parametrize("module", PAGES)
def test_every_public_name_has_a_docstring(module):
    loaded = importlib.import_module(module)
    bare = [
        name
        for name in public_names(module)
        if (inspect.isclass(value := getattr(loaded, name)) or inspect.isfunction(value))
        and not (value.__doc__ or "").strip()
    ]
    assert not bare
