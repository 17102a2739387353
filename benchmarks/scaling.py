"""Growth on paper: what a training step sends between devices, read out of the compiled program.

    pip install -e '.[train]' -c constraints.txt
    python benchmarks/scaling.py
    python benchmarks/scaling.py --models base --devices 8

The step of a base, a big and a 1-billion Transformer is compiled for 8, 64 and 512 forced devices
of the CPU: nothing is computed. Each collective in the program says which devices take part, which
is an axis of the mesh or several, and how many bytes it moves. Programs of one and of two layers
are compiled, and the rest is extrapolated: layers are equal.

The times are those that the named interconnects give for these bytes, each collective as a ring
over its axis, beside the time of the products at 40 % of the peak. They are bounds, not
measurements: a compiler overlaps both, and on a GPU or TPU it may choose other collectives. The
compiler for the CPU sums gradients over `fsdp` on every device and keeps a part, which sends twice
what the reduce-scatter of GPUs and TPUs does; such a sum is counted as the latter.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

MODELS: dict[str, dict[str, Any]] = {
    "base": {"d_model": 512, "d_ff": 2048, "num_heads": 8, "layers": 6},
    "big": {"d_model": 1024, "d_ff": 4096, "num_heads": 16, "layers": 6},
    "1 billion": {"d_model": 2048, "d_ff": 8192, "num_heads": 16, "layers": 20},
}
"""Language models of a vocabulary of 32,768: `layers` blocks of a decoder; of base and big twice as
many, since theirs are an encoder and a decoder."""

VOCABULARY, LENGTH, ROWS = 32_768, 256, 32
"""ROWS is the number of texts of a device."""

LAYOUTS = ("data", "fsdp", "fsdp x tensor 8")

INTERCONNECTS = {
    "H100, NVLink within 8, 400 Gb/s beyond": (450e9, 50e9, 989e12),
    "TPU v5p, 3D torus": (600e9, 600e9, 459e12),
    "A100, 100 Gb/s Ethernet beyond 8": (300e9, 12.5e9, 312e12),
}
"""Bytes a second of a device within a group of 8 and beyond; its bfloat16 operations a second."""

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "s64": 8}

COLLECTIVE = re.compile(
    r"\s=\s(?P<shape>.*?)\s"
    r"(?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?\("
)
ARRAY = re.compile(r"([a-z]+[0-9]*)\[([0-9,]*)\]")


@dataclass(frozen=True)
class Sent:
    """One collective of a program."""

    kind: str
    axes: str
    """The axes of the mesh over which it goes."""
    size: int
    """Number of devices that take part in one group."""
    bytes: float
    """That one device sends, as a ring."""


def collectives(text: str, mesh: dict[str, int]) -> Iterator[Sent]:
    """The collectives of a compiled program's text, on a mesh of such axes."""
    for line in text.splitlines():
        if (found := COLLECTIVE.search(line)) is None:
            continue
        axes, size = taking_part(line, mesh)
        if size == 1:
            continue
        whole = 0
        for kind, dimensions in ARRAY.findall(found["shape"]):
            if kind in BYTES:
                whole += BYTES[kind] * math.prod(int(n) for n in dimensions.split(",") if n)
        share = (size - 1) / size
        sums = 1 if axes == "fsdp" else 2  # a reduce-scatter, and an all-gather
        ring = {
            "all-reduce": sums * share * whole,
            "all-gather": share * whole,  # the shape is that of the result
            "reduce-scatter": (size - 1) * whole,
            "all-to-all": share * whole,
            "collective-permute": float(whole),
        }[found["kind"]]
        yield Sent(found["kind"], axes, size, ring)


def taking_part(line: str, mesh: dict[str, int]) -> tuple[str, int]:
    """The axes of the mesh over which a collective goes, and the devices in one of its groups."""
    group = group_of(line)
    places = np.stack(np.unravel_index(np.array(group), tuple(mesh.values())))
    differ = [name for name, row in zip(mesh, places, strict=True) if len({*row.tolist()}) > 1]
    return " and ".join(differ), len(group)


def group_of(line: str) -> list[int]:
    """The first group of devices of a collective, however it is written."""
    named = re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line)
    if named is not None:
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
        along = re.findall(r"'(\w+)'", named[2])
        grid = np.arange(math.prod(sizes.values())).reshape(tuple(sizes.values()))
        corner = grid[tuple(slice(None) if name in along else 0 for name in sizes)]
        return [int(n) for n in corner.ravel()]
    iota = re.search(r"replica_groups=\[([0-9,]+)\]<=\[([0-9,]+)\](?:T\(([0-9,]+)\))?", line)
    if iota is not None:
        shape, reshape = ([int(n) for n in iota[i].split(",")] for i in (1, 2))
        numbers = np.arange(math.prod(reshape)).reshape(reshape)
        if iota[3]:
            numbers = numbers.transpose([int(n) for n in iota[3].split(",")])
        return [int(n) for n in numbers.reshape(shape)[0]]
    listed = re.search(r"(?:replica_groups|source_target_pairs)=\{\{([0-9,]+)\}", line)
    if listed is None:
        raise ValueError(f"which devices take part in {line.strip()[:200]}?")
    return [int(n) for n in listed[1].split(",")]


