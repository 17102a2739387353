"""Entities: by hand, and against seqeval's rules written out word by word."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.config import ConfigError
from zoo.train import Tagging, clu_metrics, entities

LABELS = ("O", "B-geo", "B-per", "I-geo", "I-per", "E-geo", "S-geo", "PLA")


def found(*sentences: str, labels: tuple[str, ...] = LABELS) -> list[list[tuple[int, int]]]:
    """(first, last word) of the entities of sentences, each as long as the first."""
    tags = jnp.array([[labels.index(tag) for tag in sentence.split()] for sentence in sentences])
    spans = entities.spans(tags, jnp.ones(tags.shape), labels)
    return [
        [(place, int(last)) for place, (start, last) in enumerate(zip(*row, strict=True)) if start]
        for row in zip(np.asarray(spans.starts), np.asarray(spans.last), strict=True)
    ]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("O O", []),
        ("B-geo I-geo O", [(0, 1)]),
        ("B-geo B-geo", [(0, 0), (1, 1)]),
        ("I-geo I-geo B-geo I-geo", [(0, 1), (2, 3)]),  # I- after O begins, B- after I- too
        ("O I-per O I-per", [(1, 1), (3, 3)]),
        ("B-geo I-per I-per", [(0, 0), (1, 2)]),  # another type is another entity
        ("B-geo I-geo B-per I-geo", [(0, 1), (2, 2), (3, 3)]),
        ("I-geo B-per", [(0, 0), (1, 1)]),
        ("B-geo E-geo I-geo", [(0, 1), (2, 2)]),
        ("S-geo S-geo I-geo E-geo", [(0, 0), (1, 1), (2, 3)]),
        ("B-geo I-geo I-geo", [(0, 2)]),  # up to the end of the sentence
        ("PLA PLA O PLA", [(0, 1), (3, 3)]),
        ("I-geo", [(0, 0)]),
    ],
)
def test_where_entities_begin_and_end(sentence, expected):
    assert found(sentence) == [expected]


@pytest.mark.parametrize(
    ("name", "labels", "sentence", "expected"),
    [
        ("BIO", "O B I", "B I B O I", [(0, 1), (2, 2), (4, 4)]),
        ("BIO", "B I", "B I I B", [(0, 2), (3, 3)]),
        ("IO", "I O", "I I O I", [(0, 1), (3, 3)]),
        ("IO", "I-a O I-b", "I-a I-b O I-a", [(0, 0), (1, 1), (3, 3)]),
        ("IO", "LOC O", "LOC LOC O LOC", [(0, 1), (3, 3)]),
        ("BIOES", "B I O E S", "S B I E O", [(0, 0), (1, 3)]),
        ("BIOES", "B-a I-a O E-a S-a", "S-a S-a B-a E-a", [(0, 0), (1, 1), (2, 3)]),
        ("BILOU", "O B-a I-a L-a U-a", "U-a U-a B-a L-a", [(0, 0), (1, 1), (2, 3)]),
        ("BILOU", "O B I L U", "B I L U U", [(0, 2), (3, 3), (4, 4)]),
        ("BMES", "B M E S", "B E S B M E", [(0, 1), (2, 2), (3, 5)]),
        ("BIO", "O B_LOC I_LOC", "B_LOC I_LOC B_LOC O", [(0, 1), (2, 2)]),
        ("BIO", "O LOC-B LOC-I PER-B", "LOC-B LOC-I PER-B O", [(0, 1), (2, 2)]),
        ("mixed", "O B-a PLA", "B-a PLA PLA O", [(0, 0), (1, 2)]),
        ("plain", "NN VB B-side", "NN NN VB NN", None),
    ],
)
def test_schemes_are_told_apart_and_named(name, labels, sentence, expected):
    labels = tuple(labels.split())
    if expected is None:
        labels = labels[:2]
        expected = [(0, 1), (2, 2), (3, 3)]
    assert entities.scheme(labels).name == name
    assert found(sentence, labels=labels) == [expected]
    assert Tagging(labels=labels).remark.startswith(f"tags: {name}, {len(labels)} of them; ")


def test_letters_that_are_no_prefixes_are_types():
    for labels in (("N", "V", "B"), ("U", "O"), ("S", "E", "X")):
        assert {kind for prefix, kind in entities.scheme(labels).tags if prefix != "O"} == {
            label for label in labels if label != "O"
        }


def test_a_sentence_ends_its_entities():
    assert found("O B-geo", "I-geo I-geo") == [[(1, 1)], [(0, 1)]]


def test_padding_is_outside():
    tags = jnp.array([[1, 3, 3, 3]])
    spans = entities.spans(tags, jnp.array([[1.0, 1, 0, 0]]), LABELS)
    assert spans.starts.tolist() == [[True, False, False, False]]
    assert spans.last[0, 0] == 1


def seqeval_chunks(tags: list[str]) -> Iterator[tuple[str, int, int]]:
    """The rules of conlleval, in its own order: does the last chunk end, does one start?"""
    before, kind_before, begin = "O", "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if (
            before in "ES"
            or (before in "BI" and prefix in "BSO")
            or (before != "O" and kind_before != kind)
        ):
            yield kind_before, begin, place - 1
        if (
            prefix in "BS"
            or (before in "ESO" and prefix in "EI")
            or (prefix != "O" and kind_before != kind)
        ):
            begin = place
        before, kind_before = prefix, kind


NAMES = ("O", *(f"{prefix}-{kind}" for kind in ("a", "b") for prefix in "BIES"))


def test_the_counts_are_seqeval_s():
    rng = np.random.default_rng(0)
    # Few tags at a time, so that entities agree often enough.
    targets = rng.integers(0, len(NAMES), (400, 7))
    noise = rng.integers(0, len(NAMES), targets.shape)
    guesses = np.where(rng.random(targets.shape) < 0.3, noise, targets)
    lengths = rng.integers(0, 8, len(targets))
    weights = (np.arange(7) < lengths[:, None]).astype(np.float32)
    counts = [0, 0, 0]
    for row, length in enumerate(lengths):
        sides = [
            set(seqeval_chunks([NAMES[tag] for tag in tags[row, :length]]))
            for tags in (guesses, targets)
        ]
        for number, chunks in enumerate((sides[0] & sides[1], *sides)):
            counts[number] += len(chunks)
    assert counts[0] > 300
    measured = jax.jit(partial(entities.count, labels=NAMES))(
        jnp.asarray(guesses), jnp.asarray(targets), jnp.asarray(weights)
    )
    assert [int(number) for number in measured] == counts


def test_all_sentences_of_three_words_are_seqeval_s():
    names = NAMES[:6]
    sentences = list(itertools.product(names, repeat=3))
    expected = [
        [(begin, end) for _, begin, end in seqeval_chunks(list(tags))] for tags in sentences
    ]
    assert found(*map(" ".join, sentences), labels=names) == expected


def measured(guesses: list[str], targets: list[str]) -> dict[str, float]:
    labels = ("O", "B-geo", "I-geo", "B-per")
    numbers = [jnp.array([[labels.index(tag) for tag in tags]]) for tags in (guesses, targets)]
    batch = {"targets": numbers[1], "weights": jnp.ones(numbers[1].shape)}
    totals = clu_metrics.measure(Tagging(labels=labels), 8.0 * jax.nn.one_hot(numbers[0], 4), batch)
    return totals.merge(totals).compute()


def test_precision_recall_and_f1_by_hand():
    # Of two entities the second is found and the first is cut short; a third is not there.
    values = measured(
        ["B-geo", "O", "B-per", "B-per"],
        ["B-geo", "I-geo", "B-per", "O"],
    )
    assert values["accuracy"] == 0.5
    assert values["precision"] == pytest.approx(1 / 3)
    assert values["recall"] == 0.5
    assert values["f1"] == pytest.approx(2 / 5)
    assert all(type(value) is float for value in values.values())


def test_without_entities_the_figures_are_zero():
    values = measured(["O", "O"], ["O", "O"])
    assert (values["precision"], values["recall"], values["f1"], values["accuracy"]) == (0, 0, 0, 1)


def test_a_task_that_is_not_resolved_says_so():
    with pytest.raises(ConfigError, match=r"task\.labels is not set: resolve the recipe first"):
        Tagging().metrics()
