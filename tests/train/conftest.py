"""Tiny runs: sentences of two topics and a bag of words, noise and a network of one block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from zoo.train import Recipe

SEA = [
    "the ship sails the sea",
    "waves and wind at sea",
    "a boat on deep water",
    "the harbour and its boats",
]
SKY = [
    "the plane flies high",
    "clouds and wind in the sky",
    "a bird above the hills",
    "the airport and its planes",
]
ROWS = [(text, "sea") for text in SEA] + [(text, "sky") for text in SKY]


@pytest.fixture(scope="session")
def rows() -> list[tuple[str, str]]:
    return list(ROWS)


def tiny(**changes: object) -> Recipe:
    """A recipe for `ROWS`, with some fields changed by dotted path (`__` for a dot)."""
    import zoo
    from zoo.models.bag_of_embeddings import BagOfEmbeddingsConfig
    from zoo.pipelines import TextClassificationData
    from zoo.tokenizers import TokenizerConfig
    from zoo.train import Adam, Recipe, TextClassification

    made = Recipe(
        name="tiny",
        model=BagOfEmbeddingsConfig(d_model=8, dropout_rate=0.2),
        data=TextClassificationData(
            tokenizer=TokenizerConfig(kind="words", lowercase=True), holdout=0.25
        ),
        task=TextClassification(),
        optimizer=Adam(learning_rate=0.05),
        steps=4,
        batch_size=4,
        eval_every=2,
        checkpoint_every=2,
        log_every=1,
    )
    return zoo.override(made, {path.replace("__", "."): value for path, value in changes.items()})


@pytest.fixture(scope="session")
def recipe() -> Callable[..., Recipe]:
    """Makes a recipe for `rows`, with some fields changed by dotted path (`__` for a dot)."""
    return tiny


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on `rows`, named source. It is shared: only read it."""
    import zoo

    folder = tmp_path_factory.mktemp("trained") / "source"
    zoo.fit(tiny(), folder, data=ROWS, quiet=True)
    return folder


@pytest.fixture
def run(recipe, rows, tmp_path: Path):
    """Trains quietly on `rows`; returns the result."""

    def train(workdir: str = "run", callbacks=(), data=None, init_from=None, **changes: object):
        import zoo

        return zoo.fit(
            recipe(**changes),
            tmp_path / workdir,
            data=rows if data is None else data,
            callbacks=callbacks,
            init_from=init_from,
            quiet=True,
        )

    return train


@pytest.fixture(scope="session")
def image_rows() -> dict[str, np.ndarray]:
    """Dark and bright noise."""
    random = np.random.default_rng(0)
    classes = np.arange(24) % 2
    noise = random.integers(0, 100, (24, 8, 8, 3)) + 100 * classes[:, None, None, None]
    return {"image": noise.astype(np.uint8), "label": classes}


@pytest.fixture(scope="session")
def image_recipe() -> Callable[..., Recipe]:
    """Makes a recipe for `image_rows`, with some fields changed by dotted path."""

    def make(**changes: object) -> Recipe:
        import zoo
        from zoo.models.resnet import ResNetConfig
        from zoo.pipelines.images import ImageClassificationData
        from zoo.train import ImageClassification, Momentum, Recipe

        made = Recipe(
            name="tiny_images",
            model=ResNetConfig(block="basic", stage_sizes=(1,), width=4, stem="3x3"),
            data=ImageClassificationData(holdout=0.0),
            task=ImageClassification(),
            optimizer=Momentum(learning_rate=0.05),
            steps=4,
            batch_size=8,
            eval_every=4,
            checkpoint_every=2,
            log_every=2,
        )
        return zoo.override(
            made, {path.replace("__", "."): value for path, value in changes.items()}
        )

    return make
