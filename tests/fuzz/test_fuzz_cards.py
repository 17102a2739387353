"""Cards that are spoilt at random: a model that answers, or one line that names the card."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import tomli_w
from hypothesis import strategies as st
from properties import Refused, any_texts, asked, holds

VALUES = st.one_of(
    st.sampled_from(["", "None", "..", "a/b", "words", "float32", "max", "x" * 300]),
    st.sampled_from([0, 1, -1, 2, 3, 2**31, 2**62, 10**18]),
    st.sampled_from([0.0, -0.5, 0.5, 1.0, math.nan, math.inf, -math.inf]),
    st.booleans(),
    st.sampled_from([[], {}, [1], ["a"], ["a", "b", "c"], [[]], {"a": 1}, {"type": "MLPConfig"}]),
    any_texts,
)


@pytest.fixture(scope="module")
def model(toy, tmp_path_factory):
    """The folder of an exported classifier, and the content of its card."""
    import tomllib

    from zoo import hub, tokenizers
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig

    words = tokenizers.WordTokenizer(["<pad>", "<eos>", "<unk>", "a", "ship"])
    config = BagOfEmbeddingsConfig(vocab_size=5, num_classes=2, d_model=8)
    folder = tmp_path_factory.mktemp("exported") / "toy"
    made = toy(config, "text_classification", {"max_len": 9}, words, ("sea", "sky"))
    described = {**made.card.tokenizer, "file": "toy.vocab"}
    card = dataclasses.replace(made.card, tokenizer=described)
    hub.write_model(folder, card, made.variables, words)
    return folder, tomllib.loads((folder / "toy.toml").read_text())


def places(tree, path=()):
    """The paths of all entries of nested tables and arrays."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in entries:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def changed(content, number, how, key, value):
    """The content with one entry replaced, removed, renamed or added."""
    all_places = list(places(content))
    *path, last = all_places[number % len(all_places)]
    tree = content
    for step in path:
        tree = tree[step]
    if how == "replace" or isinstance(tree, list):
        tree[last] = value
    elif how == "add":
        tree[key] = value
    else:
        old = tree.pop(last)
        if how == "rename":
            tree[key] = old


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.sampled_from(["replace", "replace", "replace", "remove", "rename", "add"]),
        any_texts | st.sampled_from(["name", "file", "urls", "pad_id", "offset", "eos", "type"]),
        VALUES,
    ),
    min_size=1,
    max_size=3,
)


@holds(few=40, changes=CHANGES, text=any_texts)
def test_a_spoilt_card_gives_a_model_that_answers_or_is_refused(model, changes, text, monkeypatch):
    import zoo

    monkeypatch.setenv("ZOO_OFFLINE", "1")
    folder, content = model
    content = copy.deepcopy(content)
    try:
        for change in changes:
            changed(content, *change)
        written = tomli_w.dumps(content).encode()
    except (KeyError, IndexError, TypeError, UnicodeEncodeError):
        return  # the second change no longer has its place, or TOML cannot hold it
    (folder / "toy.toml").write_bytes(written)
    loaded = asked(zoo.load, folder, lines=True)
    if not isinstance(loaded, Refused):
        check(asked(loaded, text))


def check(answer):
    from zoo.predictors import Prediction

    if isinstance(answer, Prediction):
        assert isinstance(answer.label, str)
        assert 0 <= answer.probability <= 1
    else:
        assert isinstance(answer, Refused | list | np.ndarray)


@holds(
    few=30,
    places=st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 3), st.binary(max_size=3)),
        min_size=1,
        max_size=4,
    ),
)
def test_a_card_with_changed_bytes_is_read_or_refused(model, places, tmp_path):
    from zoo.storage.cards import Card

    content = bytearray(tomli_w.dumps(model[1]).encode())
    for place, length, new in places:
        place %= len(content)
        content[place : place + length] = new
    (tmp_path / "toy.toml").write_bytes(content)
    card = asked(Card.read, tmp_path / "toy.toml")
    if not isinstance(card, Refused):
        asked(card.save, tmp_path / "again.toml")
        assert repr(Card.read(tmp_path / "again.toml")) == repr(card)
