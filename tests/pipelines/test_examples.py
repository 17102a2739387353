"""Examples for people to look at, as they were read and as a model sees them."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.pipelines.images import ImageClassificationData
from zoo.pipelines.language import LanguageModelingData
from zoo.pipelines.synthetic import CopyData
from zoo.pipelines.tagging import TaggingData
from zoo.pipelines.text import TextClassificationData
from zoo.pipelines.tfdata import tensorflow
from zoo.pipelines.translation import TranslationData
from zoo.tokenizers import TokenizerConfig

BYTES = TokenizerConfig(kind="bytes")


def lists(example) -> dict[str, object]:
    return {key: array.tolist() for key, array in example.arrays.items()}


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "streamed"])
def test_texts_are_cut_and_have_their_label(cache):
    rows = {"text": ["abc", "b", ""], "label": ["y", "x", "y"]}
    given = rows if cache else tensorflow().data.Dataset.from_tensor_slices(rows)
    config = TextClassificationData(tokenizer=BYTES, max_len=2, cache=cache, holdout=0)
    first, second = config.open(given).examples("train", 2)
    assert first.raw == {"text": "abc", "label": "y"}
    assert lists(first) == {"inputs": [99, 100], "targets": 1, "weights": 1.0}
    assert second.raw == {"text": "b", "label": "x"}
    assert first.arrays["inputs"].dtype == first.arrays["targets"].dtype == np.int32


def test_pairs_are_source_and_target():
    opened = TranslationData(tokenizer=BYTES, holdout=0).open([("a", "bc"), ("d", "e")])
    (example,) = opened.examples("train", 1)
    assert example.raw == {"source": "a", "target": "bc"}
    assert lists(example) == {"inputs": [99], "targets": [100, 101, 1], "weights": [1, 1, 1]}


def test_sentences_are_words_and_tags():
    opened = TaggingData(holdout=0).open([(["a", "b"], ["O", "B"])])
    (example,) = opened.examples("train", 9)
    assert example.raw == {"words": ["a", "b"], "tags": ["O", "B"]}
    assert lists(example) == {"inputs": [3, 4], "targets": [1, 0], "weights": [1, 1]}


def test_running_text_is_the_windows_of_an_evaluation():
    opened = LanguageModelingData(tokenizer=BYTES, length=4, holdout=0).open(["abcdef"])
    first, second = opened.examples("train", 9)
    assert (first.raw, second.raw) == ({"text": "abcd"}, {"text": "def"})
    assert lists(first)["inputs"] == [99, 100, 101, 102]
    assert lists(second) == {
        "inputs": [102, 103, 104],
        "targets": [102, 103, 104],
        "weights": [0, 1, 1],
    }


def test_images_are_as_the_model_sees_them():
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    config = ImageClassificationData(mean=(0.0,), std=(1 / 255,), holdout=0)
    first, _ = config.open({"image": images, "label": ["cat", "dog"]}).examples("train", 5)
    np.testing.assert_array_equal(first.raw["image"], images[0])
    assert first.raw["label"] == "cat"
    np.testing.assert_allclose(first.arrays["inputs"], images[0], atol=1e-5)
    assert first.arrays["targets"] == 0


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_copy_task_shows_ids(split):
    examples = CopyData(vocab_size=9, max_len=5, min_len=2).open().examples(split, 3)
    assert len(examples) == 3
    for example in examples:
        ids = [int(word) for word in example.raw["text"].split()]
        assert example.arrays["inputs"].tolist()[: len(ids)] == ids
        assert example.arrays["targets"].tolist() == [*ids, 1]


def test_an_unknown_split_lists_the_known_ones():
    with pytest.raises(LookupError, match="the data has no split 'test'; it has 'train'"):
        TranslationData(tokenizer=BYTES, holdout=0).open([("a", "b")]).examples("test", 1)
