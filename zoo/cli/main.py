"""The entry point, and the table of the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from zoo.cli import failures, streams
from zoo.cli.asking import Generate, Predict, Translate
from zoo.cli.data import data
from zoo.cli.doctor import Doctor
from zoo.cli.listing import List
from zoo.cli.models import Export, ImportTrax, TrainVocab, Verify
from zoo.cli.parsing import Command, parse
from zoo.cli.playing import Play
from zoo.cli.show import show
from zoo.cli.training import Evaluate, train
from zoo.config import Mistake, say
from zoo.registry import UnknownNameError

GROUPS: Mapping[str, Mapping[str, type[Command] | Callable[[list[str]], int]]] = {
    "look": {"list": List, "show": show, "data": data, "doctor": Doctor},
    "train": {"train": train, "eval": Evaluate, "train-vocab": TrainVocab},
    "ask": {"predict": Predict, "translate": Translate, "generate": Generate, "play": Play},
    "publish": {"export": Export, "verify": Verify, "import-trax": ImportTrax},
}
"""The commands by what they are for: a class whose fields are the arguments, or a function of the
words, if these decide which arguments there are."""

COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code.

    A user's mistake (`zoo.Mistake`), or what the system refuses, is one line on standard error and
    exit code 2. Any other error shows where it is in the user's code and the zoo's, and ends with
    1. `ZOO_DEBUG=1` shows the whole traceback of both.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow prints a greeting otherwise
    streams.set_up()
    return streams.finish(_exit_code(words))


def _exit_code(words: list[str]) -> int:
    try:
        return _run(words)
    except KeyboardInterrupt as stop:
        say(str(stop) or "interrupted")
        return int(getattr(stop, "exit_code", 130))  # 143 after SIGTERM
    except SystemExit as end:  # tyro, after its help
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 2
    except BrokenPipeError:  # `zoo list | head`
        return streams.CLOSED_PIPE
    except Exception as error:
        if os.environ.get("ZOO_DEBUG"):
            raise
        if isinstance(error, OSError) and not streams.takes_output():
            return 2  # `finish` says why
        line = str(error) if isinstance(error, Mistake | OSError) else failures.missing_devices()
        say(line or failures.described(error))
        return 2 if line else 1


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    name, *rest = words
    if name not in COMMANDS:
        raise UnknownNameError("command", name, tuple(COMMANDS))
    command = COMMANDS[name]
    if not isinstance(command, type):
        return command(rest)
    return parse(command, rest, prog=f"zoo {name}").run() or 0


def usage() -> str:
    """The commands, a line each."""
    lines = ["usage: zoo COMMAND …        `zoo COMMAND --help` lists its arguments", ""]
    for title, group in GROUPS.items():
        for number, (name, command) in enumerate(group.items()):
            summary = (command.__doc__ or "").partition("\n")[0]
            lines.append(f"{title if number == 0 else '':<8} {name:<12} {summary}")
    return "\n".join(
        [
            *lines,
            "",
            "Environment: ZOO_DATA_DIR, ZOO_CACHE, ZOO_OFFLINE, ZOO_DEBUG, ZOO_MALLOC=system",
        ]
    )
