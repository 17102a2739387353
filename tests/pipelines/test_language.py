from __future__ import annotations

import dataclasses
import itertools
import os

import numpy as np
import pytest

from zoo.config import ConfigError, from_json, to_json
from zoo.pipelines import kept
from zoo.pipelines.base import ColumnError, DataConfig
from zoo.pipelines.language import LanguageModelingData, encode
from zoo.pipelines.tfdata import tensorflow
from zoo.tokenizers import ByteTokenizer, CharTokenizer, IdTokenizer, TokenizerConfig

# Text is its own ids: a document of n tokens is 2, 3, … n + 1.
IDS = TokenizerConfig(kind="ids", vocab_size=1000)


def document(tokens: int) -> str:
    return " ".join(map(str, range(2, tokens + 2)))


def data(**fields) -> LanguageModelingData:
    return LanguageModelingData(**{"tokenizer": IDS, "holdout": 0, "length": 5, **fields})


def take(batches, number: int = 99) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(batches, number))


def assert_equal(left, right) -> None:
    for a, b in zip(left, right, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def message(error: type[Exception], function, *arguments, **keywords) -> str:
    with pytest.raises(error) as caught:
        function(*arguments, **keywords)
    return str(caught.value)


# Training


def test_a_batch_has_inputs_targets_and_weights():
    (batch,) = take(data().open([document(30)]).train(4, seed=0), 1)
    assert {key: (value.shape, value.dtype.name) for key, value in batch.items()} == {
        "inputs": ((4, 5), "int32"),
        "targets": ((4, 5), "int32"),
        "weights": ((4, 5), "float32"),
    }
    np.testing.assert_array_equal(batch["inputs"], batch["targets"])
    assert batch["weights"].all()
    assert (np.diff(batch["inputs"]) == 1).all()  # a window is a piece of the text


@pytest.mark.parametrize("tokens", [5, 6, 9, 10, 27])
def test_an_epoch_has_no_token_twice_and_all_epochs_have_all_tokens(tokens):
    opened = data().open([document(tokens)])
    per_epoch = opened.facts.num_examples["train"]
    assert per_epoch == max(1, (tokens - 4) // 5)
    epochs = [batch["inputs"] for batch in take(opened.train(per_epoch, seed=0), 60)]
    for epoch in epochs:
        starts = np.sort(epoch[:, 0])
        assert (np.diff(starts) == 5).all()
    assert {int(token) for epoch in epochs for token in epoch.flat} == set(range(2, tokens + 2))
    if per_epoch > 1:
        assert len({tuple(epoch[:, 0].tolist()) for epoch in epochs}) > 30


@pytest.mark.parametrize("start", [1, 2, 9])
def test_a_resumed_run_sees_what_it_would_have_seen(start):
    opened = data().open([document(33)])
    whole = take(opened.train(4, seed=3), start + 3)  # six windows an epoch: batches span epochs
    assert_equal(take(opened.train(4, seed=3, start=start), 3), whole[start:])


def test_contiguous_rows_go_on_where_they_were():
    opened = data(contiguous=True).open([document(73)])  # three windows a row, and some are left
    batches = [batch["inputs"] for batch in take(opened.train(4, seed=0), 6)]
    for epoch in (batches[:3], batches[3:]):
        rows = np.concatenate(epoch, axis=1)
        assert (np.diff(rows) == 1).all()
        assert len(np.unique(rows)) == rows.size == 60
    assert (batches[0] != batches[3]).any()  # each epoch begins elsewhere
    again = take(opened.train(4, seed=0, start=2), 2)
    np.testing.assert_array_equal([batch["inputs"] for batch in again], batches[2:4])
    assert message(ConfigError, opened.train, 20, seed=0) == (
        "the training text has 73 tokens; a window has length=5, and a contiguous batch 20 of them"
    )


def test_seeds_differ():
    opened = data().open([document(99)])
    (first,), (second,) = (take(opened.train(8, seed=seed), 1) for seed in (0, 1))
    assert (first["inputs"] != second["inputs"]).any()


def test_text_that_is_shorter_than_a_window_can_be_evaluated_but_not_trained_on():
    opened = data().open([document(4)])
    assert opened.facts.num_examples == {"train": 0}
    assert message(ConfigError, opened.train, 2, seed=0) == (
        "the training text has 4 tokens; a window has length=5"
    )
    (batch,) = take(opened.evaluate("train", 1))
    assert batch["weights"].sum() == 3


# Evaluation


@pytest.mark.parametrize("tokens", [2, 3, 5, 6, 9, 13, 41])
@pytest.mark.parametrize("overlap", [0, 1, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_evaluation_predicts_each_token_once_from_enough_context(tokens, overlap, batch_size):
    opened = data(overlap=overlap).open([document(tokens)])
    batches = take(opened.evaluate("train", batch_size))
    assert {batch["inputs"].shape for batch in batches} == {(batch_size, 5)}
    predicted = []
    for batch in batches:
        for ids, weights in zip(batch["inputs"], batch["weights"], strict=True):
            real = np.count_nonzero(ids)
            assert ids[:real].tolist() == list(range(ids[0], ids[0] + real))
            assert set(weights.tolist()) <= {0.0, 1.0}
            assert not weights[real:].any()
            places = np.flatnonzero(weights)
            if ids[0] > 2 and len(places):
                assert places[0] == overlap
            predicted += ids[places].tolist()
    assert predicted == list(range(3 if overlap else 2, tokens + 2))


def test_evaluation_says_how_many_windows_it_has():
    opened = data(overlap=1, holdout=0.5).open([document(20)])
    windows = opened.facts.num_examples["validation"]
    batches = take(opened.evaluate("validation", 2))
    assert sum(batch["weights"].any(axis=1).sum() for batch in batches) == windows


def test_an_unknown_split_lists_the_known_ones():
    opened = data().open([document(9)])
    assert message(LookupError, opened.evaluate, "test", 8) == (
        "the data has no split 'test'; it has 'train'"
    )


# Documents


def test_documents_are_joined_by_end_of_sequence():
    assert encode(["2 3", "", "4"], IdTokenizer(9)).tolist() == [2, 3, 1, 4]
    (batch,) = take(data().open(["2 3", " ", "4 5"]).evaluate("train", 1))
    assert batch["inputs"].tolist() == [[2, 3, 1, 4, 5]]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2**16, "uint16"), (2**16 + 1, "int32")])
def test_ids_take_no_more_room_than_they_need(vocab_size, dtype):
    ids = encode([str(vocab_size - 1)], IdTokenizer(vocab_size))
    assert ids.dtype.name == dtype
    assert ids.tolist() == [vocab_size - 1]


def test_rows_are_texts_columns_or_a_tf_dataset():
    texts = [document(7), document(3)]
    dataset = tensorflow().data.Dataset.from_tensor_slices({"text": texts})
    expected = take(data().open(texts).evaluate("train", 3))
    for rows in ([(text,) for text in texts], {"text": texts}, dataset):
        assert_equal(take(data().open(rows).evaluate("train", 3)), expected)


def test_the_last_characters_validate_even_of_the_middle_of_a_document():
    config = data(holdout=0.25, tokenizer=TokenizerConfig(kind="bytes"), length=2, overlap=0)
    opened = config.open(["abcd", "efgh", "ijkl"])

    def text(split: str) -> str:
        batches = take(opened.evaluate(split, 1))
        ids = [int(i) for batch in batches for i in batch["inputs"].flat]
        return ByteTokenizer().decode(ids)

    assert text("train") == "abcdefghi"
    assert text("validation") == "jkl"


def test_of_many_documents_whole_ones_are_held_out_and_equal_ones_together():
    texts = [f"document {n % 50}" for n in range(200)]
    config = data(holdout=0.25, tokenizer=TokenizerConfig(kind="bytes"), length=2)
    opened = config.open(texts)
    number = {split: found.number for split, found in opened.facts.fingerprints.items()}
    assert sum(number.values()) == 200
    assert number["validation"] % 4 == number["train"] % 4 == 0 < number["validation"] < 100
    assert config.open(texts[::-1]).facts.fingerprints == opened.facts.fingerprints


def test_the_vocabulary_is_trained_on_the_training_text():
    config = data(tokenizer=TokenizerConfig(kind="chars"), holdout=0.5)
    facts = config.open(["aabbab", "ccdddd"]).facts
    assert isinstance(facts.tokenizer, CharTokenizer)
    assert facts.tokenizer.encode("abc") == [3, 4, 2]
    assert facts.decides["vocab_size"] == 5
    tokenizer = ByteTokenizer()
    assert config.open(["aabb"], tokenizer=tokenizer).facts.tokenizer is tokenizer


# Files


@pytest.fixture
def write(tmp_path):
    """Writes files into the data folder; gives a config that finds them and one batch of tokens."""

    def write(contents: dict[str, str], **fields) -> LanguageModelingData:
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content.encode())
        fields = {"data_dir": str(tmp_path), "length": 64, **fields}
        return data(tokenizer=TokenizerConfig(kind="bytes"), **fields)

    return write


