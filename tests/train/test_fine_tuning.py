"""Fine-tuning and publishing: fresh and frozen parts, other classes, export without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

import zoo
from zoo import registry
from zoo.config import ConfigError
from zoo.models.base import ModelConfig
from zoo.models.mlp import MLPConfig
from zoo.train import InitFrom, fine_tuning

CHECKOUT = Path(__file__).parents[2]
OTHER = [
    ("the ship sails the sea", "water"),
    ("the plane flies high", "air"),
    ("a bird above the hills", "land"),
] * 4


def test_only_the_head_moves_where_the_embedding_is_frozen(run, source):
    tuned = run("tuned", init_from=str(source), optimizer__freeze=("embedding/.*",))
    before, after = zoo.load(source).variables["params"], tuned.state.params
    np.testing.assert_array_equal(after["embedding"]["embedding"], before["embedding"]["embedding"])
    assert not np.array_equal(after["head"]["kernel"], before["head"]["kernel"])
    sizes = {leaf.size for leaf in jax.tree.leaves(tuned.state.optimizer)}
    assert after["embedding"]["embedding"].size not in sizes, "it has no optimizer state either"


def test_a_head_of_other_classes_is_refused_with_both_lists(run, source):
    with pytest.raises(ConfigError) as error:
        run("tuned", init_from=str(source), data=OTHER)
    message = str(error.value)
    assert "'sea', 'sky'" in message
    assert "'air', 'land', 'water'" in message
    assert "InitFrom(source=…, skip=('head/.*',)), or --skip 'head/.*'" in message


def test_a_head_that_is_skipped_starts_afresh_with_the_new_classes(run, source):
    init_from = InitFrom(source=str(source), skip=("head/.*",))
    tuned = run("tuned", init_from=init_from, data=OTHER, optimizer__freeze=("embedding/.*",))
    best = zoo.load(source)
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


def test_a_pattern_that_matches_nothing_is_refused(run, source):
    with pytest.raises(ConfigError) as error:
        run("tuned", init_from=InitFrom(source=str(source), skip=("haed/.*",)))
    assert str(error.value) == (
        "skip has 'haed/.*', which matches no parameter; a pattern is a regular expression for a "
        "whole path, and the paths are embedding/embedding, head/bias, head/kernel"
    )
    with pytest.raises(ConfigError, match=r"skip has '\*', which is not a regular expression"):
        InitFrom(source=str(source), skip=("*",))


def test_the_architecture_comes_from_the_source(run, source):
    tuned = run("tuned", init_from=str(source), model__d_model=4, model__dropout_rate=0.0)
    written = json.loads((tuned.workdir / "recipe.json").read_text())["model"]
    assert (written["d_model"], written["dropout_rate"]) == (8, 0.0)


def test_the_head_is_whatever_depends_on_the_number_of_classes():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config(ModelConfig):
        num_classes: int | None = None

        def build(self):
            return Net(self)

        def example_inputs(self, batch):
            return (jax.ShapeDtypeStruct((batch, 3), np.float32),)

    from flax import linen as nn

    class Net(nn.Module):
        config: Config

        @nn.compact
        def __call__(self, inputs, *, train=False):
            return nn.Dense(self.config.num_classes, name="last")(nn.Dense(4, name="first")(inputs))

    assert fine_tuning._head(Config(num_classes=2)) == ["last/bias", "last/kernel"]
    for name in registry.list_models():
        config = registry.models.get(name)()
        if getattr(config, "num_classes", 0) is None:
            fields = {"num_classes": 3, "vocab_size": 9, "input_shape": (32, 32, 3)}
            known = {key: value for key, value in fields.items() if hasattr(config, key)}
            head = fine_tuning._head(dataclasses.replace(config, **known))
            assert set(head) == {"head/bias", "head/kernel"}, name


def test_fields_that_no_weight_depends_on_are_the_recipe_s_own():
    """Every field that says how to compute, and none that says what there is to learn."""
    for name in registry.list_models():
        config = registry.models.get(name)()
        fields = vars(config).keys()
        how = {field for field in fields if field.endswith(("_rate", "_momentum"))}
        how |= fields & {"dtype", "remat", "ff_chunk_len", "reversible"}
        assert config.fields_without_weights() == how, name


def test_another_family_is_refused(source, recipe, rows, tmp_path):
    other = dataclasses.replace(recipe(), model=MLPConfig())
    with pytest.raises(
        ConfigError,
        match="the recipe trains a MLPConfig, but 'source' is a BagOfEmbeddings",
    ):
        zoo.fit(other, tmp_path / "tuned", data=rows, init_from=str(source), quiet=True)


TEXTS = ["the ship sails", "clouds", "", "a boat in the sky " * 20]


def test_an_exported_model_answers_like_the_run_bit_for_bit_and_without_tensorflow(
    source, tmp_path
):
    card = zoo.export(source, tmp_path / "topics", licence="CC0-1.0", description="Sea or sky.")
    assert {path.name for path in (tmp_path / "topics").iterdir()} == {
        "topics.toml",
        "topics.safetensors",
        "topics.vocab",
    }
    assert [file.name for file in card.files] == ["topics.safetensors", "topics.vocab"]
    assert (card.name, card.licence, card.labels) == ("topics", "CC0-1.0", ("sea", "sky"))
    expected = [[p.label, *p.probabilities.values()] for p in zoo.load(source)(TEXTS)]
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
    workdir = run(model__d_model=64).workdir
    whole = zoo.export(workdir, tmp_path / "whole").files[0].size
    half = zoo.export(workdir, tmp_path / "half", dtype="bfloat16").files[0].size
    assert half < 0.6 * whole
    assert (
        zoo.load(tmp_path / "half")("the ship").label
        == zoo.load(tmp_path / "whole")("the ship").label
    )


def test_what_cannot_be_exported_says_why(source, tmp_path):
    with pytest.raises(
        ValueError, match="dtype is 'int4'; weights are written as float32 or bfloat16"
    ):
        zoo.export(source, tmp_path / "a", dtype="int4")
    zoo.export(source, tmp_path / "b")
    (tmp_path / "b" / "b.toml").rename(tmp_path / "b" / "c.toml")
    with pytest.raises(
        FileExistsError, match=r"holds another model already \(c.toml\); choose an empty folder"
    ):
        zoo.export(source, tmp_path / "b")


def test_a_missing_file_of_a_card_is_named(source, tmp_path):
    zoo.export(source, tmp_path / "topics")
    (tmp_path / "topics" / "topics.safetensors").unlink()
    with pytest.raises(
        OSError,
        match=r"topics\.safetensors .* of 'topics' is not available: it is not beside the card",
    ):
        zoo.load(tmp_path / "topics")
