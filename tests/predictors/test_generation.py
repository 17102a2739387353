"""Translators and language models: options, scores, and answers that depend on nothing else."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SIZES, run
from helpers import toy_predictor as make

SENTENCES = ["abc", "a longer sentence, of words", "", "ü", "abd", "x" * 30]


def test_a_sentence_gives_a_string_and_a_list_a_list_in_its_order(translator):
    options = {"beam_size": 1, "max_new_tokens": 6}
    together = translator(SENTENCES * 2, **options)
    assert together[: len(SENTENCES)] == together[len(SENTENCES) :]
    assert together[2] == ""
    for sentence, answer in zip(SENTENCES, together, strict=False):
        assert translator(sentence, **options) == answer
    assert len(set(together)) > 3
    assert translator([], **options) == []


def test_beams_are_the_same_alone_and_in_a_batch_and_their_scores_are_those_of_score(translator):
    options = {"beam_size": 3, "num_return": 2, "max_new_tokens": 5}
    together = translator(SENTENCES, **options)
    for sentence, answers in zip(SENTENCES, together, strict=True):
        assert len(answers) == 2
        alone = translator(sentence, **options)
        assert [answer.text for answer in alone] == [answer.text for answer in answers]
        for one, other in zip(alone, answers, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
    best = translator("abc", beam_size=3, max_new_tokens=5, scores=True)
    assert best.text == together[0][0].text
    assert translator("abc", beam_size=3, max_new_tokens=5) == best.text


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"beam_size": 3}, {"temperature": 1.0}])
def test_an_answer_that_does_not_end_has_as_many_tokens_as_asked_for(
    translator, language_model, options
):
    from zoo.tokenizers import IdTokenizer

    params = {**translator.variables["params"]}
    bias = params["logits"]["bias"].at[1].set(-1e9)  # the end is never chosen
    params["logits"] = {**params["logits"], "bias": bias}
    endless = dataclasses.replace(
        translator, variables={"params": params}, tokenizer=IdTokenizer(258)
    )
    for asked in (5, 8, 9):  # room is made in powers of two
        assert len(endless("3 4 5", max_new_tokens=asked, **options).split()) == asked
    if "beam_size" not in options:
        numbers = dataclasses.replace(language_model, tokenizer=IdTokenizer(258))
        assert len(numbers.generate("3 4 5", max_new_tokens=5, **options).split()) == 5


def test_a_score_is_the_sum_of_the_log_probabilities_end_included(translator):
    source, target = "abc", "de"
    ids = translator.tokenizer.encode(target)
    logits = run(
        translator.module,
        translator.variables,
        jnp.array([translator.tokenizer.encode(source)]),
        jnp.array([[*ids, 1]]),
    )
    expected = sum(
        float(jax.nn.log_softmax(row)[token])
        for row, token in zip(logits[0], [*ids, 1], strict=True)
    )
    assert translator.score(source, target) == pytest.approx(expected, rel=1e-5)
    several = translator.score([source, "a longer sentence", source], [target, "x", target])
    assert several[0] == several[2] == pytest.approx(expected, rel=1e-5)


def test_a_prefix_is_kept_for_each_sentence_or_for_all(translator):
    for beam_size in (1, 2):
        options = {"beam_size": beam_size, "max_new_tokens": 6}
        both = translator(["abc", "abd"], prefix=["QQ", "R"], **options)
        assert both[0].startswith("QQ") and both[1].startswith("R")
        assert translator("abd", prefix="R", **options) == both[1]


def test_samples_repeat_with_their_seed_in_any_batch(translator):
    options = {"temperature": 1.0, "max_new_tokens": 6}
    alone = translator("abc", seed=3, **options)
    assert translator(["abd", "abc"], seed=3, **options)[1] == alone
    several = translator("abc", seed=3, num_return=4, **options)
    assert several[0].text == alone
    assert len({answer.text for answer in several}) > 1
    (single,) = translator("abc", seed=3, num_return=1, **options)  # asked for, so a list of one
    assert single == several[0]
    assert len({translator("abc", seed=seed, **options) for seed in range(5)}) > 1
    assert all(answer.score < 0 for answer in several)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_return": 0}, r"num_return is 0; it must be 1 or more"),
        ({"num_return": 5, "beam_size": 2}, r"num_return=5 is more than beam_size=2; raise beam"),
        ({"temperature": 1.0, "beam_size": 2}, r"beam_size=2 and temperature=1.0 exclude each"),
        ({"top_k": 3}, r"top_k and top_p are for sampling: give a temperature above 0 too"),
        ({"max_new_tokens": 0}, r"max_new_tokens is 0; it must be 1 or more"),
        ({"prefix": ["a", "b"]}, r"2 prefixes for 1 sentences; give one for each, or one"),
    ],
)
def test_options_that_do_not_fit_are_refused(translator, options, message):
    with pytest.raises(ValueError, match=message):
        translator("abc", **options)


def test_a_sentence_that_is_too_long_is_refused_not_cut(translator):
    with pytest.raises(
        ValueError,
        match=r"a sentence of 41 tokens is longer than this model's max_len=40: 'xxx.*'…; split it",
    ):
        translator(["fine", "x" * 41])
    assert isinstance(translator("x" * 40, max_new_tokens=2), str)
    with pytest.raises(ValueError, match=r"a sentence of 40 tokens is longer"):
        translator.score("abc", "x" * 40)  # there is no room for its end


def test_pairs_must_be_pairs(translator):
    with pytest.raises(ValueError, match="2 sources and 1 targets; give one target for each"):
        translator.score(["a", "b"], ["c"])
    with pytest.raises(TypeError, match="score takes two strings or two lists of strings"):
        translator.score("a", ["c"])


def test_a_stream_joins_to_the_whole(language_model):
    for temperature in (0.0, 1.0):
        options = {"max_new_tokens": 20, "temperature": temperature, "seed": 4}
        whole = language_model.generate("To be", **options)
        pieces = list(language_model.generate("To be", stream=True, **options))
        assert "".join(pieces) == whole
        assert len(pieces) > 1


def test_continuations_are_the_same_alone_and_in_a_batch(language_model):
    prompts = ["", "a", "To be, or not", "ü"]
    for temperature in (0.0, 0.8):
        options = {"max_new_tokens": 9, "temperature": temperature, "seed": 1}
        together = language_model.generate(prompts, **options)
        for prompt, answer in zip(prompts, together, strict=True):
            assert language_model.generate(prompt, **options) == answer
            assert len(language_model.tokenizer.encode(answer)) > 0


def test_a_greedy_continuation_is_the_most_probable_token_each_time(language_model):
    ids = language_model.tokenizer.encode("ab")
    while len(ids) < 7:  # what follows a token does not reach it: one length for all
        tokens = jnp.array([[*ids, *[0] * (8 - len(ids))]])
        logits = run(language_model.module, language_model.variables, tokens)
        ids.append(int(jnp.argmax(logits[0, len(ids)])))
    expected = language_model.tokenizer.decode(ids[2:])
    assert language_model.generate("ab", max_new_tokens=5, temperature=0.0) == expected


def test_a_model_that_knows_an_end_stops_there_and_scores_it(language_model):
    bias = language_model.variables["params"]["logits"]["bias"]
    params = dict(language_model.variables["params"])
    params["logits"] = dict(params["logits"], bias=bias.at[1].set(1000.0))
    ends = dataclasses.replace(
        language_model,
        variables={"params": params},
        card=dataclasses.replace(language_model.card, preprocessing={"eos": True}),
    )
    assert ends.generate("ab", max_new_tokens=9, temperature=0.0) == ""
    assert list(ends.generate("ab", max_new_tokens=9, temperature=0.0, stream=True)) == []
    goes_on = dataclasses.replace(ends, card=language_model.card)
    assert ends.score("") == pytest.approx(0.0, abs=1e-3)
    assert goes_on.score("") == 0.0
    assert goes_on.score("a") < -100


def test_a_score_is_that_of_the_continuation_not_of_the_prompt(key):
    from zoo.models.transformer import TransformerLMConfig
    from zoo.tokenizers import IdTokenizer

    config = TransformerLMConfig(**SIZES, vocab_size=11, num_layers=1)
    for ends in (False, True):
        model = make(config, "language_modeling", key, {"eos": ends}, IdTokenizer(11))
        prompts = ["3 4", "5", "", "3 4 5 6 7 8 9"]
        answers = model.generate(prompts, max_new_tokens=9, seed=2, num_return=6)
        assert answers[0][0].text == model.generate("3 4", max_new_tokens=9, seed=2)
        for prompt, several in zip(prompts, answers, strict=True):
            for answer in several:
                ids, own = model.encode(prompt), model.encode(answer.text)
                ended = [1] if ends and len(own) < 9 else []
                tokens = jnp.array([[*ids, *own, *ended, *[0] * 16]])[:, :16]
                logits = run(model.module, model.variables, tokens)
                logp = jax.nn.log_softmax(logits)[0, np.arange(16), tokens[0]]
                expected = logp[len(ids) : len(ids) + len(own) + len(ended)].sum()
                assert answer.score == pytest.approx(float(expected), rel=1e-4)


def test_an_end_inside_a_prompt_ends_nothing(key):
    from zoo.models.transformer import TransformerConfig, TransformerLMConfig
    from zoo.tokenizers import IdTokenizer

    config = TransformerLMConfig(**SIZES, vocab_size=11, num_layers=1)
    model = make(config, "language_modeling", key, {}, IdTokenizer(11))
    bias = model.variables["params"]["logits"]["bias"]
    bias += jnp.zeros(11).at[0].set(-1000.0).at[1].set(-1000.0)
    params = {**model.variables["params"]}
    params["logits"] = {**params["logits"], "bias": bias}
    goes_on = dataclasses.replace(model, variables={"params": params})
    together = goes_on.generate(["3 1 4", "3"], max_new_tokens=6, temperature=0.0)
    for answer, prompt in zip(together, ["3 1 4", "3"], strict=True):
        assert len(answer.split()) == 6 and "0" not in answer.split()
        assert goes_on.generate(prompt, max_new_tokens=6, temperature=0.0) == answer
    pieces = goes_on.generate("3 1 4", max_new_tokens=6, temperature=0.0, stream=True)
    assert "".join(pieces) == together[0]

    config = TransformerConfig(**SIZES, vocab_size=11, num_encoder_layers=1, num_decoder_layers=1)
    translator = make(config, "translation", key, {}, IdTokenizer(11))
    for options in ({"beam_size": 1}, {"beam_size": 2}, {"temperature": 1.0}):
        both = translator(["3 4", "5"], prefix=["7 1 8", "9"], max_new_tokens=8, **options)
        assert both[0].startswith("7 1 8")
        assert translator("3 4", prefix="7 1 8", max_new_tokens=8, **options) == both[0]


def test_an_empty_source_has_the_score_of_an_empty_translation(translator):
    expected = translator.score("", "")
    assert translator("", scores=True).score == pytest.approx(expected) != 0
    several = translator(["abc", ""], temperature=1.0, num_return=2, max_new_tokens=3)[1]
    assert [answer.text for answer in several] == ["", ""]
    assert [answer.score for answer in several] == pytest.approx([expected] * 2)
    assert translator("", prefix="QQ", max_new_tokens=5).startswith("QQ")


def test_a_model_without_numbers_has_no_answer(translator, language_model):
    def damaged(model):
        params = jax.tree.map(lambda x: x, dict(model.variables["params"]))
        params["logits"]["bias"] = params["logits"]["bias"].at[5].set(jnp.nan)
        return dataclasses.replace(model, variables={"params": params})

    model, translate = damaged(language_model), damaged(translator)
    message = r"the model 'toy' has no answer: its numbers are NaN or infinite\. Its training"
    for ask in (
        lambda: model.generate("ab", max_new_tokens=3),
        lambda: model.generate("ab", max_new_tokens=3, temperature=0.0),
        lambda: list(model.generate("ab", max_new_tokens=3, stream=True)),
        lambda: model.score("ab"),
        lambda: translate("ab", beam_size=1, max_new_tokens=3),
        lambda: translate("ab", beam_size=2, max_new_tokens=3),
        lambda: translate("ab", temperature=1.0, max_new_tokens=3),
        lambda: translate.score("ab", "c"),
    ):
        with pytest.raises(FloatingPointError, match=message):
            ask()


def test_a_continuation_that_fills_its_room_is_scored_without_an_end(language_model):
    bias = language_model.variables["params"]["logits"]["bias"]
    params = dict(language_model.variables["params"])
    params["logits"] = dict(params["logits"], bias=bias.at[1].set(-1000.0))
    goes_on = dataclasses.replace(language_model, variables={"params": params})
    card = dataclasses.replace(goes_on.card, preprocessing={"eos": True})
    knows_an_end = dataclasses.replace(goes_on, card=card)
    options = {"max_new_tokens": 38, "scores": True}
    assert knows_an_end.generate("ab", **options) == goes_on.generate("ab", **options)
    assert knows_an_end.score("x" * 40) < goes_on.score("x" * 40) < 0


def test_a_translation_that_fills_its_room_is_scored_without_an_end(translator):
    params = dict(translator.variables["params"])
    bias = params["logits"]["bias"].at[1].set(-1000.0)
    params["logits"] = dict(params["logits"], bias=bias)
    goes_on = dataclasses.replace(translator, variables={"params": params})
    whole = goes_on("abc", beam_size=1, scores=True)
    assert whole.score > -1000
    short = goes_on("abc", beam_size=1, max_new_tokens=3, scores=True)
    (wide,) = goes_on(["abc"], beam_size=2, max_new_tokens=3, scores=True)
    assert -100 < short.score <= wide.score + 1e-4


def test_a_prefix_is_never_cut(translator):
    answer = translator("a", prefix="x" * 30, beam_size=1)
    assert answer.startswith("x" * 30)
    with pytest.raises(ValueError) as error:
        translator("a", prefix="xyz", max_new_tokens=3)
    assert str(error.value) == (
        "a prefix of 3 tokens leaves no room in a translation of 3; give a shorter one, or more "
        "max_new_tokens"
    )


def test_what_stands_between_a_prompt_and_its_continuation_is_kept(key):
    from zoo.models.transformer import TransformerLMConfig
    from zoo.tokenizers import IdTokenizer

    config = TransformerLMConfig(**SIZES, vocab_size=11, num_layers=1)
    model = make(config, "language_modeling", key, {"eos": False}, IdTokenizer(11))
    whole = model.generate("", max_new_tokens=6, temperature=0.0)
    prompt = model.tokenizer.decode(model.encode(whole)[:2])
    answer = model.generate(prompt, max_new_tokens=4, temperature=0.0)
    assert answer[0] == " "
    assert prompt + answer == whole
    pieces = model.generate(prompt, max_new_tokens=20, temperature=0.0, stream=True)
    assert "".join(pieces) == model.generate(prompt, max_new_tokens=20, temperature=0.0)


def test_rows_that_fill_a_batch_up_repeat_the_first():
    from zoo.predictors.batching import batches

    sequences = [[5, 6, 7], [8]]
    (batch,) = batches([3, 1], 40)
    assert batch.rows == 8
    rows = batch.pad(sequences, 9)
    assert batch.lengths(sequences).tolist() == [1, 3, *[1] * 6]
    assert (rows[2:] == rows[0]).all() and rows[0, :2].tolist() == [8, 9]


def test_a_score_depends_on_no_padding_that_would_be_hashed(key):
    from zoo import decoding
    from zoo.models.reformer.hashing import LSHAttentionConfig
    from zoo.models.reformer.models import ReformerLMConfig

    hashed = LSHAttentionConfig(chunk_len=4, num_buckets=4)
    fields = {"num_layers": 1, "d_key": 8, "d_value": 8, "attention": (hashed,), "pad_id": None}
    shape = {"axial_shape": (8, 5), "max_len": 2048}
    config = ReformerLMConfig(**(SIZES | fields | shape), vocab_size=258)
    model = make(config, "language_modeling", key, {"eos": False})
    text = "a text of 19 letter"
    ids = jnp.asarray([model.encode(text)])
    logits = run(model.module, model.variables, ids)
    (expected,) = decoding.log_probabilities(logits, ids, jnp.ones(ids.shape))
    assert model.score([text, "b"])[0] == pytest.approx(float(expected), rel=1e-4)
    padded = jnp.pad(ids, ((0, 0), (0, 13)))
    moved = run(model.module, model.variables, padded)[:, : len(text)]
    assert np.abs(moved - logits).max() > 1e-3
    assert model.score("x" * 41) < 0  # read in two windows


def test_neither_target_nor_prefix_reaches_a_source_whose_padding_would_be_read(key):
    from zoo.models.reformer.hashing import LSHAttentionConfig
    from zoo.models.reformer.models import ReformerConfig

    # The number of buckets follows from the length.
    hashed = LSHAttentionConfig(chunk_len=2, num_hashes=2)
    config = ReformerConfig(
        **{**SIZES, "max_len": 64, "d_key": 8, "d_value": 8},
        vocab_size=258,
        num_encoder_layers=1,
        num_decoder_layers=1,
        attention=(hashed,),
    )
    assert config.reads_padding
    translator = make(config, "translation", key)
    ids = jnp.array([translator.encode("a ship")])
    target = jnp.array([[*translator.encode("b" * 20), 1]])
    logits = np.asarray(run(translator.module, translator.variables, ids, target), np.float64)
    total = np.log(np.exp(logits).sum(-1))
    expected = (np.take_along_axis(logits, target[..., None], -1)[..., 0] - total).sum()
    assert translator.score("a ship", "b" * 20) == pytest.approx(expected, abs=1e-2)
    assert translator.score(["a ship", "x"], ["b" * 20, "y"])[0] == pytest.approx(
        expected, abs=1e-2
    )
    begun = translator("a ship", prefix="b" * 30, beam_size=1)
    assert begun.startswith("b" * 30)
    assert translator(["x", "a ship"], prefix="b" * 30, beam_size=1)[1] == begun


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, r"num_return is None, max_new_tokens 0; both must be 1 or more"),
        ({"stream": True, "num_return": 2}, r"stream=True takes one prompt, and neither num_retu"),
        ({"temperature": -1.0}, r"temperature is -1; it is 0 \(greedy\) to 1e\+06"),
    ],
)
def test_what_a_language_model_cannot_do_is_said(language_model, options, message):
    with pytest.raises(ValueError, match=message):
        language_model.generate("ab", **options)


def test_check_values_repeat(translator, language_model):
    from zoo.hub.verification import check_values

    for predictor in (translator, language_model):
        check = check_values(predictor)
        assert check == check_values(predictor)
        assert set(check) == {"input", "output", "score"}
        assert check["input"] == "It is nice to learn "  # half of what it takes


def test_answers_are_printed_as_text(translator, language_model):
    assert list(translator.printed(["abc", ""])) == translator(["abc", ""])
    (printed,) = language_model.printed(["ab"])
    assert printed == "ab" + language_model.generate("ab", temperature=0.8)


def test_batches_have_few_shapes_and_every_item_once():
    from zoo.predictors.batching import batches

    random = np.random.default_rng(0)
    lengths = random.integers(1, 190, 500).tolist()
    shapes, seen = set(), []
    for batch in batches(lengths, longest=190):
        shapes.add((batch.rows, batch.length))
        seen += batch.indices
        assert len(batch.indices) <= batch.rows
        assert batch.length <= 190
        for index in batch.indices:
            alone = next(batches([lengths[index]], longest=190))
            assert alone.length == batch.length
    assert sorted(seen) == list(range(500))
    assert len(shapes) <= 3 * len({length for _, length in shapes})
    assert all(rows * length <= max(2048, length) for rows, length in itertools.chain(shapes))