def text_of(config: LanguageModelingData, split: str = "train") -> str:
    """The text of a split that is shorter than a window, `|` between documents."""
    (batch,) = take(config.open().evaluate(split, 1))
    return "".join("|" if i == 1 else chr(i - 2) for i in batch["inputs"].flat if i)


def test_a_file_of_text_is_one_document_to_the_last_character(write):
    config = write({"a.txt": "One\r\n\nTwo\n", "b.md": "Three"}, train=("a.txt", "b.md"))
    assert text_of(config) == "One\n\nTwo\n|Three"


def test_lines_may_be_documents(write):
    config = write({"a.txt": "One\n\nTwo\n"}, train=("a.txt",), per_line=True)
    assert text_of(config) == "One|Two"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'id,body\n1,"One 1"\n2,Two\n'),
        ("a.tsv", 'body\tid\nOne 1\t"\nTwo\t"\n'),
        ("a.jsonl", '{"body": "One 1"}\n{"body": "Two"}\n'),
    ],
)
def test_rows_of_a_table_are_documents(write, name, content):
    assert text_of(write({name: content}, train=(name,), text_column="body")) == "One 1|Two"
    with pytest.raises(ColumnError, match="has no column 'text'"):
        write({name: content}, train=(name,)).open()


def test_files_are_splits(write):
    contents = {"a.txt": "abcdef", "b.txt": "ghi", "c.txt": "jkl"}
    config = write(
        contents, train=("a.txt",), validation=("b.txt",), test=("c.txt",), length=4, holdout=0.5
    )
    assert config.open().facts.num_examples == {"train": 1, "validation": 1, "test": 1}
    assert text_of(config, "test") == "jkl"


