"""What all predictors share: what they print as, identity, pickling, and their table by task."""

from __future__ import annotations

import dataclasses
import pickle
import re
import unicodedata

import jax
import jax.numpy as jnp
import pytest

from zoo.config import TypeMistake


@pytest.fixture
def classifier(key):
    from zoo import predictors, tokenizers
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.storage.cards import Card

    tokenizer = tokenizers.ByteTokenizer()
    config = BagOfEmbeddingsConfig(vocab_size=258, num_classes=3, d_model=4)
    card = Card(name="toy", task="text_classification", config=config, labels=("a", "b", "c"))
    variables = config.build().init(key(), jnp.ones((1, 4), jnp.int32))
    return predictors.create(card, variables, tokenizer)


def test_a_predictor_is_shown_in_one_line(classifier):
    number = 258 * 4 + 4 * 3 + 3
    assert repr(classifier) == (
        f"<TextClassifier toy: BagOfEmbeddingsConfig, {number:,} parameters, float32, cpu:0>"
    )
    assert repr(classifier.card) == "<Card toy: text_classification, BagOfEmbeddingsConfig>"
    shapes = dataclasses.replace(classifier, variables=classifier.card.config.variable_shapes())
    assert repr(shapes).endswith("parameters, float32>")


def test_predictors_are_compared_by_identity_and_cards_by_value(classifier):
    other = dataclasses.replace(classifier)
    assert classifier == classifier and classifier != other
    assert len({classifier, other, classifier}) == 2
    card = dataclasses.replace(classifier.card)
    assert card == classifier.card and hash(card) == hash(classifier.card)
    assert dataclasses.replace(card, labels=("x",)) != card


@pytest.mark.parametrize("texts", [None, 3, b"a text", {"text": "a"}, [None], [b"a"], ["a", 3]])
def test_what_is_neither_a_text_nor_a_list_of_texts_is_refused(classifier, texts):
    with pytest.raises(TypeMistake, match="takes"):
        classifier(texts)


def test_both_ways_to_write_a_character_have_one_answer(classifier):
    forms = [unicodedata.normalize(form, "un café crème") for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    assert classifier(forms[0]) == classifier(forms[1])


def test_a_predictor_survives_pickling(classifier):
    again = pickle.loads(pickle.dumps(classifier))
    assert again("hello") == classifier("hello")
    assert again.card == classifier.card


def test_published_models_of_every_kind_survive_pickling():
    import zoo

    for name, item in {"transformer_ende_small": "No.", "mlp_mnist": None}.items():
        model = zoo.load(name)
        again = pickle.loads(pickle.dumps(model))
        assert jax.tree.all(jax.tree.map(jnp.array_equal, again.variables, model.variables))
        assert again.module == model.module
        if item is not None:
            assert again.tokenizer.encode(item) == model.tokenizer.encode(item)


def test_each_task_has_one_predictor(monkeypatch):
    from zoo.predictors import PREDICTORS, Translator

    assert PREDICTORS["translation"] is Translator
    assert all(cls.task == task for task, cls in PREDICTORS.items())
    monkeypatch.setitem(PREDICTORS, "juggling", None)
    del PREDICTORS["juggling"]

    class Juggler(Translator):
        task = "juggling"

    assert PREDICTORS["juggling"] is Juggler
    with pytest.raises(
        ValueError,
        match=re.escape(
            "are both for the task 'translation'; give the task of one of them another"
        ),
    ):

        class Impostor(Translator):
            task = "translation"
