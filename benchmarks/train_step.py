"""One training step at EN-DE base size beside PyTorch's `nn.Transformer`, in one run.

    pip install -e '.[bench,train]' -c constraints.txt
    python benchmarks/train_step.py
    python benchmarks/train_step.py --quick --dtype bfloat16 --peers eager-bfloat16
    python benchmarks/train_step.py --losses 200
    python benchmarks/train_step.py --model transformer_big --peak-tflops 989 --dtype bfloat16

A step is forward and backward pass and Adam's update on 64 pairs of 32 tokens, with dropout 0.1 and
label smoothing 0.1. Ours is the one that `zoo.fit` makes, metrics included, with its state donated.
PyTorch has `norm_first=True`, the same sizes, masks and trained positions, fused Adam, and bfloat16
by autocast; eager and compiled (`torch.compile`, which needs a C++ compiler), of which the better
one counts. What compiles compiles before the clock starts.

`--losses N` measures no time: it trains N steps on one stream of synthetic pairs in float32 and
bfloat16, with the same weights to begin with and the same dropout masks, and prints by how much the
losses differ. On two cores 200 steps of both take half an hour.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
from collections.abc import Callable
from typing import Any

import timing

VOCAB_SIZE = 33_300
SEED = 0
LABEL_SMOOTHING = 0.1
LEARNING_RATE, WARMUP = 5e-4, 100
DTYPES = ("float32", "bfloat16")
PEERS = tuple(f"{mode}-{dtype}" for mode in ("eager", "compiled") for dtype in DTYPES)

Steps = Callable[[int], float]
"""So many training steps on one batch; returns a loss, so that nothing is still under way."""


def pairs(batch: int, length: int, step: int) -> dict[str, Any]:
    """The synthetic pairs of a step: a target is its source in reverse, ids of Zipf's law."""
    import numpy as np

    random = np.random.default_rng((SEED, step))
    # Uniform in the logarithm: the n-th id has a probability in proportion to 1 / n.
    inputs = np.exp(random.uniform(np.log(2), np.log(VOCAB_SIZE), (batch, length)))
    inputs = inputs.astype(np.int32)
    weights = np.ones((batch, length), np.float32)
    return {"inputs": inputs, "targets": inputs[:, ::-1].copy(), "weights": weights}


# zoo


class ZooTraining:
    """A model, its state and the compiled step, as a run has them."""

    def __init__(self, config: Any, dtype: Any, batch: dict[str, Any]) -> None:
        from zoo.train import optimizers, sharding, state, step, tasks

        module = config.in_precision(dtype).build()
        task = tasks.Translation(label_smoothing=LABEL_SMOOTHING)
        optimizer = optimizers.Adam(
            learning_rate=LEARNING_RATE, schedule=optimizers.Constant(warmup_steps=WARMUP)
        ).build(1_000_000)
        self.mesh = sharding.make_mesh(sharding.MeshConfig())
        self.state = state.create(module, config, optimizer, SEED, self.mesh)
        self.empty = step.empty_window(module, task, self.state.variables, batch)
        self.update = step.make_train_step(module, task, optimizer, self.mesh)

    def __call__(self, batch: dict[str, Any], steps: int = 1) -> float:
        """Steps on one batch; returns their mean loss."""
        from zoo.train import sharding

        window = sharding.replicate(self.empty, self.mesh)
        for _ in range(steps):
            on_device = sharding.put_batch(batch, self.mesh)
            self.state, window = self.update(self.state, window, on_device)
        return float(window.metrics.compute()["loss"])


def compare_losses(config: Any, batch: int, length: int, steps: int) -> None:
    """Trains in both precisions on the same stream, and prints the losses and their difference."""
    first = pairs(batch, length, 0)
    reference, other = (ZooTraining(config, dtype, first) for dtype in DTYPES)
    largest = at = 0.0
    print(f"\n| step | {' | '.join(DTYPES)} | difference |\n|---:|---:|---:|---:|")
    for number in range(1, steps + 1):
        data = pairs(batch, length, number)
        losses = reference(data), other(data)
        difference = abs(losses[1] - losses[0]) / losses[0]
        if difference > largest:
            largest, at = difference, number
        if number % 10 == 0 or number == 1:
            print(
                f"| {number} | {losses[0]:.4f} | {losses[1]:.4f} | {difference:.2%} |", flush=True
            )
    print(f"\nlargest relative difference of the losses of {steps} steps: {largest:.2%}, step {at}")


# PyTorch


