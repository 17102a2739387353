from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from zoo.config import ConfigError
from zoo.pipelines import folders, sources
from zoo.pipelines.base import ColumnError, LabelError, tensorflow


@pytest.fixture
def write(tmp_path):
    """Writes a file and gives its path."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def rows(source: sources.Source) -> list[dict[str, object]]:
    return list(source.dataset.as_numpy_iterator())


def texts(source: sources.Source, column: str = "text") -> list[str]:
    return [value.decode() for value in source.column(column)]


def message(error: type[Exception], function, *arguments, **keywords) -> str:
    """The text of the error that a call raises; it must be one line."""
    with pytest.raises(error) as raised:
        function(*arguments, **keywords)
    text = str(raised.value)
    assert "\n" not in text
    return text


# Files


def test_csv_fields_may_be_quoted(write):
    path = write("a.csv", 'text,label\n"He said ""no"",\nthen left",neg\r\nfine,pos\n')
    source = sources.from_file(path)
    assert texts(source) == ['He said "no",\nthen left', "fine"]
    assert texts(source, "label") == ["neg", "pos"]
    assert source.num_rows == source.count() == 2


def test_tsv_is_separated_by_tabs(write):
    assert texts(sources.from_file(write("a.tsv", "text\tlabel\na, b\tx\n"))) == ["a, b"]


def test_a_field_may_be_as_long_as_a_book(write):
    book = "word " * 50_000
    assert texts(sources.from_file(write("a.csv", f"text\n{book}\n"))) == [book]


def test_jsonl_has_an_object_a_line(write):
    path = write(
        "a.jsonl",
        '{"text": "a\\nb", "label": 3, "ok": true}\n\n{"text": "é", "label": 1, "ok": false}',
    )
    source = sources.from_file(path)
    assert texts(source) == ["a\nb", "é"]
    assert source.column("label").tolist() == [3, 1]
    assert source.column("ok").tolist() == [1, 0]


def test_jsonl_columns_that_nobody_wants_may_be_anything(write):
    path = write("a.jsonl", '{"text": "a", "meta": null}\n{"text": "b"}\n')
    assert texts(sources.from_file(path, ["text"])) == ["a", "b"]


def test_numbers_among_names_are_names(write):
    path = write("a.jsonl", '{"label": "a"}\n{"label": 7}\n')
    assert texts(sources.from_file(path), "label") == ["a", "7"]


def test_a_text_file_has_a_row_for_each_line(write):
    assert texts(sources.from_file(write("a.txt", "one\r\n\nthree\x0b!\n"))) == [
        "one",
        "",
        "three\x0b!",
    ]


def test_the_mark_that_spreadsheets_put_first_is_not_part_of_a_name(write):
    assert sources.from_file(write("a.csv", b"\xef\xbb\xbftext\na\n")).names == ("text",)


def test_a_missing_column_lists_those_there_are(write):
    path = write("a.csv", "title,label\na,x\n")
    assert message(ColumnError, sources.from_file, path, ["titel"]) == (
        f"{path} has no column 'titel'; did you mean 'title'?; its columns are 'title', 'label'"
    )


def test_a_missing_column_of_a_jsonl_line_lists_those_there_are(write):
    path = write("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n')
    assert message(ColumnError, sources.from_file, path) == (
        f"{path}, line 2 has no column 'label'; its columns are 'text'"
    )


@pytest.mark.parametrize("content", ["", "text,label\n", "\n\n"])
def test_an_empty_file_is_refused(write, content):
    path = write("a.csv", content)
    assert message(ValueError, sources.from_file, path) == f"{path} is empty: it has no rows"


def test_bytes_that_are_not_utf8_are_named_with_their_line(write):
    path = write("a.csv", b"text,label\nfine,x\ncaf\xe9,x\n")
    assert message(ValueError, sources.from_file, path) == (
        f"{path}, line 3: byte 0xe9 at offset 21 is not UTF-8; save the file as UTF-8, as "
        "`iconv -f LATIN1 -t UTF-8 a.csv` does"
    )


def test_an_unknown_suffix_lists_the_known_ones(write):
    path = write("a.parquet", "x")
    assert message(ValueError, sources.from_file, path) == (
        f"{path} has the suffix '.parquet'; known are .csv, .tsv, .jsonl, .txt"
    )


def test_a_row_of_another_length_is_named_with_its_line(write):
    path = write("a.csv", 'text,label\n"two\nlines",x\na,b,c\n')
    assert message(ValueError, sources.from_file, path) == (
        f"{path}, line 4: 3 field(s), but there are 2 columns: 'text', 'label'"
    )


def test_a_quote_without_end_is_named_with_its_line(write):
    path = write("a.csv", 'text,label\n"never ends,x\n')
    assert message(ValueError, sources.from_file, path).startswith(f"{path}, line 2: ")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"text": "a"', "not JSON: "),
        ('["a"]', '["a"] is not a JSON object'),
        ('{"text": null}', "column 'text' is null; it must be a string or a number"),
        ('{"text": ["a", "b"]}', 'column \'text\' is ["a", "b"]; it must be a string or a number'),
    ],
)
def test_a_broken_line_of_jsonl_is_named(write, line, what):
    path = write("a.jsonl", f'{{"text": "fine"}}\n{line}\n')
    assert message(ValueError, sources.from_file, path).startswith(f"{path}, line 2: {what}")


def test_half_a_character_is_not_text(write):
    path = write("a.jsonl", '{"text": "fine"}\n{"text": "\\ud800"}\n')
    assert message(ValueError, sources.from_file, path).startswith(
        f"{path}: column 'text', row 2 is not Unicode text ("
    )


# Folders


@pytest.fixture
def no_folders(monkeypatch, tmp_path):
    """A machine without data."""
    for variable in ("TFDS_DATA_DIR", "ZOO_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_folders_are_looked_into_in_order(monkeypatch, no_folders, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", "/t")
    monkeypatch.setenv("ZOO_DATA_DIR", "~/z")
    home = tmp_path / "home"
    assert folders.tfds_folders("/d") == [
        Path("/d"),
        Path("/d/tfds"),
        Path("/t"),
        home / "z/tfds",
        home / "tensorflow_datasets",
    ]
    assert folders.text_folders("/d") == [Path("/d"), Path("/d/text"), home / "z/text"]


def test_data_folders_say_which_exist(monkeypatch, no_folders, tmp_path):
    (tmp_path / "text").mkdir()
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    assert folders.data_folders() == {
        tmp_path / "tfds": False,
        tmp_path / "home/tensorflow_datasets": False,
        tmp_path / "text": True,
    }


def test_a_file_is_found_where_it_lies_and_in_the_folders(monkeypatch, no_folders, write, tmp_path):
    (tmp_path / "data/text").mkdir(parents=True)
    path = write("data/text/a.csv", "text\nx\n")
    assert folders.find_file(path) == path
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "data"))
    assert folders.find_file("a.csv") == path
    write("a.csv", "text\ny\n")
    assert folders.find_file("a.csv") == Path("a.csv")


def test_a_missing_file_is_looked_for_and_guessed(no_folders, write):
    write("reviews.csv", "")
    assert message(FileNotFoundError, folders.find_file, "review.csv", "/d") == (
        "no file 'review.csv'; did you mean 'reviews.csv'?; looked for review.csv, /d/review.csv, "
        "/d/text/review.csv"
    )


@pytest.fixture
def prepared(no_folders, tmp_path):
    """Makes folders as TFDS prepares them."""

    def prepare(*builds: str) -> str:
        for build in builds:
            (tmp_path / "tfds" / build).mkdir(parents=True)
            (tmp_path / "tfds" / build / "dataset_info.json").touch()
        return str(tmp_path / "tfds")

    return prepare


def test_a_data_set_is_found_with_or_without_version_and_configuration(prepared):
    root = prepared("mnist/3.0.9", "mnist/3.0.10", "imdb/plain_text/1.0.0", "wikiann/en/1.0.0")
    for name, build in {
        "mnist": "mnist/3.0.10",
        "mnist:3.0.9": "mnist/3.0.9",
        "imdb": "imdb/plain_text/1.0.0",
        "wikiann/en": "wikiann/en/1.0.0",
        "wikiann/en:1.0.0": "wikiann/en/1.0.0",
    }.items():
        assert folders.find_tfds(name, root) == Path(root, build)


def test_the_default_configuration_is_that_of_tfds(prepared):
    root = prepared("wmt/de-en/1.0.0", "wmt/fr-en/1.0.0")
    Path(root, "wmt/.config").mkdir()
    default = {"default_config_name": "fr-en"}
    Path(root, "wmt/.config/metadata.json").write_text(json.dumps(default))
    assert folders.find_tfds("wmt", root) == Path(root, "wmt/fr-en/1.0.0")


def test_several_configurations_are_listed(prepared):
    root = prepared("wmt/de-en/1.0.0", "wmt/fr-en/1.0.0")
    assert message(LookupError, folders.find_tfds, "wmt", root) == (
        "wmt has the configurations 'de-en', 'fr-en'; say which, as wmt/de-en"
    )


def test_a_missing_data_set_says_where_it_was_looked_for_and_how_to_get_it(prepared):
    root = prepared("imdb_reviews/plain_text/1.0.0")
    text = message(FileNotFoundError, sources.from_tfds, "imdb_review", "train", root)
    home = Path("~/tensorflow_datasets").expanduser()
    assert text == (
        f"no data set 'imdb_review' in {root}, {root}/tfds, {home}; did you mean 'imdb_reviews'? "
        "(there: 'imdb_reviews'). Prepare it where there is a network, by `tfds build imdb_review "
        "--data_dir DIR/tfds`, and let ZOO_DATA_DIR or --data.data-dir point to DIR"
    )


# TFDS


@pytest.fixture
def offline(monkeypatch):
    """No connection can be opened."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.shared
