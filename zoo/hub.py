"""Cards and `zoo.load`: from a name or a folder to a predictor that works at once.

A card is a TOML file that says everything about one set of weights. Beside it lie the
files it names: weights as safetensors and a vocabulary (a published or exported model), or
Orbax checkpoints (a run).
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from zoo import config as configs
from zoo.registry import UnknownNameError

if TYPE_CHECKING:
    from zoo.models.base import ModelConfig
    from zoo.predictors import Predictor
    from zoo.tokenizers import Tokenizer

RUN_CARD = "card.toml"
"""Name of the card in a run's folder; elsewhere a card is NAME.toml."""

NONE = "None"
"""How a None is written: TOML has none, and leaving it out would mean the field's default."""


class CardError(ValueError):
    """A card that is broken, or whose files are; the message names the card and the entry."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that belongs to a card and lies beside it."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything there is to know about one set of weights."""

    name: str
    """Its name, by which it is loaded."""
    task: str
    """Which predictor: `text_classification`, `image_classification`."""
    config: ModelConfig
    """The full resolved config, so that a later change of a default cannot break old weights."""
    description: str = ""
    """One or two sentences."""
    recipe: str = ""
    """The recipe that trained it."""
    licence: str = ""
    """Of the weights."""
    data: str = ""
    """What it was trained on, with the data's licence."""
    labels: tuple[str, ...] = ()
    """Names of the classes, in the order of the logits."""
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    """Kind and options of the tokenizer, and `file`, its vocabulary beside the card."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """What is done to an input before the model sees it."""
    files: tuple[File, ...] = ()
    """The files of a published model, weights first. Empty for a run, which has checkpoints."""
    checkpoint: int | None = None
    """For a predictor that was loaded from a run: the step of its checkpoint."""
    best: Mapping[str, str] = field(default_factory=dict)
    """For a run: the `metric` and the `mode` (max or min) that say which checkpoint is best."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What was measured, as `test/accuracy`."""
    command: str = ""
    """The command that measured it."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Steps, seconds, seed, hardware and versions of the training."""
    check: Mapping[str, Any] = field(default_factory=dict)
    """An `input` and the first `output` values that these weights give for it."""

    def save(self, path: Path) -> None:
        """Writes the card; it is either there whole or not at all."""
        import tomli_w

        content = {
            item.name: configs.to_dict(value) if item.name == "config" else _plain(value)
            for item in dataclasses.fields(self)
            if (value := getattr(self, item.name)) not in ("", (), {}, None)
        }
        scalars = {key: value for key, value in content.items() if not isinstance(value, dict)}
        tables = {key: value for key, value in content.items() if isinstance(value, dict)}
        temporary = path.with_name(path.name + ".part")
        temporary.write_text(tomli_w.dumps(_without_none(scalars | tables)), encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> Card:
        """The card of a TOML file.

        Raises:
          CardError: it is not TOML, has an entry that no card has, lacks one, or
            its config does not fit.
        """
        from zoo import models
        from zoo.models.base import ModelConfig

        try:
            content = _with_none(tomllib.loads(path.read_text(encoding="utf-8")))
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
        models.import_families()
        try:
            content["config"] = configs.from_dict(cast(Any, ModelConfig), content["config"])
            content["files"] = tuple(File(**item) for item in content.get("files", ()))
            content["labels"] = tuple(content.get("labels", ()))
        except (configs.ConfigError, TypeError) as error:
            raise CardError(f"{path}: {error}") from error
        return cls(**content)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
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


def cache_folder() -> Path:
    """Where what is fetched or compiled is kept: `ZOO_CACHE`, else the platform's user cache."""
    import pooch

    return Path(os.environ.get("ZOO_CACHE") or pooch.os_cache("zoo"))


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_pretrained(pattern: str = "*") -> tuple[str, ...]:
    """Names of published models that match a shell pattern, sorted: the cards in `pretrained/`."""
    import fnmatch

    return tuple(
        sorted(path.stem for path in _published() if fnmatch.fnmatchcase(path.stem, pattern))
    )


def _published() -> Iterator[Path]:
    for entry in importlib.resources.files("zoo.pretrained").iterdir():
        if entry.name.endswith(".toml"):
            yield Path(str(entry))


def find(source: str | Path) -> Path:
    """The card of a published name, a run's folder, an exported folder or a card's own path.

    Raises:
      FileNotFoundError: a folder without a card, or with several.
      UnknownNameError: neither a folder nor a published name.
    """
    path = Path(source)
    if path.is_file() and path.suffix == ".toml":
        return path
    if path.is_dir():
        if (path / RUN_CARD).is_file():
            return path / RUN_CARD
        cards = sorted(path.glob("*.toml"))
        if len(cards) == 1:
            return cards[0]
        found = ", ".join(card.name for card in cards) or "none"
        raise FileNotFoundError(
            f"{path} is neither a run nor an exported model: it should hold one card "
            f"({RUN_CARD} or NAME.toml), found {found}"
        )
    for published in _published():
        if published.stem == str(source):
            return published
    raise UnknownNameError("published model or run folder", str(source), list_pretrained())


def card(source: str | Path) -> Card:
    """The card of a published name or of a folder."""
    return Card.read(find(source))


def load_tokenizer(card: Card, folder: Path) -> Tokenizer | None:
    """The tokenizer that a card names, from the vocabulary beside it."""
    from zoo import tokenizers

    if not card.tokenizer:
        return None
    options = dict(card.tokenizer)
    kind, file = options.pop("kind"), options.pop("file", None)
    return tokenizers.load(kind, folder / file if file else None, **options)


def load_variables(
    card: Card, folder: Path, step: int | Literal["best", "latest"] = "best"
) -> tuple[dict[str, Any], int | None]:
    """The weights a card names, checked against its config, and the step for those of a run."""
    import jax

    from zoo import weights

    expected = card.config.variable_shapes()
    if not card.files:
        from zoo import checkpoints

        best = (
            checkpoints.Best(card.best["metric"], cast(Any, card.best["mode"]))
            if card.best
            else None
        )
        store = checkpoints.Checkpoints(folder / checkpoints.FOLDER, best, read_only=True)
        on_device = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape,
                leaf.dtype,
                sharding=jax.sharding.SingleDeviceSharding(jax.local_devices()[0]),
            ),
            expected,
        )
        found, variables = store.variables(on_device, step)
        store.close()
        return variables, found
    path = folder / card.files[0].name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the card {card.name!r} names it; put it beside the card"
        )
    return jax.tree.map(jax.numpy.asarray, weights.merge(expected, weights.load(path))), None


