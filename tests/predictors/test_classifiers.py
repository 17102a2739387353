"""Predictors: one item or a list, the same alone and in any batch; errors say what is wanted."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from helpers import random_variables, run


@pytest.fixture
def text_classifier(key):
    from zoo import predictors, tokenizers
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.storage.cards import Card

    tokenizer = tokenizers.ByteTokenizer()
    config = BagOfEmbeddingsConfig(
        vocab_size=258, num_classes=3, d_model=4, ngram_order=2, num_buckets=32
    )
    card = Card(
        name="toy",
        task="text_classification",
        config=config,
        labels=("a", "b", "c"),
        tokenizer=tokenizers.describe(tokenizer),
        preprocessing={"max_len": 40},
    )
    _, variables = random_variables(config, key())
    return predictors.create(card, variables, tokenizer)


@pytest.fixture
def image_classifier(key):
    from zoo import predictors
    from zoo.models.mlp import MLPConfig
    from zoo.storage.cards import Card

    config = MLPConfig(input_shape=(8, 8, 1), num_classes=2, hidden_sizes=(4,))
    preprocessing = {"height": 8, "width": 8, "channels": 1}
    card = Card(
        name="toy",
        task="image_classification",
        config=config,
        labels=("no", "yes"),
        preprocessing=preprocessing,
    )
    _, variables = random_variables(config, key())
    return predictors.create(card, variables, None)


def test_one_item_gives_one_prediction_and_a_list_a_list(text_classifier):
    one = text_classifier("hello")
    assert one.label == max(one.probabilities, key=one.probabilities.get)
    assert one.probability == one.probabilities[one.label]
    assert list(one.probabilities.values()) == sorted(one.probabilities.values(), reverse=True)
    assert sum(one.probabilities.values()) == pytest.approx(1)
    assert text_classifier(["hello"]) == [one]
    assert text_classifier([]) == []


def test_an_answer_is_the_same_alone_in_any_batch_and_twice(text_classifier):
    texts = [
        "hello",
        "",
        "x" * 39,
        "a longer text, of some words",
        "ü",
    ] * 15  # more than one forward pass
    together = text_classifier(texts)
    for text, prediction in zip(texts[:5], together, strict=False):
        alone = text_classifier(text)
        assert alone == text_classifier(text)
        assert alone.label == prediction.label
        for label, probability in alone.probabilities.items():
            assert prediction.probabilities[label] == pytest.approx(probability, abs=1e-6)


def test_top_k_cuts_the_probabilities(text_classifier):
    whole = text_classifier("hello")
    cut = text_classifier("hello", top_k=2)
    assert list(cut.probabilities.items()) == list(whole.probabilities.items())[:2]
    with pytest.raises(
        ValueError, match="top_k is 0; it is the number of classes to show, 1 or more"
    ):
        text_classifier("hello", top_k=0)


def test_a_text_is_cut_where_training_cut_it(text_classifier):
    assert text_classifier("a" * 40) == text_classifier("a" * 40 + "b")
    assert text_classifier("a" * 40) != text_classifier("a" * 39 + "b")


def test_what_is_not_text_is_refused(text_classifier):
    with pytest.raises(
        TypeError, match=r"this model takes a string or a list of strings; got int \(3\)"
    ):
        text_classifier(["fine", 3])


def test_images_come_as_arrays_files_and_lists(image_classifier, tmp_path):
    from PIL import Image

    pixels = (np.arange(64) * 3).astype(np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    one = image_classifier(pixels)
    assert one.label in ("no", "yes")
    assert image_classifier(tmp_path / "x.png") == one
    assert image_classifier(str(tmp_path / "x.png")) == one
    assert image_classifier(Image.open(tmp_path / "x.png")) == one
    several = image_classifier([pixels, 255 - pixels])
    assert several[0].probability == pytest.approx(one.probability, abs=1e-6)
    assert image_classifier(np.stack([pixels, 255 - pixels])[..., None]) == several


def test_check_values_repeat(text_classifier, image_classifier):
    from zoo.hub.verification import check_values

    for predictor in (text_classifier, image_classifier):
        check = check_values(predictor)
        assert check == check_values(predictor)
        assert set(check) == {"input", "output"}
    assert check["input"] == "ramp: (7 · i) mod 256 over all bytes"


def test_answers_are_printed_with_their_probabilities(text_classifier):
    one = text_classifier("hello", top_k=2)
    (first, p), (second, q) = one.probabilities.items()
    assert list(text_classifier.printed(["hello"])) == [f"{first} {p:.4f}"]
    assert list(text_classifier.printed(["hello"], top_k=2)) == [
        f"{first} {p:.4f}  {second} {q:.4f}"
    ]


def test_a_model_that_reads_padding_gets_none(text_classifier, key):
    from zoo import predictors
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.models.trax.bag_of_embeddings import BagOfEmbeddingsQuirks

    quirks = BagOfEmbeddingsQuirks(average_padding=True)
    config = BagOfEmbeddingsConfig(vocab_size=258, num_classes=3, d_model=4, trax=quirks)
    card = dataclasses.replace(text_classifier.card, config=config)
    _, variables = random_variables(config, key())
    classifier = predictors.create(card, variables, text_classifier.tokenizer)
    ids = jax.numpy.array([classifier.encode("good")])
    bare = jax.nn.softmax(run(classifier.module, variables, ids))[0]
    assert classifier("good").probability == pytest.approx(float(bare.max()), abs=1e-6)
    assert classifier(["good", "", "not so good"])[0] == classifier("good")


def test_a_task_without_predictor_is_named(text_classifier):
    from zoo import predictors

    card = dataclasses.replace(text_classifier.card, task="juggling")
    with pytest.raises(
        ValueError,
        match=r"the card 'toy' is for the task 'juggling'; known are .*text_classification, image",
    ):
        predictors.create(card, text_classifier.variables, None)


def test_predictors_are_frozen(text_classifier):
    with pytest.raises(dataclasses.FrozenInstanceError):
        text_classifier.tokenizer = None


def test_padding_is_the_model_s(key):
    from helpers import SIZES, toy_predictor

    from zoo.models.transformer import TransformerConfig, TransformerEncoderConfig
    from zoo.tokenizers import IdTokenizer

    ids = jax.numpy.array([[3, 4, 0, 5]])
    config = TransformerEncoderConfig(**SIZES, vocab_size=11, num_layers=1, num_classes=2, pad_id=9)
    assert config.padding == 9
    model = toy_predictor(
        config, "text_classification", key, tokenizer=IdTokenizer(11), labels=("a", "b")
    )
    logits = run(model.module, model.variables, ids)
    probability = dict(zip("ab", jax.nn.softmax(logits)[0].tolist(), strict=True))
    assert model("3 4 0 5").probabilities == pytest.approx(probability)
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    config = TransformerConfig(**SIZES, **layers, vocab_size=11, pad_id=9)
    model = toy_predictor(config, "translation", key, tokenizer=IdTokenizer(11))
    target = jax.numpy.array([[7, 1]])
    logp = jax.nn.log_softmax(run(model.module, model.variables, ids, target))[0]
    assert model.score("3 4 0 5", "7") == pytest.approx(float(logp[0, 7] + logp[1, 1]), rel=1e-4)


def test_a_classifier_without_numbers_has_no_answer(text_classifier):
    params = dict(text_classifier.variables["params"])
    params["head"] = dict(params["head"], bias=params["head"]["bias"].at[1].set(np.nan))
    damaged = dataclasses.replace(text_classifier, variables={"params": params})
    with pytest.raises(FloatingPointError, match="the model 'toy' has no answer: its numbers are"):
        damaged("hello")


def test_a_notebook_shows_a_prediction_as_bars():
    from zoo.predictors import Prediction

    html = Prediction("pos", 0.75, {"pos": 0.75, "<neg>": 0.25})._repr_html_()
    assert html.count("width: 75.0%") == 1
    assert "&lt;neg&gt;" in html
