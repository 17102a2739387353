"""A callback that shows what a model answers, after each evaluation.

A table goes into `samples.md` in the run's folder, and into TensorBoard: translations, continued
texts, classes of texts, tagged sentences. Of images it shows those that the model gets wrong, as
pictures in TensorBoard and in the folder `samples/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from zoo import predictors
from zoo.pipelines.base import Array, Example
from zoo.storage.files import make_folder, replacing
from zoo.train.callbacks.base import Callback, Report
from zoo.train.processes import writes

FILE = "samples.md"
PICTURES = "samples"

IMAGES_SEARCHED = 256
"""Images among which those that are wrong are looked for."""

NEW_TOKENS = 40
"""Length of a continuation."""

Row = tuple[str, str, str]
"""Input, what is right, and the answer."""


class Samples(Callback):
    """Shows answers to the first examples of the validation split, or of another one."""

    def __init__(self, number: int = 8, split: str = "validation") -> None:
        """
        Args:
          number: how many examples.
          split: of which split.
        """
        self._number, self._split = number, split

    def on_eval(self, report: Report) -> None:
        """Answers, and writes the table."""
        model = report.predictor()
        if isinstance(model, predictors.ImageClassifier):
            examples = report.run.data.examples(self._split, IMAGES_SEARCHED)
            wrong, rows = _wrong_images(model, examples, self._number)
            if wrong and writes():
                pictures = np.stack([_picture(example) for example in wrong])
                report.show(images={PICTURES: pictures})
                names = _save(pictures, report.run.workdir / PICTURES, report.step)
                rows = [
                    (f"![]({PICTURES}/{name})", right, answer)
                    for name, (_, right, answer) in zip(names, rows, strict=True)
                ]
        else:
            examples = report.run.data.examples(self._split, self._number)
            rows = list(_answers(model, examples))
        if not writes():
            return
        table = _table(rows)
        report.show(texts={PICTURES: table})
        _append(report.run.workdir / FILE, report.step, table)


def _answers(model: predictors.Predictor, examples: Sequence[Example]) -> Iterator[Row]:
    """What a model answers to texts."""
    for example in examples:
        raw = {name: value for name, value in example.raw.items() if isinstance(value, str)}
        given, *right = raw.values() if raw else ("",)
        if isinstance(model, predictors.LanguageModel):
            begin = given[: max(1, len(given) // 3)]
            answer = model.generate(begin, max_new_tokens=NEW_TOKENS)
            yield begin, given[len(begin) :], str(answer)
        else:
            (answer,) = model.printed([given])
            yield given, " | ".join(right), answer.rstrip("\n")


def _wrong_images(
    model: predictors.ImageClassifier, examples: Sequence[Example], number: int
) -> tuple[list[Example], list[Row]]:
    """The first images whose class is wrong."""
    inputs = np.stack([example.arrays["inputs"] for example in examples])
    logits = jax.jit(lambda variables, x: model.module.apply(variables, x, train=False))(
        model.variables, inputs
    )
    labels, found = model.card.labels, np.asarray(logits).argmax(axis=-1)
    wrong = [
        (example, ("", labels[int(example.arrays["targets"])], labels[answer]))
        for example, answer in zip(examples, found, strict=True)
        if int(example.arrays["targets"]) != answer
    ][:number]
    return [example for example, _ in wrong], [row for _, row in wrong]


def _picture(example: Example) -> Array:
    """The image as the model sees it, its values spread over 0 … 255: uint8 [H, W, C]."""
    image = np.asarray(example.arrays["inputs"], np.float32)
    low, high = image.min(), image.max()
    picture: Array = (255 * (image - low) / max(float(high - low), 1e-6)).astype(np.uint8)
    return picture


def _save(pictures: Array, folder: Path, step: int) -> list[str]:
    """Writes pictures as PNG files; returns their names."""
    from PIL import Image

    make_folder(folder)
    names = []
    for number, picture in enumerate(pictures):
        names.append(f"{step}_{number}.png")
        image = Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture)
        with replacing(folder / names[-1]) as temporary:
            image.save(temporary, format="png")
    return names


def _table(rows: Sequence[Row]) -> str:
    """Markdown of the rows."""
    lines = ["| input | right | answer |", "| --- | --- | --- |"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that does not end a cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def _append(path: Path, step: int, table: str) -> None:
    """Adds the section of a step; those of later ones are dropped, which a resumed run repeats."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    sections = re.split(r"(?m)^(?=## step \d+$)", text)
    kept = [part for part in sections if (n := _step_of(part)) is not None and n < step]
    with replacing(path) as temporary:
        temporary.write_text("".join(kept) + f"## step {step}\n\n{table}\n\n", encoding="utf-8")


def _step_of(section: str) -> int | None:
    found = re.match(r"## step (\d+)$", section, re.MULTILINE)
    return int(found[1]) if found else None
