from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import Counter

import numpy as np
import pytest

from zoo.config import ConfigError, from_json, to_json
from zoo.pipelines.base import ColumnError, DataConfig, LabelError
from zoo.pipelines.tagging import TaggingData
from zoo.pipelines.tfdata import tensorflow
from zoo.tokenizers import ByteTokenizer, IdTokenizer, TokenizerConfig, WordTokenizer

# Forty sentences; word i of sentence n is the number 100 n + i, its tag one of three.
TAGS = ("O", "B-geo", "I-geo")
ROWS = [
    ([f"{100 * n + i}" for i in range(n)], [TAGS[(n + i) % 3] for i in range(n)])
    for n in range(1, 41)
]
IDS = TokenizerConfig(kind="ids", vocab_size=4100)


def data(**fields) -> TaggingData:
    return TaggingData(**{"holdout": 0, "test_share": 0, **fields})


def numbers(**fields) -> TaggingData:
    """Words are their own ids."""
    return data(**{"tokenizer": IDS, "labels": TAGS, **fields})


def take(batches, number: int = 99) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(batches, number))


def sentences_in(batches) -> list[int]:
    """The numbers of the sentences of ROWS, each found whole."""
    found = []
    for batch in batches:
        for inputs, targets, weights in zip(*batch.values(), strict=True):
            length = int(weights.sum())
            assert weights[:length].all()
            assert not inputs[length:].any()
            assert not targets[length:].any()
            if length:
                assert inputs[:length].tolist() == [100 * length + i for i in range(length)]
                assert targets[:length].tolist() == [(length + i) % 3 for i in range(length)]
                found.append(length)
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


