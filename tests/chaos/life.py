"""One life of a training: a program that the harness starts, and that may kill itself.

    python life.py FOLDER RESULT LAYOUT PROCESS PORT HOW NUMBER DELAY

HOW says when: `start` (DELAY seconds after the program began), `change` (at change number NUMBER
in the run's folder: a file that is opened for writing, or something made, renamed or removed),
`report` (DELAY seconds after report number NUMBER, when a step, an evaluation or a save is under
way), or `never`. A life that comes to the end of its training writes RESULT.
"""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import sys
import threading
from typing import Any

LAYOUTS: dict[str, dict[str, Any]] = {
    "one device": {"devices": 1, "mesh": {}},
    "eight devices": {"devices": 8, "mesh": {"data": 2, "fsdp": 2, "tensor": 2}},
    "two processes": {"devices": 1, "mesh": {}, "processes": 2},
    "short": {"devices": 1, "mesh": {}, "steps": 8},
}

ROWS = [(f"the ship number {i} sails", "sea") for i in range(8)] + [
    (f"a plane number {i} flies", "sky") for i in range(8)
]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def recipe(layout: str) -> Any:
    """A training of seconds with all that a state can hold: dropout, Adam, best checkpoints."""
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.pipelines import TextClassificationData
    from zoo.tokenizers import TokenizerConfig
    from zoo.train import Adam, MeshConfig, Recipe, TextClassification

    return Recipe(
        name="tiny",
        model=BagOfEmbeddingsConfig(d_model=8, dropout_rate=0.2),
        data=TextClassificationData(tokenizer=TokenizerConfig(kind="words"), holdout=0.25),
        task=TextClassification(),
        optimizer=Adam(learning_rate=0.05),
        steps=LAYOUTS[layout].get("steps", 16),
        batch_size=4,
        eval_every=3,
        checkpoint_every=2,
        keep_checkpoints=2,
        keep_every=8,
        log_every=1,
        mesh=MeshConfig(**LAYOUTS[layout]["mesh"]),
    )


def arrays(state: Any) -> list[Any]:
    """What this process holds of a state, as NumPy arrays."""
    import jax
    import numpy as np

    leaves = jax.tree.leaves((state.variables, state.optimizer))
    return [np.asarray(shard.data) for leaf in leaves for shard in leaf.addressable_shards]


def live(folder: str, layout: str, how: str, number: int, delay: float) -> Any:
    """Trains in a folder to the end, or to that moment: what the process holds in the end, the
    metrics, and how many changes and reports there were."""
    changes, reports = itertools.count(1), itertools.count(1)

    def writes(event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            return bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        return event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir")

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if writes(event, arguments) and str(arguments[0]).startswith(folder):
            if next(changes) == number and how == "change":
                kill()

    def callback(report: Any) -> None:
        if next(reports) == number and how == "report":
            threading.Timer(delay, kill).start() if delay else kill()

    if how == "start":
        threading.Timer(delay, kill).start()
    if how != "never":
        sys.addaudithook(audit)
    import zoo

    made = recipe(layout)
    result = zoo.fit(made, folder, data=ROWS, callbacks=[callback], quiet=True)
    return arrays(result.state), dict(result.metrics), next(changes), next(reports)


def main() -> None:
    folder, result, layout, process, port, how, number, delay = sys.argv[1:]
    if how == "count":  # changes are counted, and none is the last
        how, number = "change", "-1"
    if how == "start":
        threading.Timer(float(delay), kill).start()
        how = "never"
    import zoo.train

    processes = LAYOUTS[layout].get("processes", 1)
    if processes > 1:
        zoo.train.join(f"127.0.0.1:{port}", processes, int(process), timeout=60)
    found = live(folder, layout, how, int(number), float(delay))
    with open(f"{result}.{process}", "wb") as file:
        pickle.dump(found, file)


if __name__ == "__main__":
    main()
