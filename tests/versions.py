"""The tests with the oldest and the newest versions that pyproject.toml allows: `make versions`.

Each row of `ENVIRONMENTS` gets a virtual environment in build/versions/, in which pytest runs. At
the end a table is printed, for the notes of a release. An environment that is there is used again,
brought up to date; `make clean` removes all of them. The interpreters are taken from the PATH or
from pyenv; the packages are chosen by uv, since pip cannot ask for the oldest ones.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "versions"
SHOWN = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-cpu")


@dataclass(frozen=True)
class Environment:
    python: str
    """Version of Python."""
    packages: str
    """How they are chosen."""
    options: tuple[str, ...]
    """The same as options of uv."""
    pytest: tuple[str, ...] = ()
    """Further arguments of pytest."""


ENVIRONMENTS = (
    # Old packages call what the ones below them have deprecated since.
    Environment(
        *("3.11", "oldest", ("--resolution", "lowest-direct")),
        ("-W", "ignore::DeprecationWarning"),
    ),
    Environment("3.12", "pinned", ("--constraints", str(ROOT / "constraints.txt"))),
    Environment("3.13", "newest", ()),
)


def call(*command: str | Path) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def interpreter(version: str) -> str:
    """The path of that Python."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python")]
    for candidate in filter(None, candidates):  # a shim of pyenv may be there and not run
        asked = subprocess.run([str(candidate), "--version"], capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.startswith(f"Python {version}."):
            return str(candidate)
    raise SystemExit(f"there is no Python {version} on the PATH or in {pyenv}")


def set_up(environment: Environment, uv: Path) -> Path:
    """The environment's Python, with the zoo and what it needs."""
    folder = FOLDER / f"{environment.python}-{environment.packages}"
    python, installed = folder / "bin" / "python", folder / "requirements.txt"
    if not python.exists():
        call(interpreter(environment.python), "-m", "venv", "--clear", folder)
    wanted = call(
        *(uv, "pip", "compile", "--quiet", "--extra", "dev", "--python", python),
        *(*environment.options, "pyproject.toml"),
    )
    if not installed.exists() or installed.read_text() != wanted:
        new = folder / "wanted.txt"
        new.write_text(wanted)
        call(uv, "pip", "sync", "--python", python, new)
        call(uv, "pip", "install", "--python", python, "--no-deps", "-e", ROOT)
        new.rename(installed)
    return python


def run_tests(python: Path, arguments: Sequence[str]) -> tuple[bool, str, float]:
    """Whether pytest passes, its last line, and its seconds."""
    start = time.perf_counter()
    command = [python, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-q", *arguments]
    log = python.parents[1] / "pytest.log"
    with log.open("w") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT).returncode
    last = re.sub(r" in [\d.]+s.*", "", (log.read_text().splitlines() or [""])[-1].strip("= "))
    return code == 0, last, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tests", nargs="*", help="files of tests; all by default")
    versions = [environment.python for environment in ENVIRONMENTS]
    parser.add_argument("--python", choices=versions, help="one environment only")
    options = parser.parse_args()
    tools = FOLDER / "tools"
    if not (tools / "bin" / "uv").exists():
        call(sys.executable, "-m", "venv", tools)
        call(tools / "bin" / "python", "-m", "pip", "install", "--quiet", "uv")
    rows, failed = [], False
    for environment in ENVIRONMENTS:
        if options.python not in (None, environment.python):
            continue
        python = set_up(environment, tools / "bin" / "uv")
        frozen = (python.parents[1] / "requirements.txt").read_text()
        found = dict(re.findall(r"^([\w.-]+)==([\w.]+)", frozen, re.MULTILINE))
        passed, last, seconds = run_tests(python, [*environment.pytest, *options.tests])
        failed |= not passed
        cells = [found.get(name, "none") for name in SHOWN]
        rows.append([environment.python, environment.packages, *cells, last, f"{seconds:.0f} s"])
        print(f"Python {environment.python}, {environment.packages}: {last}", flush=True)
    header = ["Python", "packages", *SHOWN, "tests", "time"]
    for row in [header, ["---"] * len(header), *rows]:
        print(f"| {' | '.join(row)} |")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
