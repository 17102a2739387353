"""Taggers: any sentence, split or not, alone and in a batch."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from properties import any_texts, holds, long_texts, scalars, together

LABELS = ("O", "B-geo", "I-geo")


@pytest.fixture(scope="module")
def taggers(toy):
    from zoo import tokenizers
    from zoo.models.lstm import LSTMTaggerConfig

    def tagger(tokenizer):
        config = LSTMTaggerConfig(vocab_size=tokenizer.vocab_size, num_classes=3, d_model=8)
        return toy(config, "tagging", None, tokenizer, LABELS)

    words = ["<pad>", "<eos>", "<unk>", "the", "London", "Mr.", "10,000", ".", "'s", "é"]
    return {
        "words": tagger(tokenizers.WordTokenizer(words)),
        "known words": tagger(tokenizers.WordTokenizer(words[3:])),
        "ids": tagger(tokenizers.IdTokenizer(13)),
    }


@holds(
    few=40,
    kind=st.sampled_from(["words", "words", "known words", "ids"]),
    sentences=st.lists(
        st.one_of(
            any_texts,
            long_texts.map(lambda text: text[:600]),
            st.lists(any_texts, max_size=5),
            st.lists(st.integers(-1, 14), max_size=9).map(lambda ids: " ".join(map(str, ids))),
            st.lists(any_texts | scalars, max_size=3).map(tuple),
            scalars,
        ),
        max_size=3,
    ),
)
def test_a_tagger_answers_any_sentence_alike_alone_and_in_a_batch(taggers, kind, sentences):
    from zoo.predictors import Tag

    def same(one, other):
        assert isinstance(one, list)
        assert [tag.word for tag in one] == [tag.word for tag in other]
        assert [tag.label for tag in one] == [tag.label for tag in other]
        for tag, twin in zip(one, other, strict=True):
            assert isinstance(tag, Tag)
            assert tag.label in LABELS
            assert tag.probability == pytest.approx(twin.probability, abs=1e-6)

    model = taggers[kind]
    together(lambda item: model(item) if item is sentences else model([item])[0], sentences, same)
