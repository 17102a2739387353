"""Language models: any prompt, any options, alone, in a batch and as a stream."""

from __future__ import annotations

import math

import pytest
from helpers import SIZES
from hypothesis import strategies as st
from properties import Refused, any_texts, asked, holds, long_texts, together

NUMBERS = st.sampled_from([0.0, 0.5, 1.0, 2.0]) | st.floats()


@pytest.fixture(scope="module")
def model(toy):
    from zoo.models.transformer import TransformerLMConfig

    config = TransformerLMConfig(**SIZES, vocab_size=258, num_layers=1)
    return toy(config, "language_modeling", {"eos": False})


OPTIONS = st.fixed_dictionaries(
    {"max_new_tokens": st.sampled_from([1, 3, 20, 50, 0, -1])},
    optional={
        "temperature": NUMBERS,
        "top_k": st.sampled_from([None, 1, 5, 1000, 0, -1, 2**40]),
        "top_p": st.none() | NUMBERS,
        "seed": st.integers(-2, 3) | st.integers(),
        "num_return": st.sampled_from([None, 1, 2, 0]),
        "scores": st.booleans(),
        "stop": st.lists(any_texts, max_size=2).map(tuple),
    },
)

CONTROLS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"suppress": st.lists(st.integers(-2, 300) | any_texts, max_size=3)}),
    st.fixed_dictionaries({"repetition_penalty": NUMBERS}),
    st.fixed_dictionaries({"no_repeat_ngram": st.sampled_from([None, 1, 2, 0, 100, 2**40])}),
    st.fixed_dictionaries({"min_new_tokens": st.sampled_from([0, 1, 5, -1, 2**40])}),
)


def same(one, other):
    if isinstance(one, list):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            same(first, second)
    elif isinstance(one, str):
        assert one == other
    else:
        assert one.text == other.text
        assert one.score == pytest.approx(other.score, abs=1e-3, rel=1e-4)
        assert one.score <= 1e-4 and not math.isnan(one.score)


@holds(
    few=12,
    seconds=300,
    prompts=st.lists(long_texts, max_size=3, unique=True),
    options=OPTIONS,
    more=CONTROLS,
)
def test_a_language_model_continues_any_text_alike_alone_and_in_a_batch(
    model, prompts, options, more
):
    together(lambda items: model.generate(items, **options, **more), prompts, same)


@holds(few=8, seconds=300, prompt=long_texts, options=OPTIONS, more=CONTROLS)
def test_the_pieces_of_a_stream_join_to_the_whole(model, prompt, options, more):
    options = {k: v for k, v in options.items() if k not in ("num_return", "scores")} | more
    whole = asked(model.generate, prompt, **options)
    pieces = asked(lambda: list(model.generate(prompt, stream=True, **options)))
    if isinstance(whole, Refused):
        assert pieces == whole
    else:
        assert "".join(pieces) == whole


@holds(few=20, texts=st.lists(long_texts, max_size=3))
def test_a_language_model_scores_any_text_alike_alone_and_in_a_batch(model, texts):
    def close(one, other):
        assert type(one) is float
        assert one == pytest.approx(other, abs=1e-3, rel=1e-4)
        assert one <= 1e-3

    together(model.score, texts, close)