def test_a_batch_has_ids_tags_and_a_weight_for_each_word():
    rows = [(["In", "U.S.", "10,000"], ["O", "B-geo", "O"]), (["In"], ["O"])]
    opened = data(boundaries=(4,), max_len=4).open(rows)
    (batch,) = take(opened.evaluate("train", 2), 1)
    assert opened.facts.labels == ("B-geo", "O")
    assert batch["inputs"].tolist() == [[3, 5, 4, 0], [3, 0, 0, 0]]
    assert batch["targets"].tolist() == [[1, 0, 1, 0], [1, 0, 0, 0]]
    assert batch["weights"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert [value.dtype.name for value in batch.values()] == ["int32", "int32", "float32"]


def test_no_word_is_split_and_what_a_file_cannot_hold_is_unknown(tmp_path):
    words = ["U.S.-led", "don't", "5\xa0storm", "\x85", "a\nb", "9.5"]
    facts = data().open([(words, ["O"] * 5 + ["B"])]).facts
    assert isinstance(facts.tokenizer, WordTokenizer)
    assert facts.tokenizer.encode_words(words) == [5, 6, 3, 7, 2, 4]
    assert (facts.decides["vocab_size"], facts.decides["num_classes"]) == (8, 2)
    facts.tokenizer.save(tmp_path / "words")
    assert WordTokenizer.load(tmp_path / "words").encode_words(words) == [5, 6, 3, 7, 2, 4]


def test_words_may_be_lowered_and_rare_ones_left_out():
    config = data(tokenizer=TokenizerConfig(lowercase=True, min_count=2))
    tokenizer = config.open([(["The", "the", "End"], ["O", "O", "B"])]).facts.tokenizer
    assert tokenizer.encode_words(["THE", "end"]) == [3, 2]


def test_batches_have_few_shapes():
    config = numbers(max_len=41)
    assert config.lengths == (8, 12, 16, 24, 32, 41)
    shapes = {batch["inputs"].shape for batch in take(config.open(ROWS).train(2, seed=0))}
    assert shapes == {(2, length) for length in config.lengths}
    shapes = {
        batch["inputs"].shape
        for batch in take(numbers(boundaries=(10, 30), max_len=50).open(ROWS).train(5, seed=0), 30)
    }
    assert shapes == {(5, 10), (5, 30), (5, 50)}


def test_every_sentence_occurs_once_an_epoch():
    opened = numbers(boundaries=(16,), max_len=64).open(ROWS)
    # 16 sentences have at most 16 words, 24 have more: five batches are an epoch.
    seen = sentences_in(take(opened.train(8, seed=0), 10))
    assert Counter(seen) == Counter([*range(1, 41)] * 2)


@pytest.mark.parametrize("start", [1, 13])
def test_a_resumed_run_sees_what_it_would_have_seen(start):
    config = data(max_len=64, word_dropout=2.0)
    whole = take(config.open(ROWS).train(4, seed=3), start + 3)
    assert_equal(take(config.open(ROWS).train(4, seed=3, start=start), 3), whole[start:])


def test_seeds_differ():
    first, second = (sentences_in(take(numbers().open(ROWS).train(4, seed=s), 5)) for s in (0, 1))
    assert first != second


def test_sentences_that_are_empty_or_too_long_are_not_trained_on(caplog):
    opened = numbers(max_len=20).open([*ROWS, ([], [])])
    with caplog.at_level(logging.INFO):
        seen = sentences_in(take(opened.train(4, seed=0), 60))
    assert set(seen) == set(range(1, 21))
    assert caplog.messages == [
        "21 training sentences are left out: empty, or longer than max_len=20 words"
    ]
    assert message(ConfigError, numbers(max_len=8).open([([], []), ROWS[30]]).train, 1, seed=0) == (
        "no training sentence has between 1 and max_len=8 words"
    )


def test_rare_words_become_unknown_as_often_as_the_field_says():
    rows = [(["rare", *["often"] * 9], ["B", *["O"] * 9])] * 3
    opened = data(word_dropout=3.0, boundaries=(10,), max_len=10).open(rows)
    inputs = np.concatenate([batch["inputs"] for batch in take(opened.train(3, seed=0), 400)])
    assert set(inputs[:, 0].tolist()) == {2, 4}
    assert np.mean(inputs[:, 0] == 2) == pytest.approx(3 / (3 + 3), abs=0.05)
    assert np.mean(inputs[:, 1:] == 2) == pytest.approx(3 / (3 + 27), abs=0.02)
    (batch,) = take(opened.evaluate("train", 3))
    assert not (batch["inputs"] == 2).any()


def test_word_dropout_leaves_padding_alone():
    opened = data(word_dropout=1e9, max_len=8).open([(["a", "b"], ["O", "B"])])
    (batch,) = take(opened.train(1, seed=0), 1)
    assert batch["inputs"].tolist() == [[2, 2, 0, 0, 0, 0, 0, 0]]
    assert batch["targets"].tolist() == [[1, 0, 0, 0, 0, 0, 0, 0]]


def test_word_dropout_needs_an_unknown_word():
    assert message(ConfigError, numbers(word_dropout=0.5).open(ROWS).train, 1, seed=0) == (
        "word_dropout is 0.5, but the vocabulary has no unknown word; name one in "
        "tokenizer.unknown, or set word_dropout to 0"
    )


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_evaluation_sees_every_sentence_once_however_long(batch_size):
    opened = numbers(max_len=16).open([*ROWS, ([], [])])
    batches = take(opened.evaluate("train", batch_size))
    assert sorted(sentences_in(batches)) == list(range(1, 41))
    assert {len(batch["inputs"]) for batch in batches} == {batch_size}
    assert {batch["inputs"].shape[1] for batch in batches} <= {8, 12, 16, 24, 32, 40}


# Splits and labels


def test_a_tenth_is_the_test_where_a_file_has_none(write):
    lines = [f"w{n} {'B' if n % 2 else 'O'}\n\n" for n in range(200)]
    fields = {"train": ("a.txt",), "test_share": 0.1, "holdout": 0.25}

    def split(lines):
        opened = write({"a.txt": "".join(lines)}, **fields).open()
        words = {
            name: [s.words[0] for s in opened.sentences(name)] for name in opened.facts.num_examples
        }
        return opened, words

    opened, words = split(lines)
    assert sorted(itertools.chain(*words.values())) == sorted(f"w{n}" for n in range(200))
    assert 10 <= len(words["test"]) <= 30 and 30 <= len(words["validation"]) <= 60
    # Equal sentences fall on one side, wherever they are, and others change nothing.
    _, again = split([*lines[::-1], *lines[:150]])
    assert {name: set(found) for name, found in again.items()} == {
        name: set(found) for name, found in words.items()
    }
    # What is evaluated has no part in the vocabulary.
    assert opened.facts.decides["vocab_size"] == 3 + len(words["train"])


def test_rows_that_are_handed_over_have_no_test():
    config = data(test_share=0.5, holdout=0.1)
    assert config.open(ROWS).facts.num_examples == {"train": 36, "validation": 4}
    one = config.open(ROWS[:1], labels=("B-geo", "O"))
    assert one.facts.num_examples == {"train": 1}


def test_an_unknown_split_lists_the_known_ones():
    opened = data().open(ROWS)
    for read in (opened.sentences, lambda split: opened.evaluate(split, 8)):
        assert message(LookupError, read, "test") == "the data has no split 'test'; it has 'train'"


def test_padding_is_the_models_own():
    (batch,) = (
        data().open([(["a"], ["O"]), (["b", "a"], ["B", "O"])], pad_id=9).evaluate("train", 2)
    )
    assert (batch["inputs"] == 9).sum(axis=1).tolist() == [7, 6]
    assert batch["targets"].max() == 1 and batch["weights"].sum() == 3


def test_a_tag_has_one_name_however_its_characters_are_composed():
    rows = [(["a", "b"], ["O", "B-pa\u00eds"]), (["c"], ["B-pai\u0301s"])]
    assert data().open(rows).facts.labels == ("B-pa\u00eds", "O")


def test_a_tag_that_only_the_test_has_is_one_of_the_labels(write):
    config = write({"a.txt": "a O\nb B\n", "b.txt": "c I\n"}, train=("a.txt",), test=("b.txt",))
    assert config.open().facts.labels == ("B", "I", "O")


def test_tags_that_the_checkpoint_does_not_know_are_named_with_both_sides():
    rows = [(["a"], ["O"]), (["b", "c"], ["O", "B-per"])]
    for config, labels in ((data(), TAGS), (data(labels=TAGS), None)):
        assert message(LabelError, config.open, rows, labels=labels) == (
            "the train split: sentence 2 has the tag 'B-per', which is not one of the 3 tags "
            "'O', 'B-geo', 'I-geo'; the data has 'B-per', 'O'"
        )
    labels = (*TAGS, "B-per")
    (batch,) = take(data().open(rows, labels=labels).evaluate("train", 2))
    assert batch["targets"][:, :2].tolist() == [[0, 0], [0, 3]]


def test_one_tag_is_nothing_to_learn():
    assert message(ConfigError, data().open, [(["a"], ["O"])]) == (
        "the data has only the tag 'O'; a tagger needs two"
    )


def test_the_tokenizer_of_a_model_that_exists_goes_before_the_config():
    tokenizer = WordTokenizer(["UNK", "a"], unknown="UNK")
    facts = data().open([(["a", "b"], ["O", "B"])], tokenizer=tokenizer).facts
    assert facts.tokenizer is tokenizer
    assert data().open(ROWS, tokenizer=IdTokenizer(4100)).facts.decides["vocab_size"] == 4100
    assert message(ConfigError, data().open, ROWS, tokenizer=ByteTokenizer()) == (
        "a ByteTokenizer gives a word any number of ids; a model that tags words has a vocabulary "
        "of words"
    )


# Rows that are handed over


def test_rows_are_tuples_columns_or_a_tf_dataset():
    tf = tensorflow()
    columns = {"words": [words for words, _ in ROWS], "tags": [tags for _, tags in ROWS]}
    signature = {name: tf.TensorSpec([None], tf.string) for name in columns}
    dataset = tf.data.Dataset.from_generator(
        lambda: ({"words": words, "tags": tags} for words, tags in ROWS),
        output_signature=signature,
    )
    for rows in (ROWS, columns, dataset, iter(ROWS)):
        assert [tuple(s) for s in data().open(rows).sentences("train")] == ROWS


@pytest.mark.parametrize(
    ("rows", "error", "expected"),
    [
        (
            [(["a"], ["O"]), (["a", "b"], ["O"])],
            ValueError,
            "the data, sentence 2: 2 word(s), but 1 tag(s); each word has one",
        ),
        (
            [("a b", "O O")],
            TypeError,
            "the data, sentence 1: words is 'a b'; it must be a list, one for each word",
        ),
        (
            [(["a"], ["O"], 1)],
            ValueError,
            "the data: row 1 has 3 value(s) instead of 2: 'words', 'tags'; give tuples, or "
            "{'words': […], …} for columns",
        ),
        ([], ValueError, "the data has no rows"),
        (
            {"words": [["a"]], "tag": [["O"]]},
            ColumnError,
            "the data has no column 'tags'; its columns are 'words', 'tag'",
        ),
        (
            {"words": [["a"]], "tags": []},
            ValueError,
            "the data: 1 rows of words, but 0 of tags",
        ),
        (
            "a b",
            TypeError,
            "data is 'a b'; it must be an iterable of tuples (words, tags), a mapping of columns, "
            "a DataFrame or a tf.data.Dataset",
        ),
        (
            [([b"caf\xe9"], ["O"])],
            ValueError,
            "the data, sentence 1 is not UTF-8: 'utf-8' codec can't decode byte 0xe9 in position "
            "3: unexpected end of data",
        ),
    ],
)
def test_rows_that_make_no_sense_are_refused(rows, error, expected):
    assert message(error, data().open, rows) == expected


# Files


@pytest.fixture
def write(tmp_path):
    """Writes files into the data folder; gives a config that finds them."""

    def write(contents: dict[str, str | bytes], **fields) -> TaggingData:
        for name, content in contents.items():
            content = content.encode() if isinstance(content, str) else content
            (tmp_path / name).write_bytes(content)
        return data(data_dir=str(tmp_path), **fields)

    return write


CONLL = """-DOCSTART- -X- -X- O

EU NNP I-NP B-ORG
rejects VBZ I-VP O

\t
-DOCSTART- -X- -X- O
Peter NNP I-NP B-PER
Blackburn NNP I-NP I-PER"""
FOUND = [(["EU", "rejects"], ["B-ORG", "O"]), (["Peter", "Blackburn"], ["B-PER", "I-PER"])]


@pytest.mark.parametrize("content", [CONLL, CONLL.replace(" ", "\t"), CONLL.replace("\n", "\r\n")])
def test_a_conll_file_has_a_word_a_line(write, content):
    opened = write({"a.conll": content}, train=("a.conll",)).open()
    assert [tuple(s) for s in opened.sentences("train")] == FOUND
    assert opened.facts.labels == ("B-ORG", "B-PER", "I-PER", "O")


def test_columns_are_chosen_by_number(write):
    config = write({"a.txt": CONLL}, train=("a.txt",), word_column=0, tag_column=1)
    assert config.open().facts.labels == ("NNP", "VBZ")


def test_a_line_of_too_few_columns_is_named(write, tmp_path):
    config = write({"a.txt": "a b O\nc d O\n\ne\n"}, train=("a.txt",))
    assert message(ValueError, config.open) == (
        f"{tmp_path}/a.txt, line 4: 1 column(s) between spaces or tabs, but the word is column 0 "
        "and the tag column -1: e"
    )
    config = dataclasses.replace(config, tag_column=3)
    assert "line 1: 3 column(s)" in message(ValueError, config.open)


def test_comments_are_no_words_and_a_number_sign_with_a_tag_is_one(write):
    tabs = "#\thttps://x.org/vom [2005-02-26]\n1\tAm\tO\n2\t#\tO\n\n# text = A b\n1\t#\tB-X\n"
    for content, fields in (
        (tabs, {"word_column": 1}),
        (tabs.replace("A b", "Am # O"), {"word_column": 1}),
        ("# newdoc\nAm O\n# O\n# sent_id = s1\n\n# text = A\n# B-X", {}),
        ("Am O\n# O\n# text = A\n\n# B-X\n", {}),
        ("#doc 12\nAm O\n# O\n\n#\n# B-X\n", {}),
    ):
        opened = write({"a.txt": content}, train=("a.txt",), **fields).open()
        found = [tuple(s) for s in opened.sentences("train")]
        assert found == [(["Am", "#"], ["O", "O"]), (["#"], ["B-X"])], content
    plain = write({"a.txt": "of IN\n# #\n#1 NN\n\n# # \nof IN\n#ok NN"}, train=("a.txt",)).open()
    assert [s.words for s in plain.sentences("train")] == [["of", "#", "#1"], ["#", "of", "#ok"]]


def test_a_document_may_begin_in_any_column_and_contractions_are_no_words(write):
    content = (
        "1\t-DOCSTART-\t_\tO\n\n# text = Im Haus\n1-2\tIm\t_\t_\n1\tIn\tin\tADP\n"
        "2\tdem\tder\tDET\n2.1\tx\tx\tX\n3\tHaus\tHaus\tNOUN\n"
    )
    config = write({"a.conllu": content}, train=("a.conllu",), word_column=1, tag_column=3)
    (sentence,) = config.open().sentences("train")
    assert sentence == (["In", "dem", "Haus"], ["ADP", "DET", "NOUN"])


def test_only_the_separator_of_the_file_separates(write, tmp_path):
    content = "10 000\tB-QTY\nfine \tO \nNew\xa0York\tO\n"
    (sentence,) = write({"a.tsv": content}, train=("a.tsv",)).open().sentences("train")
    assert sentence == (["10 000", "fine", "New\xa0York"], ["B-QTY", "O", "O"])
    config = write({"b.tsv": content + "a b\n"}, train=("b.tsv",))
    assert message(ValueError, config.open) == (
        f"{tmp_path}/b.tsv, line 4: 1 column(s) between tabs, but the word is column 0 and the tag "
        "column -1: a b"
    )
    config = write({"c.tsv": content + "\tO\n"}, train=("c.tsv",))
    assert message(ValueError, config.open) == f"{tmp_path}/c.tsv, line 4: the word is empty:  O"


def test_a_missing_word_or_tag_is_named(write, tmp_path):
    nan = float("nan")
    for rows, what in (
        ([(["a"], ["O"]), (["b", nan], ["O", "B"])], "words is missing (nan)"),
        ([(["a"], ["O"]), ([None], ["O"])], "words is missing (None)"),
        ([(["a"], ["O"]), (["b"], [None])], "tags is missing (None)"),
        ({"words": [["a"], ["b"]], "tags": [["B"], [""]]}, "tags is missing ('')"),
    ):
        assert message(ValueError, data().open, rows).startswith(
            f"the data, sentence 2: one of the {what}; fill it in, or leave out"
        )
    config = write({"a.csv": "Sentence #,Word,Tag\n1,a,O\n,b,\n"}, train=("a.csv",))
    assert message(ValueError, config.open) == (
        f"{tmp_path}/a.csv, line 3: column 'Tag' is empty; each word has a tag"
    )


def test_two_lists_are_neither_rows_nor_columns():
    both = ([["a"], ["b"]], [["O"], ["B"]])
    for given in (both, list(both)):
        assert "{'words': […], 'tags': […]} for columns" in message(ValueError, data().open, given)
    assert data().open(list(zip(*both, strict=True))).facts.num_examples == {"train": 2}


TABLE = """Sentence #,Word,POS,Tag
Sentence: 1,Thousands,NNS,O
,in,IN,O
,London,NNP,B-geo
Sentence: 2,"10,000",CD,O
,\"\"\"\",``,O
"""


def test_a_table_has_a_word_a_row_and_the_sentence_at_its_first(write):
    rows = [(["Thousands", "in", "London"], ["O", "O", "B-geo"]), (["10,000", '"'], ["O", "O"])]
    opened = write({"a.csv": TABLE}, train=("a.csv",)).open()
    assert [tuple(s) for s in opened.sentences("train")] == rows
    filled = "tok,s,ner\nA,1,O\nB,1,X\nC,2,O\n"
    names = {"word_column": "tok", "tag_column": "ner", "sentence_column": "s"}
    opened = write({"b.csv": filled}, train=("b.csv",), **names).open()
    assert [s.words for s in opened.sentences("train")] == [["A", "B"], ["C"]]


def test_several_files_follow_one_another(write):
    config = write({"a.csv": TABLE, "b.txt": CONLL}, train=("a.csv", "b.txt"))
    assert config.open().facts.num_examples == {"train": 4}


def test_a_table_that_is_broken_is_named(write, tmp_path):
    config = write({"a.csv": TABLE + "x,y\n"}, train=("a.csv",))
    assert message(ValueError, config.open) == (
        f"{tmp_path}/a.csv, line 7: 2 field(s), but there are 4 columns: 'Sentence #', 'Word', "
        "'POS', 'Tag'"
    )
    config = write({"a.csv": TABLE}, train=("a.csv",), tag_column="Tags")
    assert message(ColumnError, config.open) == (
        f"{tmp_path}/a.csv has no column 'Tags'; did you mean 'Tag'?; its columns are "
        "'Sentence #', 'Word', 'POS', 'Tag'"
    )


@pytest.mark.parametrize(("name", "content"), [("a.txt", "\n\n"), ("a.csv", TABLE[:24] + "\n")])
def test_a_file_without_a_sentence_is_refused(write, tmp_path, name, content):
    config = write({name: content}, train=(name,))
    assert message(ValueError, config.open) == f"{tmp_path}/{name} is empty: it has no sentences"


def test_a_file_may_have_another_encoding(write, tmp_path):
    content = "São B\n’s O\n".encode("cp1252")  # noqa: RUF001
    config = write({"a.txt": content}, train=("a.txt",))
    assert f"{tmp_path}/a.txt, line 1: byte 0xe3 at offset 1 is not UTF-8" in message(
        ValueError, config.open
    )
    opened = dataclasses.replace(config, encoding="cp1252").open()
    assert opened.sentences("train")[0].words == ["São", "’s"]  # noqa: RUF001
    config = dataclasses.replace(config, encoding="ascii")
    assert message(ValueError, config.open) == (
        f"{tmp_path}/a.txt, line 1: byte 0xe3 at offset 1 is not ascii"
    )
    assert message(ConfigError, data, encoding="klingon").startswith(
        "encoding is 'klingon', but 'klingon' is none that Python knows; "
    )


def test_what_is_missing_is_said(write):
    assert message(ConfigError, data().open) == (
        "no training data: give data.name, a TFDS data set, or data.train, files with a word and "
        "its tag on each line"
    )
    with pytest.raises(FileNotFoundError, match=r"no file 'a\.txt'; looked for a\.txt, "):
        write({}, train=("a.txt",)).open()
    config = write({"a.txt": CONLL}, train=("a.txt",), tag_column="ner")
    assert message(ConfigError, config.open).startswith("tag_column is 'ner', but the columns of ")


# TFDS


@pytest.fixture
def tfds_set(tmp_path):
    """Prepares a data set of the schema of `wikiann` or, with `ner`, of `conll2003`."""

    def prepare(name: str, tag_column: str, splits: tuple[str, ...]) -> None:
        import tensorflow_datasets as tfds

        tf = tensorflow()
        classes = tfds.features.ClassLabel(names=["O", "B-PER", "I-PER"])
        features = {
            "tokens": tfds.features.Sequence(tfds.features.Text()),
            tag_column: tfds.features.Sequence(classes),
            "pos": tfds.features.Sequence(tfds.features.ClassLabel(names=["NNP", "VBZ"])),
        }
        rows = [(["Peter", "Müller", "sings"], [1, 2, 0], [0, 0, 1]), (["Yes"], [0], [0])]
        types = {"tokens": tf.string, tag_column: tf.int64, "pos": tf.int64}
        dataset = tf.data.Dataset.from_generator(
            lambda: (dict(zip(types, row, strict=True)) for row in rows),
            output_signature={name: tf.TensorSpec([None], kind) for name, kind in types.items()},
        )
        tfds.dataset_builders.store_as_tfds_dataset(
            name,
            version="1.0.0",
            features=tfds.features.FeaturesDict(features),
            split_datasets=dict.fromkeys(splits, dataset),
            data_dir=str(tmp_path),
        )

    return prepare


@pytest.mark.parametrize(("name", "column"), [("toy_conll", "ner"), ("toy_wikiann", "tags")])
def test_tfds_brings_its_splits_and_the_names_of_its_tags(tfds_set, tmp_path, name, column):
    tfds_set(name, column, ("train", "test"))
    config = data(name=name, data_dir=str(tmp_path), test_share=0.5)
    opened = config.open()
    assert opened.facts.num_examples == {"train": 2, "test": 2}
    assert opened.facts.labels == ("O", "B-PER", "I-PER")
    sentence = (["Peter", "Müller", "sings"], ["B-PER", "I-PER", "O"])
    assert sentence in map(tuple, opened.sentences("test"))
    both = dataclasses.replace(config, train=("train", "test[:1]"), tag_column="pos").open()
    assert both.facts.num_examples == {"train": 3, "test": 2}
    assert both.facts.labels == ("NNP", "VBZ")


def test_a_missing_column_of_a_tfds_set_is_named(tfds_set, tmp_path):
    tfds_set("toy_wikiann", "tags", ("train",))
    config = data(name="toy_wikiann", data_dir=str(tmp_path), tag_column="chunks")
    assert "has no column 'chunks'; its columns are" in message(ColumnError, config.open)


# Configuration


def test_a_config_survives_json():
    config = data(train=("a.txt",), labels=TAGS, tag_column=3, word_column="tokens")
    assert from_json(DataConfig, to_json(config)) == config
    assert hash(config) == hash(dataclasses.replace(config))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"cache": False},
            "cache is False; TaggingData keeps its rows in memory: leave it at True",
        ),
        ({"train": "a.txt"}, "train is 'a.txt'; it must be a tuple, such as ('a.txt',)"),
        ({"test_share": 1.0}, "test_share is 1.0; it must be in [0, 1)"),
        ({"word_dropout": -1.0}, "word_dropout is -1.0; it must be 0 or more"),
        ({"max_len": 0}, "max_len is 0; it must be 1 or more"),
        (
            {"tokenizer": TokenizerConfig(kind="bytes")},
            "tokenizer.kind is 'bytes'; a word with a tag has one id, which the kinds 'words' and "
            "'ids' give",
        ),
        ({"boundaries": (8, 4)}, "bucket boundaries must be positive and rise; got (8, 4)"),
        (
            {"boundaries": (8, 64), "max_len": 32},
            "boundaries end with 64, but max_len is 32; no training sentence is that long",
        ),
    ],
)
def test_values_that_make_no_sense_are_refused(fields, expected):
    assert message(ValueError, data, **fields) == expected


