"""`zoo verify`: all holds for what was just written, and each way to spoil it is found."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import jax
import pytest
from helpers import random_variables

PREPROCESSING = {
    "text_classification": {"max_len": 40},
    "image_classification": {"height": 8, "width": 8, "channels": 1},
}


@pytest.fixture
def written(key, tmp_path):
    """Writes a tiny model of a task, with random weights, and gives its folder."""

    def write(task: str = "text_classification") -> Path:
        from zoo import hub, tokenizers
        from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
        from zoo.models.mlp import MLPConfig
        from zoo.storage.cards import Card

        if task == "text_classification":
            tokenizer = tokenizers.WordTokenizer.train(["learn new things", "an old dog"])
            config = BagOfEmbeddingsConfig(
                vocab_size=tokenizer.vocab_size, num_classes=3, d_model=4
            )
            described = tokenizers.describe(tokenizer) | {"file": "words.vocab"}
        else:
            config = MLPConfig(input_shape=(8, 8, 1), num_classes=3, hidden_sizes=(4,))
            tokenizer, described = None, {}
        card = Card(
            name="any",
            task=task,
            config=config,
            labels=("a", "b", "c"),
            tokenizer=described,
            preprocessing=PREPROCESSING[task],
        )
        _, variables = random_variables(config, key())
        hub.write_model(tmp_path / "toy", card, variables, tokenizer)
        return tmp_path / "toy"

    return write


@pytest.fixture
def verify(capsys):
    """Runs `zoo verify`: (exit code, what was printed a line)."""

    def call(folder: Path | str, *flags: str) -> tuple[int, list[str]]:
        from zoo.cli import main

        code = main(["verify", str(folder), *flags])
        out, err = capsys.readouterr()
        return code, (out or err).splitlines()

    return call


@pytest.mark.parametrize("task", PREPROCESSING)
def test_what_was_just_written_holds(written, verify, task):
    code, lines = verify(written(task))
    assert code == 0
    *files, check, batch, twice, metric = lines
    assert len(files) == (2 if task == "text_classification" else 1)
    for line in files:
        assert re.fullmatch(r"ok       /.*/toy\.\w+: 0\.0 MB, sha256 [0-9a-f]{64}", line)
    assert check == "ok       check values: equal (numbers within 0.0001)"
    assert re.fullmatch(r"ok       alone and in a batch: each of \d inputs has the same .*", batch)
    assert twice == "ok       asked twice: the same answers"
    assert metric == "skipped  metric: the card has none"


def test_a_flipped_bit_in_the_weights_is_found(written, verify):
    path = written() / "toy.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x40
    path.write_bytes(content)
    code, lines = verify(path.parent)
    assert code == 1
    assert re.fullmatch(
        r"FAILED   /.*/toy\.safetensors: 0\.0 MB, sha256 \w{64} instead of \w{64}", lines[0]
    )
    assert lines[1].startswith("ok       /")


def test_weights_that_cannot_be_read_are_found(written, verify):
    path = written() / "toy.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    code, lines = verify(path.parent)
    assert code == 1
    assert lines[0].startswith("FAILED   ")
    assert re.match(r"FAILED   loads: .*/toy.safetensors: \d+ bytes instead of \d+", lines[-1])


def test_weights_of_another_shape_are_found(written, verify):
    from zoo.storage.cards import Card

    path = written() / "toy.toml"
    card = Card.read(path)
    config = dataclasses.replace(card.config, num_classes=4)
    dataclasses.replace(card, config=config, labels=("a", "b", "c", "d")).save(path)
    code, lines = verify(path.parent)
    assert code == 1
    assert lines[-1].startswith("FAILED   loads: the weights do not fit the model")


def test_a_changed_check_value_is_found(written, verify):
    from zoo.storage.cards import Card

    path = written() / "toy.toml"
    card = Card.read(path)
    label, value = next(iter(card.check["output"].items()))
    for change, code, word in ((1e-6, 0, "ok     "), (0.01, 1, "FAILED ")):
        output = {**card.check["output"], label: value + change}
        dataclasses.replace(card, check={**card.check, "output": output}).save(path)
        found, lines = verify(path.parent)
        assert found == code
        assert lines[2].startswith(word)
    assert f"check values: output.{label}: {value + change!r} became" in lines[2]
    dataclasses.replace(card, check={}).save(path)
    code, lines = verify(path.parent)
    assert (code, lines[2]) == (0, "skipped  check values: the card has none")


@pytest.mark.parametrize(
    ("batches", "wrong"),
    [((0.6, 0.6), "alone and in a batch"), ((0.5, 0.6), "asked twice")],
)
def test_an_answer_that_changes_is_found(written, monkeypatch, batches, wrong):
    from zoo.hub import verification
    from zoo.predictors import TextClassifier

    folder, drawn = written(), iter(batches)

    def draw(self, inputs):
        number = 0.5 if len(inputs) == 1 else next(drawn)
        return [{"output": number}] * len(inputs)

    monkeypatch.setattr(TextClassifier, "plain_answers", draw)
    failed = [
        proof
        for proof in verification.verify(folder)
        if proof.holds is False and proof.what != "check values"
    ]
    assert [(proof.what, proof.detail) for proof in failed] == [
        (wrong, "[0].output: 0.5 became 0.6")
    ]


def test_a_metric_without_data_is_skipped(written, verify):
    from zoo.storage.cards import Card

    path = written() / "toy.toml"
    dataclasses.replace(Card.read(path), metrics={"test/accuracy": 0.9}).save(path)
    code, lines = verify(path.parent)
    assert code == 0
    assert lines[-1] == (
        "skipped  metric: cannot be measured here: the card 'toy' names no recipe, "
        "so it is unknown what to evaluate on"
    )
    assert verify(path.parent, "--examples", "0")[1][-1] == "skipped  metric: not asked for"


def test_a_mistake_is_exit_code_2(verify):
    code, lines = verify("nothing")
    assert code == 2
    assert lines[0].startswith("zoo: no published model or run folder named 'nothing'")


def published():
    """The models that need no download."""
    import zoo

    names = zoo.list_pretrained()
    return [name for name in names if not any(file.urls for file in zoo.card(name).files)]


@pytest.mark.parametrize("name", published())
def test_the_files_and_the_check_values_of_every_published_model_hold(name):
    from zoo.hub import verification

    for proof in verification.verify(name):
        assert proof.holds, proof
        if proof.what == "check values":  # the answers, which cost more, are the next test
            break


@pytest.mark.slow
@pytest.mark.parametrize("name", published())
def test_every_published_model_holds(name):
    from zoo.hub import verification

    failed = [proof for proof in verification.verify(name) if proof.holds is False]
    assert not failed


@pytest.mark.gpu
@pytest.mark.parametrize("name", published())
def test_every_published_model_holds_on_an_accelerator(name):
    from zoo.hub import verification

    failed = [proof for proof in verification.verify(name) if proof.holds is False]
    assert not failed


def test_everything_is_computed_in_the_reference_precision(written, monkeypatch):
    from zoo.hub import verification
    from zoo.predictors import TextClassifier

    answers, used = TextClassifier.plain_answers, []

    def watched(self, inputs):
        used.append(jax.config.jax_default_matmul_precision)
        return answers(self, inputs)

    monkeypatch.setattr(TextClassifier, "plain_answers", watched)
    for _ in verification.verify(written("text_classification")):
        assert jax.config.jax_default_matmul_precision is None, "nothing is left behind"
    assert set(used) == {"highest"}


@pytest.mark.parametrize(
    ("expected", "found", "wrong"),
    [
        ({"a": [1.0, "x"]}, {"a": (1.00001, "x")}, None),
        ({"a": [1.0, "x"]}, {"a": [1.0, "y"]}, "a[1]: 'x' became 'y'"),
        ({"a": 1.0}, {"b": 1.0}, "answer: {'a': 1.0} became {'b': 1.0}"),
        ([1.0], [1.0, 2.0], "answer: [1.0] became [1.0, 2.0]"),
        (1000.0, 1000.05, None),
        (1000.0, 1000.2, "answer: 1000.0 became 1000.2"),
        (0.0, float("nan"), "answer: 0.0 became nan"),
        ("", None, "answer: '' became None"),
    ],
)
def test_answers_are_compared_number_by_number(expected, found, wrong):
    from zoo.hub import verification

    assert verification.difference(expected, found) == wrong
