"""Checkpoint files with random damage: the same weights, older ones with a warning, or an error."""

from __future__ import annotations

import random
import shutil
import warnings

import numpy as np
import pytest

MUTATIONS = 100
"""A seed."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with checkpoints of two steps: (its folder, the weights of each step)."""
    import zoo
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.pipelines import TextClassificationData
    from zoo.tokenizers import TokenizerConfig
    from zoo.train import Adam, Recipe, TextClassification

    recipe = Recipe(
        name="tiny",
        model=BagOfEmbeddingsConfig(d_model=8),
        data=TextClassificationData(tokenizer=TokenizerConfig(kind="words"), holdout=0.0),
        task=TextClassification(),
        optimizer=Adam(learning_rate=0.05),
        steps=2,
        batch_size=4,
        checkpoint_every=1,
        keep_checkpoints=2,
    )
    rows = [("a ship", "sea"), ("a plane", "sky")] * 4
    folder = tmp_path_factory.mktemp("finished") / "run"
    zoo.fit(recipe, folder, data=rows, quiet=True)
    weights = {step: zoo.load(folder, step=step).variables for step in (1, 2)}
    return folder, {step: flat(variables) for step, variables in weights.items()}


def flat(variables):
    from zoo.storage.weights import flatten

    return {name: np.asarray(leaf) for name, leaf in flatten(variables).items()}


def damage(path, chance):
    """Changes a file in one of the ways in which files go wrong."""
    content = bytearray(path.read_bytes())
    at = chance.randrange(len(content) + 1)
    match chance.choice(["cut", "flip", "zeros", "noise", "empty", "absent", "longer", "folder"]):
        case "cut":
            del content[at:]
        case "flip":
            if content:
                content[at % len(content)] ^= 1 << chance.randrange(8)
        case "zeros":
            content[at : at + 64] = bytes(min(64, len(content) - at))
        case "noise":
            content[at : at + 16] = chance.randbytes(min(16, len(content) - at))
        case "empty":
            content.clear()
        case "absent":
            path.unlink()
            return
        case "longer":
            content += chance.randbytes(100)
        case "folder":
            path.unlink()
            path.mkdir()
            return
    path.write_bytes(content)


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.soak
def test_a_damaged_checkpoint_gives_its_weights_or_older_ones_or_an_error(seed, finished, tmp_path):
    import zoo
    from zoo.config import ConfigError
    from zoo.storage.checkpoints import CheckpointWarning

    folder, weights = finished
    chance = random.Random(seed)
    for number in range(MUTATIONS):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        for path in chance.sample(files_of(copy / "checkpoints" / "2"), chance.choice([1, 1, 3])):
            damage(path, chance)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                found = flat(zoo.load(copy, step="latest").variables)
            except (OSError, ConfigError) as error:
                assert str(error)
                continue
        told = any(issubclass(warning.category, CheckpointWarning) for warning in warned)
        expected = weights[1 if told else 2]
        assert found.keys() == expected.keys()
        for name, leaf in found.items():
            np.testing.assert_array_equal(leaf, expected[name], err_msg=f"{seed}/{number}/{name}")
        shutil.rmtree(copy)


@pytest.mark.soak
def test_a_damaged_file_of_weights_gives_weights_or_an_error(seed, finished, tmp_path):
    """A flipped bit of a number cannot be seen without the card's hash: `zoo verify` finds it."""
    import zoo
    from zoo.config import ConfigError
    from zoo.hub import verification

    zoo.export(finished[0], tmp_path / "good")
    chance = random.Random(seed)
    for number in range(MUTATIONS):
        copy = tmp_path / str(number)
        shutil.copytree(tmp_path / "good", copy)
        path = copy / "good.safetensors"
        before = path.read_bytes()
        damage(path, chance)
        if path.is_file() and path.read_bytes() == before:
            continue
        try:
            variables = zoo.load(copy).variables
        except (OSError, ValueError, ConfigError) as error:
            assert str(error)
        else:
            shapes = {name: leaf.shape for name, leaf in finished[1][2].items()}
            assert {name: leaf.shape for name, leaf in flat(variables).items()} == shapes
        try:
            assert any(proof.holds is False for proof in verification.verify(copy)), number
        except OSError:
            assert not path.is_file()
