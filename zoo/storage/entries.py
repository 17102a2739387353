"""The entries of a card: their types, and what must agree between them.

Every check raises a `ConfigError` that names the entry; `Card.read` adds the card.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from zoo import config as configs
from zoo.config import ConfigError

if TYPE_CHECKING:
    from zoo.storage.cards import Card, File

CLASSIFIERS = ("text_classification", "image_classification", "tagging")
"""Tasks whose answers are labels."""


def typed(value: Any, annotation: Any, name: str) -> Any:
    """`configs.check`, also for mappings with names as keys and for tuples of them."""
    if get_origin(annotation) is Mapping:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name}: {value!r} is not a table of TOML")
        kind = get_args(annotation)[1]
        return {key: typed(item, kind, f"{name}.{key}") for key, item in value.items()}
    inner = get_args(annotation)
    if get_origin(annotation) is tuple and get_origin(inner[0]) is Mapping:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{name}: {value!r} is not an array of tables")
        return tuple(typed(item, inner[0], f"{name}[{n}]") for n, item in enumerate(value))
    return configs.check(value, annotation, name)


def check_file(file: File) -> None:
    """Checks what says how a file is found and known."""
    if not re.fullmatch(r"[0-9a-f]{64}", file.sha256):
        raise ConfigError(
            f"files: the sha256 of {file.name!r} is {file.sha256!r}; it has 64 hexadecimal digits"
        )
    if file.size < 0:
        raise ConfigError(f"files: the size of {file.name!r} is {file.size}; it is in bytes")


def check_card(card: Card) -> None:
    """Checks the entries that depend on each other, or on the card's task."""
    # They become names in the cache; a card from elsewhere must not reach outside it.
    vocabulary = [card.tokenizer["file"]] if "file" in card.tokenizer else []
    for name in (card.name, *(file.name for file in card.files), *vocabulary):
        if name in ("", "..") or Path(name).name != name:
            raise ConfigError(f"{name!r} is a path; a card and its files have plain names")
    for file in card.files:
        check_file(file)
    for split, rows in card.rows.items():
        if not isinstance(rows.get("number"), int):
            raise ConfigError(f"rows: {split} has no whole number of rows: {dict(rows)!r}")
    if card.adapter:
        _check_adapter(card.adapter)
    if card.tokenizer:
        _check_tokenizer(card.tokenizer)
    if card.best:
        _check_best(card.best)
    if card.task in CLASSIFIERS:
        _check_labels(card)
    if check := PREPROCESSING.get(card.task):
        check(card)


def _check_tokenizer(entries: Mapping[str, Any]) -> None:
    from zoo.tokenizers import Kind, TokenizerConfig

    if "kind" not in entries:
        raise ConfigError(f"tokenizer has no entry 'kind' (kinds: {', '.join(get_args(Kind))})")
    known = configs.field_types(TokenizerConfig) | {"file": str}
    for name, value in entries.items():
        if name in known:  # reading the vocabulary refuses the others by name
            configs.check(value, known[name], f"tokenizer.{name}")


def _check_adapter(entries: Mapping[str, Any]) -> None:
    kinds = {
        "base": str,
        "sha256": str,
        "rank": int,
        "alpha": float,
        "targets": tuple[str, ...],
        "fresh": tuple[str, ...],
    }
    if {*entries} != {*kinds}:
        raise ConfigError(f"adapter has {', '.join(entries)}; it has {', '.join(kinds)}")
    for name, kind in kinds.items():
        configs.check(entries[name], kind, f"adapter.{name}")


def _check_best(entries: Mapping[str, str]) -> None:
    if {*entries} != {"metric", "mode"} or entries["mode"] not in ("max", "min"):
        raise ConfigError(f"best is {dict(entries)}; it has a metric, and the mode 'max' or 'min'")


def _check_labels(card: Card) -> None:
    twice = [label for label, count in Counter(card.labels).items() if count > 1]
    if twice:
        raise ConfigError(f"labels: {twice[0]!r} is there twice; each class has a name of its own")
    classes = getattr(card.config, "num_classes", None)
    if classes is not None and len(card.labels) != classes:
        raise ConfigError(
            f"labels has {len(card.labels)} names, but config.num_classes is {classes}; name each "
            "class, in the order of the logits"
        )


def _check_images(card: Card) -> None:
    from zoo.preprocessing import ImagePreprocessing

    prepare = configs.from_dict(
        ImagePreprocessing, {configs.TYPE_KEY: "ImagePreprocessing", **card.preprocessing}
    )
    shape: tuple[int, ...] = getattr(card.config, "input_shape", None) or ()
    if len(shape) == 3 and shape[2] != prepare.channels:
        raise ConfigError(
            f"preprocessing.channels is {prepare.channels}, but config.input_shape is {shape}"
        )


def _check_texts(card: Card) -> None:
    for name, value in card.preprocessing.items():
        if name != "max_len":
            raise ConfigError(
                f"preprocessing has no entry {name!r}{configs.did_you_mean(name, ['max_len'])}"
            )
        configs.check(value, int | None, f"preprocessing.{name}")
        configs.check_size(f"preprocessing.{name}", value)


def _check_running_text(card: Card) -> None:
    known = {"eos": bool, "window": int}
    for name, value in card.preprocessing.items():
        if name in known:
            configs.check(value, known[name], f"preprocessing.{name}")
    configs.check_size("preprocessing.window", card.preprocessing.get("window"))


PREPROCESSING: Mapping[str, Callable[[Card], None]] = {
    "language_modeling": _check_running_text,
    "text_classification": _check_texts,
    "image_classification": _check_images,
}
"""Checks the `preprocessing` of a task; what other tasks keep there is their own matter."""