def test_tfds_data_is_read_without_a_network(shared, offline):
    source = sources.from_tfds("ag_news_subset", "test[:5]", str(shared / "data"))
    assert source.where == "ag_news_subset/1.0.0, split test[:5]"
    assert source.count() == len(rows(source)) == 5
    assert source.class_names == {"label": ("World", "Sports", "Business", "Sci/Tech")}
    assert set(source.names) == {"title", "description", "label"}
    assert source.targets("label", ("World", "Sports", "Business", "Sci/Tech")).max() <= 3


@pytest.mark.shared
def test_tfds_rows_come_in_the_same_order_each_time(shared):
    source = sources.from_tfds("imdb_reviews", "test[:100]", str(shared / "data"))
    assert source.column("text").tolist() == source.column("text").tolist()


@pytest.mark.shared
def test_an_unknown_split_lists_the_known_ones(shared):
    assert message(LookupError, sources.from_tfds, "mnist", "tset", str(shared / "data")) == (
        "mnist/3.0.1 has no split 'tset'; did you mean 'test'?; it has 'test', 'train'"
    )


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mnist", "ag_news_subset", "wikiann/en"])
def test_rows_are_those_that_tfds_reads(shared, name):
    import tensorflow_datasets as tfds

    split = "test[10:15]+train[:5]"
    builder = tfds.builder_from_directory(folders.find_tfds(name, str(shared / "data")))
    source = sources.from_tfds(name, split, str(shared / "data"))
    assert source.count() == 10
    for row, expected in zip(rows(source), tfds.as_numpy(builder.as_dataset(split)), strict=True):
        assert row.keys() == expected.keys()
        for key in row:
            np.testing.assert_array_equal(row[key], expected[key])


