"""What a step takes is known before it is run: the parts, the growth with length, what fits."""

from __future__ import annotations

import dataclasses

import jax
import pytest

import zoo
from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
from zoo.models.reformer.models import reformer_lm_tiny
from zoo.models.transformer import TransformerLMConfig
from zoo.train import memory
from zoo.train.reporting import LOG

FLOAT = 4


@pytest.fixture
def copying():
    """A recipe without files: two sequences of 16 symbols."""
    return zoo.override(
        zoo.recipe("transformer_copy"),
        {"batch_size": 2, "data.min_len": 6, "data.max_len": 6, "mesh.data": 1},
    )


@pytest.fixture
def room(monkeypatch):
    def of(size):
        monkeypatch.setattr(memory, "capacity", lambda mesh: size)

    return of


def test_lengths_are_doubled_until_memory_will_not_do(copying, room):
    first = next(memory.of_recipe(copying))
    number = sum(x.size for x in jax.tree.leaves(copying.resolve().model.variable_shapes()))
    assert first.variables == number * FLOAT
    assert 2 * first.variables <= first.optimizer < 2 * first.variables + 100  # Adam's two means
    assert first.total > first.variables + first.optimizer + first.temporary

    room(2 * first.total)
    found = list(memory.of_recipe(copying))
    lengths = [estimate.inputs[1] for estimate in found]
    assert lengths == [lengths[0] * 2**i for i in range(len(lengths))]
    assert len(found) > 1
    assert all(estimate.total <= 2 * first.total for estimate in found[:-1])
    assert found[-1].total > 2 * first.total
    described = memory.describe(copying).splitlines()
    assert described[0].startswith("memory of a training step of transformer_copy on 1 ")
    assert described[2 : 2 + len(found)] == [estimate.row() for estimate in found]
    assert described[-1] == f"largest length that fits, by doubling: {lengths[-2]:,}"


def test_lengths_are_halved_until_memory_will_do(copying, room):
    longer = zoo.override(copying, {"data.max_len": 63, "data.min_len": 63})
    first = next(memory.of_recipe(longer))
    room(first.total - 1)
    found = list(memory.of_recipe(longer))
    assert [estimate.inputs[1] for estimate in found] == [63, 31]
    assert memory.describe(longer).endswith("largest length that fits, by doubling: 31")
    room(10)
    assert memory.describe(longer).endswith("by doubling: none that was tried")
    room(None)
    assert "could not be found out" in memory.describe(longer)


def test_images_have_no_length(room):
    digits = zoo.override(zoo.recipe("mlp_digits"), {"mesh.data": 1})
    assert len(list(memory.of_recipe(digits))) == 1
    room(10)
    assert memory.describe(digits).endswith("that is too little: take a smaller batch_size")


def test_a_run_warns_before_a_step_that_will_not_fit(run, room):
    room(1000)
    told = (run("warned").workdir / LOG).read_text()
    assert "warning: a step with inputs (4, " in told
    assert "and there are 0.000 GB. A smaller batch_size or shorter inputs take less" in told
    room(10**12)
    assert "warning" not in (run("not").workdir / LOG).read_text()


def test_what_there_is_to_take(monkeypatch, tmp_path):
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
    assert short.reaching(64) is short
    assert short.reaching(65).max_len == 65
    axial = dataclasses.replace(reformer_lm_tiny(), axial_shape=(8, 16), max_len=9)
    assert axial.reaching(128) is axial
    assert axial.reaching(129).axial_shape == (9, 16)
    bag = BagOfEmbeddingsConfig(vocab_size=9)
    assert bag.reaching(10**6) is bag
