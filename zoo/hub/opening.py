"""`zoo.load`: from a name or a folder to a predictor that works at once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.resources
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zoo import config as configs
from zoo.config import FileMistake
from zoo.hub import compilation, fetching
from zoo.registry import UnknownNameError
from zoo.storage.cards import RUN_CARD, Card, CardError
from zoo.storage.remote import fetched, place
from zoo.storage.seeds import Seeds

if TYPE_CHECKING:
    import jax

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

    Of a folder of several seeds it is that of the chosen one; a line on stderr says which.

    A folder with a card goes before a published model of the same name; a line on stderr says which
    of the two was taken.

    Raises:
      FileNotFoundError: a folder without a card, or with several; or of seeds that have not ended.
      UnknownNameError: neither a folder nor a published name.
    """
    path = place(source)
    published = next((known for known in _published() if known.stem == str(source)), None)
    if path.is_file() and path.suffix == ".toml":
        return path
    if path.is_dir() and (several := Seeds.read(path)) is not None:
        taken = find(several.taken(path))
        _say_once(f"{path}: {several.chosen} is taken ({several.why})")
        return taken
    if path.is_dir():
        cards = (
            [path / RUN_CARD]
            if (path / RUN_CARD).is_file()
            else sorted(card for card in path.glob("*.toml") if card.is_file())
        )
        if len(cards) == 1:
            if published:
                _say_once(
                    f"the folder {path.absolute()} hides the published model of that name; it is "
                    "loaded from any other working directory"
                )
            return cards[0]
        if published and not cards:
            _say_once(f"the folder {path.absolute()} has no card; the published {source} is taken")
            return published
        names = ", ".join(card.name for card in cards) or "none"
        raise FileMistake(
            f"{path} is neither a run nor an exported model: it should hold one card "
            f"({RUN_CARD} or NAME.toml), found {names}"
            + (f"; it hides the published model {source}" if published else "")
        )
    if published:
        return published
    raise UnknownNameError("published model or run folder", str(source), list_pretrained())


_say_once = functools.cache(configs.say)


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
    """The weights, checked against the card's config, on one device."""
    tokenizer: Tokenizer | None
    step: int | None
    """Of a run: the step of the checkpoint."""
    choice: str = ""
    """Of a run: why it is this step, such as `best validation/accuracy`."""
    own: Mapping[str, Any] = field(default_factory=dict)
    """The variables that are stored with the card: `variables`, or if it has a base adapters."""


def open_model(
    source: str | Path,
    step: Step = "best",
    dtype: Precision | None = None,
    *,
    device: jax.Device | str | None = None,
    code: str | Path | None = None,
) -> StoredModel:
    """Card, weights and tokenizer of a published name, a run or an exported folder.

    Args:
      source: the name or the folder.
      step: for a run: which checkpoint.
      dtype: the precision of dense layers; None: the card's.
      device: where the weights are put, see `load`.
      code: the Python file that defines a model of the user's own; it is executed.

    Returns:
      The model. The card of a run has metrics only if they were measured on these very weights.

    Raises:
      UnknownNameError: no such name or folder; the message has the closest name.
      HubError: a file that the card names is missing and cannot be fetched.
      FileNotFoundError: the run has no checkpoint, or not of that step; or there is no file `code`.
      CardError: the card is broken, or its model is not in the zoo and `code` does not define it.
      ValueError: the weights do not fit the card's config; the message lists both sides. Or there
        is no such device.
    """
    from zoo.hub import devices
    from zoo.models import dense

    place = devices.device(device)
    path = find(source)
    described, folder = card(path, code=code), path.parent
    _compare_code(described)
    if dtype is not None:
        described = dataclasses.replace(described, config=described.config.in_precision(dtype))
    number, own, measured, choice = own_variables(described, folder, step, place)
    if number != measured:
        described = dataclasses.replace(described, metrics={}, command="")
    base = open_base(described, place).variables if described.adapter else None
    variables = dense.convert(whole_variables(described, own, base), described.config.precision)
    tokenizer = load_tokenizer(described, folder)
    return StoredModel(described, folder, variables, tokenizer, number, choice, own)