# Real data


@pytest.mark.shared
def test_the_kaggle_corpus_is_read_as_it_is(shared):
    config = TaggingData(
        data_dir=str(shared / "data"), train=("kaggle_ner/ner_dataset.csv",), encoding="cp1252"
    )
    opened = config.open()
    examples = opened.facts.num_examples
    assert examples["test"] == 4841
    assert sum(examples.values()) == 47_959
    assert opened.facts.decides["num_classes"] == 17
    found = [s for split in examples for s in opened.sentences(split)]
    assert sum(len(s.words) for s in found) == 1_048_575
    assert sum(tag != "O" for s in found for tag in s.tags) == 160_667


@pytest.mark.shared
def test_wikiann_is_read_as_it_is(shared):
    config = TaggingData(
        name="wikiann/en", data_dir=str(shared / "data"), train=("train[:20]",), test=("test[:9]",)
    )
    facts = config.open().facts
    assert facts.num_examples == {"train": 20, "validation": 10_000, "test": 9}
    assert facts.labels == ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")


def test_the_words_of_a_corpus_are_hashed_once_for_all_that_is_held_out(tmp_path, monkeypatch):
    from zoo.pipelines.sources import hashes

    sentences = [f"w{n}\tO\nx{n}\tB-x\n" for n in range(40)]
    path = tmp_path / "a.conll"
    path.write_text("\n".join(sentences))
    asked, content = [], hashes._content
    monkeypatch.setattr(hashes, "_content", lambda value: asked.append(value) or content(value))
    data = TaggingData(train=(str(path),), test_share=0.2, holdout=0.2).open()
    assert {*data.facts.num_examples} == {"train", "test", "validation"}
    assert sum(data.facts.num_examples.values()) == 40
    assert len(asked) == 2 * 40  # the words and the tags of each sentence
