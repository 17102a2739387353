"""The folder of a run. It has a recipe and a card from the first step, so `zoo.load` reads it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from zoo import config as configs
from zoo import tokenizers
from zoo.config import ConfigError, is_url
from zoo.pipelines.base import Facts
from zoo.storage import seeds
from zoo.storage.cards import OWN_ROWS, RUN_CARD, Card, code_of
from zoo.storage.files import name_of, output_folder, replacing
from zoo.train import recipe_files
from zoo.train.processes import writes
from zoo.train.recipe import Recipe, allowed, differences
from zoo.train.state import Progress


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks the run's folder against other processes; the OS releases the lock if we die. Remote
    storage has no such locks, and is not locked.

    Raises:
      ConfigError: another process trains in it.
    """
    from filelock import FileLock, Timeout

    if not writes():
        yield
        return
    output_folder(folder)
    if is_url(folder):
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


def check_one_seed(folder: Path) -> None:
    """Refuses a folder in which several seeds were trained.

    Raises:
      ConfigError: it is one.
    """
    if seeds.Seeds.read(folder) is not None:
        raise ConfigError(
            f"{folder} holds several seeds; resume them with --seeds (zoo.train.run_seeds), or use "
            "another workdir"
        )


def earlier_recipe(folder: Path) -> Recipe | None:
    """The recipe that an earlier session of the run left; None: there is none."""
    path = folder / recipe_files.FILE
    return recipe_files.read(path) if path.is_file() else None


def check_recipe(
    folder: Path, earlier: Recipe, recipe: Recipe, allow_change: Sequence[str]
) -> dict[str, tuple[object, object]]:
    """What the user changes in the recipe of a run that is resumed: field -> before, now.

    Args:
      folder: the run's folder.
      earlier: the recipe that the run began with, or changed to.
      recipe: the recipe now.
      allow_change: the fields that may change although they change the parameters to come.

    Raises:
      ConfigError: other fields differ; the message lists them.
    """
    changed = differences(earlier, recipe)
    may = {name: changed.pop(name) for name in allowed(list(changed), allow_change)}
    if changed:
        listed = [f"{name} is {old!r} there, {new!r} now" for name, (old, new) in changed.items()]
        flags = " ".join(f"--allow-change {name}" for name in changed)
        raise ConfigError(
            f"{folder} holds a run of another recipe, so it cannot be resumed with this one: "
            f"{'; '.join(listed)}; use another workdir, or the recipe of the run; or change it "
            f"from here on with {flags} (zoo.fit: allow_change={tuple(changed)!r})"
        )
    return may


def check_rows(
    folder: Path, card: Card, facts: Facts, allow_change: Sequence[str]
) -> dict[str, tuple[object, object]]:
    """The splits whose rows are others than those that the run began with: name -> before, now.

    Args:
      folder: the run's folder.
      card: of the run.
      facts: of the data of this session.
      allow_change: `data`, or a field in it, if the rows may change.

    Raises:
      ConfigError: rows differ, and may not; the message has the splits.
    """
    before, now = card.rows, rows_of(facts)
    if not before or before == now:
        return {}
    changed = {
        split: (before.get(split), now.get(split))
        for split in dict.fromkeys([*before, *now])
        if before.get(split) != now.get(split)
    }
    if not any(name.partition(".")[0] == "data" for name in allow_change):
        listed = [
            f"{split} had {number_of_rows(old)} and has {_now(old, new)} now"
            for split, (old, new) in changed.items()
        ]
        raise ConfigError(
            f"the run in {folder} began with other rows: {'; '.join(listed)}; give it the rows "
            "that it began with, or use another workdir; or go on with these rows with "
            "--allow-change data (zoo.fit: allow_change=('data',))"
        )
    return {
        f"data: the rows of {split}": (number_of_rows(old), _now(old, new))
        for split, (old, new) in changed.items()
    }


def rows_of(facts: Facts) -> dict[str, dict[str, Any]]:
    """The fingerprints of the data as a card has them."""
    return {split: dataclasses.asdict(found) for split, found in facts.fingerprints.items()}


