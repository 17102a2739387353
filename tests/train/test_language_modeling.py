"""Language models with a state that is carried from batch to batch."""

from __future__ import annotations

import os
import signal

import jax
import numpy as np
import pytest

import zoo
from zoo.config import ConfigError
from zoo.models.recurrent import RecurrentLMConfig
from zoo.models.reformer.models import reformer_lm_tiny
from zoo.models.transformer import TransformerLMConfig
from zoo.pipelines.language import LanguageModelingData
from zoo.train import Interrupted, Recipe
from zoo.train.optimizers import Adam
from zoo.train.tasks import LanguageModeling

TEXT = ["abcdefghij" * 12]


def recipe(**fields):
    return Recipe(
        **{
            "name": "tiny",
            "model": RecurrentLMConfig(d_model=8, num_layers=1, dropout_rate=0.2),
            "data": LanguageModelingData(contiguous=True, length=6, overlap=3),
            "task": LanguageModeling(carry_state=True),
            "optimizer": Adam(learning_rate=0.02),
            "steps": 5,
            "batch_size": 3,
            "eval_every": 5,
            "checkpoint_every": 5,
            "log_every": 5,
            **fields,
        }
    )


def test_an_interrupted_run_goes_on_in_the_state_it_was_in(tmp_path):
    whole = zoo.fit(recipe(), tmp_path / "whole", data=TEXT, quiet=True)

    def interrupt(report):
        os.kill(os.getpid(), signal.SIGTERM)

    stopping = recipe(log_every=3)
    with pytest.raises(Interrupted, match="interrupted at step 3 of 5"):
        zoo.fit(stopping, tmp_path / "run", data=TEXT, quiet=True, callbacks=[interrupt])
    halves = zoo.fit(stopping, tmp_path / "run", data=TEXT, quiet=True)
    assert np.abs(jax.tree.leaves(whole.state.carry)[0]).max() > 0
    for a, b in zip(
        jax.tree.leaves((whole.state.variables, whole.state.carry)),
        jax.tree.leaves((halves.state.variables, halves.state.carry)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)

    # What was trained so writes text, of any length: an LSTM has no position that it cannot reach.
    model = zoo.load(tmp_path / "run")
    assert model.generate("abc", max_new_tokens=700)
    streamed = "".join(model.generate("abc", max_new_tokens=9, stream=True))
    assert streamed == model.generate(["abc", "j"], max_new_tokens=9)[0]
    assert model.score("abcd") == pytest.approx(model.score(["abcd", "xyz" * 30])[0], abs=1e-4)


def test_a_model_without_a_state_is_refused(tmp_path):
    wrong = recipe(model=TransformerLMConfig(d_model=8, d_ff=8, num_heads=2, num_layers=1))
    with pytest.raises(ConfigError, match="carry_state is True, but a TransformerLM has no state"):
        zoo.fit(wrong, tmp_path / "run", data=TEXT, quiet=True)


def test_a_state_is_not_carried_to_somewhere_else():
    with pytest.raises(ConfigError, match=r"do not go on where .* set data.contiguous too"):
        recipe(data=LanguageModelingData())


def test_logits_in_pieces_give_the_run_that_all_at_once_give(tmp_path):
    """Loss, gradients and metrics: a run of two steps sees all of them."""
    runs = [
        zoo.fit(
            recipe(
                model=reformer_lm_tiny(),
                data=LanguageModelingData(length=12),
                task=LanguageModeling(chunk_len=chunk_len),
                steps=2,
                eval_every=2,
            ),
            tmp_path / str(chunk_len),
            data=TEXT,
            quiet=True,
        )
        for chunk_len in (None, 5)
    ]
    whole, pieces = (result.metrics for result in runs)
    assert set(whole) == {f"validation/{name}" for name in ("loss", "perplexity", "accuracy")}
    assert pieces == pytest.approx(whole, rel=1e-4)
    for a, b in zip(*(jax.tree.leaves(result.state.params) for result in runs), strict=True):
        # Adam's first steps divide a gradient by itself, its rounding included.
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_logits_in_pieces_are_refused_where_there_are_none(tmp_path):
    wrong = recipe(
        model=TransformerLMConfig(d_model=8, d_ff=8, num_heads=2, num_layers=1),
        task=LanguageModeling(chunk_len=4),
    )
    with pytest.raises(
        ConfigError, match="chunk_len is 4, but a TransformerLM gives all logits at"
    ):
        zoo.fit(wrong, tmp_path / "run", data=TEXT, quiet=True)
    with pytest.raises(ConfigError, match=r"task.chunk_len is 0; it is 1 or more"):
        LanguageModeling(chunk_len=0)
    for other in ({"carry_state": True}, {"label_smoothing": 0.1}):
        with pytest.raises(ConfigError, match=f"there is no {next(iter(other))}: leave one of the"):
            LanguageModeling(chunk_len=4, **other)
