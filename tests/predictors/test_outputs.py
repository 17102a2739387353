"""Outputs of a module of the user's own: arrays in, arrays out, one item or a batch."""

from __future__ import annotations

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import summing_config


@pytest.fixture
def make(key):
    """Makes the predictor of a module that sums, of one argument or of two."""
    from zoo import predictors
    from zoo.storage.cards import Card

    config_of = summing_config()

    def make(*shapes, dtype="float32", tokenizer=None):
        config = config_of(shapes=shapes, dtype_of_inputs=dtype)
        card = Card(name="toy", task="module", config=config)
        inputs = [jnp.zeros(item.shape, item.dtype) for item in config.example_inputs(1)]
        return predictors.create(card, config.build().init(key(), *inputs), tokenizer)

    return make


def test_one_item_gives_one_output_and_a_batch_a_batch(make):
    model = make((3,))
    assert model([1, 2, 3]) == 7
    assert isinstance(model(np.ones(3)), np.generic | np.ndarray)
    batch = model(np.arange(30).reshape(10, 3))
    assert batch.shape == (10,)
    assert batch[1] == model([3, 4, 5]) == 13
    assert model(np.zeros((0, 3))).shape == (0,)


def test_several_arguments_and_a_tree_of_outputs(make):
    model = make((2, 2), ())
    output = model(np.ones((2, 2)), 2.0)
    assert output["sum"] == 7 and output["first"].tolist() == [1, 1]
    batch = model(np.ones((3, 2, 2)), [1.0, 2.0, 3.0])
    assert batch["sum"].tolist() == [6, 7, 8] and batch["first"].shape == (3, 2)


def test_a_model_with_a_tokenizer_takes_texts(make):
    from zoo.tokenizers import ByteTokenizer

    model = make((4,), dtype="int32", tokenizer=ByteTokenizer(offset=0))
    assert model("a") == 1 + ord("a")
    assert model(["a", "abc", "b"]).tolist() == [98, 1 + 97 + 98 + 99, 99]
    assert list(model.printed(["a", "b"])) == ["98.0", "99.0"]


def test_outputs_are_printed_as_json(make, tmp_path):
    model = make((3,))
    np.save(tmp_path / "x.npy", np.array([1.0, 2.0, 0.25]))
    items = ["1, 2, 3", "1 2 3", "[1, 2, 3]", str(tmp_path / "x.npy")]
    assert list(model.printed(items)) == ["7.0", "7.0", "7.0", "4.25"]
    two = make((2,), ())
    (printed,) = two.printed(["[[1, 0.3333333333], 2]"])
    assert json.loads(printed) == {"sum": 4.33333, "first": [1, 0.333333]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model(1, 2), "this model takes 1 argument(s); got 2"),
        (
            lambda model: model(1.0),
            "an argument has the shape []; this model takes one item [3] or ",
        ),
        (
            lambda model: list(model.printed(["x"])),
            "'x' is not an input of this model; give numbers",
        ),
        (lambda model: list(model.printed(["1"], top_k=2)), "top_k is for classifiers; toy gives"),
        (
            lambda model: model("text"),
            "the card 'toy' has no tokenizer, so its model does not read",
        ),
    ],
)
def test_what_a_module_cannot_take_is_said(make, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(make((3,)))


def test_arguments_of_different_numbers_are_refused(make):
    model = make((2,), ())
    for inputs in ((np.ones((2, 2)), [1.0]), (np.ones((1, 2)), 1.0)):
        with pytest.raises(ValueError, match=r"the arguments have \d, 1 items; give the same"):
            model(*inputs)


@pytest.mark.parametrize(("shapes", "dtype"), [(((2, 2), ()), "float32"), (((5,),), "int32")])
def test_check_values_and_sample_inputs_are_answers_of_the_module(make, shapes, dtype):
    from zoo.hub import verification

    model = make(*shapes, dtype=dtype)
    check = verification.check_values(model)
    assert check["input"].startswith("ramp: ")
    (first, *_) = model.sample_inputs().values()
    output = jax.tree.leaves(model(*first))
    assert check["output"] == [np.ravel(leaf).tolist() for leaf in output]
    samples = list(model.sample_inputs().values())
    assert model.plain_answers(samples)[0] == model.plain_answers(samples[:1])[0]
    assert dataclasses.replace(model).plain_answers(samples) == model.plain_answers(samples)


@pytest.mark.parametrize(
    "given", [b"a", np.array(["1", "2", "3"]), np.zeros(3, complex), [1, 2, 10**400], [1e300, 0, 0]]
)
def test_what_are_no_numbers_is_refused(make, given):
    from zoo.config import ValueMistake

    with pytest.raises(ValueMistake, match="is no input of this model, which takes numbers that"):
        make((3,))(given)


@pytest.mark.parametrize("given", [[1.5, 0, 0], [float("nan"), 0, 0], [2**40, 0, 0]])
def test_ids_are_whole_numbers(make, given):
    from zoo.config import ValueMistake

    with pytest.raises(ValueMistake, match="which takes numbers that int32 holds"):
        make((3,), dtype="int32")(given)
    assert make((3,), dtype="int32")([1.0, 2, 3]) == 7


def test_a_missing_file_of_an_array_is_refused(make):
    from zoo.config import FileMistake

    with pytest.raises(FileMistake, match=r"there is no file missing\.npy"):
        list(make((3,)).printed(["missing.npy"]))
