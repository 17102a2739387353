"""A card: a TOML file that says everything about one set of weights.

Beside it are the files that it names: weights as safetensors and a vocabulary (a published or
exported model), or Orbax checkpoints (a run).
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_type_hints

from zoo import config as configs
from zoo.config import ValueMistake, pictures
from zoo.storage import entries
from zoo.storage.files import replacing

if TYPE_CHECKING:
    from zoo.models.base import ModelConfig

RUN_CARD = "card.toml"
"""Name of the card in a run's folder; elsewhere a card is NAME.toml."""

NONE = "None"
"""Stands for None: TOML has no null, and omitting the entry would mean the default."""

OWN_ROWS = "rows that were handed over"
"""The `data` of a run's card if it was not trained on the data of its recipe."""


class CardError(ValueMistake):
    """A card or one of its files is broken; the message names the card and the entry."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that belongs to a card: beside it, or to be fetched into the cache."""

    name: str
    """Without a folder."""
    sha256: str
    """Its hexadecimal digest."""
    size: int
    """In bytes."""
    urls: tuple[str, ...] = ()
    """Where to fetch it from if it is not beside the card, in the order in which to try them."""
    format: Literal["zoo", "trax"] = "zoo"
    """`zoo`: written by `zoo.export`. `trax`: a checkpoint of trax, which is converted once, when
    it is fetched."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Card:
    """Everything there is to know about one set of weights."""

    name: str
    """Its name, by which it is loaded."""
    task: str
    """Which predictor it becomes: a key of `predictors.PREDICTORS`."""
    config: ModelConfig
    """The full resolved config, so that a later change of a default cannot break old weights."""
    code: Mapping[str, str] = field(default_factory=dict)
    """If the model is not in the zoo: the `file` that defines it and its `sha256`. The file is not
    part of the model, and only the user can say where it is, see `zoo.load`."""
    description: str = ""
    """One or two sentences."""
    recipe: str = ""
    """The recipe that trained it."""
    licence: str = ""
    """Of the weights."""
    data: str = ""
    """The training data with its licence; of a run OWN_ROWS or nothing."""
    limitations: str = ""
    """Uses for which it is not good enough."""
    labels: tuple[str, ...] = ()
    """Names of the classes, in the order of the logits."""
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    """Kind and options of the tokenizer, and `file`, its vocabulary beside the card."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """How an input is prepared for the model."""
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of a run, the rows of each split: their `number`, and a `hash` that does not depend on their
    order."""
    files: tuple[File, ...] = ()
    """The files of a published model, weights first. Empty for a run, which has checkpoints."""
    adapter: Mapping[str, Any] = field(default_factory=dict)
    """For adapters of another model: `base`, its name or folder; `sha256`, the digest of its
    weights; `rank`, `alpha` and `targets` (see `LoRA`); `fresh`, patterns of what replaces
    parameters of the base."""
    alternative: str = ""
    """For a model that is fetched: a published one for the same task that needs no download."""
    checkpoint: int | None = None
    """For a predictor that was loaded from a run: the step of its checkpoint."""
    best: Mapping[str, str] = field(default_factory=dict)
    """For a run: the `metric` and the `mode` (max or min) that decide which checkpoint is best."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Measured values by name, such as `test/accuracy`."""
    command: str = ""
    """The command that measured them."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Steps, seconds, seed, hardware and versions of the training."""
    changes: tuple[str, ...] = ()
    """Fields of the recipe that the user changed while it trained, with the step."""
    check: Mapping[str, Any] = field(default_factory=dict)
    """An `input`, and the first `output` values that these weights give for it."""

    samples: tuple[Mapping[str, str], ...] = ()
    """Pairs of an `input` and the `output` as it came."""

    def __repr__(self) -> str:
        return f"<Card {self.name}: {self.task}, {type(self.config).__name__}>"

    def _repr_html_(self) -> str:
        """What a reader of the card asks first, as a table."""
        return pictures.table(
            {
                "name": self.name,
                "description": self.description,
                "task": self.task,
                "model": type(self.config).__name__,
                "recipe": self.recipe,
                "data": self.data,
                "labels": self.labels,
                "metrics": self.metrics,
                "measured by": self.command,
                "training": self.training,
                "limitations": self.limitations,
                "licence": self.licence,
                "files": {file.name: f"{file.size:,} bytes" for file in self.files},
            }
        )

    def __hash__(self) -> int:
        return hash((self.name, self.task, self.config, self.files))

    def save(self, path: Path) -> None:
        """Writes the card, completely or not at all."""
        import tomli_w

        content = {
            item.name: configs.to_dict(value) if item.name == "config" else _plain(value)
            for item in dataclasses.fields(self)
            if (value := getattr(self, item.name)) not in ("", (), {}, None)
        }
        scalars = {key: value for key, value in content.items() if not isinstance(value, dict)}
        tables = {key: value for key, value in content.items() if isinstance(value, dict)}
        with replacing(path) as temporary:
            temporary.write_text(tomli_w.dumps(_without_none(scalars | tables)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Card:
        """The card of a TOML file.

        Raises:
          CardError: it is not TOML, has an unknown entry, lacks one, or one of another type; its
            config is invalid or of a class that is not known here; a name is a path; or entries do
            not agree, such as the labels and the number of classes. The message names the entry.
        """
        from zoo import models
        from zoo.models.base import ModelConfig

        try:
            text = path.read_text(encoding="utf-8")
            content = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CardError(f"{path} is not a TOML card: {error}") from error
        known = {item.name for item in dataclasses.fields(cls)}
        for key in content:
            if key not in known:
                raise CardError(
                    f"{path}: a card has no entry {key!r}{configs.did_you_mean(key, known)}"
                )
        for key in ("name", "task", "config"):
            if key not in content:
                raise CardError(f"{path}: the entry {key!r} is missing")
        models.import_families(text)
        for key in ("config", "tokenizer", "preprocessing"):  # elsewhere "None" may be a word
            content[key] = _with_none(content.get(key, {}))
        types = get_type_hints(cls, localns={"ModelConfig": ModelConfig})
        try:
            content["config"] = configs.from_dict(cast(Any, ModelConfig), content["config"])
            content["files"] = tuple(
                configs.from_dict(File, {configs.TYPE_KEY: "File", **item})
                for item in entries.typed(content.get("files", ()), FILES, "files")
            )
            card = cls(**{key: entries.typed(content[key], types[key], key) for key in content})
            entries.check_card(card)
        except (configs.ConfigError, TypeError) as error:
            raise CardError(f"{path}: {error}") from error
        return card


FILES = tuple[Mapping[str, Any], ...]
"""The `files` of a card as TOML has them."""


def code_of(config: ModelConfig) -> dict[str, str]:
    """The `code` of a card: file and digest of a config class that is not the zoo's."""
    cls = type(config)
    return configs.source_of(cls) if configs.is_own(cls) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, File):
        return {
            item.name: _plain(content)
            for item in dataclasses.fields(File)
            if (content := getattr(value, item.name)) != item.default
        }
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return NONE if value is None else value


def _with_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_none(item) for item in value]
    return None if value == NONE else value
