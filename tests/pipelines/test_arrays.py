"""Rows of numbers from files, arrays and a function of the user's."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def houses(tmp_path):
    rows = [(10.0 * i, i % 5) for i in range(100)]
    path = tmp_path / "houses.csv"
    lines = "".join(f"{area},{rooms},{2 * area + rooms}\n" for area, rooms in rows)
    path.write_text("area,rooms,price\n" + lines)
    return path


def test_columns_of_a_file_are_inputs_in_their_order(houses):
    from zoo.pipelines.arrays import arrays

    data = arrays(str(houses), target="price", holdout=0.2).open()
    assert data.facts.num_examples == {"train": 79, "validation": 21}
    assert data.facts.decides["input_shape"] == (2,)
    batch = next(data.train(8, seed=0))
    assert batch["inputs"].dtype == batch["targets"].dtype == np.float32
    np.testing.assert_array_equal(
        batch["targets"], 2 * batch["inputs"][:, 0] + batch["inputs"][:, 1]
    )
    turned = arrays(str(houses), target="price", inputs=("rooms", "area")).open()
    assert max(b["inputs"][:, 0].max() for b in turned.evaluate("train", 50)) == 4


def test_each_row_is_evaluated_once_and_what_fills_a_batch_up_weighs_nothing(houses):
    from zoo.pipelines.arrays import arrays

    data = arrays(str(houses), target="price", holdout=0.2).open()
    batches = list(data.evaluate("validation", 16))
    assert [len(batch["weights"]) for batch in batches] == [16, 16]
    assert sum(batch["weights"].sum() for batch in batches) == 21


def test_order_is_a_function_of_seed_and_step_and_divided_over_processes(houses):
    from zoo.pipelines.arrays import arrays
    from zoo.pipelines.base import Share

    data = arrays(str(houses), target="price").open()
    later = next(data.train(8, seed=3, start=20))["inputs"]
    stream = data.train(8, seed=3)
    whole = [next(stream)["inputs"] for _ in range(21)][20]
    np.testing.assert_array_equal(later, whole)
    parts = [next(data.train(8, seed=3, start=20, rows=Share(i, 2)))["inputs"] for i in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_standardised_columns_have_mean_0_and_variance_1_and_a_card_says_how(houses):
    from zoo.pipelines.arrays import arrays
    from zoo.preprocessing import ArrayPreprocessing

    raw = arrays(str(houses), target="price", holdout=0.0).open()
    data = arrays(str(houses), target="price", holdout=0.0, standardise=True).open()
    scaled = np.concatenate([b["inputs"] for b in data.evaluate("train", 50)])
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-6)
    prepare = ArrayPreprocessing(**{k: tuple(v) for k, v in data.facts.preprocessing.items()})
    given = np.concatenate([b["inputs"] for b in raw.evaluate("train", 50)])
    np.testing.assert_allclose(prepare.scale(given), scaled, rtol=1e-6)


def test_a_target_of_text_is_a_class_and_several_targets_are_a_row(tmp_path):
    from zoo.pipelines.arrays import arrays

    path = tmp_path / "kinds.csv"
    path.write_text("a,kind,b\n" + "1,big,2\n3,small,4\n" * 4)
    data = arrays(str(path), target="kind", holdout=0.0).open()
    assert data.facts.labels == ("big", "small")
    assert data.facts.decides["num_classes"] == 2
    (batch,) = data.evaluate("train", 8)
    assert batch["targets"].tolist() == [0, 1] * 4 and batch["targets"].dtype == np.int32
    pair = arrays(str(path), target=("a", "b"), inputs=("a",), holdout=0.0).open()
    (batch,) = pair.evaluate("train", 8)
    assert batch["targets"].shape == (8, 2)


def test_arrays_of_an_npz_file_or_of_the_user_are_taken_as_they_are(tmp_path):
    from zoo.pipelines.arrays import arrays

    rows = {"images": np.zeros((10, 4, 4, 1)), "target": np.arange(10.0)}
    np.savez(tmp_path / "rows.npz", **rows)
    stored = arrays(str(tmp_path / "rows.npz"), holdout=0.0).open()
    given = arrays(holdout=0.0).open(rows)
    splits = arrays().open({"train": rows, "validation": rows, "test": rows})
    for data in (stored, given):
        (batch,) = data.evaluate("train", 10)
        assert batch["inputs"].shape == (10, 4, 4, 1)
        assert data.facts.decides["inputs"] == (((4, 4, 1), "float32"),)
    assert splits.facts.num_examples == {"train": 10, "validation": 10, "test": 10}


@pytest.mark.parametrize("content", [b"", b"\0", b"PK\3\4junk", b"\x93NUMPY\1\0"])
def test_a_broken_npz_file_is_named(tmp_path, content):
    from zoo.config import ValueMistake
    from zoo.pipelines.arrays import arrays

    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ValueMistake, match=r"a\.npz is not an NPZ file of numbers"):
        arrays(str(path)).open()


def test_a_function_of_the_user_s_reads_another_format_for_every_pipeline(tmp_path, monkeypatch):
    from zoo.pipelines import TextClassificationData, file_format
    from zoo.pipelines.arrays import arrays
    from zoo.pipelines.sources import formats

    monkeypatch.setattr(formats, "READERS", dict(formats.READERS))

    @file_format(".pipes")
    def read_pipes(path):
        names, *rows = [line.split("|") for line in path.read_text().splitlines()]
        return {name: [row[index] for row in rows] for index, name in enumerate(names)}

    path = tmp_path / "rows.pipes"
    path.write_text("x|target|text|label\n1|2|a fine film|pos\n3|6|a dull one|neg\n")
    data = arrays(str(path), inputs=("x",), holdout=0.0).open()
    (batch,) = data.evaluate("train", 2)
    assert batch["targets"].tolist() == [2, 6]
    texts = TextClassificationData(train=(str(path),), holdout=0.0).open()
    assert texts.facts.labels == ("neg", "pos")


def test_examples_have_their_columns_by_name(houses):
    from zoo.pipelines.arrays import arrays

    (first,) = arrays(str(houses), target="price", holdout=0.0).open().examples("train", 1)
    assert first.raw == {"area": 0, "rooms": 0, "target": 0}
    assert first.arrays["inputs"].shape == (2,)


def test_rows_to_evaluate_are_scaled_as_the_card_of_the_model_says(houses):
    from zoo.pipelines.arrays import arrays

    config = arrays(str(houses), target="price", standardise=True)
    card = config.open().facts.preprocessing
    rows = {"area": [1.0, 2.0], "rooms": [1, 1], "price": [3, 5]}
    data = config.matching(card).keeping_all_rows().open(rows)
    (batch,) = data.evaluate("train", 2)
    expected = (np.array([1.0, 1]) - card["mean"]) / card["std"]
    np.testing.assert_allclose(batch["inputs"][0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        ("a,y\n1,2\n", {"target": "z"}, "there is no column 'z'.*; the columns are 'a', 'y'"),
        ("a,y\n1,2\n", {"inputs": ("b",)}, "there is no column 'b'"),
        ("a,y\n1,2\n,3\n", {}, "column 'a' of the train rows has '' in row 2, which is not a num"),
        ("a,y\nnan,2\n", {}, "column 'a' of the train rows has no finite number in row 1"),
        ("a,y\n1e99,2\n", {}, "column 'a' of the train rows has no finite number in row 1"),
        ("a,y\n1,inf\n", {}, "column 'y' of the train rows has no finite number in row 1"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused_with_column_and_row(
    tmp_path, content, fields, message
):
    from zoo.pipelines.arrays import arrays

    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises((LookupError, ValueError), match=message):
        arrays(str(path), holdout=0.0, **{"target": "y", **fields}).open()


def test_a_gap_in_a_column_of_numbers_does_not_make_classes(tmp_path):
    from zoo.pipelines.arrays import arrays

    path = tmp_path / "houses.csv"
    path.write_text("size,price\n1,2\n3,\n5,6\n")
    with pytest.raises(ValueError) as caught:
        arrays(str(path), target="price", holdout=0.0).open()
    assert str(caught.value).startswith(
        "the train rows: column 'price', row 2: the value is missing ('')"
    )


@pytest.mark.parametrize(
    "rows",
    [
        [{"inputs": [1.0, 2.0], "target": 3.0}, {"inputs": [4.0, 5.0], "target": 6.0}],
        [([1.0, 2.0], 3.0), ([4.0, 5.0], 6.0)],
        {"train": {"inputs": [[1.0, 2.0], [4.0, 5.0]], "target": [3.0, 6.0]}},
    ],
    ids=["dicts", "tuples", "splits"],
)
def test_rows_may_be_tuples_and_dicts(rows):
    from zoo.pipelines.arrays import arrays

    (batch,) = arrays(holdout=0.0).open(rows).evaluate("train", 2)
    assert batch["inputs"].tolist() == [[1, 2], [4, 5]]
    assert batch["targets"].tolist() == [3, 6]


def test_numbers_may_be_objects_and_text_and_gaps_are_named():
    from zoo.pipelines.arrays import arrays

    data = arrays(inputs=("a", "b"), holdout=0.0)
    columns = {"a": ["1", "2.5"], "b": np.array([3, np.float32(4)], object), "target": [0.0, 1.0]}
    (batch,) = data.open(columns).evaluate("train", 2)
    assert batch["inputs"].tolist() == [[1, 3], [2.5, 4]]
    for gap, target in ((None, 0.0), ("x", 0.0), (1.0, None), (1.0, float("nan"))):
        columns = {"a": [1.0, gap], "b": [1.0, 2.0], "target": [0.0, target]}
        with pytest.raises(ValueError, match="row 2"):
            data.open(columns)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([None, ()], "the train rows: column 'x' has values of several shapes"),
        ([1j, 2j], "the train rows: column 'x' holds complex128; it must be real numbers"),
        ([10**400, 1], "column 'x' of the (train|validation) rows has 1000"),
    ],
)
def test_columns_of_no_numbers_are_refused(values, message):
    from zoo.config import ValueMistake
    from zoo.pipelines.arrays import arrays

    with pytest.raises(ValueMistake, match=f"^{message}"):
        arrays().open({"x": values, "target": [0, 1]})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"target": [0, 1, 2]}, "there is no column besides the target 'target'"),
        ([{"target": 1, None: 2}], "the data has a column named None; a name is a string"),
        ([{None: None}], "the data has a column named None; a name is a string"),
    ],
)
def test_columns_without_a_name_or_an_input_are_refused(rows, message):
    from zoo.pipelines.arrays import arrays
    from zoo.pipelines.base import ColumnError

    with pytest.raises(ColumnError, match=f"^{message}"):
        arrays().open(rows)


def test_columns_of_different_lengths_are_refused():
    from zoo.pipelines.arrays import arrays

    with pytest.raises(ValueError, match="differ in their number of rows: x 2, target 3"):
        arrays().open({"x": [1, 2], "target": [1, 2, 3]})
