from __future__ import annotations

import numpy as np
import pytest

from zoo.pipelines.sources import holdout, opening
from zoo.pipelines.sources.source import Source


@pytest.fixture(params=["memory", "stream"])
def source_of(request):
    """Makes a source, in memory or as a stream."""

    def make(**columns: object) -> Source:
        source = opening.from_arrays(columns, "rows")
        if request.param == "memory":
            return source
        return opening.from_dataset(source.dataset, (), "rows")

    return make


def test_every_row_is_trained_on_or_held_out(source_of):
    splits = holdout.with_validation({"train": source_of(n=np.arange(100))}, 0.05)
    train, held = splits["train"], splits["validation"]
    assert (train.count(), held.count()) == (95, 5)
    assert sorted([*train.column("n"), *held.column("n")]) == list(range(100))
    assert held.column("n").tolist() != [95, 96, 97, 98, 99]


def test_held_out_rows_are_the_same_in_memory_and_as_a_stream():
    memory = opening.from_arrays({"n": np.arange(50)})
    stream = opening.from_dataset(memory.dataset, ())
    left, right = (
        holdout.with_validation({"train": source}, 0.2)["validation"].column("n").tolist()
        for source in (memory, stream)
    )
    assert left == right


def test_nothing_is_held_out_where_there_is_a_validation_split_or_a_single_row():
    many, one = (opening.from_arrays({"n": np.arange(n)}) for n in (9, 1))
    for splits, share in (
        ({"train": many, "validation": one}, 0.5),
        ({"train": many}, 0.0),
        ({"train": one}, 0.5),
    ):
        assert holdout.with_validation(splits, share) == splits


@pytest.mark.parametrize(
    ("rows", "share", "held"), [(3, 0.05, 1), (2, 0.99, 1), (1, 0.5, 0), (9, 0, 0)]
)
def test_at_least_one_row_is_held_out_and_never_all(rows, share, held):
    assert holdout.held_out(rows, share).sum() == held
