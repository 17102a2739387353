"""A run that is killed at any moment, again and again, ends as one that never was: bit for bit."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import jax
import life
import numpy as np
import pytest

import zoo

CHECKOUT = Path(__file__).parents[2]
TIMES = ("train/steps_per_second", "train/data_wait")
RANDOM = ("one device", "eight devices", "two processes")
NEVER = ("never", 0, 0.0)

LINES = (" of the job has died; ", " did not answer at ", " went away before ", " did not appear ")
"""A process that loses another one ends with a line that has one of these."""


@dataclass
class Training:
    """A run in a folder, which may need several lives."""

    folder: Path
    layout: str
    killed: list[object] = field(default_factory=list)

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def live(self, moment=NEVER, victim=0) -> bool:
        """Starts or resumes it; whether it came to its end before that moment."""
        self.folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        spec = life.LAYOUTS[self.layout]
        flags = f"--xla_force_host_platform_device_count={spec['devices']}"
        program = [sys.executable, life.__file__, self.run, self.folder / "result", self.layout]
        number = spec.get("processes", 1)
        running = [
            subprocess.Popen(
                [*map(str, [*program, n, port, *(moment if n == victim else NEVER)])],
                cwd=CHECKOUT,
                env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
                stderr=subprocess.PIPE,
                text=True,
            )
            for n in range(number)
        ]
        errors = [process.communicate(timeout=180)[1] for process in running]
        codes = [process.returncode for process in running]
        if codes == [0] * number:
            return True
        assert codes[victim] == -signal.SIGKILL, (moment, errors)
        for n in range(number):
            if n != victim:
                assert any(line in errors[n] for line in LINES), (moment, codes, errors)
        self.killed.append((moment, victim))
        return False

    def results(self) -> list:
        """Of each process: the arrays it holds, the metrics, changes, reports."""
        paths = sorted(self.folder.glob("result.*"))
        return [pickle.loads(path.read_bytes()) for path in paths]

    def records(self) -> list[dict]:
        """What `metrics.jsonl` says of each step, but for times: losses tell the order of data."""
        lines = (self.run / "metrics.jsonl").read_text().splitlines()
        kept = []
        for line in lines:
            record = json.loads(line)
            kept.append({name: value for name, value in record.items() if name not in TIMES})
        return kept


def assert_same(training: Training, undisturbed: Training) -> None:
    results, expected = training.results(), undisturbed.results()
    assert len(results) == len(expected) > 0
    for (arrays, metrics, *_), (wanted, wanted_metrics, *_) in zip(results, expected, strict=True):
        jax.tree.map(np.testing.assert_array_equal, arrays, wanted)
        assert metrics == wanted_metrics, training.killed
    assert training.records() == undisturbed.records(), training.killed


def assert_usable(training: Training) -> None:
    """What is there can be used, or is not there yet."""
    with contextlib.suppress(FileNotFoundError, LookupError):
        zoo.load(training.run, step="latest")("a ship")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run of a layout that is never killed."""
    made: dict[str, Training] = {}

    def of(layout: str) -> Training:
        if layout not in made:
            made[layout] = Training(tmp_path_factory.mktemp("undisturbed") / "it", layout)
            assert made[layout].live(("count", 0, 0.0))
        return made[layout]

    return of


def moment_of(random: random.Random, changes: int, reports: int) -> tuple[str, int, float]:
    """A moment to be killed at: the start, a change of the folder, or after a report. After the
    report of a step comes an evaluation or a save, each of some milliseconds."""
    how = random.choice(["start", "change", "change", "report", "report"])
    if how == "start":
        return how, 0, random.uniform(0.0, 6.0)
    number = random.randint(1, max(2, (changes if how == "change" else reports) // 3))
    delays = [0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1]
    return how, number, random.choice(delays) if how == "report" else 0.0


def survive(seed: int, layout: str, kills: int, undisturbed, folder: Path) -> None:
    """Runs that are killed so many times in all, and end as the undisturbed one."""
    moments, original = random.Random(f"{seed} {layout}"), undisturbed(layout)
    _, _, changes, reports = original.results()[0]
    processes = life.LAYOUTS[layout].get("processes", 1)
    done = runs = 0
    while done < kills:
        training = Training(folder / str(runs), layout)
        runs += 1
        assert runs < 4 * kills + 10, "hardly any moment comes before the end"
        ended = False
        while done < kills and not ended:
            ended = training.live(
                moment_of(moments, changes, reports), moments.randrange(processes)
            )
            done += not ended
            assert_usable(training)
        if not ended:
            assert training.live()
        assert_same(training, original)


def test_a_run_that_is_killed_twice_ends_as_one_that_never_was(tmp_path):
    """In the middle of a save, and in a step. What does not die lives in this process."""
    results = {}
    disturbed = Training(tmp_path / "disturbed", "short")
    for moment in (("change", 30, 0.0), ("report", 3, 0.005)):
        assert not disturbed.live(moment), "it ended before that moment"
    for name in ("whole", "disturbed"):
        training = Training(tmp_path / name, "short")
        training.folder.mkdir(exist_ok=True)
        result = zoo.fit(life.recipe("short"), training.run, data=life.ROWS, quiet=True)
        results[name] = life.arrays(result.state), dict(result.metrics), training.records()
    jax.tree.map(np.testing.assert_array_equal, results["disturbed"][0], results["whole"][0])
    assert results["disturbed"][1:] == results["whole"][1:]


@pytest.mark.slow
@pytest.mark.parametrize("layout", RANDOM)
def test_a_run_that_is_killed_three_times_at_random(layout, undisturbed, tmp_path):
    survive(0, layout, 3, undisturbed, tmp_path)


@pytest.mark.soak
def test_a_run_that_is_killed_five_times_at_random(seed, undisturbed, tmp_path):
    """Ten seeds: 50 kills over the layouts."""
    layout = RANDOM[seed % len(RANDOM)]
    survive(1 + seed, layout, 5, undisturbed, tmp_path)
