"""Adapters of the published translator on forty sentences of chess: time, size, what is learnt.

    taskset -c 0,1 python benchmarks/adapt.py            # JAX_ENABLE_COMPILATION_CACHE=0: cold

The time is counted from the start of the program to the last translation: imports, compilation,
training, loading. Compiled programs of earlier calls are used, unless JAX is told not to. How much
the processors worked is said too, since other programs may share them.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

BEGUN = time.perf_counter()

PAIRS = Path(__file__).with_name("chess_en_de.tsv")
BASE = "transformer_ende_small"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to train."""

    targets: tuple[str, ...] = ("(logits|decoder/.*/(query|key|value|out|up|down))/kernel",)
    rank: int = 4
    steps: int = 16
    learning_rate: float = 1e-2


def main(options: Options) -> None:
    """Trains, loads, asks and exports."""
    import zoo  # its time counts too
    from zoo.train import LoRA

    lines = PAIRS.read_text(encoding="utf-8").splitlines()
    pairs = [(source, target) for source, _, target in (line.partition("\t") for line in lines)]
    recipe = zoo.override(
        zoo.recipe(BASE),
        {
            "lora": LoRA(targets=options.targets, rank=options.rank),
            "steps": options.steps,
            "batch_size": len(pairs),
            "optimizer.learning_rate": options.learning_rate,
            "optimizer.schedule.warmup_steps": 4,
            "model.dtype": "float32",
            "model.dropout_rate": 0.0,
            "data.holdout": 0.0,
            "data.boundaries": (16,),  # one length for all batches, so one program is compiled
            "data.max_len": 16,
            "data.batch_tokens": None,
        },
    )
    marks = {"imported": time.perf_counter()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        zoo.fit(recipe, folder / "run", init_from=BASE, data=pairs, quiet=True)
        marks["trained"] = time.perf_counter()
        answers = zoo.load(folder / "run")([source for source, _ in pairs])
        marks["answered"] = time.perf_counter()
        worked = time.process_time()
        zoo.export(folder / "run", folder / "chess")
        size = (folder / "chess" / "chess.safetensors").stat().st_size
    for name, moment in marks.items():
        print(f"{name:<10}{moment - BEGUN:6.1f} s")
    print(f"the processors worked for {worked:.1f} s")
    right = sum(answer == target for answer, (_, target) in zip(answers, pairs, strict=True))
    print(f"{right} of {len(pairs)} come out right; the adapters take {size / 1e3:,.0f} kB")


if __name__ == "__main__":
    main(tyro.cli(Options))
