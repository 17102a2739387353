"""Draws that are independent and repeat, rows that are bounded, options that compile nothing."""

from __future__ import annotations

import collections
import contextlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SIZES, toy_predictor


@pytest.fixture
def uniform(key):
    """A language model to which all tokens are equally probable."""
    from zoo.models.transformer import TransformerLMConfig
    from zoo.tokenizers import IdTokenizer

    sizes = {**SIZES, "d_model": 2, "d_ff": 2, "num_heads": 1}
    config = TransformerLMConfig(**sizes, vocab_size=12, num_layers=1)
    model = toy_predictor(config, "language_modeling", key, {"eos": False}, IdTokenizer(12))
    logits = model.variables["params"]["logits"]
    logits.update(jax.tree.map(jnp.zeros_like, logits))
    return model


def chi_square(counts, expected):
    return float(sum((count - expected) ** 2 / expected for count in counts))


def test_answers_to_different_prompts_are_independent(uniform):
    prompts = [f"{a} {b} {c}" for a in range(2, 12) for b in range(2, 12) for c in range(2, 12)]
    for seed in (0, 1):
        answers = uniform.generate(prompts, max_new_tokens=2, seed=seed)
        drawn = [tuple(answer.split()) for answer in answers]
        for place in (0, 1):
            counts = collections.Counter(answer[place] for answer in drawn)
            # 99.9 % of draws from 12 equally probable tokens are below 31.3.
            assert chi_square([counts[str(id_)] for id_ in range(12)], 1000 / 12) < 31.3
        # As are 99.9 % of the pairs of successive tokens below 200.
        pairs = collections.Counter(drawn)
        every = [(str(a), str(b)) for a in range(12) for b in range(12)]
        assert chi_square([pairs[pair] for pair in every], 1000 / 144) < 200
        # And neighbours in the list are as often equal as chance has it.
        same = sum(one[0] == other[0] for one, other in itertools.pairwise(drawn))
        assert 50 < same < 120
    several = uniform.generate("3", max_new_tokens=1, num_return=1000)
    counts = collections.Counter(answer.text.strip() for answer in several)
    assert chi_square([counts[str(id_)] for id_ in range(12)], 1000 / 12) < 31.3


def test_equal_prompts_have_answers_of_their_own_and_the_first_is_that_of_one(language_model):
    options = {"max_new_tokens": 6, "seed": 5}
    four = language_model.generate(["ab"] * 4, **options)
    assert len(set(four)) == 4
    assert four[0] == language_model.generate("ab", **options)
    assert language_model.generate(["x", "ab", "ab"], **options)[1:] == four[:2]
    several = language_model.generate("ab", num_return=4, **options)
    assert [answer.text for answer in several] == four
    assert language_model.generate("ab", num_return=3, **options) == several[:3]
    both = language_model.generate(["ab", "ab"], num_return=2, **options)
    assert [answer.text for answer in both[0] + both[1]] == four
    streamed = "".join(language_model.generate("ab", stream=True, **options))
    assert streamed == four[0]


def test_equal_sentences_too(translator):
    options = {"max_new_tokens": 6, "seed": 5, "temperature": 1.0}
    four = translator(["ab"] * 4, **options)
    assert len(set(four)) == 4 and four[0] == translator("ab", **options)
    several = translator(["x", "ab"], num_return=4, **options)[1]
    assert [answer.text for answer in several] == four
    begun = translator(["ab", "ab"], prefix=["Q", "R"], **options)
    assert begun[0][1:] != begun[1][1:]  # the prefix is part of what is asked
    assert translator("ab", prefix="R", **options) == begun[1]


def test_seeds_may_be_any_whole_number(language_model):
    seeds = (0, 1, -1, 2**32, 2**32 + 1, 2**70)
    drawn = [language_model.generate("ab", max_new_tokens=6, seed=seed) for seed in seeds]
    assert len(set(drawn)) == len(seeds)


