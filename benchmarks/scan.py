"""Deep stacks: a training step with its layers one after the other, and stacked in a loop.

    pip install -e '.[train]' -c constraints.txt
    python benchmarks/scan.py
    python benchmarks/scan.py --layers 6 12 --rounds 3

A language model of 256 units (feed-forward 1,024, vocabulary 256), Adam, 4 x 64 tokens. The time
to trace and compile is that of the processors, which other programs change little; nothing that was
compiled before is used. A step is the fastest of several by the clock, the two ways taking turns.
Memory is what XLA plans beside parameters and the optimizer's state.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import numpy as np

import zoo
from zoo.models.transformer import TransformerLMConfig
from zoo.train import Adam, Recipe, memory, sharding
from zoo.train.state import run_key

BATCH, LENGTH, VOCABULARY = 4, 64, 256


class Step:
    """A compiled step, with the state and the batch that it takes."""

    def __init__(self, recipe: Recipe) -> None:
        mesh = sharding.make_mesh(recipe.mesh)
        tokens = np.random.default_rng(0).integers(2, VOCABULARY, (BATCH, LENGTH), np.int32)
        rows = {"inputs": tokens, "targets": tokens, "weights": np.ones_like(tokens, np.float32)}
        self.batch = sharding.put_batch(rows, mesh)
        begun = time.process_time()
        step, state, tally = memory.step_of(recipe, self.batch, mesh)
        placed = sharding.placed(tally, sharding.replicated(mesh))
        lowered = step.lower(state, placed, self.batch)
        traced = time.process_time()
        self.step = lowered.compile()
        self.tracing, self.compiling = traced - begun, time.process_time() - traced
        self.memory = self.step.memory_analysis().temp_size_in_bytes
        # Zeros for all that is random: its program is another one.
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state.replace(key=()))
        zeros = sharding.put(zeros, state.replace(key=()))
        self.state = zeros.replace(key=run_key(0, mesh))
        self.tally = sharding.copied(tally, mesh)
        self.fastest = float("inf")

    def take(self) -> None:
        """Takes a step."""
        begun = time.monotonic()
        self.state, self.tally = jax.block_until_ready(
            self.step(self.state, self.tally, self.batch)
        )
        self.fastest = min(self.fastest, time.monotonic() - begun)


def recipe_of(layers: int, **changes: Any) -> Recipe:
    """A recipe of which only the step is used."""
    config = TransformerLMConfig(
        vocab_size=VOCABULARY,
        d_model=256,
        d_ff=1024,
        num_heads=4,
        num_layers=layers,
        max_len=LENGTH,
        dropout_rate=0.0,
    )
    plain = zoo.recipe("transformer_lm_text")
    return zoo.override(
        plain,
        {
            "model": config,
            "optimizer": Adam(learning_rate=1e-4),
            "batch_size": BATCH,
            "mesh.data": 1,
            **changes,
        },
    )


def row(layers: int, remat: bool, rounds: int) -> str:
    """A line of the table."""
    steps = []
    for scan in (False, True):
        jax.clear_caches()
        steps.append(Step(recipe_of(layers, scan_layers=scan, **{"model.remat": remat})))
    for _ in range(rounds + 1):
        for step in steps:
            step.take()
    cells = [
        (f"{step.tracing:.1f}" for step in steps),
        (f"{step.compiling:.1f}" for step in steps),
        (f"{step.memory / 1e6:,.0f}" for step in steps),
        (f"{step.fastest:.2f}" for step in steps),
    ]
    how = "yes" if remat else "no"
    return f"| {layers} | {how} | {' | '.join(' / '.join(cell) for cell in cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[6, 12, 24, 48])
    parser.add_argument("--rounds", type=int, default=5, help="steps to take of each")
    options = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    print("Each cell: one after the other / stacked.\n")
    print("| layers | remat | trace, s | compile, s | temporary memory, MB | step, s |")
    print("|---:|---|---:|---:|---:|---:|")
    for layers in options.layers:
        for remat in (False, True):
            print(row(layers, remat, options.rounds), flush=True)


if __name__ == "__main__":
    main()
