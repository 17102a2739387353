"""Saving in the background, restoring, and what the training loop adds to a bare step.

    pip install -e '.[train]' -c constraints.txt
    python benchmarks/saving.py checkpoint
    python benchmarks/saving.py loop
    python benchmarks/saving.py loop --model transformer_base

`checkpoint` saves 80 million random float32 parameters: how long `save` keeps the loop, how long
the checkpoint takes until it is whole, and how fast it is restored, beside the rate at which the
same files are read one after the other. Before each reading the system forgets the files.

`loop` trains a bag of embeddings (or a base Transformer) on synthetic texts: steps by `zoo.fit`,
without evaluation and checkpoints, beside the same compiled step in a bare `for` over batches that
are on the device already. The two take turns, and the fastest training of each counts: whatever
else the machine does only adds to both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

PARAMETERS = 80_000_000
ARRAYS = 20


def checkpoint(folder: Path, rounds: int) -> None:
    import jax
    import numpy as np

    from zoo.storage.checkpoints import Checkpoints

    random = np.random.default_rng(0)
    values = {
        f"layer_{n}": jax.device_put(random.normal(size=PARAMETERS // ARRAYS).astype(np.float32))
        for n in range(ARRAYS)
    }
    step = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0.5, tree), donate_argnums=0)
    store = Checkpoints(folder / "checkpoints")
    stalls, wholes, restores, reads = [], [], [], []
    for number in range(rounds + 1):  # the first one warms up
        values = jax.block_until_ready(step(values))
        begin = time.perf_counter()
        store.save(number, variables=values, optimizer=(np.zeros(1),), progress={}, metrics=None)
        stalls.append(time.perf_counter() - begin)
        store.finish()
        wholes.append(time.perf_counter() - begin)
    files = [path for path in (folder / "checkpoints").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    for _ in range(rounds + 1):
        forget(files)
        begin = time.perf_counter()
        jax.block_until_ready(store.variables(values, "latest")[1])
        restores.append(time.perf_counter() - begin)
        forget(files)
        begin = time.perf_counter()
        for path in files:
            with path.open("rb", buffering=0) as file:
                while file.read(2**24):
                    pass
        reads.append(time.perf_counter() - begin)
    stall, whole, restore, read = (
        statistics.median(times[1:]) for times in (stalls, wholes, restores, reads)
    )
    print(f"| {PARAMETERS / 1e6:.0f} M float32 parameters, {size / 1e6:.0f} MB on disk | |")
    print("|---|---:|")
    print(f"| until the checkpoint is whole | {whole:.2f} s |")
    print(f"| until the loop goes on | {stall:.3f} s, {stall / whole:.1%} of that |")
    print(f"| restored | {restore:.2f} s, {size / restore / 1e6:.0f} MB/s |")
    print(f"| the files read one after the other | {read:.2f} s, {size / read / 1e6:.0f} MB/s |")
    print(f"| rate of restoring to rate of reading | {read / restore:.0%} |")


def forget(files: list[Path]) -> None:
    """Lets the system forget what it keeps of files in memory."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def recipe(model: str, steps: int) -> Any:
    """A training on synthetic pairs of texts and classes, or of texts and texts."""
    import zoo
    from zoo.pipelines import CopyData, TextClassificationData
    from zoo.tokenizers import TokenizerConfig
    from zoo.train import Adam, Recipe, TextClassification, Translation

    common = {"optimizer": Adam(learning_rate=1e-3), "steps": steps, "log_every": 10**9}
    common |= {"eval_every": 10**9, "checkpoint_every": 10**9}
    if model == "transformer_base":
        return Recipe(
            model=zoo.registry.models.get(model)(),
            data=CopyData(vocab_size=33_300, min_len=24, max_len=30, num_examples=64),
            task=Translation(),
            batch_size=32,
            **common,
        )
    return Recipe(
        model=zoo.registry.models.get(model)(),
        data=TextClassificationData(tokenizer=TokenizerConfig(kind="words"), holdout=0.0),
        task=TextClassification(),
        batch_size=64,
        **common,
    )


def loop(model: str, steps: int, rounds: int, folder: Path) -> None:
    """Prints the times of a step in the loop and in a bare `for`."""
    import itertools

    import jax
    import numpy as np

    import zoo
    from zoo.train import loop as training
    from zoo.train import sharding, update
    from zoo.train.state import create_state

    random = np.random.default_rng(0)
    words = [f"w{n}" for n in range(2_000)]
    rows = [(" ".join(random.choice(words, 80)), "ab"[n % 2]) for n in range(4_096)]
    data = None if model == "transformer_base" else rows
    made = recipe(model, steps)
    times: dict[str, list[float]] = {"zoo.fit": [], "bare": []}
    for number in range(rounds + 1):
        clock = Clock(steps)
        with clock.around(training):
            zoo.fit(made, folder / str(number), data=data, quiet=True)
        times["zoo.fit"].append(clock.seconds / (steps - clock.first))
        parts = clock.run
        batches = [
            jax.device_put(batch, sharding.of_batch(parts.mesh))
            for batch in itertools.islice(parts.data.train(made.batch_size, seed=0), steps)
        ]
        step = update.make_train_step(
            parts.module, parts.recipe.task, parts.optimizer, parts.shapes
        )
        state = create_state(
            parts.module, parts.recipe.model, parts.optimizer, made.seed, parts.mesh
        )
        tally = sharding.copied(
            update.empty_tally(parts.module, parts.recipe.task, parts.optimizer, state, batches[0]),
            parts.mesh,
        )
        begin = 0.0
        for position, batch in enumerate(batches):
            if position == clock.first:
                jax.block_until_ready(state)
                begin = time.perf_counter()
            state, tally = step(state, tally, batch)
        jax.block_until_ready(state)
        times["bare"].append((time.perf_counter() - begin) / (steps - clock.first))
    fit, bare = (min(times[name][1:]) for name in ("zoo.fit", "bare"))
    print(f"| {model} | {1e3 * bare:.2f} ms | {1e3 * fit:.2f} ms | {fit / bare - 1:+.1%} |")


class Clock:
    """Times the steps of a run: from the end of one to the end of the last."""

    def __init__(self, steps: int) -> None:
        self.first = max(1, steps // 10)
        self.seconds = 0.0
        self.run: Any = None

    def around(self, training: Any) -> Any:
        """While it lasts, the loop's steps are timed."""
        import unittest.mock

        import jax

        clock = self

        class Timed(training.Stepper):  # type: ignore[misc]
            def __init__(self, run: Any, *args: Any) -> None:
                super().__init__(run, *args)
                clock.run, self._taken, self._begin = run, 0, 0.0

            def __call__(self, *args: Any) -> Any:
                found = super().__call__(*args)
                self._taken += 1
                if self._taken in (clock.first, run_steps):
                    jax.block_until_ready(found)
                    clock.seconds = time.perf_counter() - self._begin
                    self._begin = time.perf_counter()
                return found

        run_steps = self.first * 10 if self.first > 1 else 10
        return unittest.mock.patch.object(training, "Stepper", Timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["checkpoint", "loop"])
    parser.add_argument("--model", default="bag_of_embeddings")
    parser.add_argument("--steps", type=int, default=1000, help="of each training; multiples of 10")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        if options.what == "checkpoint":
            checkpoint(Path(folder), options.rounds)
        else:
            print("| model | bare step | zoo.fit | overhead |\n|---|---:|---:|---:|")
            loop(options.model, options.steps, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
