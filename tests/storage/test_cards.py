"""Cards: written and read again, and every message about a broken one."""

from __future__ import annotations

import pytest

LABELS = """labels = [
    "a",
    "b",
]"""


@pytest.fixture
def card():
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.storage.cards import Card, File

    return Card(
        name="toy",
        task="text_classification",
        config=BagOfEmbeddingsConfig(vocab_size=5, num_classes=2),
        labels=("a", "b"),
        files=(
            File(name="toy.safetensors", sha256="0" * 64, size=3),
            File(name="toy.gz", sha256="1" * 64, size=4, urls=("http://a", "b"), format="trax"),
        ),
        alternative="smaller",
        tokenizer={"kind": "words", "lowercase": True},
        preprocessing={"max_len": None},
        metrics={"test/accuracy": 0.9},
        check={"input": "x", "output": {"a": 0.1234567890123}},
    )


def test_a_notebook_shows_a_card_as_a_table(card):
    html = card._repr_html_()
    for shown in ("toy", "BagOfEmbeddingsConfig", "a, b", "test/accuracy: 0.9", "toy.gz: 4 bytes"):
        assert shown in html
    assert "licence" not in html  # it has none


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
        (
            'kind = "words"',
            'kind = "words"\nfile = "/etc/passwd"',
            "'/etc/passwd' is a path; a card and its files have plain names",
        ),
        ("0" * 64, "0" * 63, "the sha256 of 'toy.safetensors' is '000"),
        ("size = 3", "size = -3", "the size of 'toy.safetensors' is -3; it is in bytes"),
        (LABELS, 'labels = "ab"', "labels: 'ab' is not of type tuple[str, ...]"),
        (LABELS, "labels = [1, 2]", "labels: 1 is not of type str"),
        (LABELS, 'labels = ["a"]', "labels has 1 names, but config.num_classes is 2"),
        (LABELS, 'labels = ["a", "a"]', "labels: 'a' is there twice"),
        (LABELS, "", "labels has 0 names, but config.num_classes is 2"),
        ("[metrics]", "[metrics]\n'test/f1' = 'high'", "metrics.test/f1: 'high' is not of type"),
        (LABELS, f"{LABELS}\ntraining = 3", "training: 3 is not a table"),
        (LABELS, f"{LABELS}\nsamples = 3", "samples: 3 is not an array of tables"),
        (LABELS, f"{LABELS}\nsamples = [{{input = 3}}]", "samples[0].input: 3 is not of type str"),
        (LABELS, f"{LABELS}\ndescription = 3", "description: 3 is not of type str"),
        (LABELS, f"{LABELS}\nbest = {{metric = 'a'}}", "best is {'metric': 'a'}; it has a metric"),
        ('kind = "words"', 'kind = "word"', "tokenizer.kind: 'word' is not of type 'words' | "),
        ('kind = "words"', "", "tokenizer has no entry 'kind' (kinds: words, "),
        ("lowercase = true", "lowercase = 1", "tokenizer.lowercase: 1 is not of type bool"),
        ("max_len =", "maxlen =", "preprocessing has no entry 'maxlen'; did you mean 'max_len'?"),
        ('max_len = "None"', "max_len = '9'", "preprocessing.max_len: '9' is not of type int"),
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


@pytest.fixture
def images(tmp_path):
    """The path of a card of a classifier of images."""
    from zoo.models.resnet import ResNetConfig
    from zoo.storage.cards import Card

    Card(
        name="toy",
        task="image_classification",
        config=ResNetConfig(input_shape=(8, 8, 1), num_classes=2),
        labels=("a", "b"),
        preprocessing={"height": 8, "width": 8, "channels": 1, "mean": (0.5,), "std": (0.5,)},
    ).save(tmp_path / "toy.toml")
    return tmp_path / "toy.toml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("height =", "hight =", "ImagePreprocessing has no field 'hight'; did you mean 'height'?"),
        ("height = 8", "", "missing 1 required keyword-only argument: 'height'"),
        ("height = 8", "height = '8'", "ImagePreprocessing.height: '8' is not of type int"),
        ("channels = 1", "channels = 2", "channels is 2; images have 1 (grey) or 3"),
        ("channels = 1", "channels = 3", "preprocessing.channels is 3, but config.input_shape is"),
    ],
)
def test_the_preprocessing_of_images_is_checked_when_a_card_is_read(images, old, new, message):
    from zoo.storage.cards import Card, CardError

    Card.read(images)
    text = images.read_text()
    assert old in text
    images.write_text(text.replace(old, new))
    with pytest.raises(CardError) as error:
        Card.read(images)
    assert str(error.value).startswith(str(images))
    assert message in str(error.value)


def test_a_published_card_has_every_field_of_its_config():
    import importlib.resources
    import tomllib

    from zoo import config as configs
    from zoo.storage.cards import Card, _with_none

    cards = [
        path
        for path in importlib.resources.files("zoo.pretrained").iterdir()
        if path.name.endswith(".toml")
    ]
    assert cards
    for path in cards:
        written = _with_none(tomllib.loads(path.read_text(encoding="utf-8"))["config"])
        assert written == configs.to_dict(Card.read(path).config), path.name


def test_a_published_card_says_what_it_was_made_from_and_what_it_is_not_good_for():
    from zoo import hub

    for name in hub.list_pretrained():
        card = hub.card(name)
        wanted = {"description": card.description, "licence": card.licence, "data": card.data}
        if card.metrics:  # `transformer_ende` is out of reach of our tests
            wanted |= {"limitations": card.limitations, "command": card.command}
            assert card.command.startswith(f"zoo eval {name}"), name
        assert all(wanted.values()), (name, wanted)