def test_too_little_text_is_refused(write):
    config = write({"a.txt": "abc", "b.txt": ""}, train=("a.txt",), test=("b.txt",))
    assert message(ValueError, config.open) == (
        "the test text has 0 token(s); it must have 2 or more"
    )


def test_a_missing_file_says_where_it_was_looked_for(write):
    config = write({}, train=("none.txt",))
    assert message(FileNotFoundError, config.open).startswith("no file 'none.txt'; looked for ")


def test_a_file_that_is_not_utf8_is_refused(write, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"a\.txt, line 1: byte 0xe9 at offset 3 is not UTF-8"):
        write({}, train=("a.txt",)).open()


def test_no_data_are_refused():
    assert message(ConfigError, data().open) == (
        "no training data: give data.name, a TFDS data set, or data.train, files of text"
    )


# Configuration


def test_a_config_survives_json():
    config = data(train=("a.txt",), per_line=True)
    assert from_json(DataConfig, to_json(config)) == config
    assert hash(config) == hash(dataclasses.replace(config))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"cache": False},
            "cache is False; LanguageModelingData keeps its rows in memory: leave it at True",
        ),
        ({"train": "a.txt"}, "train is 'a.txt'; it must be a tuple, such as ('a.txt',)"),
        ({"length": 0}, "length is 0; it must be 1 or more"),
        ({"overlap": 5}, "overlap is 5; it must be 0 or more and below length, which is 5"),
        ({"overlap": -1}, "overlap is -1; it must be 0 or more and below length, which is 5"),
    ],
)
def test_values_that_make_no_sense_are_refused(fields, expected):
    assert message(ConfigError, data, **fields) == expected


