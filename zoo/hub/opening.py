"""`zoo.load`: from a name or a folder to a predictor that works at once."""

from __future__ import annotations

import dataclasses
import importlib.resources
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zoo.hub import compilation, fetching
from zoo.registry import UnknownNameError
from zoo.storage.cards import RUN_CARD, Card

if TYPE_CHECKING:
    from zoo.models.dense import Precision
    from zoo.predictors import Predictor
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


@dataclass(frozen=True)
class StoredModel:
    """What lies on disk of one model, read, with its weights in the precision of `card.config`."""

    card: Card
    folder: Path
    """Where the card lies."""
    variables: dict[str, Any]
    """The weights, checked against the card's config, on the first device."""
    tokenizer: Tokenizer | None
    step: int | None
    """Of a run: the step of the checkpoint."""


def open_model(
    source: str | Path, step: Step = "best", dtype: Precision | None = None
) -> StoredModel:
    """Card, weights and tokenizer of a published name or of a folder.

    Args:
      source: the name or the folder.
      step: for a run: which checkpoint.
      dtype: the precision of dense layers; None: the card's.

    Raises:
      UnknownNameError: no such name or folder; the message has the closest name.
      HubError: a file that the card names is not there and cannot be fetched.
      FileNotFoundError: the run has no checkpoint, or not of that step.
      CardError: the card is broken.
      ValueError: the weights are not those of the card's config; the message lists both sides.
    """
    from zoo.models import dense

    path = find(source)
    card, folder = Card.read(path), path.parent
    if dtype is not None:
        card = dataclasses.replace(card, config=card.config.in_precision(dtype))
    if card.files:
        found, variables = None, published_variables(card, folder)
    else:
        found, variables = _run_variables(card, folder, step)
    variables = dense.convert(variables, getattr(card.config, "dtype", "float32"))
    return StoredModel(card, folder, variables, load_tokenizer(card, folder), found)


def published_variables(card: Card, folder: Path) -> dict[str, Any]:
    import jax

    from zoo.storage import weights

    path = fetching.path_of(card, card.files[0], folder)
    stored = weights.merge(
        card.config.in_precision("float32").variable_shapes(), weights.load(path)
    )
    # All at once: some hundreds of arrays one by one take twice as long.
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
    found, variables = store.variables(target, step)
    store.close()
    return found, variables


def load_tokenizer(card: Card, folder: Path) -> Tokenizer | None:
    """The tokenizer that a card names, from the vocabulary beside it or in the cache.

    Raises:
      HubError: the vocabulary is not there and cannot be fetched.
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


def load(source: str | Path, *, dtype: Precision | None = None, step: Step = "best") -> Predictor:
    """A predictor from a published name, a run's folder (finished or not), or an exported folder.

    >>> zoo.load("bag_of_embeddings_imdb")("A film to remember.")  # doctest: +SKIP

    Args:
      source: the name or the folder.
      dtype: the precision of dense layers: `float32`, the reference; `bfloat16` or `int8`, which
        are faster for models of some size (see `zoo.models.dense`); None: the card's.
      step: for a run: `best` (the latest where the run keeps no best), `latest`, `average` (the
        mean of all that the run keeps), or the number of a step.

    Raises:
      UnknownNameError: no such name or folder; the message has the closest name.
      ConfigError: the model has no such precision.
      HubError: a file that the card names is not there and cannot be fetched.
      FileNotFoundError: the run has no checkpoint, or not of that step.
      CardError: the card is broken.
      ValueError: the weights are not those of the card's config.
    """
    from zoo import predictors

    model = open_model(source, step, dtype)
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
        print(f"zoo: {model.folder} at step {model.step} ({why})", file=sys.stderr)
    return predictors.create(card, model.variables, model.tokenizer)
