"""Translation at EN-DE base size beside CTranslate2 and Hugging Face's Marian, in one run.

    pip install -e '.[bench]' -c constraints.txt
    python benchmarks/decode.py
    python benchmarks/decode.py --quick --batch 1 --dtype int8 --peers ctranslate2-int8

Every source has 25 tokens and every translation exactly 40: the weights are random, from a fixed
seed, and the bias of the end of sequence is -1e9 in all systems, so that no one chooses it.
CTranslate2 has the same weights as the zoo, and its greedy tokens in float32 are compared with
ours; Marian has weights of its own, of the same sizes. The zoo is measured as a user has it: a
`Translator` is called with a list of sentences (ids between spaces) and gives strings, which
includes padding to the shapes that it compiles. What compiles compiles before the clock starts.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable
from typing import Any

import timing

SOURCE_TOKENS, NEW_TOKENS = 25, 40
VOCAB_SIZE = 33_300
SEED = 0
BEAM_SIZE = 4
DTYPES = ("float32", "bfloat16", "int8")
PEERS = ("ctranslate2-float32", "ctranslate2-int8", "ctranslate2-float16", "marian")


def random_variables(config: Any, *, endless: bool) -> dict[str, Any]:
    """Weights from the fixed seed; `endless` ones never choose the end of sequence."""
    import jax
    from translation_peers import EOS, NEVER

    inputs = [jax.numpy.zeros(item.shape, item.dtype) for item in config.example_inputs(1)]
    variables: dict[str, Any] = jax.jit(config.build().init)(jax.random.key(SEED), *inputs)
    if endless:
        logits = variables["params"]["logits"]
        logits["bias"] = logits["bias"].at[EOS].set(NEVER)
    return variables


def sources(batch: int) -> list[list[int]]:
    """Random sentences, without padding and end of sequence."""
    import numpy as np

    tokens = np.random.default_rng(SEED).integers(2, VOCAB_SIZE, (batch, SOURCE_TOKENS))
    return tokens.tolist()


def config() -> Any:
    """EN-DE base size."""
    from zoo.models.transformer import TransformerConfig

    return TransformerConfig(vocab_size=VOCAB_SIZE)


def zoo_translator(dtype: Any) -> Callable[..., Any]:
    """A function like those of `translation_peers`, by way of a `Translator`'s public call."""
    from zoo import predictors
    from zoo.models import dense
    from zoo.storage.cards import Card
    from zoo.tokenizers import IdTokenizer

    variables = random_variables(config(), endless=True)
    card = Card(name="random", task="translation", config=config().in_precision(dtype))
    translator: Any = predictors.create(
        card, dense.convert(variables, dtype), IdTokenizer(VOCAB_SIZE)
    )

    def translate(sentences: list[list[int]], beam_size: int, new_tokens: int) -> list[list[int]]:
        texts = [" ".join(map(str, sentence)) for sentence in sentences]
        answers = translator(texts, beam_size=beam_size, max_new_tokens=new_tokens)
        return [[int(token) for token in answer.split()] for answer in answers]

    return translate


def peer_translator(name: str, threads: int) -> Callable[..., Any]:
    """One of `translation_peers`."""
    import jax
    import translation_peers

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    if name == "marian":
        return translation_peers.marian_translator(config(), device, threads)
    params = random_variables(config(), endless=True)["params"]
    compute_type = name.removeprefix("ctranslate2-")
    return translation_peers.ctranslate2_translator(config(), params, compute_type, device, threads)


def measure(
    systems: dict[str, timing.System], peers: list[str], batch: int, beam: int, rounds: int
) -> None:
    """Times the systems on one batch, and prints their table and whether tokens agree."""
    task = sources(batch), beam, NEW_TOKENS
    answers = {name: system.timed(*task)[1] for name, system in systems.items()}
    for name, answer in answers.items():
        lengths = {len(tokens) for tokens in answer}
        if lengths != {NEW_TOKENS}:
            raise SystemExit(f"{name} gave {sorted(lengths)} tokens, not {NEW_TOKENS} each")
    seconds = timing.in_turns(systems, rounds, *task)
    how = "greedy" if beam == 1 else f"beam {beam}"
    timing.print_rates(f"{how}, batch {batch}", batch * NEW_TOKENS, seconds, peers)
    ours, theirs = "zoo float32", "ctranslate2-float32"
    if ours in answers and theirs in answers:
        same = sum(a == b for a, b in zip(answers[ours], answers[theirs], strict=True))
        print(f"\n{same} of {batch} translations of {theirs} equal those of {ours}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--batch", nargs="*", type=int, default=[1, 32], help="greedy")
    parser.add_argument(
        "--beam-batch", nargs="*", type=int, default=[1, 16], help=f"beam {BEAM_SIZE}, float32"
    )
    parser.add_argument("--dtype", nargs="*", choices=DTYPES, default=[*DTYPES])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[*PEERS[:2], "marian"])
    parser.add_argument("--rounds", type=int, default=11, help="timed runs of each system")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="three rounds")
    options = parser.parse_args()
    timing.use_threads(options.threads)
    rounds = 3 if options.quick else options.rounds

    ours = {
        f"zoo {dtype}": timing.System(functools.partial(zoo_translator, dtype))
        for dtype in options.dtype
    }
    peers = {
        name: timing.System(functools.partial(peer_translator, name, options.threads))
        for name in options.peers
    }
    for batch in options.batch:
        measure(ours | peers, options.peers, batch, 1, rounds)
    # Beam search has a target only for float32.
    narrow = ("zoo bfloat16", "zoo int8", "ctranslate2-int8")
    wide = {name: system for name, system in (ours | peers).items() if name not in narrow}
    for batch in options.beam_batch:
        measure(wide, [name for name in wide if name in peers], batch, BEAM_SIZE, rounds)


if __name__ == "__main__":
    main()
