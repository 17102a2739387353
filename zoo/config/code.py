"""The user's code: how a configuration names it, and how a file of it is imported.

A class or function of the user's is written `module:name`, such as `my_recipes:Net`. The name is
the same whether my_recipes.py was imported, run as a script or passed to `load_file`. Looking a
name up imports nothing but what the user has installed for the zoo (entry points in the group
`zoo.models`), so a card or a recipe cannot decide what code runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import sys
import sysconfig
import traceback
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.config.messages import FileMistake
from zoo.config.paths import local
from zoo.config.values import ConfigError

ZOO = __name__.partition(".")[0]

MARK = "@"
"""Separates the file's stem from a digest of its path in the module name of a loaded file."""

GROUP = "zoo.models"
"""Entry points of installed packages that define models for the zoo."""


@dataclass
class _File:
    """A file that was executed."""

    module: ModuleType
    sha256: str
    """Digest of the content that was executed."""
    neighbours: dict[str, tuple[ModuleType, str]] = field(default_factory=dict)
    """Modules that it imported from its own folder, by name, with the digests of their files."""

    def is_current(self) -> bool:
        """Whether neither this file nor its neighbours have changed since."""
        return self.sha256 == _digest(self.module) and all(
            sys.modules.get(name) is module and digest == _digest(module)
            for name, (module, digest) in self.neighbours.items()
        )


_files: dict[Path, _File] = {}
"""The loaded files by path, the one that was asked for last at the end."""


def load_file(path: str | Path) -> ModuleType:
    """Imports a Python file of any name.

    Its module has a name of its own, so a file named json.py replaces nothing. It finds its
    neighbours as `python FILE` would. An unchanged file is executed once.

    Raises:
      FileNotFoundError: there is no such file.
      ConfigError: the file raised an error; the message has the line.
    """
    given, path = path, local(path).resolve()
    if not path.is_file():
        raise FileMistake(f"{given} does not exist; give the path of a Python file")
    loaded = _files.pop(path, None)
    if loaded is None or not loaded.is_current():
        loaded = _execute(path, given)
    _files[path] = loaded
    return loaded.module


def _execute(path: Path, given: str | Path) -> _File:
    _forget_neighbours(path.parent)
    content = path.read_bytes()
    module = ModuleType(f"{path.stem}{MARK}{zlib.crc32(str(path).encode()):08x}")
    module.__file__ = str(path)
    loaded = _File(module, hashlib.sha256(content).hexdigest())
    sys.modules[module.__name__] = module  # dataclasses look their module up by name
    try:
        with _running(loaded, given):
            exec(compile(content, str(path), "exec"), vars(module))
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return loaded


@contextlib.contextmanager
def running(path: str | Path) -> Iterator[None]:
    """While code of a loaded file runs: it finds its neighbours, and its errors name their line.

    Raises:
      ConfigError: instead of any other error; the message has file, line and error.
    """
    with _running(_files[local(path).resolve()], path):
        yield


@contextlib.contextmanager
def _running(loaded: _File, given: str | Path) -> Iterator[None]:
    own = str(loaded.module.__file__)
    folder = str(Path(own).parent)
    before = set(sys.modules)
    sys.path.insert(0, folder)
    importlib.invalidate_caches()  # a neighbour may have been written a moment ago
    try:
        yield
    except ConfigError:  # says more than a line number
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == own]
        if isinstance(error, SyntaxError) and error.filename == own:
            lines.append(error.lineno)
        where = f"{given}:{lines[-1]}" if lines else str(given)
        raise ConfigError(f"{where}: {type(error).__name__}: {error}") from error
    finally:
        with contextlib.suppress(ValueError):  # the file may have changed the path itself
            sys.path.remove(folder)
        for name in set(sys.modules) - before:
            module = sys.modules[name]
            file = getattr(module, "__file__", None)
            if file and Path(folder) in Path(file).parents:
                loaded.neighbours[name] = module, _digest(module)


def _forget_neighbours(folder: Path) -> None:
    """Forgets neighbours that changed, or that have namesakes in `folder`."""
    for loaded in _files.values():
        for name, (module, digest) in loaded.neighbours.items():
            top = name.partition(".")[0]
            here = (folder / f"{top}.py").is_file() or (folder / top).is_dir()
            elsewhere = here and folder not in Path(str(module.__file__)).parents
            if (elsewhere or digest != _digest(module)) and sys.modules.get(name) is module:
                del sys.modules[name]


