from __future__ import annotations

import itertools

import numpy as np
import pytest

from zoo.config import ConfigError
from zoo.pipelines.base import LabelError
from zoo.pipelines.sources import labels, opening
from zoo.pipelines.sources.source import Source


def message(error: type[Exception], function, *arguments, **keywords) -> str:
    """The text of the error that a call raises; it must be one line."""
    with pytest.raises(error) as raised:
        function(*arguments, **keywords)
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.fixture(params=["memory", "stream"])
def source_of(request):
    """Makes a source, in memory or as a stream."""

    def make(**columns: object) -> Source:
        source = opening.from_arrays(columns, "rows")
        if request.param == "memory":
            return source
        return opening.from_dataset(source.dataset, (), "rows")

    return make


def test_labels_are_those_that_occur_sorted(source_of):
    assert labels.of_column(source_of(label=["b", "a", "b"]), "label") == ("a", "b")
    assert labels.of_column(source_of(label=["10", "9", "-1"]), "label") == ("-1", "9", "10")
    assert labels.of_column(source_of(label=[7, 3]), "label") == ("3", "7")


def test_targets_are_indices_of_labels(source_of):
    assert labels.targets(source_of(label=["b", "a", "b"]), "label", ("a", "b")).tolist() == [
        1,
        0,
        1,
    ]
    assert labels.targets(source_of(label=[4, 2]), "label", ("2", "4")).tolist() == [1, 0]
    assert labels.targets(source_of(label=[1, 0]), "label", ("no", "yes")).tolist() == [1, 0]


def test_targets_follow_the_names_that_came_with_the_data():
    source = Source(
        origin="rows", arrays={"label": np.array([0, 1])}, class_names={"label": ("neg", "pos")}
    )
    assert labels.of_column(source, "label") == ("neg", "pos")
    assert labels.targets(source, "label", ("pos", "neutral", "neg")).tolist() == [2, 0]
    assert labels.table_of_column(source, "label", ("pos", "neg")) == {0: 1, 1: 0}


def test_an_unknown_label_is_named_with_both_sides(source_of):
    source = source_of(label=["pos", "neg", "meh"])
    assert message(LabelError, labels.targets, source, "label", ("neg", "pos")) == (
        "rows: row 3 has the label 'meh', which is not one of the 2 classes 'neg', 'pos'; the data "
        "has 'meh', 'neg', 'pos'"
    )


@pytest.mark.parametrize("value", [2, -1])
def test_a_label_outside_the_range_is_named(source_of, value):
    source = source_of(label=[0, 1, value])
    assert message(LabelError, labels.targets, source, "label", ("neg", "pos")).startswith(
        f"rows: row 3 has the label '{value}', which is not one of the 2 classes 'neg', 'pos'"
    )


def test_numbers_are_no_places_among_labels_that_are_numbers(source_of):
    source = source_of(label=[0, 1, 2])
    assert message(LabelError, labels.targets, source, "label", ("1", "2", "3")) == (
        "rows: row 1 has the label '0', which is not one of the 3 classes '1', '2', '3'; the data "
        "has '0', '1', '2'"
    )


def test_names_of_classes_that_the_model_does_not_know_are_refused_unread():
    source = Source(origin="rows", arrays={}, class_names={"label": ("neg", "pos")})
    assert message(LabelError, labels.table_of_column, source, "label", ("bad", "good")) == (
        "rows has the label 'neg', which is not one of the 2 classes 'bad', 'good'; the data has "
        "'neg', 'pos'"
    )


def test_a_label_outside_the_range_of_named_classes_is_named():
    source = Source(
        origin="rows", arrays={"label": np.array([0, -1])}, class_names={"label": ("neg", "pos")}
    )
    assert message(LabelError, labels.targets, source, "label", ("neg", "pos")) == (
        "rows: row 2 has the label '-1', which is not one of the 2 classes 'neg', 'pos'; the data "
        "has 'neg', 'pos'"
    )


@pytest.mark.parametrize("value", ["", " ", b""])
def test_a_class_without_a_name_is_refused_with_its_row(source_of, value):
    source = source_of(label=["a", "b", value])
    for call in (labels.of_column, lambda s, c: labels.targets(s, c, ("a", "b"))):
        said = message(ValueError, call, source, "label")
        assert said.startswith("rows: column 'label', row 3: the class is missing ('")


def test_the_order_of_labels_does_not_depend_on_how_python_hashes():
    for names in itertools.permutations(["1", "01", "2", "001", "-1"]):
        assert labels.sorted_names(dict.fromkeys(names)) == ("-1", "001", "01", "1", "2")


def test_one_class_is_too_few(source_of):
    assert message(ConfigError, labels.of_column, source_of(label=["a", "a"]), "label") == (
        "rows: column 'label' has only the label 'a'; a classifier needs two"
    )


def test_labels_are_no_fractions(source_of):
    assert message(ConfigError, labels.of_column, source_of(label=[0.5, 1.0]), "label") == (
        "rows: column 'label' holds float64 []; labels are names or whole numbers"
    )


def test_a_class_has_one_name_however_its_characters_are_composed():
    composed, decomposed = "caf\u00e9", "cafe\u0301"  # as Linux and macOS write folders
    source = opening.from_arrays({"label": [composed, decomposed, "tea"]})
    assert labels.of_column(source, "label") == (composed, "tea")
    for given in ((composed, "tea"), (decomposed, "tea")):
        found = labels.checked({"train": source}, "label", given)
        assert labels.targets(source, "label", found).tolist() == [0, 0, 1]
    with pytest.raises(ConfigError, match="have 'caf\u00e9' twice"):
        labels.checked({"train": source}, "label", (composed, decomposed, "tea"))


def test_a_masked_value_is_missing():
    masked = np.ma.masked_array([[1, 2], [3, 4]], mask=[[0, 0], [0, 1]])
    for column in (masked, masked[:, 1]):
        with pytest.raises(ValueError, match=r"row 2: the value is missing \(masked\)"):
            opening.from_arrays({"label": column})
    assert opening.from_arrays({"label": masked[0]}).count() == 2
