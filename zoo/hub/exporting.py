"""`zoo.export`: from a run to the files of a published model."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import config as configs
from zoo.config import ValueMistake
from zoo.hub import opening, verification
from zoo.storage.cards import OWN_ROWS, Card, File
from zoo.storage.files import name_of, output_folder, sha256

if TYPE_CHECKING:
    from zoo.storage.checkpoints import Step
    from zoo.storage.weights import Tree
    from zoo.tokenizers import Tokenizer


def export(
    run: str | Path,
    folder: str | Path,
    *,
    dtype: str = "float32",
    step: Step = "best",
    description: str = "",
    licence: str = "",
    data: str = "",
    limitations: str = "",
    samples: Sequence[str] = (),
    code: str | Path | None = None,
) -> Card:
    """Writes a run in the form that `pretrained/` has and `zoo.load` reads anywhere.

    Args:
      run: the run's folder (or any other model that `zoo.load` knows).
      folder: where to write NAME.toml, NAME.safetensors and the vocabulary;
        NAME is the folder's name.
      dtype: `float32`, which gives the run's answers bit for bit, or `bfloat16`, half the size.
      step: which checkpoint of the run.
      description, licence, data, limitations: entries of the card.
      samples: inputs (texts, or paths of images) to list in the card with their answers.
      code: the Python file that defines a model of the user's own. It is copied into the folder:
        whoever loads the exported model needs it too.

    Returns:
      The card that was written, with check values.

    Raises:
      ValueError: an unknown dtype.
      FileExistsError: the folder holds another model.
    """
    folder = checked(folder)
    model = opening.open_model(run, step, "float32", code=code)
    original = model.card
    if model.step is not None and step != "best":  # the metrics are of other weights
        original = dataclasses.replace(original, metrics={}, command="")
    card = dataclasses.replace(
        original,
        best={},
        # It was not trained on the data of its recipe, so these are not what to evaluate on.
        recipe="" if original.data == OWN_ROWS else original.recipe,
        command=original.command and f"zoo eval {name_of(folder)}",
        description=description or original.description,
        licence=licence or original.licence,
        data=data or original.data,
        limitations=limitations or original.limitations,
    )
    return write_model(folder, card, model.variables, model.tokenizer, dtype=dtype, samples=samples)


def checked(folder: str | Path) -> Path:
    """The folder for a model, before the work whose result it will hold. It is not made yet.

    Raises:
      OSError: it cannot be written to, or it holds another model (FileExistsError).
    """
    path = output_folder(folder)
    others = [card.name for card in path.glob("*.toml") if card.stem != name_of(path)]
    if others:
        raise FileExistsError(
            f"{folder} holds another model already ({', '.join(others)}); choose an empty folder"
        )
    return path


def write_model(
    folder: Path,
    card: Card,
    variables: Tree,
    tokenizer: Tokenizer | None,
    *,
    dtype: str = "float32",
    samples: Sequence[str] = (),
) -> Card:
    """Writes NAME.safetensors, the vocabulary and NAME.toml; NAME is the folder's name.

    Args:
      folder: created if it does not exist.
      card: all that is known of the model; name, files and check values are filled in here.
      variables: its weights.
      tokenizer: saved if the card's `tokenizer` names a `file`.
      dtype: `float32` or `bfloat16`, of the weights in the file.
      samples: inputs to list in the card with their answers.

    Returns:
      The card that was written.

    Raises:
      ValueError: an unknown dtype.
      FileExistsError: the folder holds another model.
    """
    import jax.numpy as jnp

    from zoo import predictors
    from zoo.storage import weights

    if dtype not in ("float32", "bfloat16"):
        raise ValueMistake(f"dtype is {dtype!r}; weights are written as float32 or bfloat16")
    folder = checked(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = name_of(folder)
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
    kind = type(card.config)
    if configs.is_own(kind) and (code := configs.file_of(kind)):
        # Whoever gets the folder needs the code; the card alone never runs it.
        shutil.copyfile(code, folder / code.name)
    stored = opening.published_variables(written, folder)
    predictor = predictors.create(written, stored, tokenizer)
    written = dataclasses.replace(
        written,
        check=verification.check_values(predictor),
        samples=tuple(
            {"input": item, "output": answer.rstrip("\n")}
            for item, answer in zip(samples, predictor.printed(samples), strict=True)
        ),
    )
    written.save(folder / f"{name}.toml")
    return written
