from __future__ import annotations

import socket

import numpy as np
import pytest

from zoo.pipelines.base import ColumnError
from zoo.pipelines.sources import labels, locations, opening
from zoo.pipelines.sources.source import Source
from zoo.pipelines.tfdata import tensorflow


def rows(source: Source) -> list[dict[str, object]]:
    return list(source.dataset.as_numpy_iterator())


def texts(source: Source, column: str = "text") -> list[str]:
    return [value.decode() for value in source.column(column)]


def message(error: type[Exception], function, *arguments, **keywords) -> str:
    """The text of the error that a call raises; it must be one line."""
    with pytest.raises(error) as raised:
        function(*arguments, **keywords)
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.fixture
def offline(monkeypatch):
    """No connection can be opened."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.shared
def test_tfds_data_is_read_without_a_network(shared, offline):
    source = opening.from_tfds("ag_news_subset", "test[:5]", str(shared / "data"))
    assert source.origin == "ag_news_subset/1.0.0, split test[:5]"
    assert source.count() == len(rows(source)) == 5
    assert source.class_names == {"label": ("World", "Sports", "Business", "Sci/Tech")}
    assert set(source.names) == {"title", "description", "label"}
    assert labels.targets(source, "label", ("World", "Sports", "Business", "Sci/Tech")).max() <= 3


@pytest.mark.shared
def test_tfds_rows_come_in_the_same_order_each_time(shared):
    source = opening.from_tfds("imdb_reviews", "test[:100]", str(shared / "data"))
    assert source.column("text").tolist() == source.column("text").tolist()


@pytest.mark.shared
def test_an_unknown_split_lists_the_known_ones(shared):
    assert message(LookupError, opening.from_tfds, "mnist", "tset", str(shared / "data")) == (
        "mnist/3.0.1 has no split 'tset'; did you mean 'test'?; it has 'test', 'train'"
    )


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mnist", "ag_news_subset", "wikiann/en"])
def test_rows_are_those_that_tfds_reads(shared, name):
    import tensorflow_datasets as tfds

    split = "test[10:15]+train[:5]"
    builder = tfds.builder_from_directory(locations.find_tfds(name, str(shared / "data")))
    source = opening.from_tfds(name, split, str(shared / "data"))
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
    assert message(ImportError, opening.from_tfds, "mnist", "train") == (
        "TFDS data sets need tensorflow-datasets (No module named 'tensorflow_datasets'): "
        'pip install "flax-zoo[train]"'
    )


def test_columns_in_memory_are_rows():
    source = opening.from_arrays({"text": ["a", "bc"], "label": np.array([1, 0])})
    assert rows(source) == [{"text": b"a", "label": 1}, {"text": b"bc", "label": 0}]
    assert source.count() == 2


@pytest.mark.parametrize(
    "values",
    [["a", "é"], np.array(["a", "é"]), np.array(["a", "é"], object), ("a", "é".encode())],
)
def test_texts_in_memory_come_in_any_dress(values):
    assert texts(opening.from_arrays({"text": values})) == ["a", "é"]


def test_tuples_are_rows():
    source = opening.from_user(iter([("a", "x"), ["b", "y"]]), ("text", "label"))
    assert rows(source) == [{"text": b"a", "label": b"x"}, {"text": b"b", "label": b"y"}]


class Table:
    """A table as pandas and polars have it."""

    def __init__(self, columns):
        self._columns = columns
        self.columns = list(columns)

    def to_dict(self):
        return self._columns

    def __getitem__(self, name):
        return iter(self._columns[name])


@pytest.mark.parametrize(
    "given",
    [
        [{"text": "a", "label": "x", "id": 1}, {"label": "y", "text": "b"}],
        [{"label": "x", "text": "a"}, {"text": "b", "label": "y"}],
        np.array([["a", "x"], ["b", "y"]]),
        np.array([["a", "x"], ["b", "y"]], object),
        {"text": ("a", "b"), "label": np.array(["x", "y"]), "id": [None, 1.0]},
        Table({"text": ["a", "b"], "label": ["x", "y"], "score": [1.0, float("nan")]}),
        Table({0: ["a", "b"], 1: ["x", "y"]}),
    ],
    ids=["dicts", "turned", "strings", "objects", "columns", "table", "unnamed"],
)
def test_rows_and_columns_come_in_any_dress(given):
    if isinstance(given, list) and "id" in given[0]:
        assert "row 2 has no column 'id'" in message(
            ColumnError, opening.from_user, given, ("text", "label")
        )
        del given[0]["id"]
    source = opening.from_user(given, ("text", "label"))
    assert rows(source) == [{"text": b"a", "label": b"x"}, {"text": b"b", "label": b"y"}]


def test_numbers_of_numpy_are_numbers():
    values = ["a", np.int64(3), np.float32(0.5), np.bool_(True), np.str_("b"), np.bytes_(b"c")]
    assert texts(opening.from_arrays({"text": values})) == ["a", "3", "0.5", "True", "b", "c"]


def test_columns_given_as_a_pair_are_refused_with_what_to_write():
    lists = ["a fine film", "a dull one"], ["pos", "neg"]
    arrays = np.zeros((3, 2, 2)), np.array([0, 1, 0])
    for given in (lists, list(lists), arrays, (["a", "b", "c"], ["x", "y", "z"])):
        said = message(ValueError, opening.from_user, given, ("text", "label"))
        assert "write {'text': […], 'label': […]} for columns, or tuples for rows" in said
    assert opening.from_user([["a", "x"]], ("text", "label")).num_rows == 1
    assert opening.from_user([["a"], ["b"]], ("text",)).num_rows == 2
    one = {"text": "abc", "label": "xyz"}
    assert message(TypeError, opening.from_user, one, ("text", "label")) == (
        "the data: column 'text' is 'abc'; give a list, a value for each row"
    )
    for value in (None, 3, np.array(3)):
        said = message(TypeError, opening.from_user, one | {"text": value}, ("text", "label"))
        assert said.endswith("; give a list, a value for each row")


class NAType:  # as pandas calls it
    pass


@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan"), NAType()])
def test_a_missing_value_is_refused_with_its_row(value):
    nothing = [("a fine film", "pos"), (value, "neg"), ("dull", "neg")]
    assert "column 'text', row 2: the value is missing" in message(
        ValueError, opening.from_user, nothing, ("text", "label")
    )
    unlabelled = [("a fine film", "pos"), ("dull", value)]
    assert "column 'label', row 2: the value is missing" in message(
        ValueError, opening.from_user, unlabelled, ("text", "label")
    )
    numbers = {"text": ["a", "b"], "label": np.array([0.0, np.nan])}
    assert "column 'label', row 2: the value is missing" in message(
        ValueError, opening.from_user, numbers, ("text", "label")
    )


def test_a_tf_dataset_is_taken_as_tuples_or_dicts():
    slices = tensorflow().data.Dataset.from_tensor_slices
    for dataset in (slices((["a"], [1])), slices({"text": ["a"], "label": [1]})):
        source = opening.from_user(dataset, ("text", "label"))
        assert rows(source) == [{"text": b"a", "label": 1}]
        assert source.num_rows == 1


def test_rows_of_a_stream_are_counted_when_asked():
    odd = tensorflow().data.Dataset.range(9).filter(lambda n: n % 2 == 1).map(lambda n: {"n": n})
    source = opening.from_user(odd, ("n",))
    assert source.num_rows is None
    assert source.count() == 4
    assert source.cached().num_rows == 4


def test_what_is_not_rows_is_refused():
    assert message(TypeError, opening.from_user, 7, ("text", "label")) == (
        "data is 7; it must be an iterable of tuples (text, label), a mapping of columns, a "
        "DataFrame or a tf.data.Dataset"
    )
    assert message(TypeError, opening.from_user, "a.csv", ("text", "label")).startswith(
        "data is 'a.csv'"
    )


def test_a_tuple_of_another_length_is_named():
    assert message(ValueError, opening.from_user, [("a", 1), ("b",)], ("text", "label")) == (
        "the data: row 2 has 1 value(s) instead of 2: 'text', 'label'; give tuples, or "
        "{'text': […], …} for columns"
    )


def test_columns_of_different_lengths_are_refused():
    columns = {"text": ["a", "b"], "label": [1]}
    assert message(ValueError, opening.from_arrays, columns) == (
        "the data: the columns have different numbers of rows: {'text': 2, 'label': 1}"
    )


def test_no_rows_are_refused():
    assert message(ValueError, opening.from_user, [], ("text", "label")) == "the data has no rows"
    empty = tensorflow().data.Dataset.from_tensor_slices({"text": np.zeros((0,), str)})
    assert message(ValueError, opening.from_user(empty, ()).cached) == (
        "the tf.data.Dataset has no rows"
    )


def test_values_of_several_shapes_are_refused():
    assert message(ValueError, opening.from_arrays, {"x": [[1, 2], [3]]}).startswith(
        "the data: column 'x' has values of several shapes ("
    )


def test_a_missing_text_is_named():
    assert message(ValueError, opening.from_arrays, {"text": ["a", None]}) == (
        "the data: column 'text', row 2: the value is missing (None); fill it in, or leave out "
        "the row"
    )


def test_a_tf_dataset_without_end_is_refused():
    endless = tensorflow().data.Dataset.from_tensors({"text": "a"}).repeat()
    assert message(ValueError, opening.from_user, endless, ("text",)) == (
        "the tf.data.Dataset has no end; an epoch must have one: leave out its repeat()"
    )


def test_a_tf_dataset_of_other_elements_is_refused():
    single = tensorflow().data.Dataset.from_tensor_slices(["a"])
    assert message(ValueError, opening.from_user, single, ("text", "label")) == (
        "the tf.data.Dataset has elements TensorSpec(shape=(), dtype=tf.string, name=None); they "
        "must be dicts, or tuples of 2: 'text', 'label'"
    )
