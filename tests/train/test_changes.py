"""What may change in a run that goes on, and what a recipe may not say of its data."""

from __future__ import annotations

import json
import math

import jax
import numpy as np
import pytest

import zoo
from zoo.config import ConfigError
from zoo.models.mlp import MLPConfig
from zoo.pipelines.base import Facts
from zoo.storage.cards import Card
from zoo.train import Linear, NonFiniteError, start
from zoo.train.setup import set_up


def records_of(result, name):
    """Step -> value of a metric in `metrics.jsonl`, which is valid JSON."""

    def refuse(word):
        raise ValueError(word)

    lines = (result.workdir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_constant=refuse) for line in lines]
    return {record["step"]: record[name] for record in records if name in record}


def test_what_changes_no_parameter_may_change(run):
    run(steps=2)
    changed = {"log_every": 3, "patience": 9, "eval_every": 1, "keep_checkpoints": 2}
    goes_on = run(steps=4, eval_examples=1, mesh__data=1, name="other", **changed)
    whole = run("whole")
    for a, b in zip(
        jax.tree.leaves(goes_on.state.variables),
        jax.tree.leaves(whole.state.variables),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert not Card.read(goes_on.workdir / "card.toml").changes


def test_the_same_rows_may_lie_in_another_file_and_others_may_not(tmp_path):
    lines = [f"a {word} film,{label}" for word, label in (("dull", "neg"), ("fine", "pos"))] * 4
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    (tmp_path / "b.csv").write_text("\r\n".join(["text,label", *lines]), encoding="utf-16")
    (tmp_path / "c.csv").write_text("\n".join(["text,label", *lines[1:]]) + "\n")

    def train(name, steps):
        recipe = zoo.override(
            zoo.recipe("bag_of_embeddings_file"),
            {"data.train": (str(tmp_path / name),), "steps": steps, "batch_size": 2},
        )
        return zoo.fit(recipe, tmp_path / "run", quiet=True)

    train("a.csv", 1)
    assert train("b.csv", 2).state.step == 2
    with pytest.raises(ConfigError, match=r"began with other rows: train had"):
        train("c.csv", 3)


def test_another_field_changes_where_the_user_says_so_and_the_card_notes_it(run, recipe, rows):
    workdir = run(steps=2).workdir
    other = recipe(steps=4, optimizer__learning_rate=0.1, optimizer__clip_norm=1.0, seed=3)
    with pytest.raises(ConfigError, match=r"resumed with this one: seed is 0 there, 3 now; use"):
        zoo.fit(other, workdir, data=rows, quiet=True, allow_change=("optimizer",))
    with pytest.raises(ConfigError, match=r"allow_change names 'optimiser.b1', .*'optimizer'"):
        zoo.fit(other, workdir, data=rows, quiet=True, allow_change=("optimiser.b1",))
    allowed = ("optimizer", "seed")
    result = zoo.fit(other, workdir, data=rows, quiet=True, allow_change=allowed)
    assert result.state.step == 4
    rates = records_of(result, "train/learning_rate")
    assert [round(rate, 6) for rate in rates.values()] == [0.05, 0.05, 0.1, 0.1]
    notes = Card.read(workdir / "card.toml").changes
    assert "from step 2 on optimizer.learning_rate is 0.1, before 0.05" in notes
    assert len(notes) == 3
    zoo.fit(other, workdir, data=rows, quiet=True)  # the run is now one of this recipe


def test_a_change_that_does_not_fit_the_checkpoint_is_refused_and_changes_nothing(
    run, recipe, rows
):
    workdir = run(steps=2).workdir
    with pytest.raises(ConfigError, match=r"another model or optimizer: variables/params/.* there"):
        zoo.fit(
            recipe(steps=4, model__d_model=4),
            workdir,
            data=rows,
            quiet=True,
            allow_change=("model.d_model",),
        )
    assert run(steps=4).state.step == 4


def test_the_advice_on_a_loss_that_is_not_finite_works(run, recipe, rows):
    workdir = run(steps=2).workdir
    options = {"data": rows, "quiet": True, "allow_change": ("optimizer.learning_rate",)}
    rare = {"steps": 6, "eval_every": 9, "checkpoint_every": 9}
    with pytest.raises(
        NonFiniteError, match=r"step 2 in .* is good.* --allow-change optimizer.learning_rate "
    ):
        zoo.fit(recipe(optimizer__learning_rate=1e30, **rare), workdir, **options)
    result = zoo.fit(recipe(optimizer__learning_rate=1e-3, **rare), workdir, **options)
    assert result.state.step == 6


def test_more_steps_keep_the_schedule_unless_the_user_says_otherwise(run, tmp_path):
    linear = {"optimizer__schedule": Linear(), "eval_every": 9}
    rates = records_of(run("a", steps=4, **linear), "train/learning_rate")
    assert rates[3] == pytest.approx(0.05 / 2)
    longer = run("a", steps=6, **linear)
    kept = records_of(longer, "train/learning_rate")
    assert {step: kept[step] for step in rates} == rates
    assert kept[5] == kept[6] == 0.0
    assert "keeps the schedule of 4 steps" in (longer.workdir / "train.log").read_text()
    assert "--schedule-steps 6 it is 0.0167 there" in (longer.workdir / "train.log").read_text()
    again = records_of(run("a", steps=8, **linear), "train/learning_rate")
    assert again[7] == 0.0
    run("b", steps=4, **linear)
    stretched = records_of(run("b", steps=6, schedule_steps=8, **linear), "train/learning_rate")
    assert stretched[6] == pytest.approx(0.05 * 3 / 8)


def test_the_report_after_a_resume_is_that_of_an_uninterrupted_run(run):
    often = {"steps": 8, "eval_every": 9, "checkpoint_every": 3}
    whole = run("whole", log_every=4, **often)

    class Stop(Exception):
        pass

    def stop(report):
        if report.step == 4:
            raise Stop

    with pytest.raises(Stop):
        run("halves", log_every=4, callbacks=[stop], **often)
    halves = run("halves", log_every=4, **often)  # from the checkpoint of step 3
    for name in ("train/loss", "train/accuracy", "train/f1"):
        assert records_of(halves, name) == records_of(whole, name)


def test_a_validation_metric_that_is_not_finite_is_not_the_best(run, monkeypatch):
    from zoo.train.evaluation import Evaluator

    measured = Evaluator.__call__
    values = iter([math.nan, 0.5, math.nan])

    def measure(self, *args, **kwargs):
        metrics, note = measured(self, *args, **kwargs)
        return {**metrics, "validation/accuracy": next(values)}, note

    monkeypatch.setattr(Evaluator, "__call__", measure)
    result = run(steps=6)
    assert result.metrics["validation/accuracy"] == 0.5
    assert zoo.load(result.workdir).card.checkpoint == 4
    assert list(records_of(result, "validation/accuracy").values()) == [None, 0.5, None]
    log = (result.workdir / "train.log").read_text()
    assert log.count("validation/accuracy is not finite, so this is not the best") == 2


@pytest.mark.parametrize("number", [1, 5])
def test_a_number_of_classes_that_the_data_does_not_have_is_refused(run, number, tmp_path):
    with pytest.raises(
        ConfigError,
        match=f"model.num_classes is {number}, but the data has 2 classes: 'sea', 'sky'; leave mod",
    ):
        run(model__num_classes=number)
    assert not (tmp_path / "run" / "recipe.json").exists()
    assert run(model__num_classes=2).state.step == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.vocab_size": 9}, "model.vocab_size is 9, but the data has a vocabulary of 50 tok"),
        ({"model.target_vocab_size": 9}, "model.target_vocab_size is 9, but the data has a vocabu"),
        ({"model.target_vocab_size": 50}, None),
        ({"model.vocab_size": 64}, None),
    ],
)
def test_a_vocabulary_is_large_enough_for_the_data(changes, message):
    made = zoo.override(zoo.recipe("transformer_copy"), {"model.d_model": 8, **changes})
    facts = Facts(decides={"vocab_size": 50})
    if message is None:
        made.resolve(facts)
        return
    with pytest.raises(ConfigError, match=message):
        made.resolve(facts)


