"""Controls of what is written: tokens, repetitions, the least length, strings that end a text."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SIZES, toy_predictor

from zoo.decoding import Beam, Controls, Sampling


@pytest.fixture
def model(key):
    """A language model that knows an end, of the ids 0 to 11."""
    from zoo.models.transformer import TransformerLMConfig
    from zoo.tokenizers import IdTokenizer

    config = TransformerLMConfig(**SIZES, vocab_size=12, num_layers=1)
    return toy_predictor(config, "language_modeling", key, {"eos": False}, IdTokenizer(12))


OPTIONS = {"max_new_tokens": 30, "temperature": 0.7, "seed": 2}


def ids(text):
    return [int(word) for word in text.split()]


def test_suppressed_tokens_are_never_written(model):
    assert {7, 10} & {*ids(model.generate("2", **OPTIONS))}
    for suppress in ((7, 10), ("7", "10"), [7, "10"]):
        assert not {7, 10} & {*ids(model.generate("2", suppress=suppress, **OPTIONS))}
    only = [id_ for id_ in range(12) if id_ != 7]
    assert ids(model.generate("2", suppress=only, **OPTIONS)) == [7] * 30


def test_no_sequence_is_written_twice(model):
    greedy = {**OPTIONS, "temperature": 0.0}
    for size in (1, 2, 3):
        whole = [2, 3, *ids(model.generate("2 3", no_repeat_ngram=size, **greedy))]
        whole = whole[:12] if size == 1 else whole  # then nothing else is left
        grams = [tuple(whole[place : place + size]) for place in range(len(whole) - size + 1)]
        assert len({*grams}) == len(grams)


def test_a_penalty_makes_repetitions_rare_and_compiles_once(model):
    greedy = {**OPTIONS, "temperature": 0.0}
    free = model.generate("2 3", **greedy)
    assert model.generate("2 3", repetition_penalty=1.0, **greedy) == free
    few = {*ids(model.generate("2 3", repetition_penalty=50.0, **greedy))}
    assert len(few) > len({*ids(free)})
    from zoo.predictors import windows

    size = windows._advance._cache_size()
    model.generate("2 3", repetition_penalty=1.7, **greedy)
    assert windows._advance._cache_size() == size


def test_a_text_does_not_end_early(model):
    card = dataclasses.replace(model.card, preprocessing={"eos": True})
    model = dataclasses.replace(model, card=card)
    logits = model.variables["params"]["logits"]
    logits["bias"] = logits["bias"].at[1].set(3.0)
    prompts = ["2", "3 4", "5", "6 7 8"]
    free = model.generate(prompts, **OPTIONS)
    assert min(len(ids(answer)) for answer in free) < 20
    for prompt, answer in zip(
        prompts, model.generate(prompts, min_new_tokens=20, **OPTIONS), strict=True
    ):
        assert len(ids(answer)) >= 20
        assert model.generate(prompt, min_new_tokens=20, **OPTIONS) == answer


def test_a_text_ends_before_a_stop_string(model):
    prompts = ["2", "3 4"]
    free = model.generate(prompts, **OPTIONS)
    stop = [" 5", free[0][20:24], "nowhere"]
    expected = [min((text.split(each)[0] for each in stop), key=len) for text in free]
    assert model.generate(prompts, stop=stop, **OPTIONS) == expected
    assert len(expected[0]) <= 20
    for prompt, text in zip(prompts, expected, strict=True):
        assert "".join(model.generate(prompt, stream=True, stop=stop, **OPTIONS)) == text
        scored = model.generate(prompt, num_return=2, stop=stop, **OPTIONS)
        assert scored[0].text == text
    assert scored[0].score > model.generate(prompts[1], scores=True, **OPTIONS).score


@pytest.mark.parametrize("beam_size", [1, 3])
def test_controls_that_change_nothing_leave_answers_and_scores(translator, beam_size):
    logits = translator.variables["params"]["logits"]
    bias = np.random.default_rng(0).normal(size=logits["bias"].shape)
    logits["bias"] = jnp.asarray(bias, jnp.float32)  # which XLA added twice for some shapes
    options = {"beam_size": beam_size, "max_new_tokens": 8, "scores": True}
    free = translator(["abc", "a longer one"], **options)
    unused = int(bias.argmin())
    for controls in ({"suppress": [unused]}, {"no_repeat_ngram": 8}, {"min_new_tokens": 1}):
        for one, other in zip(
            free, translator(["abc", "a longer one"], **controls, **options), strict=True
        ):
            assert other.text == one.text
            assert other.score == pytest.approx(one.score, abs=1e-4)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_translations_too(translator, beam_size):
    options = {"beam_size": beam_size, "max_new_tokens": 8}

    def written(bans):
        source = [translator.encode("abc")]
        method = Sampling() if beam_size == 1 else Beam(size=beam_size)
        (((ids, score),),) = translator._translate(source, [[]], method, 1, 0, 8, "all", bans)
        return ids, score

    free, score = written(None)
    never = tuple({*free})
    assert not {*never} & {*written(_bans(suppress=never))[0]}
    assert len(written(_bans(min_new_tokens=6))[0]) >= 6
    once = written(_bans(no_repeat_ngram=1))[0]
    assert len({*once}) == len(once)
    same = written(_bans(repetition_penalty=1.0 + 1e-7, min_new_tokens=0))
    assert same == (free, pytest.approx(score, rel=1e-4))
    begun = translator("abc", no_repeat_ngram=1, prefix="QQ", **options)
    assert begun.startswith("QQ")
    assert translator(["x", "abc"], no_repeat_ngram=1, prefix="QQ", **options)[1] == begun
    assert isinstance(translator("abc. abc.", split=True, suppress=never, **options), str)


def _bans(**options):
    return Controls(**options).bans(258)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"suppress": [12]}, r"suppress has the id 12; ids are 0 to 11"),
        ({"suppress": ["3 4"]}, r"suppress has '3 4', which is 2 tokens of this model; give str"),
        ({"suppress": range(12)}, r"suppress has all ids of the vocabulary; leave one"),
        ({"repetition_penalty": 0.0}, r"repetition_penalty is 0; it is 0.001 to 1000"),
        ({"no_repeat_ngram": 0}, r"no_repeat_ngram is 0; it is 1 or more"),
        ({"min_new_tokens": -1}, r"min_new_tokens is -1; it is 0 or more"),
        ({"stop": [""]}, r"stop is \[''\]; it is strings that are not empty"),
    ],
)
def test_controls_that_mean_nothing_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate("2", **options)
