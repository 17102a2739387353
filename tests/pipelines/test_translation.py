from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import Counter

import numpy as np
import pytest

from zoo.config import ConfigError, from_json, to_json
from zoo.pipelines.base import ColumnError, DataConfig
from zoo.pipelines.tfdata import tensorflow
from zoo.pipelines.translation import TranslationData
from zoo.tokenizers import ByteTokenizer, TokenizerConfig

BYTES = TokenizerConfig(kind="bytes")

# Forty pairs; the number of letters tells the pair. The target has half as many, and one.
ROWS = [("s" * n, "t" * (n // 2 + 1)) for n in range(1, 41)]


def data(**fields) -> TranslationData:
    return TranslationData(**{"tokenizer": BYTES, "holdout": 0, **fields})


def take(batches, number: int = 99) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(batches, number))


def pairs_in(batches) -> list[int]:
    """The numbers of the pairs of ROWS, each found whole."""
    found = []
    for batch in batches:
        for inputs, targets, weights in zip(*batch.values(), strict=True):
            if n := np.count_nonzero(inputs):
                assert inputs[:n].tolist() == [ord("s") + 2] * n
                length = int(weights.sum())
                assert targets[:length].tolist() == [ord("t") + 2] * (n // 2 + 1) + [1]
                assert not targets[length:].any()
                assert weights[:length].all()
                found.append(n)
            else:
                assert not targets.any()
                assert not weights.any()
    return found


def assert_equal(left, right) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def message(error: type[Exception], function, *arguments, **keywords) -> str:
    with pytest.raises(error) as caught:
        function(*arguments, **keywords)
    return str(caught.value)


# Batches


def test_only_targets_end_in_end_of_sequence_and_only_they_have_weights():
    opened = data(boundaries=(4,)).open([("ab", "c"), ("ab", "c")])
    (batch,) = take(opened.train(2, seed=0), 1)
    assert list(batch) == ["inputs", "targets", "weights"]
    assert batch["inputs"].tolist() == [[99, 100, 0, 0]] * 2
    assert batch["targets"].tolist() == [[101, 1, 0, 0]] * 2
    assert batch["weights"].tolist() == [[1, 1, 0, 0]] * 2
    assert [value.dtype.name for value in batch.values()] == ["int32", "int32", "float32"]


def test_batches_have_few_shapes_and_as_many_pairs_as_the_tokens_allow():
    config = data(max_len=41, batch_tokens=100)
    assert config.lengths == (8, 12, 16, 24, 32, 41)
    assert config.batch_sizes(7) == [8, 8, 6, 4, 3, 2]
    shapes = {batch["inputs"].shape for batch in take(config.open(ROWS).train(7, seed=0))}
    assert shapes == {(8, 8), (8, 12), (6, 16), (4, 24), (3, 32), (2, 41)}


def test_without_batch_tokens_all_batches_have_the_recipes_size():
    config = data(boundaries=(10, 30), max_len=50)
    batches = take(config.open(ROWS).train(5, seed=0), 30)
    assert {batch["targets"].shape for batch in batches} == {(5, 10), (5, 30), (5, 50)}


def test_every_pair_occurs_once_an_epoch():
    opened = data(boundaries=(16,), max_len=64).open(ROWS)
    # 16 pairs have at most 16 tokens, 24 have more: four batches are an epoch.
    seen = pairs_in(take(opened.train(8, seed=0), 10))
    assert Counter(seen) == Counter([*range(1, 41)] * 2)


@pytest.mark.parametrize("start", [1, 13])
def test_a_resumed_run_sees_what_it_would_have_seen(start):
    config = data(max_len=64, batch_tokens=128)
    whole = take(config.open(ROWS).train(1, seed=3), start + 3)
    assert_equal(take(config.open(ROWS).train(1, seed=3, start=start), 3), whole[start:])


def test_seeds_differ():
    first, second = (pairs_in(take(data().open(ROWS).train(4, seed=s), 5)) for s in (0, 1))
    assert first != second


def test_pairs_that_are_too_long_or_have_an_empty_side_are_not_trained_on(caplog):
    rows = [*ROWS, ("", "t"), ("s", ""), ("s" * 9, "t" * 30)]
    opened = data(max_len=20).open(rows)
    with caplog.at_level(logging.INFO):
        seen = pairs_in(take(opened.train(4, seed=0), 60))
    assert set(seen) == set(range(1, 21))
    assert caplog.messages == [
        "23 training pairs are left out: empty, or longer than max_len=20 tokens on each side"
    ]


def test_what_is_longer_than_all_boundaries_is_evaluated_at_its_own_length():
    opened = data(max_len=8).open([*ROWS, ("s" * 70, "t")])
    widths = [batch["inputs"].shape[1] for batch in take(opened.evaluate("train", 8))]
    assert set(widths) == {8, 12, 16, 24, 32, 48, 70}
    assert opened.longest("train") == 70
    assert data(max_len=64).open(ROWS).longest("train") == 48


def test_the_end_of_sequence_counts():
    assert pairs_in(take(data(max_len=3).open([ROWS[1]]).train(1, seed=0), 1)) == [2]
    with pytest.raises(ConfigError, match="no training pair"):
        data(max_len=2).open([ROWS[1]]).train(1, seed=0)


def test_data_without_a_pair_to_train_on_are_refused():
    assert message(ConfigError, data(max_len=8).open([("", "a")]).train, 1, seed=0) == (
        "no training pair has between 1 and max_len=8 tokens on each side"
    )


# Evaluation


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_evaluation_sees_every_pair_once_however_long(batch_size):
    opened = data(max_len=16, batch_tokens=32).open(ROWS)
    batches = take(opened.evaluate("train", batch_size))
    assert sorted(pairs_in(batches)) == list(range(1, 41))
    assert {len(batch["inputs"]) for batch in batches} == {batch_size}
    assert {batch["inputs"].shape[1] for batch in batches} <= {8, 12, 16, 24, 32, 40}


def test_evaluation_keeps_pairs_with_an_empty_side():
    (batch,) = take(data().open([("", "a"), ("a", "")]).evaluate("train", 2))
    assert batch["inputs"][:, :2].tolist() == [[0, 0], [99, 0]]
    assert batch["targets"][:, :3].tolist() == [[99, 1, 0], [1, 0, 0]]


def test_an_unknown_split_lists_the_known_ones():
    opened = data().open(ROWS)
    for read in (opened.pairs, lambda split: opened.evaluate(split, 8)):
        assert message(LookupError, read, "test") == "the data has no split 'test'; it has 'train'"


# Rows that are handed over


def test_rows_are_tuples_columns_or_a_tf_dataset():
    columns = {"source": [s for s, _ in ROWS], "target": [t for _, t in ROWS]}
    dataset = tensorflow().data.Dataset.from_tensor_slices(columns)
    for rows in (ROWS, columns, dataset):
        opened = data().open(rows)
        assert opened.pairs("train") == (columns["source"], columns["target"])


def test_rows_are_held_out_where_there_is_no_validation_split():
    opened = data(holdout=0.1).open(ROWS)
    assert opened.facts.num_examples == {"train": 38, "validation": 2}
    held, trained = (set(zip(*opened.pairs(s), strict=True)) for s in ("validation", "train"))
    assert held | trained == set(ROWS)
    assert not held & trained
    assert data(holdout=0.1).open(ROWS[:1]).facts.num_examples == {"train": 1}


def test_rows_that_are_handed_over_are_neither_excluded_nor_made_unique(tmp_path):
    (tmp_path / "x.tsv").write_text("en\tde\ns\tt\n")
    opened = data(exclude=("x.tsv",), unique=True, data_dir=str(tmp_path)).open([ROWS[0]] * 3)
    assert opened.facts.num_examples == {"train": 3}
    assert opened.facts.left_out == {}


def test_sides_that_are_no_text_are_refused():
    assert message(ValueError, data().open, [(1, "a"), (2, "b")]) == (
        "the data, row 1: column 'source' is not text but 1"
    )


def test_the_tokenizer_of_a_model_that_exists_goes_before_the_config():
    tokenizer = ByteTokenizer(0)
    facts = data().open(ROWS, tokenizer=tokenizer).facts
    assert facts.tokenizer is tokenizer
    assert facts.decides["vocab_size"] == 256


def test_one_vocabulary_is_trained_on_both_sides_of_the_training_pairs():
    rows = [("the cat sat", "die Katze saß"), ("a dog ran", "ein Hund lief")] * 10
    config = data(tokenizer=TokenizerConfig(kind="sentencepiece", vocab_size=28))
    tokenizers = [config.open(rows).facts.tokenizer for _ in range(2)]
    for tokenizer in tokenizers:
        assert tokenizer is not None
        assert all(2 not in tokenizer.encode(text) for row in rows for text in row)
    first, second = tokenizers
    assert first.encode("the Katze") == second.encode("the Katze")


# Files


@pytest.fixture
def write(tmp_path):
    """Writes files into the data folder; gives a config that finds them."""

    def write(contents: dict[str, str], **fields) -> TranslationData:
        for name, content in contents.items():
            (tmp_path / name).write_text(content, encoding="utf-8")
        return data(data_dir=str(tmp_path), **fields)

    return write


SIDES = {"a.en": "One\nTwo\n", "a.de": "Eins\nZwei\n"}
COUNT = (["One", "Two"], ["Eins", "Zwei"])


def test_a_lone_carriage_return_ends_no_line(write):
    sides = {"b.en": "One\r!\nTwo\x85\n", "b.de": "Eins\r\nZwei\u2028\r\n"}
    opened = write(sides, train=("b.{en,de}",)).open()
    assert opened.pairs("train") == (["One\r!", "Two\x85"], ["Eins", "Zwei\u2028"])


def test_two_files_in_braces_belong_together_line_by_line(write):
    opened = write(SIDES, train=("a.{en,de}",), test=("a.{de,en}",)).open()
    assert opened.pairs("train") == COUNT
    assert opened.pairs("test") == (COUNT[1], COUNT[0])


@pytest.mark.parametrize(
    ("name", "content", "fields"),
    [
        ("a.tsv", "de\ten\nEins\tOne\nZwei\tTwo\n", {}),
        ("a.csv", 'id,from,to\n1,"One","Eins"\n2,Two,Zwei\n', ("from", "to")),
        ("a.jsonl", '{"en": "One", "de": "Eins"}\n{"en": "Two", "de": "Zwei"}\n', {}),
        ("a.txt", "One\tEins\nTwo\tZwei\n", (0, 1)),
        ("a.tsv", "x\tEins\tOne\n\nx\tZwei\tTwo\n", (2, 1)),
    ],
)
def test_one_file_has_both_sides_as_columns(write, name, content, fields):
    if fields:
        fields = dict(zip(("source_column", "target_column"), fields, strict=True))
    assert write({name: content}, train=(name,), **fields).open().pairs("train") == COUNT


def test_quotes_in_a_file_without_names_stand_for_themselves(write):
    config = write({"a.txt": '"A\tB" c\n'}, train=("a.txt",), source_column=0, target_column=1)
    assert config.open().pairs("train") == (['"A'], ['B" c'])


def test_several_files_follow_one_another(write):
    more = {"b.tsv": "en\tde\nThree\tDrei\n"}
    opened = write(SIDES | more, train=("a.{en,de}", "b.tsv")).open()
    assert opened.pairs("train") == ([*COUNT[0], "Three"], [*COUNT[1], "Drei"])


def test_excluded_sentences_and_repetitions_are_left_out_and_counted(write):
    train = (
        "en\tde\nA dog.\tEin Hund.\nA DOG!\tEin Tier.\nAn animal.\tein  Hund\nTwo\tZwei\n"
        "Two\tZwei\nTwo\tZwo\n...\t...\n"
    )
    test = "en\tde\nA dog\tEin Hund\n!\t!\n"
    config = write(
        {"a.tsv": train, "test.tsv": test}, train=("a.tsv",), exclude=("test.tsv",), unique=True
    )
    opened = config.open()
    assert opened.pairs("train") == (["Two", "Two", "..."], ["Zwei", "Zwo", "..."])
    assert opened.facts.left_out == {"excluded": 3, "repeated": 1}
    assert opened.facts.num_examples == {"train": 3}
    everything = dataclasses.replace(config, exclude=(), unique=False).open()
    assert everything.facts.num_examples == {"train": 7}
    assert everything.facts.left_out == {}


def test_nothing_that_is_left_is_refused(write):
    config = write(SIDES, train=("a.{en,de}",), exclude=("a.{en,de}",))
    assert message(ConfigError, config.open) == (
        "no training pair is left: all have a sentence of data.exclude"
    )


def test_files_of_different_length_are_refused_with_both_counts(write, tmp_path):
    config = write(SIDES | {"a.de": "Eins\n"}, train=("a.{en,de}",))
    assert message(ValueError, config.open) == (
        f"{tmp_path}/a.en has 2 lines, but {tmp_path}/a.de has 1; line n of one must be the "
        "translation of line n of the other"
    )


def test_empty_files_are_refused(write, tmp_path):
    config = write({"a.en": "", "a.de": ""}, train=("a.{en,de}",))
    assert message(ValueError, config.open) == f"{tmp_path}/a.en is empty: it has no lines"
    numbered = {"source_column": 0, "target_column": 1}
    config = write({"a.txt": "\n"}, train=("a.txt",), **numbered)
    assert message(ValueError, config.open) == f"{tmp_path}/a.txt is empty: it has no rows"


def test_lines_with_another_number_of_fields_are_named(write, tmp_path):
    config = write({"a.txt": "a\tb\nc\n"}, train=("a.txt",), source_column=0, target_column=1)
    assert message(ValueError, config.open) == (
        f"{tmp_path}/a.txt, line 2: 1 field(s) between tabs, but the lines before have 2"
    )


def test_a_missing_column_lists_those_there_are(write, tmp_path):
    config = write({"a.tsv": "en\tger\na\tb\n"}, train=("a.tsv",))
    assert message(ColumnError, config.open) == (
        f"{tmp_path}/a.tsv has no column 'de'; its columns are 'en', 'ger'"
    )
    config = write({"a.txt": "a\tb\n"}, train=("a.txt",), source_column=0, target_column=2)
    assert message(ColumnError, config.open) == (
        f"{tmp_path}/a.txt has no column '2'; its columns are '0', '1'"
    )


def test_a_missing_file_says_where_it_was_looked_for(write):
    with pytest.raises(FileNotFoundError, match=r"no file 'a\.fr'; looked for a\.fr, "):
        write(SIDES, train=("a.{en,fr}",)).open()


@pytest.mark.parametrize("path", ["a.{en}", "a.{en,de", "{a,b}.{en,de}", "a.{en,de,fr}"])
def test_braces_that_are_no_pair_are_refused(path):
    assert message(ConfigError, data(train=(path,)).open) == (
        f"{path!r} is not a pair of files; put two endings in braces, source first: "
        "'train.{en,de}'"
    )


def test_no_data_are_refused():
    assert message(ConfigError, data().open) == (
        "no training data: give data.name, a TFDS data set, or data.train, files such as "
        "'train.{en,de}'"
    )


def test_tfds_columns_are_languages_and_splits_may_be_sums(tmp_path):
    import tensorflow_datasets as tfds

    columns = {"de": ["Eins", "Zwei"], "en": ["One", "Two"]}
    rows = tensorflow().data.Dataset.from_tensor_slices(columns)
    tfds.dataset_builders.store_as_tfds_dataset(
        "toy_translate",
        version="1.0.0",
        config="de-en",
        features=tfds.features.Translation(("de", "en")),
        split_datasets={"train": rows, "extra": rows, "test": rows},
        data_dir=str(tmp_path),
    )
    config = data(name="toy_translate/de-en", data_dir=str(tmp_path))
    assert config.open().facts.num_examples == {"train": 2, "test": 2}
    assert config.open().pairs("train") == (columns["en"], columns["de"])
    both = dataclasses.replace(config, train=("train", "extra[:1]"))
    assert both.open().facts.num_examples == {"train": 3, "test": 2}


# Configuration


def test_a_config_survives_json_and_takes_numbers_of_columns():
    config = data(train=("a.{en,de}",), batch_tokens=1024, source_column=0, target_column=1)
    assert from_json(DataConfig, to_json(config)) == config
    assert hash(config) == hash(dataclasses.replace(config))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"cache": False},
            "cache is False; TranslationData keeps its rows in memory: leave it at True",
        ),
        (
            {"train": "a.{en,de}"},
            "train is 'a.{en,de}'; it must be a tuple, such as ('a.{en,de}',)",
        ),
        (
            {"source_column": 0},
            "source_column is 0 and target_column is 'de'; both are names, or both are numbers",
        ),
        ({"max_len": 1}, "max_len is 1; it must be 2 or more"),
        (
            {"boundaries": (8, 4)},
            "bucket boundaries must be positive and rise; got (8, 4)",
        ),
        (
            {"boundaries": (8, 64), "max_len": 32},
            "boundaries end with 64, but max_len is 32; no training pair is that long",
        ),
        (
            {"batch_tokens": 100},
            "batch_tokens is 100, too few for one pair of max_len 256; raise it or lower max_len",
        ),
    ],
)
def test_values_that_make_no_sense_are_refused(fields, expected):
    assert message(ValueError, data, **fields) == expected


# Real data


@pytest.mark.shared
def test_multi30k_and_tatoeba_are_read_as_they_are(shared):
    config = data(
        data_dir=str(shared / "data"),
        train=("multi30k/val.{en,de}", "tatoeba_deu_eng/deu.txt"),
        test=("multi30k/test_2016_flickr.{en,de}",),
        source_column=0,
        target_column=1,
    )
    opened = config.open()
    assert opened.facts.num_examples == {"train": 1014 + 169_813, "test": 1000}
    sources, targets = opened.pairs("train")
    assert (sources[1014], targets[1014]) == ("Hi.", "Hallo!")