def test_rows_are_bounded_and_a_source_is_read_once(translator, language_model, monkeypatch):
    from zoo.predictors import translator as translating
    from zoo.predictors import windows as texts

    seen = collections.defaultdict(list)

    def watch(module, name, sizes):
        original = getattr(module, name)

        def watched(*arguments, **options):
            seen[name].append(sizes(arguments, options))
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, watched)

    watch(texts, "_begin", lambda _, options: options["number"])
    watch(texts, "_advance", lambda arguments, _: len(arguments[3]))
    watch(translating, "_sample", lambda arguments, _: (len(arguments[2]), len(arguments[5])))
    watch(translating, "_beam", lambda arguments, options: len(arguments[2]) * options["size"])
    prompts = [f"{n:03}" for n in range(10)]
    language_model.generate(prompts, max_new_tokens=2, num_return=50)
    assert max(seen["_advance"]) == 64 and sum(seen["_advance"]) < 600
    assert max(seen["_begin"]) <= 4
    language_model.generate("ab", max_new_tokens=2, num_return=3)
    assert seen["_begin"][-1] == 1 and seen["_advance"][-1] == 4
    translator(prompts[:3], temperature=1.0, max_new_tokens=2, num_return=50)
    assert all(sources <= 2 and rows <= 64 for sources, rows in seen["_sample"])
    translator(prompts * 7, beam_size=6, max_new_tokens=2)
    assert max(seen["_beam"]) <= 256


@contextlib.contextmanager
def compilations():
    """A list that grows with each program that is compiled, or fetched from the cache."""
    compiled, listening = [], True

    def listen(event, seconds, **_):
        if listening and event == "/jax/core/compile/backend_compile_duration":
            compiled.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield compiled
    listening = False


def test_another_number_compiles_nothing(translator, language_model):
    def generate(**options):
        language_model.generate(["ab", "cde"], **{"max_new_tokens": 20, "top_p": 0.9, **options})
        language_model.generate("ab", **{"max_new_tokens": 9, "stream": True, **options})

    def sample(**options):
        options = {"max_new_tokens": 20, "temperature": 0.8, "top_k": 7, **options}
        translator(["ab", "cde"], prefix="x", **options)

    def search(**options):
        translator(["ab", "cde"], **{"max_new_tokens": 20, **options})

    for ask in (generate, sample, search):
        ask()
    with compilations() as compiled:
        for temperature in (0.81, 0.9, 1, 2.0):
            generate(temperature=temperature)
            sample(temperature=temperature)
        for options in ({"top_p": 0.5}, {"top_p": 1}, {"seed": 3}, {"seed": 2**40}):
            generate(**options)
        for options in ({"top_k": 5}, {"top_k": 8}, {"max_new_tokens": 21}, {"seed": 9}):
            sample(**options)
        for options in ({"max_new_tokens": 17}, {"max_new_tokens": 32}):
            generate(**options)
            sample(**options)
            search(**options)
        for penalty in (0.0, 0.7, 1):
            search(length_penalty=penalty)
        assert not compiled
        search(beam_size=3)  # so the counter counts
        assert compiled


def test_scores_take_no_passes_of_their_own(language_model, monkeypatch):
    from zoo.predictors import generation

    monkeypatch.setattr(generation, "scores", None)
    prompts = [f"{n:02}" + "x" * (n % 9) for n in range(64)]
    answers = language_model.generate(prompts, max_new_tokens=4, scores=True)
    assert all(answer.score < 0 for answer in answers)


def test_top_k_and_top_p_draw_from_the_tokens_they_name(key):
    from zoo import decoding
    from zoo.decoding import Sampling

    logits = jnp.log(jnp.array([0.1, 0.4, 0.2, 0.25, 0.05]))
    keys = jax.random.split(key(), 400)

    @jax.jit
    def draw(choice):
        def step(tokens, cache):
            return jnp.broadcast_to(logits, (400, 1, 1, 5)), cache

        state = decoding.begin(step, jnp.zeros(400), 400, 1)
        return decoding.sample(step, state, keys, choice, eos_id=-1).tokens[:, 0]

    best = [1, 3, 2, 0, 4]
    for k in (2, 3, 4, 5, 8, 99):
        found = set(np.asarray(draw(Sampling(temperature=1.0, top_k=k).choice())).tolist())
        assert found == set(best[:k])
    for share, number in ((0.3, 1), (0.5, 2), (0.8, 3), (0.9, 4), (1, 5), (1.0, 5)):
        found = set(np.asarray(draw(Sampling(temperature=1.0, top_p=share).choice())).tolist())
        assert found == set(best[:number])
    assert draw._cache_size() == 5  # top_k 2, 4, 8, 128, and top_p
