"""A run that is killed at any moment, again and again, ends as one that never was."""

from __future__ import annotations

import json
import pickle
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

CHECKOUT = Path(__file__).parents[2]
LIVES = 8
"""Processes that are killed at most; the one after them may end."""

PROGRAM = textwrap.dedent(
    """
    import itertools, os, pickle, signal, sys, threading
    import zoo

    job, how, number, delay = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    with open(job, "rb") as file:
        recipe, rows, workdir = pickle.load(file)
    changes, reports = itertools.count(1), itertools.count(1)

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    def writes(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            return bool(flags & (os.O_WRONLY | os.O_RDWR))
        return event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir")

    def audit(event, arguments):
        if writes(event, arguments) and str(arguments[0]).startswith(str(workdir)):
            if next(changes) == number and how == "change":
                kill()

    def callback(report):
        if next(reports) == number and how == "report":
            threading.Timer(delay, kill).start() if delay else kill()

    sys.addaudithook(audit)
    result = zoo.fit(recipe, workdir, data=rows, callbacks=[callback], quiet=True)
    with open(job + ".result", "wb") as file:
        state = jax.tree.map(np.asarray, (result.state.variables, result.state.optimizer))
        pickle.dump((state, dict(result.metrics), next(changes), next(reports)), file)
    """
).replace("import zoo\n", "import jax, numpy as np\nimport zoo\n", 1)


def recipe():
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.pipelines import TextClassificationData
    from zoo.tokenizers import TokenizerConfig
    from zoo.train import Adam, Recipe, TextClassification

    return Recipe(
        name="tiny",
        model=BagOfEmbeddingsConfig(d_model=8, dropout_rate=0.2),
        data=TextClassificationData(tokenizer=TokenizerConfig(kind="words"), holdout=0.25),
        task=TextClassification(),
        optimizer=Adam(learning_rate=0.05),
        steps=24,
        batch_size=4,
        eval_every=3,
        checkpoint_every=2,
        log_every=1,
    )


ROWS = [(f"the ship number {i} sails", "sea") for i in range(8)] + [
    (f"a plane number {i} flies", "sky") for i in range(8)
]


def live(folder, moment=("never", 0, 0.0)):
    """Starts or resumes the run of a folder; whether it came to its end before that moment."""
    folder.mkdir(exist_ok=True)
    job = folder / "job"
    job.write_bytes(pickle.dumps((recipe(), ROWS, folder / "run")))
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(job), *map(str, moment)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode in (0, -signal.SIGKILL), (moment, ended.stderr)
    return ended.returncode == 0


def result(folder):
    return pickle.loads((folder / "job.result").read_bytes())


def records(folder):
    """What `metrics.jsonl` says of each step, but for times."""
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name not in TIMES}
        for line in lines
    ]


TIMES = ("train/steps_per_second", "train/data_wait", "steps_per_second", "data_wait", "seconds")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert live(folder)
    return folder


@pytest.mark.soak
def test_a_run_that_is_killed_at_any_moment_ends_as_one_that_never_was(seed, undisturbed, tmp_path):
    import zoo

    expected, metrics, changes, reports = result(undisturbed)
    moments, killed = random.Random(seed), []
    for _ in range(LIVES):
        how = moments.choice(["change", "report"])
        number = moments.randint(1, max(2, (changes if how == "change" else reports) // 2))
        # After the report of a step comes an evaluation or a save, each of some milliseconds.
        killed.append((how, number, moments.choice([0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1])))
        if live(tmp_path, killed[-1]):
            break
        try:  # What is there can be used or is not there yet.
            zoo.load(tmp_path / "run", step="latest")("a ship")
        except FileNotFoundError:
            pass
    else:
        assert live(tmp_path)
    state, found, *_ = result(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, state, expected, is_leaf=None)
    assert found == metrics, killed
    assert records(tmp_path) == records(undisturbed), killed
