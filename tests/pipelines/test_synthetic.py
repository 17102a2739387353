from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from zoo.config import ConfigError, from_json, to_json
from zoo.pipelines.base import DataConfig
from zoo.pipelines.synthetic import CopyData
from zoo.tokenizers import IdTokenizer


def take(batches, number: int = 99) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(batches, number))


def assert_equal(left, right) -> None:
    for a, b in zip(left, right, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_targets_are_the_inputs_followed_by_end_of_sequence():
    (batch,) = take(CopyData(vocab_size=5, min_len=2, max_len=6).open().train(200, seed=0), 1)
    assert {key: (value.shape, value.dtype.name) for key, value in batch.items()} == {
        "inputs": ((200, 6), "int32"),
        "targets": ((200, 7), "int32"),
        "weights": ((200, 7), "float32"),
    }
    seen = set()
    for inputs, targets, weights in zip(*batch.values(), strict=True):
        length = np.count_nonzero(inputs)
        seen |= {length}
        assert set(inputs[:length].tolist()) <= {2, 3, 4}
        assert targets.tolist() == [*inputs[:length], 1, *[0] * (6 - length)]
        assert weights.tolist() == [1] * (length + 1) + [0] * (6 - length)
    assert seen == {2, 3, 4, 5, 6}
    assert set(batch["inputs"].flat) == {0, 2, 3, 4}


def test_a_language_model_sees_each_sequence_twice_and_learns_the_second():
    config = CopyData(vocab_size=9, max_len=4, two_times=True)
    (batch,) = take(config.open().train(100, seed=0), 1)
    np.testing.assert_array_equal(batch["inputs"], batch["targets"])
    assert config.open().facts.preprocessing == {"eos": False}
    for tokens, weights in zip(batch["inputs"], batch["weights"], strict=True):
        length = int(weights.sum())
        word = tokens[1 : length + 1].tolist()
        assert min(word) >= 2
        assert tokens.tolist() == [0, *word, 0, *word, *[0] * (8 - 2 * length)]
        assert weights.tolist() == [0] * (length + 2) + [1] * length + [0] * (8 - 2 * length)


@pytest.mark.shared
def test_the_format_is_that_of_traxs_trained_language_model(shared):
    path = shared / "golden/open/real_copy/transformerlm_copy_decode.json"
    for case in json.loads(path.read_text())["cases"]:
        prompt, word = case["inputs"], case["greedy"]
        assert prompt == [0, *word, 0]  # and then comes the word again


@pytest.mark.parametrize("two_times", [False, True])
def test_a_resumed_run_sees_what_it_would_have_seen(two_times):
    opened = CopyData(two_times=two_times).open()
    whole = take(opened.train(4, seed=3), 7)
    assert_equal(take(opened.train(4, seed=3, start=5), 2), whole[5:])
    other = take(opened.train(4, seed=4), 1)
    assert (other[0]["inputs"] != whole[0]["inputs"]).any()
    assert (whole[1]["inputs"] != whole[0]["inputs"]).any()


def test_evaluation_has_the_same_examples_whatever_the_batch_size():
    opened = CopyData(num_examples=10).open()
    assert opened.facts.num_examples == {"validation": 10, "test": 10}

    def rows(split: str, batch_size: int) -> list[list[int]]:
        batches = take(opened.evaluate(split, batch_size))
        assert {len(batch["inputs"]) for batch in batches} == {batch_size}
        return [row.tolist() for b in batches for row in b["inputs"][b["weights"].any(axis=1)]]

    assert rows("test", 4) == rows("test", 10) == rows("test", 16)
    assert len(rows("test", 4)) == 10
    assert rows("test", 4) != rows("validation", 4)


def test_text_is_integers_between_spaces():
    facts = CopyData(vocab_size=7).open().facts
    assert isinstance(facts.tokenizer, IdTokenizer)
    assert facts.decides["vocab_size"] == 7
    tokenizer = IdTokenizer(20)
    assert CopyData().open(tokenizer=tokenizer).facts.tokenizer is tokenizer


def test_a_config_survives_json():
    config = CopyData(two_times=True, max_len=5)
    assert from_json(DataConfig, to_json(config)) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 2}, "vocab_size is 2; it must be 3 or more"),
        (
            {"min_len": 0},
            "min_len is 0 and max_len is 16; they must be 1 or more, and min_len not above max_len",
        ),
        (
            {"min_len": 9, "max_len": 8},
            "min_len is 9 and max_len is 8; they must be 1 or more, and min_len not above max_len",
        ),
        ({"num_examples": 0}, "num_examples is 0; it must be 1 or more"),
    ],
)
def test_values_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ConfigError) as error:
        CopyData(**fields)
    assert str(error.value) == message


def test_what_the_copy_task_does_not_have_is_refused():
    with pytest.raises(ConfigError) as error:
        CopyData().open([("a", "b")])
    assert str(error.value) == "the copy task draws its examples; it takes no data"
    with pytest.raises(LookupError) as missing:
        CopyData().open().evaluate("train", 4)
    assert str(missing.value) == "the copy task has no split 'train'; it has validation, test"