def number_of_rows(rows: Mapping[str, Any] | None) -> str:
    """The number in a split's entry of a card's `rows`.

    >>> number_of_rows({"number": 1200, "hash": "9f0c"}), number_of_rows(None)
    ('1,200 rows', 'no rows')
    """
    return "no rows" if rows is None else f"{rows.get('number', 0):,} rows"


def _now(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str:
    same = number_of_rows(old) == number_of_rows(new)
    return f"{number_of_rows(new)}{' that are not the same' if same else ''}"


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Writes the recipe into the folder."""
    if writes():
        with replacing(folder / recipe_files.FILE) as temporary:
            temporary.write_text(configs.to_json(recipe), encoding="utf-8")


def note_changes(
    folder: Path, card: Card, step: int, changed: Mapping[str, tuple[object, object]]
) -> Card:
    """The card with what changes in the recipe from a step on."""
    if not changed:
        return card
    notes = [
        f"from step {step} on {name} is {new!r}, before {old!r}"
        for name, (old, new) in changed.items()
    ]
    card = dataclasses.replace(card, changes=(*card.changes, *notes))
    if writes():
        card.save(folder / RUN_CARD)
    return card


def earlier_card(folder: Path, own_rows: bool) -> Card | None:
    """The card that an earlier session of the run left; None: there is none.

    Args:
      folder: the run's folder.
      own_rows: whether the user hands over the examples of this session.

    Raises:
      ConfigError: the earlier session read other data.
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


def note_rows(folder: Path, card: Card, facts: Facts) -> Card:
    """The card with the rows of this session."""
    if card.rows == (rows := rows_of(facts)):
        return card
    card = dataclasses.replace(card, rows=rows)
    if writes():
        card.save(folder / RUN_CARD)
    return card


def clear_results(folder: Path, card: Card) -> Card:
    """The card without the results of an earlier end of the run, for a run that goes on."""
    if not card.training:
        return card
    card = dataclasses.replace(card, metrics={}, training={}, command="")
    if writes():
        card.save(folder / RUN_CARD)
    return card


def write_card(
    folder: Path,
    recipe: Recipe,
    facts: Facts,
    *,
    own_rows: bool,
    adapter: Mapping[str, Any] | None = None,
) -> Card:
    """Writes `card.toml` and the vocabulary, before the first step."""
    described: dict[str, Any] = {}
    if facts.tokenizer is not None:
        described = tokenizers.describe(facts.tokenizer)
        if suffix := tokenizers.vocabulary_suffix(facts.tokenizer):
            described["file"] = f"vocabulary{suffix}"
            if writes():
                with replacing(folder / described["file"]) as temporary:
                    facts.tokenizer.save(temporary)
    card = Card(
        name=name_of(folder),
        task=recipe.task.name,
        data=OWN_ROWS if own_rows else "",
        config=recipe.model,
        code=code_of(recipe.model),
        recipe=recipe.name,
        labels=facts.labels,
        tokenizer=described,
        preprocessing=facts.preprocessing,
        rows=rows_of(facts),
        adapter=adapter or {},
        best=dataclasses.asdict(recipe.task.best) if "validation" in facts.num_examples else {},
    )
    if writes():
        card.save(folder / RUN_CARD)
    return card


def write_results(
    folder: Path, card: Card, recipe: Recipe, metrics: Mapping[str, float], progress: Progress
) -> None:
    """Adds to the card what the run reached and what it took."""
    training = {
        "steps": progress.step,
        "seconds": round(progress.seconds, 1),
        "seed": recipe.seed,
        "device": f"{jax.device_count()} \N{MULTIPLICATION SIGN} {jax.devices()[0].device_kind}",
        "cores": os.cpu_count() or 0,
        "jax": jax.__version__,
        "python": platform.python_version(),
    }
    rounded = {name: round(value, 5) for name, value in metrics.items()}
    command = "" if card.data == OWN_ROWS else f"zoo eval {folder}"
    finished = dataclasses.replace(card, metrics=rounded, training=training, command=command)
    if writes():
        finished.save(folder / RUN_CARD)