def test_tfds_that_is_not_installed_says_what_to_install(monkeypatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    tensorflow()
    monkeypatch.setattr("importlib.import_module", missing)
    assert message(ImportError, sources.from_tfds, "mnist", "train") == (
        "TFDS data sets need tensorflow-datasets (No module named 'tensorflow_datasets'): "
        'pip install "flax-zoo[train]"'
    )


# Memory


def test_columns_in_memory_are_rows():
    source = sources.from_arrays({"text": ["a", "bc"], "label": np.array([1, 0])})
    assert rows(source) == [{"text": b"a", "label": 1}, {"text": b"bc", "label": 0}]
    assert source.count() == 2


@pytest.mark.parametrize(
    "values",
    [["a", "é"], np.array(["a", "é"]), np.array(["a", "é"], object), ("a", "é".encode())],
)
def test_texts_in_memory_come_in_any_dress(values):
    assert texts(sources.from_arrays({"text": values})) == ["a", "é"]


def test_tuples_are_rows():
    source = sources.from_user(iter([("a", "x"), ["b", "y"]]), ("text", "label"))
    assert rows(source) == [{"text": b"a", "label": b"x"}, {"text": b"b", "label": b"y"}]


def test_a_tf_dataset_is_taken_as_tuples_or_dicts():
    slices = tensorflow().data.Dataset.from_tensor_slices
    for dataset in (slices((["a"], [1])), slices({"text": ["a"], "label": [1]})):
        source = sources.from_user(dataset, ("text", "label"))
        assert rows(source) == [{"text": b"a", "label": 1}]
        assert source.num_rows == 1


def test_rows_of_a_stream_are_counted_when_asked():
    odd = tensorflow().data.Dataset.range(9).filter(lambda n: n % 2 == 1).map(lambda n: {"n": n})
    source = sources.from_user(odd, ("n",))
    assert source.num_rows is None
    assert source.count() == 4
    assert source.cached().num_rows == 4


def test_what_is_not_rows_is_refused():
    assert message(TypeError, sources.from_user, 7, ("text", "label")) == (
        "data is 7; it must be an iterable of tuples, a mapping of columns or a tf.data.Dataset"
    )
    assert message(TypeError, sources.from_user, "a.csv", ("text", "label")).startswith(
        "data is 'a.csv'"
    )


def test_a_tuple_of_another_length_is_named():
    assert message(ValueError, sources.from_user, [("a", 1), ("b",)], ("text", "label")) == (
        "the data: row 2 has 1 value(s) instead of 2: 'text', 'label'"
    )


def test_columns_of_different_lengths_are_refused():
    columns = {"text": ["a", "b"], "label": [1]}
    assert message(ValueError, sources.from_arrays, columns) == (
        "the data: the columns have different numbers of rows: {'text': 2, 'label': 1}"
    )


def test_no_rows_are_refused():
    assert message(ValueError, sources.from_user, [], ("text", "label")) == "the data has no rows"
    empty = tensorflow().data.Dataset.from_tensor_slices({"text": np.zeros((0,), str)})
    assert message(ValueError, sources.from_user(empty, ()).cached) == (
        "the tf.data.Dataset has no rows"
    )


def test_values_of_several_shapes_are_refused():
    assert message(ValueError, sources.from_arrays, {"x": [[1, 2], [3]]}).startswith(
        "the data: column 'x' has values of several shapes ("
    )


def test_a_missing_text_is_named():
    assert message(ValueError, sources.from_arrays, {"text": ["a", None]}) == (
        "the data: column 'text', row 2: None is neither text nor a number"
    )


def test_a_tf_dataset_without_end_is_refused():
    endless = tensorflow().data.Dataset.from_tensors({"text": "a"}).repeat()
    assert message(ValueError, sources.from_user, endless, ("text",)) == (
        "the tf.data.Dataset has no end; an epoch must have one: leave out its repeat()"
    )


def test_a_tf_dataset_of_other_elements_is_refused():
    single = tensorflow().data.Dataset.from_tensor_slices(["a"])
    assert message(ValueError, sources.from_user, single, ("text", "label")) == (
        "the tf.data.Dataset has elements TensorSpec(shape=(), dtype=tf.string, name=None); they "
        "must be dicts, or tuples of 2: 'text', 'label'"
    )


# Columns


@pytest.fixture(params=["memory", "stream"])
def source_of(request):
    """Makes a source, in memory or as a stream."""

    def make(**columns: object) -> sources.Source:
        source = sources.from_arrays(columns, "rows")
        if request.param == "memory":
            return source
        return sources.from_dataset(source.dataset, (), "rows")

    return make


def test_columns_are_joined_by_a_space(source_of):
    source = source_of(title=["A", "B"], body=["x y", ""], label=[0, 1])
    joined = source.join(("title", "body"), "text")
    assert set(joined.names) == {"text", "label"}
    assert texts(joined) == ["A x y", "B "]


def test_only_text_can_be_joined(source_of):
    source = source_of(text=[1, 2])
    assert message(ValueError, source.join, ("text",), "text") == (
        "rows: column 'text' is not text; it holds int64 of shape ()"
    )


def test_every_row_is_trained_on_or_held_out(source_of):
    train, held = source_of(n=np.arange(100)).split(0.05)
    assert (train.count(), held.count()) == (95, 5)
    assert sorted([*train.column("n"), *held.column("n")]) == list(range(100))
    assert held.column("n").tolist() != [95, 96, 97, 98, 99]


def test_held_out_rows_are_the_same_in_memory_and_as_a_stream():
    memory = sources.from_arrays({"n": np.arange(50)})
    stream = sources.from_dataset(memory.dataset, ())
    assert memory.split(0.2)[1].column("n").tolist() == stream.split(0.2)[1].column("n").tolist()


@pytest.mark.parametrize(
    ("rows", "share", "held"), [(3, 0.05, 1), (2, 0.99, 1), (1, 0.5, 0), (9, 0, 0)]
)
def test_at_least_one_row_is_held_out_and_never_all(rows, share, held):
    assert sources.held_out(rows, share).sum() == held


def test_labels_are_those_that_occur_sorted(source_of):
    assert source_of(label=["b", "a", "b"]).labels("label") == ("a", "b")
    assert source_of(label=["10", "9", "-1"]).labels("label") == ("-1", "9", "10")
    assert source_of(label=[7, 3]).labels("label") == ("3", "7")


def test_targets_are_indices_of_labels(source_of):
    assert source_of(label=["b", "a", "b"]).targets("label", ("a", "b")).tolist() == [1, 0, 1]
    assert source_of(label=[4, 2]).targets("label", ("2", "4")).tolist() == [1, 0]
    assert source_of(label=[1, 0]).targets("label", ("no", "yes")).tolist() == [1, 0]


def test_targets_follow_the_names_that_came_with_the_data():
    source = sources.Source(
        where="rows", arrays={"label": np.array([0, 1])}, class_names={"label": ("neg", "pos")}
    )
    assert source.labels("label") == ("neg", "pos")
    assert source.targets("label", ("pos", "neutral", "neg")).tolist() == [2, 0]
    assert source.target_table("label", ("pos", "neg")) == {0: 1, 1: 0}


def test_an_unknown_label_is_named_with_both_sides(source_of):
    source = source_of(label=["pos", "neg", "meh"])
    assert message(LabelError, source.targets, "label", ("neg", "pos")) == (
        "rows: row 3 has the label 'meh', which is not one of the 2 classes 'neg', 'pos'; the data "
        "has 'meh', 'neg', 'pos'"
    )


@pytest.mark.parametrize("value", [2, -1])
def test_a_label_outside_the_range_is_named(source_of, value):
    source = source_of(label=[0, 1, value])
    assert message(LabelError, source.targets, "label", ("neg", "pos")).startswith(
        f"rows: row 3 has the label '{value}', which is not one of the 2 classes 'neg', 'pos'"
    )


def test_numbers_are_no_places_among_labels_that_are_numbers(source_of):
    source = source_of(label=[0, 1, 2])
    assert message(LabelError, source.targets, "label", ("1", "2", "3")) == (
        "rows: row 1 has the label '0', which is not one of the 3 classes '1', '2', '3'; the data "
        "has '0', '1', '2'"
    )


def test_names_of_classes_that_the_model_does_not_know_are_refused_unread():
    source = sources.Source(where="rows", arrays={}, class_names={"label": ("neg", "pos")})
    assert message(LabelError, source.target_table, "label", ("bad", "good")) == (
        "rows has the label 'neg', which is not one of the 2 classes 'bad', 'good'; the data has "
        "'neg', 'pos'"
    )


def test_a_label_outside_the_range_of_named_classes_is_named():
    source = sources.Source(
        where="rows", arrays={"label": np.array([0, -1])}, class_names={"label": ("neg", "pos")}
    )
    assert message(LabelError, source.targets, "label", ("neg", "pos")) == (
        "rows: row 2 has the label '-1', which is not one of the 2 classes 'neg', 'pos'; the data "
        "has 'neg', 'pos'"
    )


def test_one_class_is_too_few(source_of):
    assert message(ConfigError, source_of(label=["a", "a"]).labels, "label") == (
        "rows: column 'label' has only the label 'a'; a classifier needs two"
    )


def test_labels_are_no_fractions(source_of):
    assert message(ConfigError, source_of(label=[0.5, 1.0]).labels, "label") == (
        "rows: column 'label' holds float64 []; labels are names or whole numbers"
    )


def test_splits_need_something_to_train_on():
    splits = {"train": None, "validation": None, "test": None}
    assert message(ConfigError, sources.from_splits, None, splits, ()) == (
        "no training data: give data.name, a TFDS data set, or data.train, a file "
        "(.csv, .tsv, .jsonl, .txt)"
    )


@pytest.mark.shared
def test_splits_of_tfds_are_those_there_are(shared):
    splits = {"train": "train[:10%]", "validation": None, "test": None}
    columns = ("tokens", "tags")
    found = sources.from_splits("wikiann/en", splits, columns, str(shared / "data"))
    counts = {split: source.count() for split, source in found.items()}
    assert counts == {"train": 2000, "validation": 10000, "test": 10000}
    assert set(found["train"].names) == set(columns)