def test_the_shape_of_the_inputs_is_that_of_the_data():
    made = zoo.override(zoo.recipe("mlp_digits"), {"model": MLPConfig(input_shape=(4, 4, 1))})
    with pytest.raises(
        ConfigError, match=r"model.input_shape is \(4, 4, 1\), but the data has \(8"
    ):
        made.resolve(Facts(decides={"input_shape": (8, 8, 1)}))


def test_tags_that_the_data_does_not_have_are_refused():
    made = zoo.override(zoo.recipe("lstm_ner"), {"task.labels": ("O", "B-x")})
    with pytest.raises(
        ConfigError, match=r"task.labels is 'O', 'B-x', but the data has 'O', 'B-y'"
    ):
        made.resolve(Facts(labels=("O", "B-y"), decides={"num_classes": 2}))


@pytest.mark.parametrize("path", ["optimizer.learning_rate", "optimizer.clip_norm"])
def test_a_value_that_is_no_number_is_refused(recipe, path):
    with pytest.raises(ConfigError, match=r"is nan; it must be a number|nan is not of type"):
        zoo.override(recipe(), {path: math.nan})


def test_a_fine_tuned_run_resumes_without_its_source(run, source, tmp_path):
    moved = tmp_path / "moved"
    (tmp_path / "copy").mkdir()
    import shutil

    shutil.copytree(source, tmp_path / "source")
    whole = run("whole", init_from=str(tmp_path / "source"))
    run("halves", init_from=str(tmp_path / "source"), steps=2)
    (tmp_path / "source").rename(moved)
    halves = run("halves", init_from=str(tmp_path / "source"))
    np.testing.assert_array_equal(
        halves.state.params["head"]["kernel"], whole.state.params["head"]["kernel"]
    )
    with pytest.raises(ConfigError, match="init_from"):
        run("halves")


