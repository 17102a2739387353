"""Modules of the user's own: any arrays, lists and texts, alone and in a batch."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from helpers import summing_config
from hypothesis import strategies as st
from properties import Refused, any_texts, asked, holds, scalars


@pytest.fixture(scope="module")
def models(toy):
    """Modules that sum: of one argument of floats or ids, and of two."""
    config_of = summing_config()
    columns = {"columns": ["a", "b", "c"], "mean": [0.0] * 3, "std": [1.0] * 3}
    ids = toy(config_of(shapes=((3,),), dtype_of_inputs="int32"), "module")
    found = {
        "three": toy(config_of(shapes=((3,),)), "module", columns),
        "square": toy(config_of(shapes=((2, 2),)), "module"),
        "two": toy(config_of(shapes=((3,), ())), "module"),
    }
    numbers = {name: dataclasses.replace(model, tokenizer=None) for name, model in found.items()}
    return {**numbers, "ids": ids}


NUMBERS = st.integers(-5, 5) | st.floats(-5, 5, width=16)
THREE = st.lists(NUMBERS, min_size=3, max_size=3)

INPUTS = st.one_of(
    THREE,
    st.lists(THREE, max_size=3),
    st.lists(st.lists(THREE, min_size=2, max_size=2), max_size=2),
    st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=2, max_size=2),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), NUMBERS | scalars, max_size=4),
    st.fixed_dictionaries({"a": NUMBERS, "b": NUMBERS, "c": NUMBERS}),
    st.lists(st.fixed_dictionaries({"a": NUMBERS, "b": NUMBERS, "c": NUMBERS}), max_size=2),
    st.lists(scalars, max_size=3),
    st.lists(st.lists(scalars, max_size=2), max_size=2),
    st.lists(any_texts, max_size=2),
    THREE.map(np.array),
    st.sampled_from([np.zeros((2, 3), "complex64"), np.array(["a"] * 3), np.zeros((0, 3))]),
    scalars,
)


@holds(
    few=40,
    name=st.sampled_from(["three", "square", "two", "ids"]),
    inputs=st.lists(INPUTS, min_size=1, max_size=2).filter(lambda x: len(x) == 1)
    | st.lists(INPUTS, max_size=3),
)
def test_any_inputs_have_outputs_or_are_refused(models, name, inputs):
    answer = asked(models[name], *inputs)
    if not isinstance(answer, Refused):
        for leaf in jax.tree.leaves(answer):
            assert isinstance(leaf, np.ndarray | np.generic)


@holds(few=20, items=st.lists(THREE, min_size=1, max_size=4))
def test_a_batch_has_the_outputs_of_its_items(models, items):
    model = models["three"]
    together = model(items)
    assert together.shape == (len(items),)
    np.testing.assert_allclose(together, [model(item) for item in items], rtol=1e-6, atol=1e-6)


@holds(
    few=40,
    name=st.sampled_from(["three", "square", "two", "ids"]),
    items=st.lists(
        any_texts
        | st.sampled_from(["1 2 3", "1,2,3", "[1, 2, 3]", "[[1, 2], [3, 4]]", "[[1,2,3],4]"])
        | st.sampled_from(
            ["nan 1 2", "a.npy", "\0.npy", "[" * 9999, "[" + "9" * 5000 + "]", "1e999"]
        ),
        min_size=1,
        max_size=2,
    ),
)
def test_any_text_of_the_command_line_is_an_input_or_is_refused(models, name, items):
    printed = asked(lambda: list(models[name].printed(items)))
    if not isinstance(printed, Refused):
        assert len(printed) == len(items)
        assert all(isinstance(line, str) and "\n" not in line for line in printed)
