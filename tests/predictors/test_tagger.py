"""The tagger: one tag a word, the same alone and in any batch, whatever reads the padding."""

from __future__ import annotations

import pickle

import jax
import jax.numpy as jnp
import pytest
from helpers import random_variables, run

LABELS = ("O", "B-geo", "I-geo")
WORDS = ("<pad>", "<eos>", "<unk>", "the", "London", "Mr.", "10,000", ".", "'s")


@pytest.fixture
def make(toy_tagger, key):
    """Makes a tagger with random weights."""

    def make(tokenizer=None, config_class=toy_tagger, **fields):
        from zoo import predictors, tokenizers
        from zoo.storage.cards import Card

        tokenizer = tokenizer or tokenizers.WordTokenizer(WORDS)
        config = config_class(
            vocab_size=max(tokenizer.vocab_size, 8), num_classes=len(LABELS), **fields
        )
        card = Card(
            name="toy",
            task="tagging",
            config=config,
            labels=LABELS,
            tokenizer=tokenizers.describe(tokenizer),
        )
        _, variables = random_variables(config, key())
        return predictors.create(card, variables, tokenizer)

    return make


def test_each_word_has_a_tag_with_its_probability(make):
    from zoo.predictors import Tag

    tagger = make()
    answer = tagger("London's Mr. Lee pays 10,000.")
    assert [tag.word for tag in answer] == ["London", "'s", "Mr.", "Lee", "pays", "10,000", "."]
    assert all(isinstance(tag, Tag) for tag in answer)
    ids = jnp.array([[4, 8, 5, 2, 2, 6, 7]])
    probabilities = jax.nn.softmax(run(tagger.module, tagger.variables, ids))[0]
    for tag, row in zip(answer, probabilities, strict=True):
        assert tag.label == LABELS[int(row.argmax())]
        assert tag.probability == pytest.approx(float(row.max()), abs=1e-6)


def test_words_that_are_split_already_stay_as_they_are(make):
    tagger = make()
    (answer,) = tagger([["the", "London's", "10,000 ."]])
    assert [tag.word for tag in answer] == ["the", "London's", "10,000 ."]
    mixed = tagger(["the London", ("the", "London"), []])
    assert mixed[0] == mixed[1]
    assert mixed[2] == []


def test_one_sentence_gives_a_list_and_a_list_a_list_of_lists(make):
    tagger = make()
    assert tagger("") == tagger("  ") == []
    assert tagger([]) == []
    assert tagger(["", "the"]) == [[], tagger("the")]
    assert len(tagger("the")) == 1


def test_a_notebook_shows_a_sentence_in_colours_which_is_a_list_all_the_same(make):
    answer = make()("the <b>London</b>")
    html = answer._repr_html_()
    assert "&lt;" in html and "<b>" not in html
    assert list(answer) == answer and repr(answer) == repr(list(answer))
    again = pickle.loads(pickle.dumps(answer))
    assert again == answer and again._repr_html_() == html


@pytest.mark.parametrize(
    "fields",
    [{}, {"pad_id": None}, {"pad_id": None, "bidirectional": False}, {"bidirectional": False}],
)
def test_an_answer_is_the_same_alone_in_any_batch_and_twice(make, fields):
    tagger = make(**fields)
    # The shortest and longest of a padded length, and lengths between; each in several rows.
    different = [["London"] * n + ["the"] * (n % 3) for n in (0, 1, 6, 14, 16, 36)]
    together = tagger(different * 20)
    for sentence, answer in zip(different, together, strict=False):
        (alone,) = tagger([sentence])
        assert alone == tagger([sentence])[0]
        assert [tag.label for tag in alone] == [tag.label for tag in answer]
        assert [tag.probability for tag in alone] == pytest.approx(
            [tag.probability for tag in answer], abs=1e-6
        )
        if sentence:
            ids = jnp.array([tagger.tokenizer.encode_words(sentence)])
            bare = jax.nn.softmax(run(tagger.module, tagger.variables, ids))[0].max(axis=-1)
            assert [tag.probability for tag in alone] == pytest.approx(bare.tolist(), abs=1e-6)


def test_a_model_of_plain_ids_tags_ids(make):
    from zoo.tokenizers import IdTokenizer

    tagger = make(IdTokenizer(8))
    assert [tag.word for tag in tagger("3 7 5")] == ["3", "7", "5"]
    assert list(tagger.sample_inputs())[:2] == ["3 4 5", ""]
    with pytest.raises(ValueError, match="'London' is not an integer"):
        tagger("London")


def test_what_is_no_sentence_is_refused(make):
    from zoo.tokenizers import ByteTokenizer

    message = (
        "a tagger takes a string, or a list whose items are strings or lists of words; "
        r"got {} \({}\)"
    )
    with pytest.raises(TypeError, match=message.format("int", "3")):
        make()(["fine", 3])
    with pytest.raises(TypeError, match=message.format("list", r"\['fine', 3\]")):
        make()([["fine", 3]])
    with pytest.raises(ValueError, match="the card 'toy' has no vocabulary of words, so its mo"):
        make(ByteTokenizer())("the")


def test_a_vocabulary_without_an_unknown_word_refuses_others_but_can_be_checked(make):
    from zoo.hub.verification import check_values
    from zoo.tokenizers import WordTokenizer

    tagger = make(WordTokenizer(["a", "b", "c", "d", "e", "f"]))
    with pytest.raises(ValueError, match="'x' is not in the vocabulary, which has no entry for"):
        tagger("a x")
    assert check_values(tagger)["input"] == "d e f"
    assert list(tagger.sample_inputs().values()) == ["d e f", "", "d"]


def test_check_values_repeat_and_answers_can_be_shown(make):
    from zoo.hub.verification import check_values

    tagger = make()
    assert check_values(tagger) == check_values(tagger)
    assert [row[0] for row in check_values(tagger)["output"]][:2] == ["It", "is"]
    (first, second) = tagger("the London")
    assert list(tagger.printed(["the London", ""])) == [
        f"the\t{first.label}\t{first.probability:.4f}\n"
        f"London\t{second.label}\t{second.probability:.4f}\n",
        "",
    ]
    with pytest.raises(ValueError, match="top_k is for classifiers; a tagger gives each word one"):
        list(tagger.printed(["the"], top_k=2))


def test_a_reformer_tags_up_to_its_greatest_length_and_no_sentence_changes_another_s(make):
    from zoo.models.reformer.models import ReformerTaggerConfig

    sizes = {"d_model": 8, "d_ff": 12, "num_heads": 2, "d_key": 4, "d_value": 4, "max_len": 20}
    tagger = make(config_class=ReformerTaggerConfig, num_layers=1, **sizes)
    short, long = ["the"] * 3, ["London", "the"] * 10
    alone, together = tagger([short]), tagger([short, long, short * 2])
    assert [len(tags) for tags in together] == [3, 20, 6]
    for tag, other in zip(alone[0], together[0], strict=True):
        assert tag.probability == pytest.approx(other.probability, abs=1e-5)
    with pytest.raises(
        ValueError, match=r"a sentence of 21 words is longer than .* max_len=20; sp"
    ):
        tagger([[*long, "the"]])
