"""Translators: any sentence, any options, alone and in a batch."""

from __future__ import annotations

import pytest
from helpers import SIZES
from hypothesis import strategies as st
from properties import Refused, any_texts, asked, holds, long_texts, together
from test_fuzz_language_model import CONTROLS, NUMBERS, same


@pytest.fixture(scope="module")
def model(toy):
    from zoo.models.transformer import TransformerConfig

    config = TransformerConfig(**SIZES, vocab_size=258, num_encoder_layers=1, num_decoder_layers=1)
    return toy(config, "translation")


OPTIONS = st.fixed_dictionaries(
    {"max_new_tokens": st.sampled_from([None, 1, 5, 30, 100, 0])},
    optional={
        "beam_size": st.sampled_from([None, 1, 2, 4, 0, -1]),
        "length_penalty": NUMBERS,
        "num_return": st.sampled_from([None, 1, 2, 0]),
        "temperature": NUMBERS,
        "top_k": st.sampled_from([None, 1, 5, 1000, 0]),
        "top_p": st.none() | NUMBERS,
        "seed": st.integers(-2, 3) | st.integers(),
        "scores": st.booleans(),
        "prefix": st.none() | any_texts,
    },
)


@holds(
    few=12,
    seconds=300,
    sentences=st.lists(any_texts, max_size=3, unique=True),
    options=OPTIONS,
    more=CONTROLS,
)
def test_a_translator_answers_any_sentence_alike_alone_and_in_a_batch(
    model, sentences, options, more
):
    def translate(items):
        return model(items, **options, **more)

    together(translate, sentences, same)


@holds(few=10, seconds=300, texts=st.lists(long_texts, max_size=2, unique=True))
def test_a_text_of_sentences_keeps_its_lines(model, texts):
    def close(one, other):
        assert one == other

    together(lambda items: model(items, split=True, beam_size=1, max_new_tokens=2), texts, close)


@holds(few=15, pairs=st.lists(st.tuples(any_texts, any_texts), max_size=3))
def test_a_translator_scores_any_pair_alike_alone_and_in_a_batch(model, pairs):
    alone = [asked(model.score, *pair) for pair in pairs]
    batch = asked(model.score, [source for source, _ in pairs], [target for _, target in pairs])
    if any(isinstance(answer, Refused) for answer in alone):
        assert batch in [answer for answer in alone if isinstance(answer, Refused)]
        return
    assert all(type(score) is float for score in alone)
    assert batch == pytest.approx(alone, abs=1e-3, rel=1e-4)
