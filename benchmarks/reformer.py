"""Growth of the Reformer's memory and time, beside full attention and beside Hugging Face's.

    pip install -e '.[bench,train]' -c constraints.txt
    python benchmarks/reformer.py lengths
    python benchmarks/reformer.py layers
    python benchmarks/reformer.py times
    python benchmarks/reformer.py peers
    python benchmarks/reformer.py rounds --run runs/reformer_copy

* `lengths`, `layers`: the memory of a training step with Adam on one text, as XLA plans it
  (`zoo.train.memory`); nothing is run, so that what does not fit has a figure too. 6 layers of
  width 256, 4 heads, two rounds of hashing in chunks of 64, 258 ids; the Transformer has the same
  sizes.
* `times`: seconds of such a step with two layers, where it fits into memory: attention by hashes
  and full attention in the same Reformer.
* `peers`: tokens a second through loss and gradients of one text of 4,096, 6 layers, without
  dropout, beside `ReformerModelWithLMHead` of Hugging Face in eager PyTorch, both in float32 and in
  bfloat16 (theirs by autocast). `torch.compile` does not take its custom backward pass.
* `rounds`: the metrics of a run on its test split, with other numbers of rounds than it was trained
  with, and with full attention (Kitaev et al. 2020, table 2).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import statistics
from collections.abc import Callable
from typing import Any

import timing

WIDTH, HEADS, VOCABULARY, CHUNK = 256, 4, 258, 64
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "d_ff": 4 * WIDTH,
    "num_heads": HEADS,
    "activation": "gelu_tanh",
}
"""The sizes that our two models share."""

LENGTHS = tuple(2**n for n in range(10, 17))
LAYERS = (2, 6, 12, 24)
PIECE = 4096
"""Positions that the Reformer's feed-forward layers and its loss take at a time."""


