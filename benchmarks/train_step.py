"""One training step of a model of the zoo beside the same model in PyTorch, in one run.

    pip install -e '.[bench,train]' -c constraints.txt
    python benchmarks/train_step.py
    python benchmarks/train_step.py --quick --dtype bfloat16 --peers eager-bfloat16
    python benchmarks/train_step.py --model lstm_lm
    python benchmarks/train_step.py --model resnet20_cifar --peers eager-float32
    python benchmarks/train_step.py --losses 200
    python benchmarks/train_step.py --model transformer_big --peak-tflops 989 --dtype bfloat16

A step is forward and backward pass and the optimizer's update on one batch:

* `transformer_base`, `transformer_big`: 64 pairs of 32 tokens, a vocabulary of 33,300, dropout 0.1,
  label smoothing 0.1, Adam;
* `lstm_lm`: 64 texts of 128 tokens, 2 layers of 512, 65 characters, dropout 0.1, Adam;
* `resnet20_cifar`: 128 images of 32 x 32, momentum.

Ours is the step that `zoo.fit` makes, metrics included, with its state donated. PyTorch's has the
same sizes, fused Adam, and bfloat16 by autocast; eager, compiled (`torch.compile`, which needs a
C++ compiler) and, for images, with channels last, of which the better one counts. What compiles
compiles before the clock starts.

`--losses N` measures no time: it trains N steps on one stream of synthetic batches in float32 and
bfloat16, with the same weights to begin with and the same dropout masks, and prints by how much the
losses differ. On two cores 200 steps of both take half an hour.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timing

SEED = 0
DTYPES = ("float32", "bfloat16")
PEERS = tuple(
    f"{mode}-{dtype}" for mode in ("eager", "compiled", "channels_last") for dtype in DTYPES
)


@dataclass(frozen=True)
class Case:
    """A model and the data it is trained on."""

    config: Any
    task: Any
    optimizer: Any
    batch: Callable[[int], dict[str, Any]]
    """The synthetic batch of a step."""
    items: int
    """The number of `unit`s in a batch."""
    unit: str
    flops: float
    """Of the products of one step, forward and backward."""


def translation(model: str, batch: int = 64, length: int = 32) -> Case:
    """Pairs whose target is the source in reverse, with ids of Zipf's law."""
    import numpy as np

    import zoo
    from zoo.train import optimizers, schedules, tasks

    config = zoo.create(model, vocab_size=33_300, dropout_rate=0.1).config

    def pairs(step: int) -> dict[str, Any]:
        random = np.random.default_rng((SEED, step))
        # Uniform in the logarithm: the n-th id has a probability in proportion to 1 / n.
        inputs = np.exp(random.uniform(np.log(2), np.log(config.vocab_size), (batch, length)))
        inputs = inputs.astype(np.int32)
        weights = np.ones((batch, length), np.float32)
        return {"inputs": inputs, "targets": inputs[:, ::-1].copy(), "weights": weights}

    width = config.d_model
    attention = 4 * width * width + 2 * length * width
    mlp = 2 * width * config.d_ff
    encoder = config.num_encoder_layers * (attention + mlp)
    decoder = config.num_decoder_layers * (2 * attention + mlp)
    products = encoder + decoder + width * config.vocab_size
    return Case(
        config,
        tasks.Translation(label_smoothing=0.1),
        optimizers.Adam(learning_rate=5e-4, schedule=schedules.Constant(warmup_steps=100)),
        pairs,
        batch * length,
        "target tokens",
        # Two operations a product, and twice as many again in the backward pass.
        6.0 * batch * length * products,
    )


def text(model: str, batch: int = 64, length: int = 128) -> Case:
    """Characters drawn at random."""
    import numpy as np

    import zoo
    from zoo.train import optimizers, tasks

    config = zoo.create(model, vocab_size=65, dropout_rate=0.1).config

    def windows(step: int) -> dict[str, Any]:
        tokens = np.random.default_rng((SEED, step)).integers(2, 65, (batch, length))
        tokens = tokens.astype(np.int32)
        return {"inputs": tokens, "targets": tokens, "weights": np.ones_like(tokens, np.float32)}

    width = config.d_model
    products = config.num_layers * 8 * width * width + width * config.vocab_size
    return Case(
        config,
        tasks.LanguageModeling(),
        optimizers.Adam(learning_rate=1e-3, clip_norm=1.0),
        windows,
        batch * length,
        "tokens",
        6.0 * batch * length * products,
    )


def images(model: str, batch: int = 128) -> Case:
    """Noise in ten classes."""
    import numpy as np

    import zoo
    from zoo.train import optimizers, tasks

    config = zoo.create(model, input_shape=(32, 32, 3), num_classes=10).config

    def pictures(step: int) -> dict[str, Any]:
        random = np.random.default_rng((SEED, step))
        return {
            "inputs": random.normal(size=(batch, 32, 32, 3)).astype(np.float32),
            "targets": random.integers(0, 10, batch).astype(np.int32),
            "weights": np.ones(batch, np.float32),
        }

    return Case(
        config,
        tasks.ImageClassification(),
        optimizers.Momentum(learning_rate=0.1, weight_decay=5e-3),
        pictures,
        batch,
        "images",
        # He et al. 2015, section 4.2: 41 million products an image.
        6.0 * batch * 40.8e6,
    )


