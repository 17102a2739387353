from __future__ import annotations

from zoo.pipelines.lengths import default_lengths, extended


def test_default_lengths_rise_by_half_or_less():
    assert default_lengths(8) == (8,)
    assert default_lengths(5) == (5,)
    assert default_lengths(100) == (8, 12, 16, 24, 32, 48, 64, 96, 100)


def test_lengths_are_extended_to_the_longest_row():
    assert extended((8, 20), 20) == (8, 20)
    assert extended((8, 20), 21) == (8, 20, 21)
    assert extended((8, 20), 70) == (8, 20, 24, 32, 48, 64, 70)