# Real data


@pytest.mark.shared
def test_tiny_shakespeare_is_split_as_by_nanogpt(shared):
    config = LanguageModelingData(
        data_dir=str(shared / "data"), train=("tiny_shakespeare/input.txt",), holdout=0.1
    )
    opened = config.open()
    assert opened.facts.decides["vocab_size"] == 65 + 3
    assert opened.facts.num_examples == {"train": (1_003_854 - 255) // 256, "validation": 438}
    predicted = sum(batch["weights"].sum() for batch in take(opened.evaluate("validation", 32)))
    assert predicted == 111_540 - 1


@pytest.mark.shared
def test_tfds_brings_its_splits(shared):
    opened = data(
        data_dir=str(shared / "data"),
        name="tiny_shakespeare",
        tokenizer=TokenizerConfig(kind="bytes"),
        length=64,
    ).open()
    assert sorted(opened.facts.num_examples) == ["test", "train", "validation"]
    (batch,) = take(opened.evaluate("train", 1), 1)
    assert ByteTokenizer().decode(batch["inputs"][0]).startswith("First Citizen:\nBefore we proc")


# What is kept from one start to the next


@pytest.fixture
def encoded(monkeypatch, tmp_path):
    """The documents that are encoded, one after the other, with a cache for arrays of any size."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "LEAST", 0)
    asked, encode = [], IdTokenizer.encode
    monkeypatch.setattr(
        IdTokenizer, "encode", lambda self, text: asked.append(text) or encode(self, text)
    )
    return asked


def test_a_corpus_is_encoded_once_for_all_starts(encoded, tmp_path):
    texts = [document(30), document(7)]
    first = data().open(texts)
    assert encoded == texts
    again = data().open(list(texts))
    assert encoded == texts
    assert isinstance(again._tokens["train"], np.memmap)
    assert_equal(take(first.train(2, seed=1), 3), take(again.train(2, seed=1), 3))
    assert first.facts.preprocessing == again.facts.preprocessing
    data().open(texts[::-1])  # equal rows, whose order is part of the text
    assert encoded == [*texts, *texts[::-1]]
    other = TokenizerConfig(kind="ids", vocab_size=999)
    data(tokenizer=other).open(texts)
    assert encoded == [*texts, *texts[::-1], *texts]


def test_a_damaged_or_impossible_cache_costs_time_and_nothing_else(encoded, tmp_path, monkeypatch):
    texts = [document(30)]
    data().open(texts)
    (file,) = (tmp_path / "cache/ids").iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    data().open(texts)
    data().open(texts)
    assert encoded == texts * 2
    monkeypatch.setenv("ZOO_CACHE", str(file))  # a file, and no folder
    data().open(texts)
    assert encoded == texts * 3


def test_what_was_not_asked_for_in_a_month_is_deleted(encoded, tmp_path):
    data().open([document(30)])
    (old,) = (tmp_path / "cache/ids").iterdir()
    os.utime(old, (0, 0))
    data().open([document(31)])
    assert [old] != list((tmp_path / "cache/ids").iterdir()) and not old.exists()


def test_small_texts_are_not_kept(encoded, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "LEAST", 2**23)
    data().open([document(30)])
    assert not (tmp_path / "cache/ids").exists()
