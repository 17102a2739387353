"""Losses on several layouts of devices beside those on one.

    pip install -e '.[train]' -c constraints.txt
    python benchmarks/meshes.py
    python benchmarks/meshes.py --steps 5

Eight devices are forced on the CPU. A small language model (a Transformer of one layer whose
sizes are multiples of 8, dropout 0.1, Adam) takes the same steps on the same batches on each
layout. The table has the largest difference of a loss from that on one device, and the share of the
bytes of parameters and of the optimizer's state that one device holds.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from typing import Any

DEVICES = 8
LAYOUTS: dict[str, dict[str, int]] = {
    "1 device": {"data": 1},
    "data 8": {"data": 8},
    "fsdp 8": {"data": 1, "fsdp": 8},
    "tensor 8": {"data": 1, "tensor": 8},
    "fsdp 4 x tensor 2": {"data": 1, "fsdp": 4, "tensor": 2},
}
BATCH, LENGTH, VOCABULARY = 32, 16, 64


def force_devices(number: int = DEVICES) -> None:
    """Makes the CPU count as several devices; must be called before JAX is imported."""
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={number}"
    os.environ["JAX_PLATFORMS"] = "cpu"


class Training:
    """A training on a layout."""

    def __init__(self, layout: str) -> None:
        import zoo
        from zoo.train import optimizers, schedules, sharding, tasks

        self.mesh = sharding.make_mesh(sharding.MeshConfig(**LAYOUTS[layout]))
        self.config = zoo.create(
            "transformer_lm_tiny",
            vocab_size=VOCABULARY,
            d_model=64,
            d_ff=128,
            num_heads=8,
            num_layers=1,
        ).config
        self.module = self.config.build()
        self.task = tasks.LanguageModeling(label_smoothing=0.1)
        # Without a warm-up Adam's first steps turn rounding errors into differences.
        schedule = schedules.Linear(warmup_steps=50)
        adam = optimizers.Adam(learning_rate=1e-3, schedule=schedule, clip_norm=1.0)
        self.optimizer = adam.build(1000)

    def state(self) -> Any:
        """The state before the first step."""
        from zoo.train.state import create_state

        return create_state(self.module, self.config, self.optimizer, 0, self.mesh)

    def shapes(self) -> Any:
        """The shapes of the state, with their places."""
        from zoo.train.state import shapes_of_state

        return shapes_of_state(self.module, self.config, self.optimizer, self.mesh, tuple)

    def batch(self, step: int) -> dict[str, Any]:
        """Texts of random tokens, each of which comes twice."""
        import numpy as np

        from zoo.train import sharding

        random = np.random.default_rng((0, step))
        tokens = random.integers(2, VOCABULARY, (BATCH, LENGTH), np.int32).repeat(2, axis=1)
        inputs, targets = tokens[:, :-1].copy(), tokens[:, 1:].copy()
        weights = np.ones(inputs.shape, np.float32)
        batch = {"inputs": inputs, "targets": targets, "weights": weights}
        return sharding.put_batch(batch, self.mesh)

    def losses(self, state: Any, first: int, last: int) -> tuple[Any, list[float]]:
        """The state after steps, and their losses."""
        from zoo.train import sharding, update

        step = update.make_train_step(self.module, self.task, self.optimizer, state)
        empty = update.empty_tally(self.module, self.task, self.optimizer, state, self.batch(first))
        found = []
        for number in range(first, last):
            state, tally = step(state, sharding.copied(empty, self.mesh), self.batch(number))
            found.append(float(tally.metrics.compute()["loss"]))
        return state, found


def compare(steps: int) -> Iterator[tuple[str, float, float]]:
    """Of each layout: its name, the largest difference of a loss, the share that a device holds."""
    import jax

    from zoo.train import sharding

    reference: list[float] = []
    for layout in LAYOUTS:
        training = Training(layout)
        state, losses = training.losses(training.state(), 0, steps)
        reference = reference or losses
        kept = (state.params, state.optimizer)
        share = sharding.held(kept) / sum(leaf.nbytes for leaf in jax.tree.leaves(kept))
        differences = [abs(a - b) for a, b in zip(losses, reference, strict=True)]
        yield layout, max(differences), share


def main(show: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50, help="of each training")
    options = parser.parse_args()
    force_devices()
    show(f"| layout | largest difference of a loss, {options.steps} steps | a device holds |")
    show("|---|---:|---:|")
    for layout, difference, share in compare(options.steps):
        show(f"| {layout} | {difference:.1e} | {share:.1%} |")


if __name__ == "__main__":
    main()