def open_base(card: Card, device: jax.Device | str | None = None) -> StoredModel:
    """The model that the adapters of a card belong to, in float32.

    Raises:
      FileNotFoundError: it is not there any more.
      ValueError: its weights are others now; the message has both digests.
    """
    from zoo.storage import adapters

    base = card.adapter["base"]
    try:
        model = open_model(base, dtype="float32", device=device)
    except (UnknownNameError, FileMistake) as error:
        raise FileMistake(
            f"{card.name} is adapters of {base}, which is not there ({error}); load the base from "
            "where it is, and give it the adapters: zoo.with_adapter(zoo.load(BASE), ADAPTERS)"
        ) from error
    adapters.check_base(card.adapter, model.variables["params"], base)
    return model


def own_shapes(card: Card) -> dict[str, Any]:
    """The shapes in float32 of the variables that are stored with a card."""
    from zoo.storage import adapters

    shapes = card.config.in_precision("float32").variable_shapes()
    if not card.adapter:
        return shapes
    lora, fresh = adapters.of_card(card.adapter)
    return {**shapes, "params": adapters.shapes(shapes["params"], lora, fresh)}


def whole_variables(
    card: Card, own: Mapping[str, Any], base: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The variables of a model: those stored with its card, merged into those of its base."""
    from zoo.storage import adapters, weights

    if base is None:
        return dict(own)
    lora, _ = adapters.of_card(card.adapter)
    params = adapters.merged(base["params"], own["params"], lora.scale)
    shapes = card.config.in_precision("float32").variable_shapes()
    return weights.merge(shapes, {**own, "params": params})


def _compare_code(card: Card) -> None:
    """Says so if the file that defines a user's model is not the one that it was trained with."""
    used = configs.source_of(type(card.config))
    if card.code and used and used["sha256"] != card.code["sha256"]:
        configs.say(
            f"{used['file']} has changed since {card.name} was trained: its sha256 is not the one "
            "in the card"
        )


def own_variables(
    card: Card, folder: Path, step: Step, device: jax.Device
) -> tuple[int | None, dict[str, Any], int | None, str]:
    """The weights, or adapters, that are stored with a card, in float32.

    Args:
      card: the card.
      folder: where it is.
      step: of a run: which checkpoint.
      device: where to put them.

    Returns:
      The step of the checkpoint, the variables, the step that the card's metrics are of, and why
      this step was taken; of a card that names files only the variables.
    """
    if not card.files:
        return _run_variables(card, folder, step, device)
    path = fetching.path_of(card, card.files[0], folder)
    return None, stored_variables(card, path, device), None, ""


def stored_variables(card: Card, path: Path, device: jax.Device) -> dict[str, Any]:
    """The weights, or adapters, in a safetensors file, as the card has them in float32."""
    import jax

    from zoo.storage import weights

    stored = weights.merge(own_shapes(card), weights.load(path))
    # All at once: hundreds of arrays one by one take twice as long.
    on_device: dict[str, Any] = jax.device_put(stored, device)
    return on_device


def _run_variables(
    card: Card, folder: Path, step: Step, device: jax.Device
) -> tuple[int, dict[str, Any], int | None, str]:
    """The step and the weights (or adapters) of a run's checkpoint, the step that the card's
    metrics are of, and why this step was taken."""
    import jax

    from zoo.storage import checkpoints

    best = (
        checkpoints.Best(card.best["metric"], cast(Any, card.best["mode"])) if card.best else None
    )
    sharding = jax.sharding.SingleDeviceSharding(device)
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        own_shapes(card),
    )
    store = checkpoints.Checkpoints(folder / checkpoints.FOLDER, best, read_only=True)
    with contextlib.closing(store):
        number, variables = store.variables(target, step)
        best_step, latest = store.best_step(), store.steps()[-1]
    if step == "average":
        return number, variables, None, "the mean of the checkpoints up to it"
    if step == "ema":
        return number, variables, None, "the moving average of the weights"
    measured = latest if best_step is None else best_step
    if step not in ("best", "latest"):
        choice = "as asked"
    elif number != (measured if step == "best" else latest):
        choice = f"since the {step} one, of step {measured}, cannot be read"
    elif step == "latest":
        choice = "as asked"
    else:
        choice = "latest" if best is None or best_step is None else f"best {best.metric}"
    return number, variables, measured, choice


