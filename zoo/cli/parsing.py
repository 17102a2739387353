"""From words to values: tyro derives the flags from dataclasses, and mistakes become one line."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from zoo.config import ValueMistake, did_you_mean

Name = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]


@dataclass(frozen=True, kw_only=True)
class Command(abc.ABC):
    """A command. Its fields are its arguments, its docstring is its help."""

    @abc.abstractmethod
    def run(self) -> int | None:
        """Does the work; returns the exit code, or None for 0."""


@dataclass(frozen=True, kw_only=True)
class NamesModel(Command):
    """A command that opens a model."""

    name: Name
    """A published name, a run's folder or an exported folder."""
    code: Path | None = None
    """The Python file that defines the model, if it is one of your own."""


@dataclass(frozen=True, kw_only=True)
class NamesCheckpoint(NamesModel):
    """A command that opens a model at a step."""

    step: str = "best"
    """Which checkpoint of a run: best, latest, average, ema or a number."""

    @property
    def checkpoint(self) -> Any:
        """`step` as `zoo.load` takes it."""
        if self.step in ("best", "latest", "average", "ema"):
            return self.step
        if self.step.isdigit():
            return int(self.step)
        raise ValueMistake(
            f"--step is {self.step!r}; it is best, latest, average, ema or the number of a step"
        )


@dataclass(frozen=True, kw_only=True)
class AsksModel(NamesCheckpoint):
    """A command that runs a model."""

    dtype: Literal["float32", "bfloat16", "int8"] | None = None
    """Precision of dense layers; by default the card's."""


def parse(target: Any, words: Sequence[str], *, prog: str, **options: Any) -> Any:
    """What tyro makes of the words.

    Args:
      target: a dataclass, or a function, whose result is returned.
      words: the arguments.
      prog: the command, for messages.
      options: of `tyro.cli`.

    Raises:
      ValueError: the words do not fit; the message says why.
    """
    value, unknown = parse_known(target, words, prog=prog, **options)
    if unknown:
        guess = did_you_mean(unknown[0], _flags(target, options.get("default")))
        if any(Path(word).exists() for word in unknown):
            guess = "; put a pattern in quotes, or the shell makes names of files of it"
        raise ValueMistake(
            f"unknown arguments: {' '.join(unknown)}{guess} (`{prog} --help` lists all)"
        )
    return value


def parse_known(
    target: Any, words: Sequence[str], *, prog: str, **options: Any
) -> tuple[Any, list[str]]:
    """As `parse`, with the words that were not understood as the second result."""
    with _errors():
        parsed: tuple[Any, list[str]] = tyro.cli(
            target, args=list(words), prog=prog, return_unknown_args=True, **options
        )
    return parsed


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Raises tyro's parse errors as ValueErrors of one line."""
    # The hook is not part of tyro's stable interface (hence the upper bound in pyproject.toml). If
    # it is missing, or an event is unknown, tyro prints its own message and ends with 2.
    events = getattr(tyro, "_errors", None)
    if events is None:
        yield
        return

    def raise_error(event: Any) -> None:
        name = _name(getattr(event, "argument", None))
        match type(event).__name__:
            case "MissingArgs":
                missing = ", ".join(_name(item.arg) for item in event.missing_arguments)
                message = f"missing: {missing}"
            case "InvalidChoice":
                choices = ", ".join(sorted(event.choices))
                message = f"{name.split()[0]} is {event.value!r}; it is one of {choices}"
            case "BadValue":
                message = f"{name} lacks a value"
            case "InstantiationFailure":  # of a whole dataclass, whose message has the field
                message = event.message if event.argument is None else f"{name}: {event.message}"
            case _:
                return
        raise ValueMistake(f"{message} (`{event.prog} --help` lists all arguments)")

    with events.on_parse_error(raise_error):
        yield


def _name(argument: Any) -> str:
    """An argument as it is written, with what it takes."""
    if argument is None:
        return "an argument"
    return str(argument.get_invocation_text()[1])


def _flags(target: Any, default: Any, prefix: str = "--") -> list[str]:
    """The flags of a dataclass, of a value of one, or of a function."""
    if dataclasses.is_dataclass(default if default is not None else target):
        names = [field.name for field in dataclasses.fields(default or target)]
    else:
        names = list(inspect.signature(target).parameters)
    flags = []
    for name in names:
        flag, value = prefix + name.replace("_", "-"), getattr(default, name, None)
        nested = dataclasses.is_dataclass(value)
        flags += _flags(type(value), value, f"{flag}.") if nested else [flag]
    return flags
