from __future__ import annotations

import numpy as np
import pytest

from zoo.pipelines.sources import hashes, holdout, image_files, opening
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


def held(rows: dict[str, object], share: float = 0.25) -> list[object]:
    """The column `n` of the rows that are held out."""
    splits, _ = holdout.with_validation({"train": opening.from_arrays(rows)}, share)
    return splits["validation"].column("n").tolist()


def test_every_row_is_trained_on_or_held_out(source_of):
    splits, found = holdout.with_validation({"train": source_of(n=np.arange(100))}, 0.1)
    train, validation = (splits[split].column("n").tolist() for split in ("train", "validation"))
    assert sorted([*train, *validation]) == list(range(100))
    assert 5 <= len(validation) == splits["validation"].count() <= 15
    assert {split: source.count() for split, source in splits.items()} == {
        split: of.number for split, of in found.items()
    }


def test_held_out_rows_and_fingerprints_are_the_same_in_memory_and_as_a_stream():
    rows = {"n": np.arange(50), "text": [f"row {n}" for n in range(50)]}
    memory = opening.from_arrays(rows)
    stream = opening.from_dataset(memory.dataset, ())
    left, right = (holdout.with_validation({"train": source}, 0.2) for source in (memory, stream))
    assert left[0]["validation"].column("n").tolist() == right[0]["validation"].column("n").tolist()
    assert left[1] == right[1]


def test_a_stream_that_shuffles_itself_leaks_nothing():
    memory = opening.from_arrays({"n": np.arange(60)})
    stream = opening.from_dataset(memory.dataset.shuffle(60), ())
    splits, _ = holdout.with_validation({"train": stream}, 0.25)
    for _ in range(3):
        train, validation = (splits[s].column("n").tolist() for s in ("train", "validation"))
        assert sorted([*train, *validation]) == list(range(60))


def test_equal_rows_fall_on_one_side():
    assert len(held({"n": np.repeat(np.arange(40), 5)})) % 5 == 0
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    texts = [f"{word} {n}" for n in range(40) for word in (composed, decomposed)]
    numbers = held({"text": texts, "n": np.repeat(np.arange(40), 2)})
    assert numbers[::2] == numbers[1::2]


def test_rows_keep_their_side_when_others_are_appended_or_all_are_shuffled():
    rows = np.arange(300)
    first = held({"n": rows[:200]})
    assert [n for n in held({"n": rows}) if n < 200] == first
    assert sorted(held({"n": np.random.default_rng(1).permutation(200)})) == first
    assert held({"n": rows[:200].astype(np.int32)}) == first


def test_nothing_is_held_out_where_there_is_a_validation_split_or_equal_rows():
    many, one = (opening.from_arrays({"n": np.arange(n)}) for n in (9, 1))
    equal = opening.from_arrays({"n": np.zeros(9)})
    for splits, share in (
        ({"train": many, "validation": one}, 0.5),
        ({"train": many}, 0.0),
        ({"train": one}, 0.5),
        ({"train": equal}, 0.5),
    ):
        found, prints = holdout.with_validation(splits, share)
        assert found == splits
        assert prints.keys() == splits.keys()


@pytest.mark.parametrize(("rows", "share", "number"), [(3, 0.05, 1), (2, 0.99, 1), (3, 0.999, 2)])
def test_at_least_one_row_is_held_out_and_never_all(source_of, rows, share, number):
    splits, _ = holdout.with_validation({"train": source_of(n=np.arange(rows))}, share)
    assert splits["validation"].count() == number


def test_a_fingerprint_depends_on_the_rows_and_not_on_their_order():
    def of(*rows: str) -> object:
        return holdout.fingerprint(opening.from_arrays({"text": rows}))

    assert of("a", "b", "b") == of("b", "a", "b")
    assert of("a", "b", "b") != of("a", "a", "b")
    assert of("a", "b") != of("a", "c")


def test_an_image_file_is_known_by_its_content_and_not_by_its_path(tmp_path):
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
    paths = [image_files.packed(tmp_path / name) for name in "abc"]
    one, same, other = hashes.of_rows({"image": opening.from_arrays({"i": paths}).column("i")})
    assert one == same != other