def test_a_callback_may_keep_the_state(run):
    kept, late = {}, []

    def keep(report):
        if "train/loss" in report.metrics:
            kept[report.step] = report.state
            late.append(report)

    result = run(callbacks=[keep, lambda report: None])
    assert list(kept) == [int(state.step) for state in kept.values()] == [1, 2, 3, 4]
    np.testing.assert_array_equal(
        kept[4].params["head"]["kernel"], result.state.params["head"]["kernel"]
    )
    seen = []
    run("other", callbacks=[seen.append])
    with pytest.raises(
        RuntimeError, match=r"the state of step 1 is gone: read report.state inside"
    ):
        _ = seen[0].state


def test_64_bit_numbers_change_nothing(run):
    whole = run("whole")
    with jax.enable_x64(True):
        run("wide", steps=2)
        assert zoo.evaluate(run("wide").workdir, data=[("sea", "sea")])
    wide = run("wide")
    for a, b in zip(
        jax.tree.leaves(wide.state.variables), jax.tree.leaves(whole.state.variables), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_progress_with_fields_of_another_version_is_read():
    from zoo.train.state import Progress

    assert Progress.of_checkpoint({"step": 3, "renamed": 1}) == Progress(step=3)


def test_resuming_makes_no_second_state(run, monkeypatch):
    run(steps=2)
    monkeypatch.setattr(start, "create_state", None)
    assert run(steps=4).state.step == 4


def test_a_run_goes_on_with_the_rows_that_it_began_with_in_any_order(run, recipe, rows, caplog):
    workdir = run(steps=2).workdir
    recorded = Card.read(workdir / "card.toml").rows
    assert sum(found["number"] for found in recorded.values()) == len(rows)
    longer = recipe(steps=3)
    fewer = r"began with other rows: train had \d+ rows and has \d+ rows now; .*--allow-change data"
    with pytest.raises(ConfigError, match=fewer):
        zoo.fit(longer, workdir, data=rows[:-2], quiet=True)
    with pytest.raises(ConfigError, match=r"and has .* rows that are not the same now"):
        zoo.fit(longer, workdir, data={"train": rows[:-1] + rows[:1]}, quiet=True)
    assert zoo.fit(longer, workdir, data=rows[::-1], quiet=True).state.step == 3
    assert Card.read(workdir / "card.toml").rows == recorded
    again = zoo.fit(recipe(steps=4), workdir, data=rows[:-2], quiet=True, allow_change=("data",))
    card = Card.read(again.workdir / "card.toml")
    assert sum(found["number"] for found in card.rows.values()) == len(rows) - 2
    assert card.changes[0].startswith("from step 3 on data: the rows of train is ")


def test_an_evaluation_of_other_rows_than_recorded_says_so(recipe, rows, tmp_path, caplog):
    def write(name, found):
        lines = "".join(f"{text}\t{label}\n" for text, label in found)
        (tmp_path / name).write_text(f"text\tlabel\n{lines}")

    write("train.tsv", rows)
    write("test.tsv", rows[:4])
    files = {
        "data__train": (str(tmp_path / "train.tsv"),),
        "data__test": (str(tmp_path / "test.tsv"),),
    }
    done = zoo.fit(recipe(steps=1, **files), tmp_path / "run", quiet=True)
    zoo.evaluate(done.workdir)
    assert not caplog.messages
    write("test.tsv", rows[:6])
    zoo.evaluate(done.workdir)
    assert caplog.messages == [
        "run is evaluated on other rows than it records: test had 4 rows and has 6 rows now"
    ]


def test_the_data_is_padded_as_the_model_reads_it():
    recipe = zoo.override(zoo.recipe("bag_of_embeddings_file"), {"model.pad_id": 9})
    rows = [("a dull film", "neg"), ("fine", "pos")]
    data = set_up(recipe, {"train": rows, "validation": rows}).data
    (batch,) = data.evaluate("validation", 2)
    assert sorted((batch["inputs"] != 9).sum(axis=1)) == [1, 3]
