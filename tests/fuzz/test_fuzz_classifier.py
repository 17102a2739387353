"""Classifiers of texts, with every kind of tokenizer: any string, alone and in a batch."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from properties import any_texts, holds, long_texts, scalars, together

IDS = st.lists(st.integers(-2, 14) | st.integers(), max_size=20).map(
    lambda ids: " ".join(map(str, ids))
)


@pytest.fixture(scope="module")
def classifiers(toy):
    """One for each kind of tokenizer that needs no training."""
    from zoo import tokenizers
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig

    def classifier(tokenizer):
        config = BagOfEmbeddingsConfig(vocab_size=tokenizer.vocab_size, num_classes=3, d_model=8)
        return toy(config, "text_classification", {"max_len": 40}, tokenizer, ("a", "b", "c"))

    words = ["<pad>", "<eos>", "<unk>", *"abc", "ship", "é", "'", "."]
    return {
        "bytes": classifier(tokenizers.ByteTokenizer()),
        "words": classifier(tokenizers.WordTokenizer(words, lowercase=True)),
        "known words": classifier(tokenizers.WordTokenizer(words[3:])),
        "chars": classifier(tokenizers.CharTokenizer("abc .é")),
        "ids": classifier(tokenizers.IdTokenizer(13)),
        "subwords": classifier(tokenizers.SubwordTokenizer([*"\\_u;0123456789abcé", "ab", "a_"])),
    }


KINDS = st.sampled_from(["bytes", "words", "known words", "chars", "ids", "subwords"])


def same(one, other):
    from zoo.predictors import Prediction

    assert isinstance(one, Prediction)
    assert one.label == other.label
    assert type(one.probability) is float
    assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
    assert list(one.probabilities) == list(other.probabilities)
    assert next(iter(one.probabilities.items())) == (one.label, one.probability)


@holds(
    few=60,
    kind=KINDS,
    texts=st.lists(long_texts | IDS, max_size=3),
    top_k=st.sampled_from([None, None, 1, 2, 5, 0, -1, 2**70]),
)
def test_a_classifier_answers_any_text_alike_alone_and_in_a_batch(classifiers, kind, texts, top_k):
    model = classifiers[kind]
    together(lambda items: model(items, top_k=top_k), texts, same)


@holds(few=30, kind=KINDS, items=st.lists(any_texts | scalars, min_size=1, max_size=3))
def test_what_is_no_text_is_refused(classifiers, kind, items):
    from properties import Refused, asked

    answer = asked(classifiers[kind], items)
    if not all(isinstance(item, str) for item in items):
        assert isinstance(answer, Refused)
    for item in items:
        if not isinstance(item, str | list | tuple):
            assert isinstance(asked(classifiers[kind], item), Refused)
