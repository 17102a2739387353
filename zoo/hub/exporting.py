"""`zoo.export`: from a run to the files of a published model."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import config as configs
from zoo.config import ValueMistake
from zoo.hub import devices, opening, verification
from zoo.storage.cards import OWN_ROWS, Card, File
from zoo.storage.files import make_folder, name_of, output_folder, replacing, sha256

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
    merge: bool = False,
    description: str = "",
    licence: str = "",
    data: str = "",
    limitations: str = "",
    samples: Sequence[str] = (),
    code: str | Path | None = None,
) -> Card:
    """Writes a run in the form that `pretrained/` has and `zoo.load` reads anywhere.

    Of a run that trained adapters it writes these, with the name and the digest of their base,
    which must be there when they are loaded.

    Args:
      run: the run's folder (or any other model that `zoo.load` knows).
      folder: where to write NAME.toml, NAME.safetensors and the vocabulary;
        NAME is the folder's name.
      dtype: `float32`, which gives the run's answers bit for bit, or `bfloat16`, half the size.
      step: which checkpoint of the run.
      merge: of adapters: write the whole weights instead.
      description, licence, data, limitations: entries of the card.
      samples: inputs (texts, or paths of images) to list in the card with their answers.
      code: the Python file that defines a model of the user's own. It is copied into the folder:
        whoever loads the exported model needs it too.

    Returns:
      The card that was written, with check values.

    Raises:
      ValueError: an unknown dtype, or there are no adapters to merge.
      FileExistsError: the folder holds another model.
    """
    folder = checked(folder)
    model = opening.open_model(run, step, "float32", code=code)
    original = model.card
    if merge and not original.adapter:
        raise ValueMistake(f"{run} has whole weights and no adapters; leave out merge")
    if model.step is not None and not original.metrics:
        configs.say(f"exporting step {model.step} ({model.choice}); nothing was measured on it")
    card = dataclasses.replace(
        original,
        best={},
        adapter={} if merge else original.adapter,
        # It was not trained on the data of its recipe, so these are not what to evaluate on.
        recipe="" if original.data == OWN_ROWS else original.recipe,
        command=original.command and f"zoo eval {shlex.quote(str(folder))}",
        description=description or original.description,
        licence=licence or original.licence,
        data=data or original.data,
        limitations=limitations or original.limitations,
    )
    variables = model.variables if merge else model.own
    return write_model(folder, card, variables, model.tokenizer, dtype=dtype, samples=samples)


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
    """Writes NAME.safetensors, the vocabulary and NAME.toml, all of them or none.

    NAME is the folder's name.

    Args:
      folder: created if it does not exist.
      card: all that is known of the model; name, files and check values are filled in here.
      variables: its weights; adapters if the card has a base.
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
    make_folder(folder)
    name = name_of(folder)
    described = dict(card.tokenizer)
    with contextlib.ExitStack() as stack:
        # The files get their names when this block ends, the card as the last. Until the model has
        # answered, a model that was here before stays; and no card is ever beside other weights.
        def place(file: str) -> Path:
            return stack.enter_context(replacing(folder / file))

        card_path = place(f"{name}.toml")
        paths = {f"{name}.safetensors": place(f"{name}.safetensors")}
        path = paths[f"{name}.safetensors"]
        weights.save(path, weights.cast(variables, jnp.dtype(dtype)))
        if tokenizer is not None and "file" in described:
            described["file"] = name + Path(described["file"]).suffix
            paths[described["file"]] = place(described["file"])
            tokenizer.save(paths[described["file"]])
        kind = type(card.config)
        if configs.is_own(kind) and (code := configs.file_of(kind)):
            # Whoever gets the folder needs the code; the card alone never runs it.
            shutil.copyfile(code, place(code.name))
        written = dataclasses.replace(
            card,
            name=name,
            tokenizer=described,
            files=tuple(
                File(name=n, sha256=sha256(p), size=p.stat().st_size) for n, p in paths.items()
            ),
        )
        stored = opening.stored_variables(written, path, devices.device(None))
        base = opening.open_base(written).variables if written.adapter else None
        variables = opening.whole_variables(written, stored, base)
        predictor = predictors.create(written, variables, tokenizer)
        answers = predictor.printed(samples)
        written = dataclasses.replace(
            written,
            check=verification.check_values(predictor),
            samples=tuple(
                {"input": item, "output": answer.rstrip("\n")}
                for item, answer in zip(samples, answers, strict=True)
            ),
        )
        written.save(card_path)
        (folder / f"{name}.toml").unlink(missing_ok=True)
    return written