def program(sizes: dict[str, Any], layers: int, mesh: Any, rows: int) -> tuple[str, int]:
    """The text of a compiled step of so many layers, and its number of parameters."""
    import jax
    import jax.numpy as jnp

    import zoo
    from zoo.storage import weights
    from zoo.train import optimizers, sharding, tasks, update
    from zoo.train.state import shapes_of_state

    widths = {name: size for name, size in sizes.items() if name != "layers"}
    config = zoo.create(
        "transformer_lm_base",
        vocab_size=VOCABULARY,
        max_len=LENGTH,
        num_layers=layers,
        dropout_rate=0.0,
        dtype="bfloat16",
        **widths,
    ).config
    module, task = config.build(), tasks.LanguageModeling()
    optimizer = optimizers.Adam(learning_rate=1e-3).build(1000)
    state = shapes_of_state(module, config, optimizer, mesh, tuple)
    shape = (rows, LENGTH)
    batch = {
        "inputs": jax.ShapeDtypeStruct(shape, jnp.int32),
        "targets": jax.ShapeDtypeStruct(shape, jnp.int32),
        "weights": jax.ShapeDtypeStruct(shape, jnp.float32),
    }
    batch = sharding.placed(batch, sharding.of_batch(mesh))
    tally = sharding.placed(
        update.empty_tally(module, task, optimizer, state, batch), sharding.replicated(mesh)
    )
    step = update.make_train_step(module, task, optimizer, state)
    return step.lower(state, tally, batch).compile().as_text(), weights.count(state.params)[0]


def config_of(layout: str, devices: int) -> Any:
    from zoo.train.sharding import MeshConfig

    return {
        "data": MeshConfig(data=devices),
        "fsdp": MeshConfig(data=1, fsdp=devices),
        "fsdp x tensor 8": MeshConfig(data=1, fsdp=devices // 8, tensor=8),
    }[layout]


def measure(name: str, layout: str, devices: int) -> tuple[dict[str, float], float]:
    """Bytes that a device sends in a step by axes, and the parameters of the whole model."""
    from zoo.train import sharding

    sizes = MODELS[name]
    mesh = sharding.make_mesh(config_of(layout, devices))
    layers = sizes["layers"] * (1 if "billion" in name else 2)
    totals: list[dict[str, float]] = []
    counts = []
    for number in (1, 2):
        text, count = program(sizes, number, mesh, ROWS * sharding.parts(mesh))
        total: dict[str, float] = {}
        for sent in collectives(text, dict(mesh.shape)):
            total[sent.axes] = total.get(sent.axes, 0.0) + sent.bytes
        totals.append(total)
        counts.append(count)
    one, two = totals

    def grown(first: float, second: float) -> float:
        return max(0.0, first + (layers - 1) * (second - first))

    keys = sorted(one.keys() | two.keys())
    sent_by_axis = {key: grown(one.get(key, 0.0), two.get(key, 0.0)) for key in keys}
    return sent_by_axis, grown(*counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--devices", nargs="+", type=int, default=[8, 64, 512])
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS))
    options = parser.parse_args()
    flags = os.environ.get("XLA_FLAGS", "")
    number = max(options.devices)
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={number}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    columns = " | ".join(f"{name}: sending / computing" for name in INTERCONNECTS)
    print(f"| model | devices | layout | GB a device sends in a step, by axis | {columns} |")
    print("|---|---:|---|---|" + "---:|" * len(INTERCONNECTS))
    for name in options.models:
        for devices in options.devices:
            for layout in options.layouts:
                print(row(name, devices, layout), flush=True)


def row(name: str, devices: int, layout: str) -> str:
    sent, parameters = measure(name, layout, devices)
    tensor = 8 if "tensor" in layout else 1
    operations = 6 * parameters * ROWS * LENGTH / tensor
    cells = []
    for near, far, peak in INTERCONNECTS.values():
        seconds = 0.0
        for axes, amount in sent.items():
            within = axes == "tensor" or devices <= 8
            seconds += amount / (near if within else far)
        cells.append(f"{1e3 * seconds:.1f} / {1e3 * operations / (0.4 * peak):.1f} ms")
    by_axis = ", ".join(f"{axes} {amount / 1e9:.2f}" for axes, amount in sent.items())
    return f"| {name} | {devices} | {layout} | {by_axis or '-'} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
