"""Runs of several kinds, interrupted and resumed, end as if they had never been interrupted."""

from __future__ import annotations

import os
import signal

import jax
import numpy as np
import pytest

import zoo
from zoo.train import Interrupted


def interrupted_and_resumed(recipe, folder, *, at, data=None):
    """A run without a break, and one that a signal stopped after a step."""
    whole = zoo.fit(recipe, folder / "whole", data=data, quiet=True)

    def terminate(report):
        if report.step == at:
            os.kill(os.getpid(), signal.SIGTERM)

    options = {"data": data, "quiet": True}
    with pytest.raises(Interrupted, match=f"interrupted at step {at} of "):
        zoo.fit(recipe, folder / "halves", callbacks=[terminate], **options)
    return whole, zoo.fit(recipe, folder / "halves", **options)


def assert_same(whole, halves):
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(halves.state), strict=True):
        if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(a, b)
    assert dict(whole.metrics) == dict(halves.metrics)


def test_between_two_reports(recipe, rows, tmp_path):
    tiny = recipe(log_every=4, eval_every=3)
    assert_same(*interrupted_and_resumed(tiny, tmp_path, at=3, data=rows))


def test_rows_that_stream_past_and_are_not_kept(recipe, rows, tmp_path):
    """The stream is read again up to where the run was, in the second epoch here."""
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    streamed = recipe(
        data__train=(str(path),), data__cache=False, data__holdout=0.0, steps=6, log_every=1
    )
    assert_same(*interrupted_and_resumed(streamed, tmp_path, at=3))


def test_a_translation(tmp_path):
    """Batches of several lengths, a schedule, and BLEU."""
    fields = {
        "model.d_model": 8,
        "model.d_ff": 8,
        "data.max_len": 6,
        "data.num_examples": 16,
        "task.beam_size": 1,
        "batch_size": 4,
        "steps": 4,
        "eval_every": 4,
        "log_every": 1,
    }
    small = zoo.override(zoo.recipe("transformer_copy"), fields)
    whole, halves = interrupted_and_resumed(small, tmp_path, at=2)
    assert "validation/bleu" in whole.metrics
    assert_same(whole, halves)


def test_what_is_measured_in_training_is_the_sample_that_the_recipe_asks_for(
    recipe, rows, tmp_path
):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    sampled = recipe(data__train=(str(path),), data__holdout=0.5, eval_examples=2)
    result = zoo.fit(sampled, tmp_path / "run", quiet=True)
    loss = result.metrics["validation/loss"]
    found = zoo.evaluate(result.workdir, "validation", limit=2)
    assert found["validation/loss"] == pytest.approx(loss, rel=1e-5)
    whole = zoo.evaluate(result.workdir, "validation")
    assert whole["validation/loss"] != pytest.approx(loss, rel=1e-5)
