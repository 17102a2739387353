"""Which sentences go through a model together: batches of a few fixed shapes."""

from __future__ import annotations

import pytest

from zoo.predictors.batching import batches


@pytest.mark.parametrize(
    ("items", "rows"),
    [
        (1, [1]),
        (2, [8]),
        (12, [8, 8]),
        (13, [16]),
        (32, [32]),
        (33, [32, 1]),
        (48, [32, 16]),
        (49, [64]),
        (100, [64, 32, 8]),
    ],
)
def test_rows_are_powers_of_two_of_which_few_are_padding(items, rows):
    assert [batch.rows for batch in batches([5] * items, 512)] == rows


@pytest.mark.parametrize("longest", [20, 512])
def test_every_item_is_in_one_batch_that_it_fits(longest):
    lengths = [(7 * n) % longest + 1 for n in range(150)]
    seen = []
    for batch in batches(lengths, longest):
        assert len(batch.indices) <= batch.rows <= max(2048 // batch.length, 1)
        assert all(lengths[index] <= batch.length for index in batch.indices)
        seen += batch.indices
    assert sorted(seen) == list(range(150))