CASES = {
    "transformer_base": translation,
    "transformer_big": translation,
    "lstm_lm": text,
    "resnet20_cifar": images,
}

Steps = Callable[[int], float]
"""So many training steps on one batch; returns a loss, so that nothing is still under way."""


class ZooTraining:
    """A model, its state and the compiled step, as a run has them."""

    def __init__(self, case: Case, dtype: Any) -> None:
        from zoo.train import sharding, update
        from zoo.train.malloc import keep_freed_memory
        from zoo.train.state import create_state

        keep_freed_memory()
        module = case.config.in_precision(dtype).build()
        optimizer = case.optimizer.build(1_000_000)
        self.mesh = sharding.make_mesh(sharding.MeshConfig())
        self.state = create_state(module, case.config, optimizer, SEED, self.mesh)
        self.empty = update.empty_tally(module, case.task, optimizer, self.state, case.batch(0))
        self.step = update.make_train_step(module, case.task, optimizer, self.state)

    def __call__(self, batch: dict[str, Any], steps: int = 1) -> float:
        """Steps on one batch; returns their mean loss."""
        from zoo.train import sharding

        tally = sharding.copied(self.empty, self.mesh)
        for _ in range(steps):
            on_device = sharding.put_batch(batch, self.mesh)
            self.state, tally = self.step(self.state, tally, on_device)
        return float(tally.metrics.compute()["loss"])


def compare_losses(case: Case, steps: int) -> None:
    """Trains in both precisions on the same stream, and prints the losses and their difference."""
    reference, other = (ZooTraining(case, dtype) for dtype in DTYPES)
    largest = at = 0.0
    print(f"\n| step | {' | '.join(DTYPES)} | difference |\n|---:|---:|---:|---:|")
    for number in range(1, steps + 1):
        data = case.batch(number)
        losses = reference(data), other(data)
        difference = abs(losses[1] - losses[0]) / losses[0]
        if difference > largest:
            largest, at = difference, number
        if number % 10 == 0 or number == 1:
            print(
                f"| {number} | {losses[0]:.4f} | {losses[1]:.4f} | {difference:.2%} |", flush=True
            )
    print(f"\nlargest relative difference of the losses of {steps} steps: {largest:.2%}, step {at}")


def case_of(model: str, sizes: dict[str, int]) -> Case:
    """The case of that name."""
    return CASES[model](model, **sizes)


def zoo_steps(model: str, sizes: dict[str, int], dtype: str) -> Steps:
    """Our steps on one batch."""
    case = case_of(model, sizes)
    return functools.partial(ZooTraining(case, dtype), case.batch(0))


def peer_steps(model: str, sizes: dict[str, int], peer: str, threads: int) -> Steps:
    """PyTorch's, as `PEERS` names them."""
    import jax
    import training_peers

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    case, (mode, _, dtype) = case_of(model, sizes), peer.partition("-")
    return training_peers.steps(case, case.batch(0), mode, dtype, device, threads)


def measure(options: argparse.Namespace, sizes: dict[str, int], rounds: int) -> None:
    """Times the steps and prints their table."""
    what = options.model, sizes
    systems = {
        f"zoo {dtype}": timing.System(functools.partial(zoo_steps, *what, dtype))
        for dtype in options.dtype
    }
    for peer in options.peers:
        make = functools.partial(peer_steps, *what, peer, options.threads)
        systems[f"PyTorch {peer}"] = timing.System(make)
    seconds = timing.in_turns(systems, rounds, options.steps)
    case = case_of(*what)
    timing.print_rates(
        f"{options.model}, {case.items} {case.unit} a step",
        case.items * options.steps,
        seconds,
        [name for name in systems if name.startswith("PyTorch")],
        case.unit,
    )
    if options.peak_tflops:
        work = case.flops / 1e12
        print(f"\n{work:.2f} TFLOP a step; of {options.peak_tflops:g} TFLOP/s at peak:\n")
        for name, times in seconds.items():
            rate = work * options.steps / statistics.median(times)
            print(f"- {name}: {rate:.2f} TFLOP/s, {rate / options.peak_tflops:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", default="transformer_base", choices=tuple(CASES))
    parser.add_argument("--batch", type=int, help="pairs, texts or images")
    parser.add_argument("--length", type=int, help="tokens of each")
    parser.add_argument("--dtype", nargs="*", choices=DTYPES, default=[*DTYPES])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[*PEERS[:4]])
    parser.add_argument("--rounds", type=int, default=7, help="timed runs of each system")
    parser.add_argument(
        "--steps", type=int, default=1, help="steps of a run; 20 or so where there is a GPU"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--losses", type=int, metavar="STEPS", help="compare losses instead")
    parser.add_argument("--peak-tflops", type=float, help="of the device: adds the share of it")
    options = parser.parse_args()
    timing.use_threads(options.threads)

    given = {"batch": options.batch, "length": options.length}
    sizes = {name: size for name, size in given.items() if size is not None}
    if options.losses:
        compare_losses(case_of(options.model, sizes), options.losses)
    else:
        measure(options, sizes, 2 if options.quick else options.rounds)


if __name__ == "__main__":
    main()
