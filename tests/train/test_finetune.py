"""Fine-tuning and publishing: fresh and frozen parts, other classes, export without TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

CHECKOUT = Path(__file__).parents[2]
OTHER = [
    ("the ship sails the sea", "water"),
    ("the plane flies high", "air"),
    ("a bird above the hills", "land"),
] * 4


def test_only_the_head_moves_where_the_embedding_is_frozen(run, source):
    import zoo
    from zoo.train import InitFrom

    tuned = run(
        "tuned", init_from=InitFrom(source=str(source.workdir)), optimizer__freeze=("embedding/.*",)
    )
    best = zoo.load(source.workdir).variables["params"]
    embedding = tuned.state.params["embedding"]["embedding"]
    np.testing.assert_array_equal(embedding, best["embedding"]["embedding"])
    assert not np.array_equal(tuned.state.params["head"]["kernel"], best["head"]["kernel"])
    # A frozen part has no optimizer state.
    assert embedding.size not in {leaf.size for leaf in jax.tree.leaves(tuned.state.optimizer)}


def test_a_head_of_other_classes_is_refused_with_both_lists(run, source):
    from zoo.config import ConfigError

    with pytest.raises(ConfigError) as error:
        run("tuned", init_from=str(source.workdir), data=OTHER)
    message = str(error.value)
    assert "'sea', 'sky'" in message
    assert "'air', 'land', 'water'" in message
    assert "skip=('head/.*',)" in message


def test_a_head_that_is_named_starts_afresh_with_the_new_classes(run, source):
    import zoo
    from zoo.train import InitFrom

    init_from = InitFrom(source=str(source.workdir), skip=("head/.*",))
    tuned = run("tuned", init_from=init_from, data=OTHER, optimizer__freeze=("embedding/.*",))
    best = zoo.load(source.workdir)
    np.testing.assert_array_equal(
        tuned.state.params["embedding"]["embedding"],
        best.variables["params"]["embedding"]["embedding"],
    )
    assert tuned.state.params["head"]["kernel"].shape == (8, 3)
    classify = zoo.load(tuned.workdir)
    assert classify.card.labels == ("air", "land", "water")
    assert classify.tokenizer.encode("the ship") == best.tokenizer.encode("the ship"), (
        "the source's vocabulary"
    )


def test_a_pattern_that_leaves_nothing_out_is_refused(run, source):
    from zoo.config import ConfigError
    from zoo.train import InitFrom

    folder = str(source.workdir)
    with pytest.raises(ConfigError) as error:
        run("tuned", init_from=InitFrom(source=folder, skip=("haed/.*",)))
    assert str(error.value) == (
        "skip has 'haed/.*', which matches no parameter; they are embedding/embedding, head/bias, "
        "head/kernel"
    )
    with pytest.raises(ConfigError, match=r"skip has '\*', which is no regular expression \(noth"):
        InitFrom(source=folder, skip=("*",))


def test_the_architecture_comes_from_the_source(run):
    source = run("source", model__d_model=4)
    tuned = run("tuned", init_from=str(source.workdir), model__dropout_rate=0.0)
    written = json.loads((tuned.workdir / "recipe.json").read_text())["model"]
    assert (written["d_model"], written["dropout_rate"]) == (4, 0.0)


def test_what_no_weight_depends_on_is_the_recipe_s_own():
    """Every field that says how to compute, and none that says what there is to be learnt."""
    from zoo import registry
    from zoo.train import finetune

    for name in registry.list_models():
        fields = {field for field in vars(registry.models.get(name)())}
        own = {f for f in fields if f.endswith(("_rate", "_momentum")) or f in ("dtype", "remat")}
        assert fields & set(finetune.FREE) == own | (fields & {"ff_chunk_len"}), name


def test_another_family_is_refused(source, recipe, rows, tmp_path):
    import dataclasses

    import zoo
    from zoo.config import ConfigError
    from zoo.models.mlp import MLPConfig

    other = dataclasses.replace(recipe(), model=MLPConfig())
    with pytest.raises(
        ConfigError, match="the recipe trains a model of MLPConfig, but 'source' is one of BagOfEmb"
    ):
        zoo.fit(other, tmp_path / "tuned", data=rows, init_from=str(source.workdir), quiet=True)


TEXTS = ["the ship sails", "clouds", "", "a boat in the sky " * 20]


def test_an_exported_model_answers_bit_for_bit_like_the_run_and_without_tensorflow(
    source, tmp_path
):
    import zoo

    workdir = source.workdir
    card = zoo.export(workdir, tmp_path / "topics", licence="CC0-1.0", description="Sea or sky.")
    assert {path.name for path in (tmp_path / "topics").iterdir()} == {
        "topics.toml",
        "topics.safetensors",
        "topics.vocab",
    }
    assert [file.name for file in card.files] == ["topics.safetensors", "topics.vocab"]
    assert (card.name, card.licence, card.labels) == ("topics", "CC0-1.0", ("sea", "sky"))
    expected = [[p.label, *p.probabilities.values()] for p in zoo.load(workdir)(TEXTS)]
    program = textwrap.dedent(
        """
        import json, sys
        for name in ("tensorflow", "tensorflow_datasets", "clu", "optax", "orbax"):
            sys.modules[name] = None  # importing it fails
        import zoo
        classify = zoo.load(sys.argv[1])
        from zoo.hub.verification import check_values
        assert check_values(classify) == classify.card.check
        predictions = classify(json.loads(sys.argv[2]))
        print(json.dumps([[p.label, *p.probabilities.values()] for p in predictions]))
        """
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "topics", json.dumps(TEXTS)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == expected


def test_bfloat16_halves_the_file(run, tmp_path):
    import zoo

    workdir = run(model__d_model=64).workdir
    whole = zoo.export(workdir, tmp_path / "whole").files[0].size
    half = zoo.export(workdir, tmp_path / "half", dtype="bfloat16").files[0].size
    assert half < 0.6 * whole
    assert (
        zoo.load(tmp_path / "half")("the ship").label
        == zoo.load(tmp_path / "whole")("the ship").label
    )


def test_what_cannot_be_exported_says_why(source, tmp_path):
    import zoo

    workdir = source.workdir
    with pytest.raises(
        ValueError, match="dtype is 'int4'; weights are written as float32 or bfloat16"
    ):
        zoo.export(workdir, tmp_path / "a", dtype="int4")
    zoo.export(workdir, tmp_path / "b")
    (tmp_path / "b" / "b.toml").rename(tmp_path / "b" / "c.toml")
    with pytest.raises(
        FileExistsError, match=r"holds another model already \(c.toml\); choose an empty folder"
    ):
        zoo.export(workdir, tmp_path / "b")


def test_a_missing_file_of_a_card_is_named(source, tmp_path):
    import zoo

    zoo.export(source.workdir, tmp_path / "topics")
    (tmp_path / "topics" / "topics.safetensors").unlink()
    with pytest.raises(
        OSError,
        match=r"topics\.safetensors .* of 'topics' cannot be had: it is not beside the card",
    ):
        zoo.load(tmp_path / "topics")
