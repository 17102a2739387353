"""Language models: a state carried from batch to batch, and logits in pieces."""

from __future__ import annotations

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_variables

import zoo
from zoo.config import ConfigError
from zoo.models.recurrent import RecurrentLMConfig
from zoo.models.reformer.attention import SelfAttentionConfig
from zoo.models.reformer.models import reformer_lm_tiny
from zoo.models.transformer import TransformerLMConfig
from zoo.pipelines.language import LanguageModelingData
from zoo.train import Adam, Interrupted, LanguageModeling, Recipe

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


def test_a_resumed_run_starts_in_the_state_in_which_it_was_interrupted(tmp_path):
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

    # The model writes text of any length: an LSTM has no position that it cannot reach.
    model = zoo.load(tmp_path / "run")
    assert model.generate("abc", max_new_tokens=700)
    streamed = "".join(model.generate("abc", max_new_tokens=9, stream=True))
    assert streamed == model.generate(["abc", "j"], max_new_tokens=9)[0]
    assert model.score("abcd") == pytest.approx(model.score(["abcd", "xyz" * 30])[0], abs=1e-4)


def test_a_model_without_a_state_is_refused(tmp_path):
    wrong = recipe(model=TransformerLMConfig(d_model=8, d_ff=8, num_heads=2, num_layers=1))
    with pytest.raises(ConfigError, match="carry_state is True, but a TransformerLM has no state"):
        zoo.fit(wrong, tmp_path / "run", data=TEXT, quiet=True)


def test_a_state_is_not_carried_between_batches_that_do_not_continue():
    with pytest.raises(ConfigError, match=r"do not continue each other; set data.contiguous"):
        recipe(data=LanguageModelingData())


def tiny_reformer(**fields):
    sizes = {"d_model": 8, "d_ff": 8, "d_key": 4, "d_value": 4, "num_layers": 1}
    return dataclasses.replace(
        reformer_lm_tiny(), **sizes, attention=(SelfAttentionConfig(),), **fields
    )


def test_logits_in_pieces_give_what_all_at_once_give(key):
    """Loss, gradients and metrics of a step, and the metrics of an evaluation."""
    rows = LanguageModelingData(length=12).open(TEXT).train(3, seed=0)
    batch = jax.tree.map(jnp.asarray, next(rows))
    module, variables = random_variables(tiny_reformer(vocab_size=258), key())
    rngs = {"dropout": key()}

    def measured(chunk_len):
        task = LanguageModeling(chunk_len=chunk_len)

        def measure(output):
            metrics = task.metrics().items()
            return {name: getattr(m, "sums", m)(output, batch) for name, m in metrics}

        def loss(params):
            output, *_ = task.training_output(module, {"params": params}, (), batch, rngs)
            total, tokens = task.loss(output, batch)
            evaluated = measure(task.output(module, {"params": params}, batch))
            return total / tokens, (measure(output), evaluated)

        return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])

    whole, pieces = measured(None), measured(5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), whole, pieces)
    assert whole[1][1].keys() == {"loss", "perplexity", "accuracy"}


@pytest.mark.slow
def test_a_run_with_logits_in_pieces_is_one_with_all_at_once(tmp_path):
    plans = (
        recipe(
            model=tiny_reformer(),
            data=LanguageModelingData(length=12),
            task=LanguageModeling(chunk_len=chunk_len),
            steps=2,
        )
        for chunk_len in (None, 5)
    )
    whole, pieces = (
        zoo.fit(plan, tmp_path / str(plan.task.chunk_len), data=TEXT, quiet=True) for plan in plans
    )
    assert pieces.metrics == pytest.approx(dict(whole.metrics), rel=1e-4)


def test_logits_in_pieces_are_refused_where_there_are_none(tmp_path):
    wrong = recipe(
        model=TransformerLMConfig(d_model=8, d_ff=8, num_heads=2, num_layers=1),
        task=LanguageModeling(chunk_len=4),
    )
    with pytest.raises(
        ConfigError, match="chunk_len is 4, but a TransformerLM computes all logits at"
    ):
        zoo.fit(wrong, tmp_path / "run", data=TEXT, quiet=True)
    with pytest.raises(ConfigError, match=r"chunk_len is 0; it must be 1 or more"):
        LanguageModeling(chunk_len=0)
    for other in ({"carry_state": True}, {"label_smoothing": 0.1}):
        with pytest.raises(ConfigError, match=f"there is no {next(iter(other))}: leave one of the"):
            LanguageModeling(chunk_len=4, **other)
