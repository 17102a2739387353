"""The zoo's two registries: name -> function giving a config (models) or a Recipe (recipes).

A package lists its names beside the modules that define them (`zoo/models/__init__.py`,
`zoo/train/recipes/__init__.py`), so that listing imports no JAX: a module is imported when
one of its names is used.
"""

from __future__ import annotations

import fnmatch
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from zoo.config import did_you_mean

F = TypeVar("F", bound=Callable[..., Any])


class UnknownNameError(LookupError):
    """A name that nothing is known under; the message has the closest one that is."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"no {kind} named {name!r}{did_you_mean(name, known)} ({len(known)} known)"
        )
        self.kind, self.name, self.known = kind, name, known


class Registry(Generic[F]):
    """Functions by their own name.

    `package` is imported before the first look-up; it calls `declare` for the modules of the zoo.
    """

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._modules: dict[str, str] = {}
        self._functions: dict[str, F] = {}

    def declare(self, modules: Mapping[str, tuple[str, ...]]) -> None:
        """Says which names each module will register once it is imported."""
        for module, names in modules.items():
            for name in names:
                self._claim(name, module)

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
            raise ValueError(
                f"two {self.kind}s are named {name!r}: in {owner} and in {module}; rename one"
            )

    def get(self, name: str) -> F:
        """The function of that name.

        Raises:
          UnknownNameError: there is none.
        """
        if name not in self.names():
            raise UnknownNameError(self.kind, name, self.names())
        if name not in self._functions:
            importlib.import_module(self._modules[name])
        return self._functions[name]

    def names(self, pattern: str = "*") -> tuple[str, ...]:
        """The known names that match a shell pattern, sorted."""
        if self._package is not None:
            importlib.import_module(self._package)
        return tuple(sorted(name for name in self._modules if fnmatch.fnmatchcase(name, pattern)))


models: Registry[Callable[..., Any]] = Registry("model", "zoo.models")
recipes: Registry[Callable[..., Any]] = Registry("recipe", "zoo.train.recipes")


def list_models(pattern: str = "*") -> tuple[str, ...]:
    """The names of the registered models that match a shell pattern, sorted."""
    return models.names(pattern)


def list_recipes(pattern: str = "*") -> tuple[str, ...]:
    """The names of the registered recipes that match a shell pattern, sorted."""
    return recipes.names(pattern)


def attach(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Makes public names import at their first use (PEP 562), so that importing a package is cheap.

    Args:
      package: its `__name__`.
      names: public name -> `module:attribute`, or `module` where the name is a module itself.

    Returns:
      The `__getattr__`, `__dir__` and `__all__` of the package.
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = names[name].partition(":")
        value: Any = importlib.import_module(module)
        if attribute:
            value = getattr(value, attribute)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        special = [name for name in vars(sys.modules[package]) if name.startswith("__")]
        return sorted([*special, *names])

    return __getattr__, __dir__, sorted(names)
