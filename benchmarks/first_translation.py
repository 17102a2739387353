"""The first translation of a new process at EN-DE base size: seconds and memory.

    python benchmarks/first_translation.py --vocab ende_32k.subword

A folder with random weights of that size is written, then two new processes load it in turn: the
first finds XLA's compilation cache empty and fills it. Each calls `zoo.load`, translates a sentence
as a user would (beam search with 4 beams), and then another one, for which nothing is compiled.
These weights never choose the end of sequence, so a translation goes on to the longest that is
allowed, 48 tokens here, where trained weights end after ten or so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SENTENCES = ("It is nice to learn new things today!", "The weather was much better yesterday.")
SHARED = Path(__file__).resolve().parents[2] / "shared/golden/open/vocab/ende_32k.subword"


def write_model(folder: Path, vocab: Path) -> None:
    """Writes a folder as `zoo.export` does, of base size."""
    from decode import random_variables

    from zoo import hub, tokenizers
    from zoo.models.transformer import TransformerConfig
    from zoo.storage.cards import Card

    config = TransformerConfig(vocab_size=33_300)
    tokenizer = {"kind": "subwords", "file": vocab.name}
    card = Card(name="random", task="translation", config=config, tokenizer=tokenizer)
    variables = random_variables(config, endless=True)
    hub.write_model(folder, card, variables, tokenizers.load("subwords", vocab))


def translate(folder: str, dtype: Any) -> dict[str, float]:
    """Seconds and resident memory in a new process."""
    start = time.perf_counter()
    import zoo

    translator: Any = zoo.load(folder, dtype=dtype)
    loaded = time.perf_counter()
    translator(SENTENCES[0])
    first = time.perf_counter()
    translator(SENTENCES[1])
    second = time.perf_counter()
    # Not getrusage: what it calls the maximum has that of the process before the exec in it.
    status = Path("/proc/self/status").read_text()
    kilobytes = dict(re.findall(r"^(Vm\w+):\s+(\d+) kB$", status, re.MULTILINE))
    return {
        "import and zoo.load, s": loaded - start,
        "first translation, s": first - loaded,
        "second translation, s": second - first,
        "resident, GB": int(kilobytes["VmRSS"]) * 1024 / 1e9,
        "resident at most, GB": int(kilobytes["VmHWM"]) * 1024 / 1e9,
    }


def in_new_process(folder: Path, dtype: str, cache: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--translate", str(folder), "--dtype", dtype]
    # Without the variables that would take the compilation cache elsewhere.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")}
    done = subprocess.run(
        command,
        env=environment | {"ZOO_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--vocab", type=Path, default=SHARED, help="a vocabulary of trax")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "int8"))
    parser.add_argument("--translate", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.translate:  # what in_new_process starts
        print(json.dumps(translate(options.translate, options.dtype)))
        return
    if not options.vocab.is_file():
        sys.exit(f"{options.vocab} is not there; give the path of ende_32k.subword by --vocab")
    with tempfile.TemporaryDirectory() as parent:
        folder, cache = Path(parent, "random"), Path(parent, "cache")
        write_model(folder, options.vocab)
        rows = {state: in_new_process(folder, options.dtype, cache) for state in ("cold", "warm")}
    names = list(rows["cold"])
    print("\n| compilation cache | " + " | ".join(names) + " |")
    print("|---|" + "---:|" * len(names))
    for state, row in rows.items():
        print(f"| {state} | " + " | ".join(f"{row[name]:.2f}" for name in names) + " |")


if __name__ == "__main__":
    main()
