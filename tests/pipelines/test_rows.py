from __future__ import annotations

import numpy as np
import pytest

from zoo.pipelines import rows
from zoo.pipelines.tfdata import tensorflow


@pytest.mark.parametrize("seed", [0, 7, -1])
def test_any_part_of_the_order_can_be_had_alone(seed):
    whole = rows.shuffled(5, seed)(0, 20).tolist()
    assert [sorted(whole[i : i + 5]) for i in range(0, 20, 5)] == [list(range(5))] * 4
    for first in (0, 3, 7, 12):
        assert rows.shuffled(5, seed)(first, 8).tolist() == whole[first : first + 8]


def test_the_order_of_a_seed_never_changes():
    assert rows.shuffled(6, 3)(0, 12).tolist() == [2, 5, 4, 1, 3, 0, 1, 2, 0, 4, 5, 3]


@pytest.fixture
def lengths():
    """Two hundred rows in memory and as a stream: each is so many times its number plus 1."""
    sizes = np.random.default_rng(0).integers(1, 30, 200)
    tf = tensorflow()

    def fetch(numbers, wanted):
        padded = np.zeros((len(numbers), sizes[numbers].max()), np.int64)
        for row, number in zip(padded, numbers, strict=True):
            row[: sizes[number]] = number + 1
        return {"inputs": padded[wanted]}

    cached = rows.IndexedRows(200, fetch, lambda numbers: sizes[numbers])
    stream = tf.data.Dataset.from_generator(
        lambda: ({"inputs": np.full(size, number + 1)} for number, size in enumerate(sizes)),
        output_signature={"inputs": tf.TensorSpec([None], tf.int64)},
    )
    return cached, rows.StreamedRows(stream, 200, 50)


def test_rows_in_memory_are_grouped_as_a_stream_is(lengths):
    cached, streamed = lengths
    grouping = ((8, 16), (7, 5, 3), (3, 25))
    for left, right in zip(cached.grouped(*grouping), streamed.grouped(*grouping), strict=True):
        whole = slice(left.size)
        assert left.size == right.size
        np.testing.assert_array_equal(left.take(whole)["inputs"], right.take(whole)["inputs"])


def test_rows_without_a_length_cannot_be_grouped():
    with pytest.raises(TypeError) as error:
        rows.IndexedRows(3, lambda numbers, wanted: {}).grouped((), [1])
    assert str(error.value) == "these rows have no length to be grouped by"
