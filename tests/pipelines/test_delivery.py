"""What every pipeline promises of its batches: shares, samples, and work ahead of their use."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import logging
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from zoo.config import ConfigError
from zoo.pipelines import delivery
from zoo.pipelines.augment import Augmentation
from zoo.pipelines.base import Share
from zoo.pipelines.images import ImageClassificationData
from zoo.pipelines.language import LanguageModelingData
from zoo.pipelines.rows import IndexedRows
from zoo.pipelines.synthetic import CopyData
from zoo.pipelines.tagging import TaggingData
from zoo.pipelines.text import TextClassificationData
from zoo.pipelines.tfdata import tensorflow
from zoo.pipelines.translation import TranslationData
from zoo.tokenizers import TokenizerConfig

BYTES = TokenizerConfig(kind="bytes")
TEXTS = ["ab" * (1 + 7 * n % 23) for n in range(60)]
CLASSES = [n % 2 for n in range(60)]
IMAGES = np.random.default_rng(0).integers(0, 255, (60, 4, 5, 1)).astype(np.uint8)


def stream():
    rows = {"text": TEXTS, "label": CLASSES}
    return tensorflow().data.Dataset.from_tensor_slices(rows)


OPENED = {
    "text": lambda: TextClassificationData(tokenizer=BYTES).open(zip(TEXTS, CLASSES, strict=True)),
    "text by length": lambda: TextClassificationData(
        tokenizer=BYTES, boundaries=(8, 16), batch_sizes=(12, 7, 3)
    ).open(zip(TEXTS, CLASSES, strict=True)),
    "a stream of texts": lambda: TextClassificationData(tokenizer=BYTES, cache=False).open(
        stream()
    ),
    "images": lambda: ImageClassificationData().open({"image": IMAGES, "label": CLASSES}),
    "images changed at random": lambda: ImageClassificationData(
        augment=Augmentation(crop_area=0.3, pad=1, flip=True, mixup=0.2, cutmix=0.5)
    ).open({"image": IMAGES, "label": CLASSES}),
    "running text": lambda: LanguageModelingData(length=8).open(TEXTS),
    "contiguous text": lambda: LanguageModelingData(length=8, contiguous=True).open(TEXTS),
    "pairs": lambda: TranslationData(tokenizer=BYTES, batch_tokens=300).open(
        zip(TEXTS, TEXTS, strict=True)
    ),
    "tagged sentences": lambda: TaggingData(word_dropout=2.0).open(
        [([f"w{n % 9}"] * (1 + n % 20), [f"t{n % 3}"] * (1 + n % 20)) for n in range(60)]
    ),
    "drawn": lambda: CopyData(num_examples=30).open(),
}

every = pytest.mark.parametrize("name", OPENED)


@pytest.mark.parametrize(
    ("name", "batch_size"),
    # TensorFlow, which reads streams, traces its functions again for each iterator.
    [(name, size) for name in OPENED for size in (8, 10) if size == 8 or "stream" not in name],
)
def test_the_shares_of_several_processes_are_the_batches_of_one(name, batch_size):
    opened = OPENED[name]()

    def batches(rows: Share | None) -> list[dict[str, np.ndarray]]:
        training = opened.train(batch_size, seed=1, start=2, rows=rows)
        return [
            *itertools.islice(training, 7),
            *opened.evaluate("validation", batch_size, rows=rows),
        ]

    whole = batches(None)
    for number in (2,) if "stream" in name else (1, 2, 4):
        shares = [batches(Share(n, number, parts=2)) for n in range(number)]
        for batch, *parts in zip(whole, *shares, strict=True):
            for key, array in batch.items():
                assert {len(part[key]) for part in parts} == {-(-len(array) // (2 * number)) * 2}
                joined = np.concatenate([part[key] for part in parts])
                np.testing.assert_array_equal(joined[: len(array)], array)
                assert not joined[len(array) :].any()


@every
def test_a_sample_is_always_the_same_examples(name):
    opened = OPENED[name]()
    split = "validation" if name == "drawn" else "train"

    def rows(batch_size: int, limit: int | None) -> list[tuple[bytes, ...]]:
        batches = list(opened.evaluate(split, batch_size, limit=limit))
        width = max(batch["inputs"].shape[1] for batch in batches)
        found = []
        for batch in batches:
            inputs = batch["inputs"]
            padded = np.zeros((len(inputs), width, *inputs.shape[2:]), inputs.dtype)
            padded[:, : inputs.shape[1]] = inputs
            real = batch["weights"].reshape(len(inputs), -1).any(axis=1)
            found += [row.tobytes() for row in padded[real]]
        return sorted(found)

    sampled = rows(4, 10)
    assert sampled == rows(7, 10)
    assert len(sampled) == 10
    assert len(rows(4, 10_000)) == len(rows(4, None)) > 10


@pytest.mark.parametrize("rows", [slice(3, 7), slice(4, 4), slice(8, 4), slice(0, 8, 2)])
def test_rows_that_are_no_equal_part_of_a_batch_are_refused(rows):
    with pytest.raises(ConfigError, match="it must be one of equal parts of a batch of 8 rows"):
        next(OPENED["text"]().train(8, seed=0, rows=rows))


def test_a_slice_is_a_share():
    assert [Share.of_rows(slice(n, n + 3), 8) for n in (0, 3, 6)] == [Share(i, 3) for i in range(3)]
    one, other = (
        next(OPENED["text"]().train(8, seed=0, rows=rows)) for rows in (slice(4, 8), Share(1, 2))
    )
    np.testing.assert_array_equal(one["inputs"], other["inputs"])


@pytest.mark.parametrize("name", ["text", "images", "running text"])
def test_a_process_of_four_fetches_a_quarter_of_the_rows(name, monkeypatch):
    """Rows are counted where every pipeline in memory fetches them."""
    fetched = []
    fetch = IndexedRows._batch

    def counted(self, rows):
        batch = fetch(self, rows)

        def take(wanted):
            fetched.append(len(rows[wanted]))
            return batch.take(wanted)

        return dataclasses.replace(batch, take=take)

    monkeypatch.setattr(IndexedRows, "_batch", counted)
    data = OPENED[name]()
    numbers = []
    for share in (None, Share(1, 4)):
        fetched.clear()
        list(itertools.islice(data.train(16, seed=1, rows=share), 8))
        list(data.evaluate("train", 16, rows=share))
        numbers.append(sum(fetched))
    assert numbers[1] <= 0.3 * numbers[0]


def test_a_stream_says_that_each_process_reads_all(caplog):
    data = OPENED["a stream of texts"]()
    with caplog.at_level(logging.WARNING):
        list(data.evaluate("validation", 8))
        assert not caplog.records
        list(data.evaluate("validation", 8, rows=Share(0, 2)))
    assert [record.message for record in caplog.records] == [
        "these rows are a stream, which cannot be indexed: each process reads all of them, and "
        "keeps one of 2"
    ]


def test_items_are_made_ahead_of_their_use():
    made = []
    items = delivery.ahead(made.append(n) or n for n in itertools.count())
    assert next(items) == 0
    deadline = time.monotonic() + 10
    while made != [0, 1, 2] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 1, 2]
    assert next(items) == 1


def test_what_an_iterator_raises_comes_at_its_turn():
    def numbers():
        yield 1
        raise ArithmeticError("no more")

    items = delivery.ahead(numbers())
    assert next(items) == 1
    with pytest.raises(ArithmeticError, match="no more"):
        next(items)


def test_threads_end_with_the_iterators_they_work_for():
    def threads() -> set[threading.Thread]:
        return {t for t in threading.enumerate() if t.name.startswith("zoo-data")}

    others = threads()  # of tests before this one; they may end meanwhile
    items = delivery.ahead(itertools.count())
    next(items)
    (thread,) = threads() - others
    del items
    gc.collect()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_data_in_memory_is_read_without_tensorflow():
    script = """
import sys
sys.modules["tensorflow"] = None
import itertools
from tests.pipelines.test_delivery import OPENED
from zoo.pipelines import ImageClassificationData

opened = [make() for name, make in OPENED.items() if "stream" not in name]
opened.append(ImageClassificationData().open())
for data in opened:
    batches = itertools.chain(
        itertools.islice(data.train(8, seed=0), 3), data.evaluate("validation", 8, limit=4)
    )
    print(sum(float(batch["weights"].sum()) for batch in batches) > 0)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (run.stdout.split(), run.stderr) == (["True"] * 10, "")
