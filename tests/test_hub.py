"""Cards: written and read again, and every message about a broken one."""

from __future__ import annotations

import pytest


@pytest.fixture
def card():
    from zoo.hub import Card, File
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig

    return Card(
        name="toy",
        task="text_classification",
        config=BagOfEmbeddingsConfig(vocab_size=5, num_classes=None),
        labels=("a", "b"),
        files=(File(name="toy.safetensors", sha256="0" * 64, size=3),),
        preprocessing={"max_len": None, "mean": [0.5]},
        metrics={"test/accuracy": 0.9},
        check={"input": "x", "output": {"a": 0.1234567890123}},
    )


def test_a_card_survives_toml_with_its_nones(card, tmp_path):
    from zoo.hub import Card

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
            "no configuration class 'Bag' is known here",
        ),
        ('name = "toy"', "name = ", "is not a TOML card"),
        ("size = 3", "length = 3", "unexpected keyword argument 'length'"),
    ],
)
def test_a_broken_card_says_which_entry(card, tmp_path, old, new, message):
    from zoo.hub import Card, CardError

    path = tmp_path / "toy.toml"
    card.save(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(CardError) as error:
        Card.read(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    import zoo

    with pytest.raises(
        FileNotFoundError,
        match=r"neither a run nor an exported model: it should hold one card .* found none",
    ):
        zoo.load(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text("")
    with pytest.raises(FileNotFoundError, match=r"found a\.toml, b\.toml"):
        zoo.load(tmp_path)


def test_an_unknown_name_is_a_lookup_error():
    import zoo

    with pytest.raises(
        LookupError, match="no published model or run folder named 'transfomer_ende'"
    ):
        zoo.load("transfomer_ende")


def test_every_published_card_can_be_read():
    import zoo

    for name in zoo.list_pretrained():
        assert zoo.card(name).name == name
