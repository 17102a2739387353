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

Run = Callable[[], Any]


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


def zoo_translator(config: Any, variables: Any, dtype: Any) -> Callable[..., Any]:
    """A function like those of `translation_peers`, by way of a `Translator`'s public call."""
    from zoo import predictors
    from zoo.cards import Card
    from zoo.models import dense
    from zoo.tokenizers import IdTokenizer

    config = config.in_precision(dtype)
    card = Card(name="random", task="translation", config=config)
    translator: Any = predictors.create(
        card, dense.convert(variables, dtype), IdTokenizer(VOCAB_SIZE)
    )

    def translate(sentences: list[list[int]], beam_size: int, new_tokens: int) -> list[list[int]]:
        texts = [" ".join(map(str, sentence)) for sentence in sentences]
        answers = translator(texts, beam_size=beam_size, max_new_tokens=new_tokens)
        return [[int(token) for token in answer.split()] for answer in answers]

    return translate


def peer_translators(
    names: list[str], config: Any, variables: Any, threads: int
) -> dict[str, Callable[..., Any]]:
    import jax
    import translation_peers

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    found: dict[str, Callable[..., Any]] = {}
    for name in names:
        if name == "marian":
            found[name] = translation_peers.marian_translator(config, device, threads)
        else:
            compute_type = name.removeprefix("ctranslate2-")
            found[name] = translation_peers.ctranslate2_translator(
                config, variables["params"], compute_type, device, threads
            )
    return found


def measure(
    systems: dict[str, Callable[..., Any]], peers: list[str], batch: int, beam: int, rounds: int
) -> None:
    """Times the systems on one batch, and prints their table and whether tokens agree."""
    sentences = sources(batch)
    runs: dict[str, Run] = {
        name: functools.partial(translate, sentences, beam, NEW_TOKENS)
        for name, translate in systems.items()
    }
    answers = {name: run() for name, run in runs.items()}
    for name, answer in answers.items():
        lengths = {len(tokens) for tokens in answer}
        if lengths != {NEW_TOKENS}:
            raise SystemExit(f"{name} gave {sorted(lengths)} tokens, not {NEW_TOKENS} each")
    seconds = timing.in_turns(runs, rounds)
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

    from zoo.models.transformer import TransformerConfig

    config = TransformerConfig(vocab_size=VOCAB_SIZE)
    variables = random_variables(config, endless=True)
    ours = {
        f"zoo {dtype}": zoo_translator(config, variables, dtype)
        for dtype in (options.dtype if options.batch else [])
    }
    peers = peer_translators(options.peers, config, variables, options.threads)
    for batch in options.batch:
        measure(ours | peers, options.peers, batch, 1, rounds)
    # Beam search has a target for float32 alone.
    ours = {"zoo float32": zoo_translator(config, variables, "float32")}
    same_precision = {name: peer for name, peer in peers.items() if name != "ctranslate2-int8"}
    for batch in options.beam_batch:
        measure(ours | same_precision, [*same_precision], batch, BEAM_SIZE, rounds)


if __name__ == "__main__":
    main()