def load(source: str | Path, *, step: int | Literal["best", "latest"] = "best") -> Predictor:
    """A predictor from a published name, a run's folder (finished or not), or an exported folder.

    >>> zoo.load("bag_of_embeddings_imdb")("A film to remember.")  # doctest: +SKIP

    Args:
      source: the name or the folder.
      step: for a run: `best` (the latest where the run keeps no best), `latest`,
        or the number of a step.

    Raises:
      UnknownNameError: no such name or folder; the message has the closest name.
      FileNotFoundError: a file that the card names, or the step, is missing.
      CardError: the card is broken.
    """
    from zoo import predictors

    path = find(source)
    details = Card.read(path)
    variables, found = load_variables(details, path.parent, step)
    if found is not None:
        details = dataclasses.replace(details, checkpoint=found)
        why = (
            f"best {details.best['metric']}"
            if details.best and step == "best"
            else "as asked"
            if step != "best"
            else "latest"
        )
        print(f"zoo: {path.parent} at step {found} ({why})", file=sys.stderr)
    return predictors.create(details, variables, load_tokenizer(details, path.parent))


def export(
    run: str | Path,
    folder: str | Path,
    *,
    dtype: str = "float32",
    step: int | Literal["best", "latest"] = "best",
    description: str = "",
    licence: str = "",
    data: str = "",
) -> Card:
    """Makes of a run what `pretrained/` holds and `zoo.load` reads anywhere, without TensorFlow.

    Args:
      run: the run's folder (or any other model that `zoo.load` knows).
      folder: where to write NAME.toml, NAME.safetensors and the vocabulary;
        NAME is the folder's name.
      dtype: `float32`, which gives the run's answers bit for bit, or `bfloat16`, half the size.
      step: which checkpoint of the run.
      description, licence, data: entries of the card.

    Returns:
      The card that was written, with check values.

    Raises:
      ValueError: an unknown dtype.
      FileExistsError: the folder holds another model.
    """
    source = find(run)
    original = Card.read(source)
    variables, _ = load_variables(original, source.parent, step)
    card = dataclasses.replace(
        original,
        best={},
        description=description or original.description,
        licence=licence or original.licence,
        data=data or original.data,
    )
    tokenizer = load_tokenizer(original, source.parent)
    return write_model(Path(folder), card, variables, tokenizer, dtype=dtype)


def write_model(
    folder: Path,
    card: Card,
    variables: Mapping[str, Any],
    tokenizer: Tokenizer | None,
    *,
    dtype: str = "float32",
) -> Card:
    """Writes NAME.safetensors, the vocabulary and NAME.toml; NAME is the folder's name.

    Args:
      folder: made where it is not there.
      card: all that is known of the model; name, files and check values are filled in here.
      variables: its weights.
      tokenizer: saved where the card's `tokenizer` names a `file`.
      dtype: `float32` or `bfloat16`, of the weights in the file.

    Returns:
      The card that was written.

    Raises:
      ValueError: an unknown dtype.
      FileExistsError: the folder holds another model.
    """
    import jax.numpy as jnp

    from zoo import predictors, weights

    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"dtype is {dtype!r}; weights are written as float32 or bfloat16")
    name = folder.name
    others = [path.name for path in folder.glob("*.toml") if path.stem != name]
    if others:
        raise FileExistsError(
            f"{folder} holds another model already ({', '.join(others)}); choose an empty folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    weights.save(folder / f"{name}.safetensors", weights.cast(variables, jnp.dtype(dtype)))
    names = [f"{name}.safetensors"]
    described = dict(card.tokenizer)
    if tokenizer is not None and "file" in described:
        described["file"] = name + Path(described["file"]).suffix
        tokenizer.save(folder / described["file"])
        names.append(described["file"])
    written = dataclasses.replace(
        card,
        name=name,
        tokenizer=described,
        files=tuple(
            File(name=n, sha256=sha256(folder / n), size=(folder / n).stat().st_size) for n in names
        ),
    )
    stored, _ = load_variables(written, folder)
    check = predictors.create(written, stored, tokenizer).check()
    written = dataclasses.replace(written, check=check)
    written.save(folder / f"{name}.toml")
    return written
