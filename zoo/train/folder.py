"""The folder of a run: recipe and card from the first step, so it loads like a published model."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from zoo import config as configs
from zoo import tokenizers
from zoo.config import ConfigError
from zoo.pipelines.base import Facts
from zoo.storage.cards import OWN_ROWS, RUN_CARD, Card
from zoo.storage.files import name_of, replacing
from zoo.train.recipe import FILE, Recipe, differences, read


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a run's folder; the system lets go of it at the latest.

    Raises:
      ConfigError: another process trains in it.
    """
    from filelock import FileLock, Timeout

    if not _writes():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigError(
            f"another process trains in {folder}; wait until it has ended, or use another workdir"
        ) from None
    try:
        yield
    finally:
        lock.release()


def claim(folder: Path, recipe: Recipe, *, goes_on: bool) -> None:
    """Writes the recipe into the folder; if a run `goes_on`, checks that the same one began it.

    Raises:
      ConfigError: the folder holds a run of another recipe; the message lists the differences.
    """
    path = folder / FILE
    if goes_on and path.is_file():
        changed = differences(read(path), recipe)
        if changed:
            listed = [
                f"{name} is {old!r} there, {new!r} now" for name, (old, new) in changed.items()
            ]
            raise ConfigError(
                f"{folder} holds a run of another recipe, so it cannot be resumed with this one: "
                f"{'; '.join(listed)}; use another workdir, or the recipe of the run"
            )
    if _writes():
        with replacing(path) as temporary:
            temporary.write_text(configs.to_json(recipe), encoding="utf-8")


def earlier_card(folder: Path, own_rows: bool) -> Card | None:
    """The card that an earlier session of the run left.

    Raises:
      ConfigError: that session had rows handed over, and this one has `own_rows` not, or the other
        way about.
    """
    path = folder / RUN_CARD
    if not path.is_file():
        return None
    card = Card.read(path)
    if own_rows != (card.data == OWN_ROWS):
        began, now = ("the recipe's data", "rows") if own_rows else ("rows", "the recipe's data")
        raise ConfigError(
            f"the run in {folder} began with {began} and cannot go on with {now}: "
            + ("leave out `data`" if own_rows else "hand the rows over again, zoo.fit(…, data=…)")
            + ", or use another workdir"
        )
    return card


def unfinished(folder: Path, card: Card) -> Card:
    """The card of a run that goes on: what an earlier end of it reached is true no longer."""
    if not card.training:
        return card
    card = dataclasses.replace(card, metrics={}, training={}, command="")
    if _writes():
        card.save(folder / RUN_CARD)
    return card


def write_card(folder: Path, recipe: Recipe, facts: Facts, *, own_rows: bool) -> Card:
    """Writes `card.toml` and the vocabulary, before the first step."""
    described: dict[str, Any] = {}
    if facts.tokenizer is not None:
        described = tokenizers.describe(facts.tokenizer)
        if described["kind"] not in tokenizers.WITHOUT_VOCABULARY:
            suffix = ".model" if described["kind"] == "sentencepiece" else ".vocab"
            described["file"] = f"vocabulary{suffix}"
            if _writes():
                facts.tokenizer.save(folder / described["file"])
    card = Card(
        name=name_of(folder),
        task=recipe.task.name,
        data=OWN_ROWS if own_rows else "",
        config=recipe.model,
        recipe=recipe.name,
        labels=facts.labels,
        tokenizer=described,
        preprocessing=facts.preprocessing,
        best=dataclasses.asdict(recipe.task.best) if "validation" in facts.num_examples else {},
    )
    if _writes():
        card.save(folder / RUN_CARD)
    return card


def finish(
    folder: Path,
    card: Card,
    recipe: Recipe,
    metrics: Mapping[str, float],
    progress: Mapping[str, Any],
) -> None:
    """Adds to the card what the run reached and what it took."""
    training = {
        "steps": int(progress["step"]),
        "seconds": round(float(progress["seconds"]), 1),
        "seed": recipe.seed,
        "device": f"{jax.device_count()} \N{MULTIPLICATION SIGN} {jax.devices()[0].device_kind}",
        "cores": os.cpu_count() or 0,
        "jax": jax.__version__,
        "python": platform.python_version(),
    }
    rounded = {name: round(value, 5) for name, value in metrics.items()}
    command = "" if card.data == OWN_ROWS else f"zoo eval {folder}"
    finished = dataclasses.replace(card, metrics=rounded, training=training, command=command)
    if _writes():
        finished.save(folder / RUN_CARD)


def _writes() -> bool:
    """Whether this process writes: of several, the first one does."""
    return jax.process_index() == 0
