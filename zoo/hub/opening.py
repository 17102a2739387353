"""`zoo.load`: from a name or a folder to a predictor that works at once."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zoo import config as configs
from zoo.config import FileMistake
from zoo.hub import compilation, fetching
from zoo.registry import UnknownNameError
from zoo.storage.cards import RUN_CARD, Card

if TYPE_CHECKING:
    from zoo.models.dense import Precision
    from zoo.predictors import AnyPredictor
    from zoo.storage.checkpoints import Step
    from zoo.tokenizers import Tokenizer


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
    """The path of a card: of a published name, a run, an exported folder, or a card's own path.

    Raises:
      FileNotFoundError: a folder without a card, or with several.
      UnknownNameError: neither a folder nor a published name.
    """
    path = configs.local(source)
    if path.is_file() and path.suffix == ".toml":
        return path
    if path.is_dir():
        if (path / RUN_CARD).is_file():
            return path / RUN_CARD
        cards = sorted(path.glob("*.toml"))
        if len(cards) == 1:
            return cards[0]
        names = ", ".join(card.name for card in cards) or "none"
        raise FileMistake(
            f"{path} is neither a run nor an exported model: it should hold one card "
            f"({RUN_CARD} or NAME.toml), found {names}"
        )
    for published in _published():
        if published.stem == str(source):
            return published
    raise UnknownNameError("published model or run folder", str(source), list_pretrained())


def card(source: str | Path, *, code: str | Path | None = None) -> Card:
    """The card of a published name, a run or an exported folder.

    Args:
      source: the name or the folder.
      code: the Python file that defines a model of the user's own; it is executed.

    Raises:
      UnknownNameError: no such name or folder; the message has the closest name.
      FileNotFoundError: a folder without a card, or with several; or there is no file `code`.
      CardError: the card is broken, or its model is not in the zoo and `code` does not define it.
      ConfigError: the file `code` raised an error.
    """
    if code is not None:
        configs.load_file(code)
    return Card.read(find(source))


@dataclass(frozen=True)
class StoredModel:
    """A model read from disk, with its weights in the precision of `card.config`."""

    card: Card
    folder: Path
    """Where the card is."""
    variables: dict[str, Any]
    """The weights, checked against the card's config, on the first device."""
    tokenizer: Tokenizer | None
    step: int | None
    """Of a run: the step of the checkpoint."""


def open_model(
    source: str | Path,
    step: Step = "best",
    dtype: Precision | None = None,
    *,
    code: str | Path | None = None,
) -> StoredModel:
    """Card, weights and tokenizer of a published name, a run or an exported folder.

    Args:
      source: the name or the folder.
      step: for a run: which checkpoint.
      dtype: the precision of dense layers; None: the card's.
      code: the Python file that defines a model of the user's own; it is executed.

    Raises:
      UnknownNameError: no such name or folder; the message has the closest name.
      HubError: a file that the card names is missing and cannot be fetched.
      FileNotFoundError: the run has no checkpoint, or not of that step; or there is no file `code`.
      CardError: the card is broken, or its model is not in the zoo and `code` does not define it.
      ValueError: the weights do not fit the card's config; the message lists both sides.
    """
    from zoo.models import dense

    path = find(source)
    described, folder = card(path, code=code), path.parent
    _compare_code(described)
    if dtype is not None:
        described = dataclasses.replace(described, config=described.config.in_precision(dtype))
    if described.files:
        number, variables = None, published_variables(described, folder)
    else:
        number, variables = _run_variables(described, folder, step)
    variables = dense.convert(variables, described.config.precision)
    tokenizer = load_tokenizer(described, folder)
    return StoredModel(described, folder, variables, tokenizer, number)


def _compare_code(card: Card) -> None:
    """Says so if the file that defines a user's model is not the one that it was trained with."""
    used = configs.source_of(type(card.config))
    if card.code and used and used["sha256"] != card.code["sha256"]:
        configs.say(
            f"{used['file']} has changed since {card.name} was trained: its sha256 is not the one "
            "in the card"
        )


def published_variables(card: Card, folder: Path) -> dict[str, Any]:
    """The weights of a card that names files, on the default device."""
    import jax

    from zoo.storage import weights

    path = fetching.path_of(card, card.files[0], folder)
    stored = weights.merge(
        card.config.in_precision("float32").variable_shapes(), weights.load(path)
    )
    # All at once: hundreds of arrays one by one take twice as long.
    on_device: dict[str, Any] = jax.device_put(stored)
    return on_device


def _run_variables(card: Card, folder: Path, step: Step) -> tuple[int, dict[str, Any]]:
    import jax

    from zoo.storage import checkpoints

    best = (
        checkpoints.Best(card.best["metric"], cast(Any, card.best["mode"])) if card.best else None
    )
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        card.config.in_precision("float32").variable_shapes(),
    )
    store = checkpoints.Checkpoints(folder / checkpoints.FOLDER, best, read_only=True)
    with contextlib.closing(store):
        return store.variables(target, step)


def load_tokenizer(card: Card, folder: Path) -> Tokenizer | None:
    """The tokenizer that a card names, from the vocabulary beside it or in the cache.

    Raises:
      HubError: the vocabulary is missing and cannot be fetched.
    """
    from zoo import tokenizers

    if not card.tokenizer:
        return None
    options = dict(card.tokenizer)
    kind, name = options.pop("kind"), options.pop("file", None)
    if name is None:
        return tokenizers.load(kind, **options)
    file = next((file for file in card.files if file.name == name), None)
    path = fetching.path_of(card, file, folder) if file else folder / name  # a run lists no files
    return tokenizers.load(kind, path, **options)


def load(
    source: str | Path,
    *,
    dtype: Precision | None = None,
    step: Step = "best",
    code: str | Path | None = None,
) -> AnyPredictor:
    """A predictor from a published name, a run's folder (finished or not), or an exported folder.

    >>> zoo.load("bag_of_embeddings_imdb")("A film to remember.")  # doctest: +SKIP

    Args:
      source: the name or the folder.
      dtype: the precision of dense layers: `float32`, the reference; `bfloat16` or `int8`, which
        are faster for models of some size (see `zoo.models.dense`); None: the card's.
      step: for a run: `best` (the latest if the run keeps no best one), `latest`, `average` (the
        mean of all that the run keeps), or the number of a step.
      code: the Python file that defines a model of the user's own; it is executed. Without it,
        only models of the zoo, of installed packages and of this process can be loaded.

    Raises:
      UnknownNameError: no such name or folder; the message has the closest name.
      ConfigError: the model has no such precision, or the file `code` raised an error.
      HubError: a file that the card names is missing and cannot be fetched.
      FileNotFoundError: the run has no checkpoint, or not of that step; or there is no file `code`.
      CardError: the card is broken, or its model is not in the zoo and `code` does not define it.
      ValueError: the weights do not fit the card's config.
    """
    from zoo import predictors

    model = open_model(source, step, dtype, code=code)
    compilation.use_cache()
    card = model.card
    if model.step is not None:
        card = dataclasses.replace(card, checkpoint=model.step)
        why = (
            f"best {card.best['metric']}"
            if card.best and step == "best"
            else "the mean of the checkpoints up to it"
            if step == "average"
            else "as asked"
            if step != "best"
            else "latest"
        )
        configs.say(f"{model.folder} at step {model.step} ({why})")
    return cast("AnyPredictor", predictors.create(card, model.variables, model.tokenizer))
