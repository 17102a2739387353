"""Adapters: only they are trained and saved; they load with their base, and with no other."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.cli import main
from zoo.config import ConfigError, FileMistake, ValueMistake
from zoo.storage import adapters, weights
from zoo.storage.cards import Card, CardError
from zoo.train import InitFrom, Interrupted, LoRA, memory
from zoo.train.patterns import check_matches

TARGETS = ("head/kernel",)
QUESTIONS = ["the ship", "a bird flies", "wind"]
OTHER = [("the ship sails the sea", "water"), ("the plane flies", "air"), ("the hills", "land")] * 4


@pytest.fixture(scope="module")
def adapted(recipe, rows, source, tmp_path_factory):
    """A run of adapters over `source`, finished; it is shared: only read it."""
    folder = tmp_path_factory.mktemp("adapted") / "run"
    tuned = recipe(lora=LoRA(targets=TARGETS, rank=2), steps=6)
    return zoo.fit(tuned, folder, data=rows, init_from=str(source), quiet=True)


@pytest.fixture(scope="module")
def exported(adapted, tmp_path_factory):
    """The adapters of that run, exported."""
    folder = tmp_path_factory.mktemp("exported") / "sea_and_sky"
    zoo.export(adapted.workdir, folder)
    return folder


def answers(model):
    return [answer.probability for answer in model(QUESTIONS)]


def test_only_adapters_are_trained_and_have_a_state(adapted, source):
    state, base = adapted.state, zoo.load(source).variables["params"]
    pair = state.params["head"]["kernel"]
    assert {path: leaf.shape for path, leaf in weights.flatten(state.params).items()} == {
        "head/kernel/a": (8, 2),
        "head/kernel/b": (2, 2),
    }
    assert np.abs(pair["b"]).max() > 0
    jax.tree.map(np.testing.assert_array_equal, state.variables["base"], base)
    optimizer = sum(leaf.size for leaf in jax.tree.leaves(state.optimizer))
    assert optimizer < 2 * (8 * 2 + 2 * 2) + 10
    size = sum(
        path.stat().st_size
        for path in (adapted.workdir / "checkpoints").rglob("*")
        if path.is_file()
    )
    assert size < 4 * base["embedding"]["embedding"].size + 50_000


def test_a_run_of_adapters_loads_as_the_base_plus_their_product(adapted, source):
    base = zoo.load(source).variables["params"]["head"]["kernel"]
    pair = adapted.state.params["head"]["kernel"]
    found = zoo.load(adapted.workdir, step="latest").variables["params"]["head"]["kernel"]
    np.testing.assert_allclose(found, base + 16 / 2 * pair["a"] @ pair["b"], rtol=1e-6)


def test_adapters_and_merged_weights_answer_alike(adapted, exported, source, tmp_path):
    zoo.export(adapted.workdir, tmp_path / "merged", merge=True)
    loaded = zoo.load(adapted.workdir)
    assert answers(zoo.load(exported)) == answers(loaded)
    assert answers(zoo.load(tmp_path / "merged")) == answers(loaded)
    assert answers(zoo.load(source)) != answers(loaded)
    small, whole = exported / "sea_and_sky.safetensors", tmp_path / "merged/merged.safetensors"
    assert small.stat().st_size < whole.stat().st_size
    card = Card.read(exported / "sea_and_sky.toml")
    assert card.adapter["base"] == str(source)
    assert card.adapter["sha256"] == weights.digest(zoo.load(source).variables["params"])
    assert not Card.read(tmp_path / "merged/merged.toml").adapter
    with pytest.raises(ValueMistake, match=r"has whole weights and no adapters; leave out merge"):
        zoo.export(source, tmp_path / "again", merge=True)
    assert main(["export", str(adapted.workdir), "--out", str(tmp_path / "cli"), "--merge"]) == 0


def test_several_adapters_share_one_base(adapted, exported, source):
    base = zoo.load(source)
    before = answers(base)
    first, second = (zoo.with_adapter(base, where) for where in (exported, adapted.workdir))
    assert answers(first) == answers(second) == answers(zoo.load(exported))
    assert answers(base) == before, "the base stays what it is"
    shared, own = base.variables["params"], first.variables["params"]
    assert own["embedding"]["embedding"] is shared["embedding"]["embedding"]
    assert own["head"]["bias"] is shared["head"]["bias"]


def test_adapters_of_another_base_are_refused_with_both_digests(exported, run, source, tmp_path):
    other = zoo.load(run("other", seed=1).workdir)
    digests = [weights.digest(zoo.load(source).variables["params"])]
    digests.append(weights.digest(other.variables["params"]))
    with pytest.raises(ValueMistake, match=f"(?s){digests[0]}.*{digests[1]}"):
        zoo.with_adapter(other, exported)
    # A base that was trained on since, and one that is not there any more.
    copy = shutil.copytree(exported, tmp_path / "sea_and_sky")
    card = copy / "sea_and_sky.toml"
    text = card.read_text()
    card.write_text(text.replace(str(source), str(tmp_path / "other")))
    shutil.copytree(other.card.name and tmp_path / "other", tmp_path / "copied")
    with pytest.raises(ValueMistake, match=f"(?s){digests[0]}.*{digests[1]}"):
        zoo.load(copy)
    card.write_text(text.replace(str(source), str(tmp_path / "nowhere")))
    with pytest.raises(FileMistake, match=r"which is not there .*zoo.with_adapter\(zoo.load\(BASE"):
        zoo.load(copy)
    card.write_text(text.replace("rank = 2", 'rank = "two"'))
    with pytest.raises(CardError, match=r"adapter.rank: 'two' is not of type int"):
        zoo.load(copy)


def test_what_has_no_adapters_or_is_not_in_float32_takes_none(source, exported):
    base = zoo.load(source)
    with pytest.raises(ValueMistake, match=r"has whole weights and no adapters; zoo.load loads it"):
        zoo.with_adapter(base, source)
    config = zoo.recipe("transformer_copy").model
    narrow = dataclasses.replace(
        base, card=dataclasses.replace(base.card, config=config.in_precision("bfloat16"))
    )
    with pytest.raises(
        ValueMistake, match=r"is in bfloat16; .* load the base with dtype='float32'"
    ):
        zoo.with_adapter(narrow, exported)


def test_a_resumed_run_ends_with_the_same_adapters(adapted, recipe, rows, source, tmp_path):
    def terminate(report):
        if report.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    tuned = recipe(lora=LoRA(targets=TARGETS, rank=2), steps=6)
    options = {"data": rows, "init_from": str(source), "quiet": True}
    with pytest.raises(Interrupted):
        zoo.fit(tuned, tmp_path / "halves", callbacks=[terminate], **options)
    halves = zoo.fit(tuned, tmp_path / "halves", **options)
    jax.tree.map(np.testing.assert_array_equal, halves.state.variables, adapted.state.variables)
    assert dict(halves.metrics) == dict(adapted.metrics)


def test_a_head_for_other_classes_is_trained_as_a_whole(run, source, tmp_path):
    init_from = InitFrom(source=str(source), skip=("head/.*",))
    with pytest.raises(ConfigError, match=r"lora.targets has 'haed/kernel', which matches no"):
        run("tuned", init_from=init_from, data=OTHER, lora=LoRA(targets=("haed/kernel",)))
    lora = LoRA(targets=("embedding/embedding",), rank=1)
    tuned = run("tuned", init_from=init_from, data=OTHER, lora=lora, ema=0.5)
    assert tuned.state.params["head"]["kernel"].shape == (8, 3)
    assert set(tuned.state.variables["base"]) == {"embedding"}
    zoo.export(tuned.workdir, tmp_path / "out")
    for model in (zoo.load(tmp_path / "out"), zoo.with_adapter(zoo.load(source), tmp_path / "out")):
        assert answers(model) == answers(zoo.load(tuned.workdir))
        assert model.card.labels == ("air", "land", "water")
    assert answers(zoo.load(tuned.workdir, step="ema")) != answers(model)


def test_what_cannot_be_adapted_is_refused_in_one_line(run, source):
    with pytest.raises(ConfigError, match=r"lora.targets is set, but init_from is not"):
        run(lora=LoRA(targets=TARGETS))
    with pytest.raises(
        ConfigError, match=r"matches head/bias, whose shape is \(2,\); adapters are"
    ):
        run(init_from=str(source), lora=LoRA(targets=("head/.*",)))
    with pytest.raises(ConfigError, match=r"lora.rank is 0; it must be 1 or more"):
        LoRA(targets=TARGETS, rank=0)
    with pytest.raises(ConfigError, match=r"lora.targets has '\*', which is not a regular expres"):
        run(lora=LoRA(targets=("*",)))


def test_of_many_paths_the_nearest_are_named():
    paths = [f"decoder/block_{n}/attention/{name}/kernel" for n in range(6) for name in "qkv"]
    with pytest.raises(ConfigError) as error:
        check_matches("lora.targets", ("decoder/block_3/atention/q/kernel",), paths)
    message = str(error.value)
    assert "the nearest of 18 paths are decoder/block_3/attention/q/kernel, " in message
    assert message.count("decoder/") == 5


def test_a_kernel_of_three_axes_has_a_pair_for_each_matrix():
    kernel = {"query": jax.ShapeDtypeStruct((2, 6, 4), jnp.float32)}
    lora = LoRA(targets=("query",), rank=3, alpha=6.0)
    shapes = adapters.shapes(kernel, lora)
    assert shapes["query"]["a"].shape == (2, 6, 3)
    own = adapters.initialise(jax.random.key(0), shapes, {})
    base = {"query": jnp.ones((2, 6, 4))}
    np.testing.assert_array_equal(adapters.merged(base, own, lora.scale)["query"], base["query"])
    own["query"]["b"] = jnp.ones((2, 3, 4))
    changed = adapters.merged(base, own, lora.scale)["query"]
    np.testing.assert_allclose(changed[1], 1 + 2 * own["query"]["a"][1] @ jnp.ones((3, 4)))


def test_the_estimate_of_memory_is_that_of_adapters(recipe, source, tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "the ship,sea\nthe bird,sky\n" * 4)
    tuned = recipe(
        data__train=(str(path),),
        data__holdout=0.0,
        mesh__data=1,
        lora=LoRA(targets=TARGETS, rank=1),
        init_from=InitFrom(source=str(source)),
    )
    estimate = next(memory.of_recipe(tuned))
    assert estimate.optimizer < estimate.variables / 4
