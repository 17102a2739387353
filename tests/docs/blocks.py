"""The blocks of a document, run in order in one folder: Python, shell, and what they print.

A document is Markdown. Its fences are marked by comments that a reader does not see:

    <!-- skip: next "needs a GPU" -->                   never runs here
    <!-- skip: next if(fast, reason="a minute") -->     runs with --slow
    <!-- invisible-code-block: python
    code that makes the files the next block reads
    -->

Blocks of `python` share one namespace. Of `sh`, a line that calls `zoo` runs in this process, any
other in a shell. A block of `output` after one of these is what that block prints: `…` in it stands
for any text, since digits differ by machine.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import SkipTest
from unittest.mock import patch

from sybil import Document, Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

CHECKOUT = Path(__file__).resolve().parents[2]
PRINTED = "_printed"
"""In a document's namespace: what its last block wrote to standard output."""

LANGUAGES = ("python", "sh", "output", "text", "toml", "csv")
"""What a fence may name; the first two run, the third is compared, the rest are only shown."""


PENDING = ()
"""Documents whose blocks do not run yet: they are being rewritten. Empty when that is done."""


def documents() -> list[Path]:
    """Every page whose blocks run: those that are written by hand."""
    pages = sorted((CHECKOUT / "docs").rglob("*.md"))
    made = {"_build", "_generated", "notebooks"}
    mine = [page for page in pages if not made & set(page.relative_to(CHECKOUT).parts)]
    top = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md") if name not in PENDING]
    return [*top, *mine]


@dataclass
class Printed:
    """Text that a program writes, in memory, with a `buffer` as a real stream has."""

    def __post_init__(self) -> None:
        self.bytes = io.BytesIO()
        self.stream = io.TextIOWrapper(self.bytes, encoding="utf-8", write_through=True)

    def text(self) -> str:
        return self.bytes.getvalue().decode()


def run_python(example: Example) -> None:
    printed = Printed()
    with contextlib.redirect_stdout(printed.stream):
        PythonEvaluator()(example)
    example.namespace[PRINTED] = printed.text()


def commands(source: str) -> Iterator[str]:
    """The commands of a block of `sh`: a line each, with its continuations and here-documents."""
    lines = iter(source.replace("\\\n", " ").splitlines())
    for line in lines:
        here = re.search(r"<< *'?(\w+)'?", line)
        if here:
            for more in lines:
                line += f"\n{more}"
                if more == here[1]:
                    break
        if line.strip() and not line.lstrip().startswith("#"):
            yield line


def run_shell(example: Example) -> None:
    source = str(example.parsed)
    if re.search(r"&$", source, re.MULTILINE):  # what runs in the background needs one shell
        example.namespace[PRINTED] = in_shell(source)
    else:
        example.namespace[PRINTED] = "".join(map(run_command, commands(source)))


def run_command(line: str) -> str:
    """The standard output of a line, where that goes to no file."""
    before, zoo, after = re.fullmatch(r"(?:(.*)\| *)?(?:(zoo) )?(.*)", line, re.DOTALL).groups()
    if not zoo:
        return in_shell(line)
    lexer = shlex.shlex(after, posix=True, punctuation_chars="<>|&;")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words, files = list(lexer), {}
    for sign in ("<", ">"):
        if sign in words:
            at = words.index(sign)
            files[sign] = words[at + 1]
            del words[at : at + 2]
    assert not set(words) & set("|&;"), f"write it as one command a line: {line}"
    given = in_shell(before).encode() if before else b""
    if "<" in files:
        given = Path(files["<"]).read_bytes()
    out = in_process(words, given)
    if ">" not in files:
        return out
    Path(files[">"]).write_text(out, encoding="utf-8")
    return ""


def in_shell(line: str) -> str:
    ended = subprocess.run(["bash", "-euc", line], capture_output=True, text=True)
    assert ended.returncode == 0, f"{line}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def in_process(words: list[str], given: bytes) -> str:
    """What `zoo WORDS` prints, called here: a new process would import JAX again."""
    from zoo.cli import main

    out, err = Printed(), Printed()
    stdin = io.TextIOWrapper(io.BytesIO(given), encoding="utf-8")
    with (
        patch.object(sys, "stdin", stdin),
        contextlib.redirect_stdout(out.stream),
        contextlib.redirect_stderr(err.stream),
    ):
        code = main(words)
    assert code == 0, f"zoo {shlex.join(words)}\n{out.text()}{err.text()}"
    return out.text()


def check_output(example: Example) -> str | None:
    """Compares an `output` block with what the block before it printed."""
    printed = example.namespace.get(PRINTED)
    if printed is None:
        return None
    shown, got = (
        "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
        for text in (str(example.parsed), printed)
    )
    pattern = ".*?".join(map(re.escape, shown.split("…")))
    if re.fullmatch(pattern, got, re.DOTALL):
        return None
    return f"the page shows\n{shown}\nbut it prints\n{got}"


EVALUATORS: dict[str, Callable[[Example], str | None]] = {
    "python": run_python,
    "sh": run_shell,
    "output": check_output,
}
SYBIL = Sybil(
    parsers=[SkipParser(), *(CodeBlockParser(*item) for item in EVALUATORS.items())],
    patterns=["*.md"],
)


@dataclass
class Ran:
    """How a document's blocks of Python and shell ended: lines of the file, with reasons."""

    passed: list[int]
    skipped: list[tuple[int, str]]


def run(page: Path, folder: Path, *, slow: bool) -> Ran:
    """Runs a document's blocks in order in `folder`.

    Raises:
      Exception: of the first block that fails, with the page and the line of the block as a note.
    """
    document: Document = SYBIL.parse(page)
    document.namespace |= {"fast": not slow, "__name__": "__page__"}
    ran = Ran([], [])
    with contextlib.chdir(folder), patch.dict(os.environ, PATH=path_of_commands()):
        for example in document:
            evaluator = example.region.evaluator
            counted = evaluator in (run_python, run_shell) and not hidden(example)
            try:
                example.evaluate()
            except SkipTest as skip:
                document.namespace[PRINTED] = None
                if counted:
                    ran.skipped.append((example.line, str(skip)))
                continue
            except BaseException as error:
                error.add_note(f"{page}, line {example.line}")
                raise
            if counted:
                ran.passed.append(example.line)
    return ran


def hidden(example: Example) -> bool:
    return example.document.text[example.region.start :].lstrip().startswith("<!--")


def path_of_commands() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def marks(page: Path) -> dict[str, int]:
    """How many blocks of a page run at once, only with --slow, or never."""
    counts = {"fast": 0, "slow": 0, "never": 0}
    mark = "fast"
    for example in SYBIL.parse(page):
        evaluator = example.region.evaluator
        if evaluator in (run_python, run_shell):
            if not hidden(example):
                counts[mark] += 1
            mark = "fast"
        elif evaluator is not check_output:
            action, reason = example.parsed
            assert action == "next" and reason, f"{page}, line {example.line}: name the reason"
            mark = "slow" if reason.startswith("if(fast") else "never"
    return counts
