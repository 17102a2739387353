"""The zoo's registries: name -> function giving a config (models), a Recipe (recipes) or an
Environment (environments).

A function is registered where it is defined, by `@registry.models.register`, and nowhere else. To
list the names no module is imported (and so no JAX): the sources of the package are searched for
that line. A module is imported when one of its names is used.

An installed package adds names of its own by entry points in the groups `zoo.models`,
`zoo.recipes` and `zoo.environments`, whose names are those of the functions.
"""

from __future__ import annotations

import ast
import fnmatch
import functools
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from zoo.config import LookupMistake, ValueMistake, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])


class UnknownNameError(LookupMistake):
    """Nothing has the given name; the message has the closest one."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"no {kind} named {name!r}{did_you_mean(name, known)} ({len(known)} known)"
        )
        self.kind, self.name, self.known = kind, name, known


class Registry(Generic[F]):
    """Functions by their own name."""

    def __init__(self, kind: str, package: str | None = None, group: str | None = None) -> None:
        """An empty registry.

        Args:
          kind: what the functions give, for error messages.
          package: its modules register functions.
          group: of the entry points by which installed packages add functions.
        """
        self.kind = kind
        self._package = package
        self._group = group
        self._modules: dict[str, str] = {}
        self._functions: dict[str, F] = {}

    def register(self, function: F) -> F:
        """Decorator: makes `function` known under its name.

        Raises:
          ValueError: another module has that name already.
        """
        self._claim(function.__name__, function.__module__)
        self._functions[function.__name__] = function
        return function

    def _claim(self, name: str, module: str) -> None:
        owner = self._modules.setdefault(name, module)
        if owner != module:
            raise ValueMistake(
                f"two {self.kind}s are named {name!r}: in {owner} and in {module}; rename one"
            )

    @functools.cached_property
    def _declared(self) -> tuple[tuple[str, str], ...]:
        """(name, module) of what the package and installed packages register."""
        found: list[tuple[str, str]] = []
        if self._package is not None:
            line = rf"^@registry\.{self.kind}s\.register\ndef (\w+)"
            found += defined_in(self._package, line)
        if self._group is not None:
            entries = importlib.metadata.entry_points(group=self._group)
            found += ((entry.name, entry.module) for entry in entries)
        return tuple(found)

    def get(self, name: str) -> F:
        """The function of that name.

        Raises:
          UnknownNameError: there is none.
        """
        if name not in self.names():
            raise UnknownNameError(self.kind, name, self.names())
        if name not in self._functions:
            module = importlib.import_module(self._modules[name])
            self._functions.setdefault(name, getattr(module, name))
        return self._functions[name]

    def names(self, pattern: str = "*") -> tuple[str, ...]:
        """The known names that match a shell pattern, sorted."""
        for name, module in self._declared:
            self._claim(name, module)
        return tuple(sorted(name for name in self._modules if fnmatch.fnmatchcase(name, pattern)))

    def summaries(self, pattern: str = "*") -> dict[str, dict[str, str]]:
        """The names that match, each with the first line of its docstring, by module.

        Modules are not imported: their source is read. The keys are the names of the modules below
        the package, such as `text classification`.
        """
        by_module: dict[str, list[str]] = {}
        for name in self.names(pattern):
            by_module.setdefault(self._modules[name], []).append(name)
        summaries: dict[str, dict[str, str]] = {}
        for module, names in sorted(by_module.items()):
            lines = _first_lines(module)
            subject = module.removeprefix(f"{self._package}.").partition(".")[0].replace("_", " ")
            group = summaries.setdefault(subject, {})
            group |= {name: lines.get(name, "") for name in names}
        return summaries


def defined_in(package: str, pattern: str) -> Iterator[tuple[str, str]]:
    """(name, module) of each definition in a package's sources; nothing of it is imported.

    Args:
      package: its dotted name.
      pattern: matches a definition; `^` is the beginning of a line, the group is the name.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            module = ".".join((package, *parts)).removesuffix(".__init__")
            for match in re.finditer(pattern, path.read_text(encoding="utf-8"), re.MULTILINE):
                yield match[1], module


def _first_lines(module: str) -> dict[str, str]:
    """Function -> first line of its docstring, read from a module's source."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return {}
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return {
        node.name: (ast.get_docstring(node) or "").partition("\n")[0]
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }


models: Registry[Callable[..., Any]] = Registry("model", "zoo.models", "zoo.models")
recipes: Registry[Callable[..., Any]] = Registry("recipe", "zoo.train.recipes", "zoo.recipes")
environments: Registry[Callable[..., Any]] = Registry("environment", "zoo.envs", "zoo.environments")


def list_models(pattern: str = "*") -> tuple[str, ...]:
    """The names of the registered models that match a shell pattern, sorted."""
    return models.names(pattern)


def list_recipes(pattern: str = "*") -> tuple[str, ...]:
    """The names of the registered recipes that match a shell pattern, sorted."""
    return recipes.names(pattern)


def list_environments(pattern: str = "*") -> tuple[str, ...]:
    """The names of the registered environments that match a shell pattern, sorted."""
    return environments.names(pattern)


def attach(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Makes a package import its public names at their first use (PEP 562).

    The names are written once, for type checkers and for this function: under `if TYPE_CHECKING:`
    in the package's source, as `from m import x as x` or as an assignment `y = x`.

    Args:
      package: its `__name__`.

    Returns:
      The `__getattr__`, `__dir__` and `__all__` of the package.
    """
    names = _public_names(package)

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, attribute = names[name]
        if module == package:
            value: Any = importlib.import_module(f"{package}.{attribute}")
        else:
            value = getattr(importlib.import_module(module), attribute)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        special = [name for name in vars(sys.modules[package]) if name.startswith("__")]
        return sorted([*special, *names])

    return __getattr__, __dir__, sorted(names)


def _public_names(package: str) -> dict[str, tuple[str, str]]:
    """Public name -> (module, name in it), read from the source of a package."""
    source = Path(str(sys.modules[package].__file__)).read_text(encoding="utf-8")
    imported: dict[str, tuple[str, str]] = {}
    public: dict[str, tuple[str, str]] = {}
    blocks = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    for node in (node for block in blocks for node in block.body):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                imported[alias.asname or alias.name] = str(node.module), alias.name
                if alias.asname == alias.name:
                    public[alias.name] = str(node.module), alias.name
        elif isinstance(node, ast.Assign):
            (target,) = node.targets
            public[ast.unparse(target)] = imported[ast.unparse(node.value)]
    return public