def _digest(module: ModuleType) -> str:
    """The sha256 of a module's file as it is now; empty if the file is gone."""
    try:
        return hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()
    except OSError:
        return ""


def is_own(thing: Any) -> bool:
    """Whether a class or function is defined outside the zoo."""
    return str(thing.__module__).partition(".")[0] != ZOO


def reference(thing: Any) -> str:
    """The name `module:qualname` of a class or function, by its shortest public module.

    >>> reference(ConfigError)
    'zoo.config:ConfigError'
    """
    module, name = str(thing.__module__), str(thing.__qualname__)
    if module == "__main__":
        return f"{_main_name()}:{name}"
    module = module.partition(MARK)[0]
    parts = module.split(".")
    for length in range(1, len(parts)):
        public = ".".join(parts[:length])
        if getattr(sys.modules.get(public), name, None) is thing:
            return f"{public}:{name}"
    return f"{module}:{name}"


def _main_name() -> str:
    """The name under which the program that runs would be imported."""
    main = sys.modules["__main__"]
    if (spec := getattr(main, "__spec__", None)) is not None:  # python -m NAME
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"


def resolve(name: str) -> Any:
    """The class or function of a reference, if this process has loaded its module.

    Raises:
      ConfigError: it has not, or the module has no such name.
    """
    module, _, path = name.partition(":")
    for candidate in _modules(module):
        thing: Any = candidate
        for part in path.split("."):
            thing = getattr(thing, part, None)
        if thing is not None:
            return thing
    raise ConfigError(unknown(name))


def _modules(name: str) -> Iterator[ModuleType]:
    yield from (loaded.module for path, loaded in reversed(_files.items()) if path.stem == name)
    if _main_name() == name:
        yield sys.modules["__main__"]
    if name in sys.modules and _is_trusted(sys.modules[name]):
        yield sys.modules[name]
    if import_installed(name) and name in sys.modules:
        yield sys.modules[name]


def _is_trusted(module: ModuleType) -> bool:
    """Whether a file may name what a loaded module holds: the user's modules, the zoo and Optax.

    Python's own modules and other packages are not: `os:system` is a function too.
    """
    top = module.__name__.partition(".")[0]
    if top in (ZOO, "optax"):
        return True
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    file = Path(getattr(module, "__file__", None) or "")
    installed = any(Path(folder) in file.parents for folder in folders)
    return top not in sys.stdlib_module_names and not installed


def import_installed(module: str) -> bool:
    """Imports what the package of `module` declares as entry points `zoo.models`, if it does."""
    top = module.partition(".")[0]
    declared = [
        entry
        for entry in importlib.metadata.entry_points(group=GROUP)
        if entry.module.partition(".")[0] == top
    ]
    for entry in declared:
        importlib.import_module(entry.module)
    return bool(declared)


def latest(classes: Sequence[type]) -> type:
    """Of classes with one reference, that of the file loaded last; else the one defined last."""
    order = {loaded.module.__name__: number for number, loaded in enumerate(_files.values())}
    ranked = [(order.get(cls.__module__, -1), number) for number, cls in enumerate(classes)]
    return classes[ranked.index(max(ranked))]


def unknown(name: str) -> str:
    """The message for a reference that cannot be resolved: what to write so that it can."""
    module, _, path = name.partition(":")
    if "<" in path:
        return f"{name} is defined inside a function; move it to the top level of its file"
    if module == "__main__":
        return f"{name} was defined in a session without a file; put it into one and train again"
    if "." in module:
        return (
            f"{name} is not known here: import {module} first, or install a package that declares "
            f"it under the entry points {GROUP!r}"
        )
    return (
        f"{name} is not part of the zoo. If you trust {module}.py, say where it is: "
        f"code='{module}.py' in Python, --code {module}.py in the shell"
    )


def file_of(thing: Any) -> Path | None:
    """The file that defines a class or function; None: there is none."""
    file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return Path(file) if file else None


def source_of(thing: Any) -> dict[str, str]:
    """Name and sha256 of the file that defines a class or function; empty if there is no file."""
    file, module = file_of(thing), sys.modules.get(thing.__module__)
    if file is None or module is None:
        return {}
    loaded = _files.get(file)
    return {"file": file.name, "sha256": loaded.sha256 if loaded else _digest(module)}