def reformer(length: int, layers: int, *, hashed: bool = True) -> Any:
    """A Reformer for such a length."""
    from zoo.models.reformer.attention import SelfAttentionConfig
    from zoo.models.reformer.hashing import LSHAttentionConfig
    from zoo.models.reformer.models import ReformerLMConfig

    by_hashes = LSHAttentionConfig(chunk_len=CHUNK, num_hashes=2)
    return ReformerLMConfig(
        **SIZES,
        num_layers=layers,
        attention=(by_hashes if hashed else SelfAttentionConfig(),),
        axial_shape=(CHUNK, length // CHUNK),
        ff_chunk_len=PIECE if length > PIECE else None,
    )


def transformer(length: int, layers: int, *, remat: bool) -> Any:
    """A Transformer of the same sizes."""
    from zoo.models.transformer import TransformerLMConfig

    return TransformerLMConfig(
        **SIZES,
        num_layers=layers,
        max_len=length,
        remat=remat,
    )


def training(model: Any, length: int) -> Any:
    """A recipe for the model; its data is never opened."""
    from zoo.models.reformer.models import ReformerLMConfig
    from zoo.pipelines import CopyData
    from zoo.train import Adam, LanguageModeling, Recipe

    pieces = isinstance(model, ReformerLMConfig) and length > PIECE
    return Recipe(
        model=model,
        data=CopyData(two_times=True),
        task=LanguageModeling(chunk_len=PIECE if pieces else None),
        optimizer=Adam(learning_rate=1e-3),
        steps=1000,
        batch_size=1,
    )


def estimate(model: Any, length: int) -> Any:
    """The memory of its step on one text."""
    import jax
    import jax.numpy as jnp

    from zoo.train import memory, sharding

    tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
    weights = jax.ShapeDtypeStruct((1, length), jnp.float32)
    batch = {"inputs": tokens, "targets": tokens, "weights": weights}
    mesh = sharding.make_mesh(sharding.MeshConfig(data=1))
    return memory.of_batch(training(model, length), batch, mesh)


def by_length() -> None:
    """The table of memory by length."""
    print("\n| tokens | Reformer | Transformer | with remat |\n|---:|---:|---:|---:|")
    for length in LENGTHS:
        models = (
            reformer(length, 6),
            transformer(length, 6, remat=False),
            transformer(length, 6, remat=True),
        )
        cells = [f"{estimate(model, length).total / 1e9:.2f} GB" for model in models]
        print(f"| {length:,} | {' | '.join(cells)} |", flush=True)


def by_layers(length: int = 4096) -> None:
    """The table of memory by the number of layers."""
    print(f"\n{length:,} tokens\n")
    print("| layers | parameters | the rest of the state and gradients | activations | total |")
    print("|---:|---:|---:|---:|---:|")
    for layers in LAYERS:
        found = estimate(reformer(length, layers), length)
        # The gradients are as large as the parameters, and all there when the step ends.
        activations = found.temporary - found.variables
        sizes = found.variables, found.optimizer + found.variables, activations, found.total
        cells = [f"{size / 1e6:.0f} MB" for size in sizes]
        print(f"| {layers} | {' | '.join(cells)} |", flush=True)


def step(length: int, layers: int, hashed: bool) -> Callable[[], None]:
    """One training step of a Reformer on random tokens."""
    import jax
    import numpy as np

    from zoo.train import sharding, update
    from zoo.train.malloc import keep_freed_memory
    from zoo.train.state import create_state

    keep_freed_memory()
    model = reformer(length, layers, hashed=hashed)
    recipe = training(model, length)
    module, optimizer = model.build(), recipe.optimizer.build(recipe.steps)
    mesh = sharding.make_mesh(sharding.MeshConfig(data=1))
    tokens = np.random.default_rng(0).integers(2, VOCABULARY, (1, length), np.int32)
    weights = np.ones((1, length), np.float32)
    batch = sharding.put_batch({"inputs": tokens, "targets": tokens, "weights": weights}, mesh)
    first = create_state(module, model, optimizer, 0, mesh)
    train_step = update.make_train_step(module, recipe.task, optimizer, first)
    tally = update.empty_tally(module, recipe.task, optimizer, first, batch)
    current = [first, sharding.copied(tally, mesh)]

    def run() -> None:
        current[:] = train_step(*current, batch)
        jax.block_until_ready(current[0].params)

    return run


def times(rounds: int, layers: int = 2) -> None:
    """The table of the seconds of a step by length."""
    from zoo.train import memory, sharding

    mesh = sharding.make_mesh(sharding.MeshConfig(data=1))
    print(f"\n{layers} layers\n")
    print("| tokens | by hashes | full attention | ratio |\n|---:|---:|---:|---:|")
    for length in LENGTHS:
        systems = {}
        for hashed in (True, False):
            found = estimate(reformer(length, layers, hashed=hashed), length)
            if memory.enough(found, mesh):
                make = functools.partial(step, length, layers, hashed)
                systems["by hashes" if hashed else "full"] = timing.System(make)
        found = timing.in_turns(systems, rounds)
        for system in systems.values():
            system.close()
        seconds = {name: statistics.median(each) for name, each in found.items()}
        cells = [
            f"{seconds[name]:.2f} s" if name in seconds else "does not fit"
            for name in ("by hashes", "full")
        ]
        ratio = f"{seconds['full'] / seconds['by hashes']:.2f}" if "full" in seconds else ""
        print(f"| {length:,} | {' | '.join(cells)} | {ratio} |", flush=True)


def hugging_face(length: int, layers: int, threads: int, dtype: str) -> Callable[[], None]:
    """Loss and gradients of its Reformer of the same sizes."""
    import torch
    from transformers import ReformerConfig, ReformerModelWithLMHead

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = ReformerConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        feed_forward_size=4 * WIDTH,
        num_attention_heads=HEADS,
        attention_head_size=64,
        attn_layers=["lsh"] * layers,
        num_hashes=2,
        num_buckets=2 * length // CHUNK,
        lsh_attn_chunk_length=CHUNK,
        is_decoder=True,
        hidden_act="gelu",
        hidden_dropout_prob=0.0,
        axial_pos_embds=True,
        axial_pos_shape=(CHUNK, length // CHUNK),
        axial_pos_embds_dim=(WIDTH // 2, WIDTH // 2),
        max_position_embeddings=length,
    )
    model = ReformerModelWithLMHead(config).train()
    tokens = torch.randint(2, VOCABULARY, (1, length))

    def run() -> None:
        model.zero_grad(set_to_none=True)
        # Around the backward pass too, which computes the layers anew.
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            model(input_ids=tokens, labels=tokens).loss.backward()

    return run


def ours(length: int, layers: int, dtype: str) -> Callable[[], None]:
    """Loss and gradients of ours, with rotations drawn in each run as in training."""
    import jax
    import jax.numpy as jnp

    from zoo.train import losses
    from zoo.train.malloc import keep_freed_memory

    keep_freed_memory()
    config = dataclasses.replace(reformer(length, layers), dropout_rate=0.0, dtype=dtype)
    module = config.build()
    tokens = jax.random.randint(jax.random.key(1), (1, length), 2, VOCABULARY)
    params = jax.jit(module.init)(jax.random.key(0), tokens)["params"]

    @jax.jit
    def gradients(params: Any, key: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            rngs = {"dropout": key}
            logits = module.apply({"params": params}, tokens, train=True, rngs=rngs)
            total, number = losses.cross_entropy(logits, tokens, jnp.ones(tokens.shape))
            return total / number

        return jax.value_and_grad(loss)(params)

    def run() -> None:
        jax.block_until_ready(gradients(params, jax.random.key(2)))

    return run


def peers(rounds: int, threads: int, length: int = 4096, layers: int = 6) -> None:
    """The table beside Hugging Face's."""
    systems, theirs = {}, []
    for dtype in ("float32", "bfloat16"):
        theirs.append(f"Hugging Face {dtype}")
        peer = functools.partial(hugging_face, length, layers, threads, dtype)
        systems[f"zoo {dtype}"] = timing.System(functools.partial(ours, length, layers, dtype))
        systems[theirs[-1]] = timing.System(peer)
    seconds = timing.in_turns(systems, rounds)
    timing.print_rates(f"forward and backward pass, {length:,} tokens", length, seconds, theirs)


def by_rounds(run: str) -> None:
    """The table of the metrics by the number of rounds."""
    import jax

    from zoo import hub
    from zoo.models.reformer.attention import SelfAttentionConfig
    from zoo.models.reformer.hashing import LSHAttentionConfig
    from zoo.train import evaluation, sharding

    model = hub.open_model(run)
    setup = evaluation.set_up_model(model)
    variables = sharding.copied(jax.device_get(model.variables), setup.mesh)
    (trained,) = model.card.config.attention
    kinds: dict[str, LSHAttentionConfig | SelfAttentionConfig] = {
        f"{rounds} round(s)": dataclasses.replace(trained, num_hashes=rounds)
        for rounds in (1, 2, 4, 8)
    }
    kinds["full attention"] = SelfAttentionConfig(share_qk=True)
    print("\n| evaluated with | accuracy | loss |\n|---|---:|---:|")
    for name, kind in kinds.items():
        module = dataclasses.replace(model.card.config, attention=(kind,)).build()
        other = dataclasses.replace(setup, module=module)
        found, _ = evaluation.Evaluator(other, model.card)(variables, "test")
        print(f"| {name} | {found['test/accuracy']:.4f} | {found['test/loss']:.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("table", choices=("lengths", "layers", "times", "peers", "rounds"))
    parser.add_argument("--run", default="runs/reformer_copy", help="of `rounds`: the run's folder")
    parser.add_argument("--rounds", type=int, default=3, help="timed runs of each system")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    timing.use_threads(options.threads)
    tables: dict[str, Callable[[], None]] = {
        "lengths": by_length,
        "layers": by_layers,
        "times": functools.partial(times, options.rounds),
        "peers": functools.partial(peers, options.rounds, options.threads),
        "rounds": functools.partial(by_rounds, options.run),
    }
    tables[options.table]()


if __name__ == "__main__":
    main()
