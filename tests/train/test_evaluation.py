"""zoo.evaluate: every example once, in any batch size."""

from __future__ import annotations

import numpy as np
import pytest


def test_every_example_counts_once_in_any_batch_size(run, rows):
    import zoo

    result = run(data__holdout=0.0)
    classify = zoo.load(result.workdir)
    accuracy = np.mean([classify(text).label == label for text, label in rows])
    loss = -np.mean([np.log(classify(text).probabilities[label]) for text, label in rows])
    for batch_size in (1, 3, 8, 64):
        recipe_path = result.workdir / "recipe.json"
        recipe_path.write_text(
            recipe_path.read_text().replace('"batch_size": 4', f'"batch_size": {batch_size}')
        )
        metrics = zoo.evaluate(result.workdir, "train", data=rows)
        assert metrics["train/accuracy"] == pytest.approx(accuracy)
        assert metrics["train/loss"] == pytest.approx(loss, rel=1e-5)
        recipe_path.write_text(
            recipe_path.read_text().replace(f'"batch_size": {batch_size}', '"batch_size": 4')
        )


def test_the_validation_split_is_read_as_in_training(run, rows):
    import zoo

    result = run()
    metrics = zoo.evaluate(result.workdir, data=rows)
    assert metrics == pytest.approx(
        {name: value for name, value in result.metrics.items()}, abs=1e-5
    )


def test_a_split_that_the_data_does_not_have_is_named(run, rows):
    import zoo

    with pytest.raises(LookupError, match="the data has no split 'tset'; it has train, validation"):
        zoo.evaluate(run().workdir, "tset", data=rows)
