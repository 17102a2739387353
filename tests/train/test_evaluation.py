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
    path = result.workdir / "recipe.json"
    original = path.read_text()
    for batch_size in (1, 3, 8, 64):
        path.write_text(original.replace('"batch_size": 4', f'"batch_size": {batch_size}'))
        metrics = zoo.evaluate(result.workdir, data=rows)
        assert metrics["test/accuracy"] == pytest.approx(accuracy)
        assert metrics["test/loss"] == pytest.approx(loss, rel=1e-5)


def test_the_validation_split_is_read_as_in_training(recipe, rows, tmp_path):
    import zoo

    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    result = zoo.fit(recipe(data__train=str(path)), tmp_path / "run", quiet=True)
    assert zoo.evaluate(result.workdir) == pytest.approx(dict(result.metrics), abs=1e-5)
    with pytest.raises(LookupError, match="the data has no split 'tset'; it has train, validation"):
        zoo.evaluate(result.workdir, "tset")