def load_tokenizer(card: Card, folder: Path) -> Tokenizer | None:
    """The tokenizer that a card names, from the vocabulary beside it or in the cache.

    Raises:
      HubError: the vocabulary is missing and cannot be fetched.
      CardError: the tokenizer does not have the options that the card names, or lacks one.
    """
    from zoo import tokenizers

    if not card.tokenizer:
        return None
    options = dict(card.tokenizer)
    kind, name = options.pop("kind"), options.pop("file", None)
    file = next((file for file in card.files if file.name == name), None)
    path = fetching.path_of(card, file, folder) if file else None
    if name is not None and file is None:
        path = folder / name  # a run lists no files
    try:
        with contextlib.nullcontext() if path is None else fetched(path) as found:
            return tokenizers.load(kind, found, **options)
    except configs.ConfigError as error:
        raise CardError(f"the tokenizer of the card {card.name!r}: {error}") from error


def load(
    source: str | Path,
    *,
    dtype: Precision | None = None,
    step: Step = "best",
    device: jax.Device | str | None = None,
    code: str | Path | None = None,
) -> AnyPredictor:
    """A predictor from a published name, a run's folder (finished or not), or an exported folder.

    >>> zoo.load("bag_of_embeddings_imdb")("A film to remember.")  # doctest: +SKIP

    A predictor may be used by several threads at once, and pickled for other processes that are
    started by `spawn` (or `forkserver`). JAX does not survive a `fork`: a process that was forked
    after its parent used JAX may hang. Choose `multiprocessing.get_context("spawn")`, or load the
    model in the child.

    Unless JAX's compilation cache has been configured or switched off, this switches it on for the
    process, see `zoo.hub.compilation`.

    Args:
      source: the name or the folder.
      dtype: the precision of dense layers: `float32`, the reference; `bfloat16` or `int8`, which
        are faster for models of some size (see `zoo.models.dense`, also for what float32 is on GPUs
        and TPUs); None: the card's.
      step: for a run: `best` (the latest if the run keeps no best one), `latest`, `average` (the
        mean of all that the run keeps), `ema` (the moving average, of a run with `Recipe.ema`), or
        the number of a step.
      device: where the weights are put, and so where the predictor computes: a `jax.Device`, or its
        name, such as `gpu` or `cpu:1`; None: the one that `jax.default_device` names, else the
        first. For weights that take several devices, put them there by
        `dataclasses.replace(model, variables=jax.device_put(model.variables, shardings))`.
      code: the Python file that defines a model of the user's own; it is executed. Without it,
        only models of the zoo, of installed packages and of this process can be loaded.

    Returns:
      The predictor. The metrics in its card are those of these very weights: of a run, another
      checkpoint than the best has none.

    Raises:
      UnknownNameError: no such name or folder; the message has the closest name.
      ConfigError: the model has no such precision, or the file `code` raised an error.
      HubError: a file that the card names is missing and cannot be fetched.
      FileNotFoundError: the run has no checkpoint, or not of that step; or there is no file `code`.
      CardError: the card is broken, or its model is not in the zoo and `code` does not define it.
      ValueError: the weights do not fit the card's config, or there is no such device.
    """
    from zoo import predictors

    model = open_model(source, step, dtype, device=device, code=code)
    compilation.use_cache()
    card = model.card
    if model.step is not None:
        card = dataclasses.replace(card, checkpoint=model.step)
        configs.say(f"{model.folder} at step {model.step} ({model.choice})")
    return cast("AnyPredictor", predictors.create(card, model.variables, model.tokenizer))