def torch_steps(
    config: Any, dtype: str, compiled: bool, batch: dict[str, Any], device: str, threads: int
) -> Steps:
    """PyTorch's steps on a batch."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    model = torch_model(config).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    inputs = torch.tensor(batch["inputs"], device=device).long()
    targets = torch.tensor(batch["targets"], device=device).long()
    forward = torch.compile(model) if compiled else model

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = forward(inputs, functional.pad(targets, (1, -1)))
            loss = functional.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), label_smoothing=LABEL_SMOOTHING
            )
        loss.backward()
        optimizer.step()
        return loss

    def run(steps: int) -> float:
        for _ in range(steps):
            loss = step()
        return loss.item()

    return run


def torch_model(config: Any) -> Any:
    """The model of a `TransformerConfig` in PyTorch: (source, shifted target) -> logits."""
    import torch
    from torch import nn

    class Translation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(config.vocab_size, config.d_model)
            self.source_positions = nn.Parameter(0.02 * torch.randn(config.max_len, config.d_model))
            self.target_positions = nn.Parameter(0.02 * torch.randn(config.max_len, config.d_model))
            self.dropout = nn.Dropout(config.dropout_rate)
            self.transformer = nn.Transformer(
                d_model=config.d_model,
                nhead=config.num_heads,
                num_encoder_layers=config.num_encoder_layers,
                num_decoder_layers=config.num_decoder_layers,
                dim_feedforward=config.d_ff,
                dropout=config.dropout_rate,
                activation=config.activation,
                batch_first=True,
                norm_first=True,
            )
            self.logits = nn.Linear(config.d_model, config.vocab_size)

        def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            length = target.shape[1]
            future = torch.ones(length, length, dtype=torch.bool, device=target.device).triu(1)
            padding = source == config.pad_id
            x = self.transformer(
                self.dropout(self.embedding(source) + self.source_positions[: source.shape[1]]),
                self.dropout(self.embedding(target) + self.target_positions[:length]),
                tgt_mask=future,
                src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
                tgt_is_causal=True,
            )
            return self.logits(x)

    return Translation()


# Time


def flops(config: Any, batch: int, length: int) -> float:
    """Floating-point operations of the matrix products of one step, forward and backward.

    Two for each multiplication of the forward pass, and twice as many again in the backward pass.
    Nothing is counted for what the mask hides, nor for embeddings, norms, softmax and Adam.
    """
    tokens, width = batch * length, config.d_model
    attention = 4 * width * width + 2 * length * width
    mlp = 2 * width * config.d_ff
    encoder = config.num_encoder_layers * (attention + mlp)
    decoder = config.num_decoder_layers * (2 * attention + mlp)
    return 3 * 2.0 * tokens * (encoder + decoder + width * config.vocab_size)


def measure(config: Any, options: argparse.Namespace, rounds: int) -> None:
    """Times the steps and prints their table."""
    import jax

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    batch = pairs(options.batch, options.length, 0)
    systems: dict[str, Steps] = {}
    for dtype in options.dtype:
        systems[f"zoo {dtype}"] = functools.partial(ZooTraining(config, dtype, batch), batch)
    for peer in options.peers:
        mode, _, dtype = peer.partition("-")
        systems[f"PyTorch {peer}"] = torch_steps(
            config, dtype, mode == "compiled", batch, device, options.threads
        )
    runs = {name: functools.partial(system, options.steps) for name, system in systems.items()}
    seconds = timing.in_turns(runs, rounds)
    timing.print_rates(
        f"{options.model}, {options.batch} x {options.length} tokens, Adam",
        options.batch * options.length * options.steps,
        seconds,
        [name for name in systems if name.startswith("PyTorch")],
    )
    if options.peak_tflops:
        work = flops(config, options.batch, options.length) / 1e12
        print(f"\n{work:.2f} TFLOP a step; of {options.peak_tflops:g} TFLOP/s at peak:\n")
        for name, times in seconds.items():
            rate = work * options.steps / statistics.median(times)
            print(f"- {name}: {rate:.2f} TFLOP/s, {rate / options.peak_tflops:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--model", default="transformer_base", choices=("transformer_base", "transformer_big")
    )
    parser.add_argument("--batch", type=int, default=64, help="pairs")
    parser.add_argument("--length", type=int, default=32, help="tokens of source and target each")
    parser.add_argument("--dtype", nargs="*", choices=DTYPES, default=[*DTYPES])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[*PEERS])
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

    import zoo

    config = zoo.create(options.model, vocab_size=VOCAB_SIZE, dropout_rate=0.1).config
    if options.losses:
        compare_losses(config, options.batch, options.length, options.losses)
    else:
        measure(config, options, 2 if options.quick else options.rounds)


if __name__ == "__main__":
    main()
