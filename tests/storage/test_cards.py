"""Cards: written and read again, and every message about a broken one."""

from __future__ import annotations

import pytest


@pytest.fixture
def card():
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.storage.cards import Card, File

    return Card(
        name="toy",
        task="text_classification",
        config=BagOfEmbeddingsConfig(vocab_size=5, num_classes=None),
        labels=("a", "b"),
        files=(
            File(name="toy.safetensors", sha256="0" * 64, size=3),
            File(name="toy.gz", sha256="1" * 64, size=4, urls=("http://a", "b"), format="trax"),
        ),
        alternative="smaller",
        preprocessing={"max_len": None, "mean": [0.5]},
        metrics={"test/accuracy": 0.9},
        check={"input": "x", "output": {"a": 0.1234567890123}},
    )


def test_a_card_survives_toml_with_its_nones(card, tmp_path):
    from zoo.storage.cards import Card

    card.save(tmp_path / "toy.toml")
    assert Card.read(tmp_path / "toy.toml") == card
    assert [path.name for path in tmp_path.iterdir()] == ["toy.toml"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('task = "text_classification"', "", "the entry 'task' is missing"),
        ('name = "toy"', 'nmae = "toy"', "a card has no entry 'nmae'; did you mean 'name'?"),
        (
            "vocab_size = 5",
            "vocabsize = 5",
            "BagOfEmbeddingsConfig has no field 'vocabsize'; did you mean 'vocab_size'?",
        ),
        (
            'type = "BagOfEmbeddingsConfig"',
            'type = "Bag"',
            "there is no configuration class 'Bag'",
        ),
        ('name = "toy"', "name = ", "is not a TOML card"),
        ("size = 3", "length = 3", "File has no field 'length'"),
        ("size = 3", "", "missing 1 required keyword-only argument: 'size'"),
        ("size = 3", "size = 3\nformat = 'pickle'", "'pickle' is not of type 'zoo' | 'trax'"),
        ("toy.safetensors", "../toy.safetensors", "'../toy.safetensors' is a path; a card and its"),
        ('name = "toy"', 'name = ".."', "'..' is a path; a card and its files have plain names"),
    ],
)
def test_a_broken_card_says_which_entry(card, tmp_path, old, new, message):
    from zoo.storage.cards import Card, CardError

    path = tmp_path / "toy.toml"
    card.save(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(CardError) as error:
        Card.read(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
