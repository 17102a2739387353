"""Texts beyond the window of a language model: it slides."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SIZES, run, toy_predictor

WINDOW = 12


@pytest.fixture
def model(language_model):
    card = dataclasses.replace(language_model.card, preprocessing={"eos": False, "window": WINDOW})
    return dataclasses.replace(language_model, card=card)


def test_a_long_text_is_written_from_windows_of_the_trained_length(model):
    ids, start = model.encode("abcde"), 0
    while len(ids) < 40:
        if len(ids) - start == WINDOW:
            start += WINDOW // 2
        window = jnp.asarray([[*ids[start:], 0]])
        ids.append(int(run(model.module, model.variables, window)[0, -1].argmax()))
    expected = model._continuation(ids[:5], ids[5:])
    assert model.generate("abcde", max_new_tokens=35, temperature=0.0) == expected
    # Reading a long prompt is the same as having written it.
    keys = np.zeros((1, 2), np.uint32)
    for place in (11, 12, 13, 17, 18, 30):
        ((written,),) = model._generate(
            [ids[:place]], _greedy(), 40 - place, 1, keys, counted="nothing"
        )
        assert written[0] == ids[place:]


def _greedy():
    from zoo.decoding import Sampling

    return Sampling().choice()


def test_alone_in_a_batch_streamed_and_among_several_a_long_text_is_the_same(model):
    options = {"max_new_tokens": 30, "seed": 3}
    prompts = ["", "abc", "To be, or not to be, that is", "abcdefghijkl"]
    together = model.generate(prompts, **options)
    for prompt, answer in zip(prompts, together, strict=True):
        assert "".join(model.generate(prompt, stream=True, **options)) == answer
        assert model.generate(prompt, num_return=2, **options)[0].text == answer


def test_windows_are_drawn_independently(key):
    from zoo.models.transformer import TransformerLMConfig
    from zoo.tokenizers import IdTokenizer

    config = TransformerLMConfig(**SIZES, vocab_size=12, num_layers=1)
    entries = {"eos": False, "window": 8}
    model = toy_predictor(config, "language_modeling", key, entries, IdTokenizer(12))
    logits = model.variables["params"]["logits"]
    logits.update(jax.tree.map(jnp.zeros_like, logits))
    answers = model.generate([f"{n // 10} {n % 10}" for n in range(100)], max_new_tokens=30)
    drawn = np.array([answer.split() for answer in answers])
    for one in range(2, 26):  # what is drawn at the same place of different windows
        same = np.mean(drawn[:, one] == drawn[:, one + 4])
        assert same < 0.25  # 1 / 12 is expected


def test_scores_of_a_long_text_are_those_it_was_written_with(model):
    prompt = "abcdefghijklmnop"
    answer = model.generate(prompt, max_new_tokens=20, temperature=0.0, scores=True)
    text = "xy" * 20
    before, after = model.score(["ab", text])
    assert after < before < 0
    ids = model.encode(prompt)
    (row,) = model._generate([ids], _greedy(), 20, 1, np.zeros((1, 2), np.uint32), "new")
    whole, start = model._score([ids + row[0][0], ids])
    assert answer.score == pytest.approx(whole - start, rel=1e-4)


def test_a_card_names_the_window_and_a_recipe_writes_it(model):
    import zoo
    from zoo.pipelines.language import LanguageModelingData
    from zoo.storage import entries

    assert zoo.card("transformer_shakespeare").preprocessing["window"] == 128
    data = LanguageModelingData(length=7, holdout=0.5)
    facts = data.open({"train": ["some text " * 5]}).facts
    assert facts.preprocessing == {"eos": False, "window": 7}
    card = dataclasses.replace(model.card, preprocessing={"window": 0})
    with pytest.raises(ValueError, match=r"preprocessing\.window is 0; it must be 1 or more"):
        entries.PREPROCESSING[card.task](card)
