"""The memory of a step is known before it runs: its parts, its growth with length, what fits."""

from __future__ import annotations

import dataclasses

import jax
import pytest

import zoo
from zoo.config import ConfigError
from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
from zoo.models.reformer.models import reformer_lm_tiny
from zoo.models.transformer import TransformerLMConfig
from zoo.train import memory, setup, sharding
from zoo.train.reporting import LOG

FLOAT = 4


@pytest.fixture
def reading(tmp_path):
    """A recipe whose batches have two texts of eight words."""
    path = tmp_path / "texts.csv"
    texts = [f"{'a b c d e f g h'},{label}" for label in ("sea", "sky")] * 4
    path.write_text("text,label\n" + "\n".join(texts))
    return zoo.override(
        zoo.recipe("bag_of_embeddings_file"),
        {
            "data.train": (str(path),),
            "batch_size": 2,
            "model.d_model": 4,
            "model.ngram_order": 1,
            "mesh.data": 1,
        },
    )


@pytest.fixture
def room(monkeypatch):
    def of(size):
        monkeypatch.setattr(memory, "capacity", lambda mesh: size)

    return of


def estimate(length, total):
    return memory.Estimate((2, length), variables=1, optimizer=2, temporary=3, total=total)


def test_lengths_are_doubled_until_a_step_does_not_fit(reading, room):
    first = next(memory.of_recipe(reading))
    number = sum(x.size for x in jax.tree.leaves(reading.resolve().model.variable_shapes()))
    assert first.variables == number * FLOAT
    assert 2 * first.variables <= first.optimizer < 2 * first.variables + 100  # Adam's two means
    assert first.total > first.variables + first.optimizer + first.temporary

    limit = first.total + 3 * 2 * first.inputs[1] * FLOAT
    room(limit)
    found = list(memory.of_recipe(reading))
    lengths = [estimate.inputs[1] for estimate in found]
    assert len(found) > 1
    assert lengths == [lengths[0] * 2**i for i in range(len(lengths))]
    assert all(estimate.total <= limit for estimate in found[:-1])
    assert found[-1].total > limit


def test_lengths_are_halved_until_a_step_fits(reading, room, monkeypatch):
    monkeypatch.setattr(memory, "SHORTEST", 4)
    first = next(memory.of_recipe(reading))
    room(first.total - 1)
    lengths = [estimate.inputs[1] for estimate in memory.of_recipe(reading)]
    assert lengths == [first.inputs[1], first.inputs[1] // 2]


def test_there_is_one_length_where_the_available_memory_is_unknown(reading, room):
    room(None)
    assert len(list(memory.of_recipe(reading))) == 1


def test_a_batch_that_devices_cannot_share_is_refused_as_in_training(reading, monkeypatch):
    def refuse(batch_size, state, mesh, accumulate):
        raise ConfigError(f"{batch_size} examples")

    monkeypatch.setattr(setup, "check_batch_size", refuse)
    with pytest.raises(ConfigError, match="2 examples"):
        next(memory.of_recipe(reading))


def test_the_table_ends_with_the_largest_length_that_fits(reading, room):
    found = [estimate(8, 100), estimate(16, 200), estimate(32, 400)]
    room(250)
    described = memory.describe(reading, found).splitlines()
    assert described[0].startswith("memory of a training step of bag_of_embeddings_file on 1 ")
    assert described[2:5] == [estimate.row() for estimate in found]
    assert described[-1] == "largest length that fits, by doubling: 16"
    room(10)
    assert memory.describe(reading, found).endswith("by doubling: none of those tried")
    assert memory.describe(reading, found[:1]).endswith("take a smaller batch_size")
    room(None)
    assert memory.describe(reading, found).endswith("available memory unknown")


def test_the_estimate_is_for_the_model_that_is_fine_tuned(reading, room, tmp_path):
    room(10)
    wide = zoo.override(reading, {"model.d_model": 64, "steps": 1, "data.holdout": 0.0})
    source = zoo.fit(wide, tmp_path / "wide", quiet=True).workdir
    tuned = dataclasses.replace(reading, init_from=zoo.train.InitFrom(source=str(source)))
    alone, found = (next(memory.of_recipe(recipe)) for recipe in (reading, tuned))
    assert found.variables > 4 * alone.variables


def test_only_batches_larger_than_all_before_are_examined(monkeypatch, run):
    examined, trained = [], []

    def of_step(train_step, state, tally, batch):
        examined.append(batch["inputs"].size)
        raise NotImplementedError  # as a backend that does not say

    def put_batch(batch, mesh, put=sharding.put_batch):
        trained.append(batch["inputs"].size)
        return put(batch, mesh)

    monkeypatch.setattr(memory, "of_step", of_step)
    monkeypatch.setattr(sharding, "put_batch", put_batch)
    rows = [("sea " * length, label) for length in (2, 12) for label in ("a", "b")] * 4
    run(data=rows, data__holdout=0.0, data__boundaries=(4,), data__max_len=12, steps=12)
    assert len(set(trained)) > 1
    largest_so_far = [size for n, size in enumerate(trained) if size > max(trained[:n], default=0)]
    assert examined == largest_so_far


def test_images_have_no_length(room):
    digits = zoo.override(zoo.recipe("mlp_digits"), {"mesh.data": 1})
    room(10)
    assert len(list(memory.of_recipe(digits))) == 1


def test_a_run_warns_before_a_step_that_will_not_fit(run, room):
    room(1000)
    told = (run("warned").workdir / LOG).read_text()
    assert "warning: a step with inputs of shape (4, " in told
    assert "and 0.0 MB are available. A smaller batch_size or shorter inputs take less" in told
    room(10**12)
    assert "warning" not in (run("not").workdir / LOG).read_text()


def test_the_available_memory_is_the_machine_s_or_the_container_s(monkeypatch, tmp_path):
    mesh = zoo.train.sharding.make_mesh(zoo.train.sharding.MeshConfig(data=1))
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "absent")
    whole = memory.capacity(mesh)
    assert whole > 10**8
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "limit")
    (tmp_path / "limit").write_text("max\n")
    assert memory.capacity(mesh) == whole
    (tmp_path / "limit").write_text("4096\n")
    assert memory.capacity(mesh) == 4096


def test_models_reach_any_length():
    short = TransformerLMConfig(vocab_size=9, max_len=64)
    assert short.with_max_len(64) is short
    assert short.with_max_len(65).max_len == 65
    axial = dataclasses.replace(reformer_lm_tiny(), axial_shape=(8, 16), max_len=9)
    assert axial.with_max_len(128) is axial
    assert axial.with_max_len(129).axial_shape == (9, 16)
    bag = BagOfEmbeddingsConfig(vocab_size=9)
    assert bag.with_max_len(10**6) is bag
