"""Evaluation: the metrics of a split, during training or of a finished model."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from zoo import hub, predictors
from zoo.config import ConfigError, LookupMistake, ValueMistake
from zoo.hub import StoredModel
from zoo.models.dense import Precision
from zoo.pipelines.mixture import MixedData
from zoo.pipelines.stored import splits_of
from zoo.storage import adapters
from zoo.storage.adapters import BASE
from zoo.storage.cards import OWN_ROWS, Card
from zoo.tokenizers import read_lines
from zoo.train import bleu, recipe_files, sharding, stacking, update
from zoo.train.fine_tuning import Reading
from zoo.train.folder import number_of_rows, rows_of
from zoo.train.precision import in_32_bits
from zoo.train.recipe import Recipe
from zoo.train.reporting import prefixed
from zoo.train.setup import Setup, set_up
from zoo.train.state import TrainState

if TYPE_CHECKING:
    from zoo.storage.checkpoints import Step


class Evaluator:
    """Measures weights of a model on the splits of its data. The step is compiled once."""

    def __init__(self, setup: Setup, card: Card) -> None:
        """
        Args:
          setup: the model and its data.
          card: the card of the model, for the predictor whose answers are measured.
        """
        self._setup, self._card = setup, card
        scale = setup.recipe.lora.scale
        self._whole = jax.jit(functools.partial(adapters.whole, scale=scale))
        self._parts = {name: self._of_part(name) for name in setup.parts}
        if not self._parts:
            self._step = update.make_eval_step(setup.module, setup.recipe.task, setup.mesh)

    def __call__(
        self, variables: Any, split: str, *, limit: int | None = None, quick: bool = False
    ) -> tuple[dict[str, float], str]:
        """The metrics of a split, every example counted exactly once.

        Args:
          variables: the weights, on the devices; they are only read.
          split: its name.
          limit: measure a sample of this many examples, the same ones each time; None: all.
          quick: whether the result only serves to choose a checkpoint.

        Returns:
          The metrics as `split/name`, and a note on them. Of a mixture those of each part, as
          `split/part/name`, and the means of those that have the same name.

        Raises:
          LookupError: there is no such split.
          ValueError: it has no examples.
        """
        if isinstance(self._setup.data, MixedData):
            return self._of_parts(variables, [*self._setup.data.having(split)], split, limit, quick)
        data, task = self._setup.data, self._setup.recipe.task
        if BASE in variables:
            variables = self._whole(variables)
        with task.failures():
            metrics = self._metrics(variables, split, limit)

        def predictor() -> predictors.Predictor:
            return self.predictor(variables)

        more, note = task.measure_answers(predictor, data, split, limit=limit, quick=quick)
        return prefixed(split, metrics | more), note

    def _of_part(self, name: str) -> Evaluator:
        """The evaluator of one part of a mixture."""
        setup = self._setup.part(name)
        return Evaluator(setup, dataclasses.replace(self._card, task=setup.recipe.task.name))

    def _of_parts(
        self, variables: Any, names: Sequence[str], split: str, limit: int | None, quick: bool
    ) -> tuple[dict[str, float], str]:
        """The metrics of the parts of a mixture, and their means."""
        by_part: dict[str, float] = {}
        values: dict[str, list[float]] = {}
        notes = []
        for part in names:
            found, note = self._parts[part](variables, split, limit=limit, quick=quick)
            notes += [f"{part}: {note}"] if note else []
            for name, value in found.items():
                by_part[name.replace(split, f"{split}/{part}", 1)] = value
                values.setdefault(name, []).append(value)
        means = {name: sum(found) / len(found) for name, found in values.items()}
        return means | by_part, "; ".join(notes)

    def predictor(self, variables: Any) -> predictors.Predictor:
        """A predictor of weights on the devices."""
        if BASE in variables:
            variables = self._whole(variables)
        # It answers for this process only, so it gets weights of this process's own.
        own = stacking.apart(sharding.gathered(variables, self._setup.mesh))
        own = jax.tree.map(jax.numpy.asarray, own)
        return predictors.create(self._card, own, self._setup.data.facts.tokenizer)

    def of_state(
        self, state: TrainState, split: str, *, limit: int | None = None, quick: bool = False
    ) -> tuple[dict[str, float], str]:
        """The metrics of the weights of a run as `split/name`, and of their moving average, if it
        keeps one, as `split/ema/name`. Arguments, results and errors are those of a call."""
        metrics, note = self(state.variables, split, limit=limit, quick=quick)
        return metrics | self.of_average(state, split, limit=limit, quick=quick), note

    def of_average(
        self, state: TrainState, split: str, *, limit: int | None = None, quick: bool = False
    ) -> dict[str, float]:
        """The metrics of the moving average as `split/ema/name`; none where there is none."""
        if not state.ema:
            return {}
        metrics, _ = self({**state.variables, **state.ema}, split, limit=limit, quick=quick)
        return {name.replace(split, f"{split}/ema", 1): value for name, value in metrics.items()}

    def _metrics(self, variables: Any, split: str, limit: int | None) -> dict[str, float]:
        setup, totals = self._setup, None
        batches = setup.data.evaluate(
            split, setup.recipe.batch_size, rows=sharding.share(setup.mesh), limit=limit
        )
        for batch in sharding.on_device(batches, setup.mesh):
            if totals is None:
                empty = update.empty_metrics(setup.module, setup.recipe.task, variables, batch)
                totals = sharding.copied(empty, setup.mesh)
            totals = self._step(variables, totals, batch)
        if totals is None:
            raise ValueMistake(f"nothing to evaluate on: the split {split!r} has no examples")
        metrics: dict[str, float] = totals.compute()
        return metrics


@in_32_bits()
def evaluate(
    source: str | Path,
    split: str | None = None,
    *,
    data: Any = None,
    data_dir: str | None = None,
    step: Step = "best",
    dtype: Precision | None = None,
    limit: int | None = None,
    code: str | Path | None = None,
) -> dict[str, float]:
    """The metrics of a run or of a published model, on every example of a split exactly once.

    Args:
      source: the folder of a run, or a published name, whose recipe says what to evaluate on.
      split: `test`, `validation` or `train`; by default `test` if there is one, else `validation`.
      data: your own examples, as for `zoo.fit`. All of them are evaluated, and `split` names them;
        of a mapping of splits, those of `split`.
      data_dir: where the data sets are, if not where the recipe says.
      step: which checkpoint of a run.
      dtype: the precision of dense layers; None: the card's.
      limit: measure a sample of this many examples, the same ones each time; None: all.
      code: the Python file that defines a model of the user's own; it is executed.

    Returns:
      The metrics as `test/accuracy`.

    Raises:
      UnknownNameError: there is no such model.
      LookupError: the data has no such split, or it is unknown what to evaluate on.
      ConfigError: the model was trained on rows that were handed over, and `data` is missing; or
        the classes of the data are not those of the model.
    """
    model = hub.open_model(source, step, dtype, code=code)
    if data is None and model.card.data == OWN_ROWS:
        raise ConfigError(
            f"{source} was trained on {OWN_ROWS}, and its recipe names other data; pass the "
            "examples to evaluate on: zoo.evaluate(…, data=…)"
        )
    if splits := splits_of(data):
        split = split or next((name for name in ("test", "validation") if name in splits), "train")
        if split not in splits:
            raise LookupMistake(f"the data has no split {split!r}; it has {', '.join(splits)}")
        data = splits[split]
    setup = set_up_model(model, data, data_dir)
    available = setup.data.facts.num_examples
    chosen = split or ("test" if "test" in available else "validation")
    if data is not None:
        chosen = "train"  # the only split of rows that are handed over
    if chosen not in available:
        raise LookupMistake(f"the data has no split {chosen!r}; it has {', '.join(available)}")
    variables = sharding.copied(jax.device_get(model.variables), setup.mesh)
    metrics, _ = Evaluator(setup, model.card)(variables, chosen, limit=limit)
    if data is None:
        _remark_on_other_rows(model.card, setup, chosen)
        return metrics
    return {name.replace(chosen, split or "test", 1): value for name, value in metrics.items()}


def _remark_on_other_rows(card: Card, setup: Setup, split: str) -> None:
    """Says so where the rows of a split are not those that the card records."""
    then, now = card.rows.get(split), rows_of(setup.data.facts).get(split)
    if then and now and then != now:
        logging.getLogger(__name__).warning(
            "%s is evaluated on other rows than it records: %s had %s and has %s now%s",
            *(card.name, split, number_of_rows(then), number_of_rows(now)),
            "" if then.get("number") != now["number"] else ", which are not the same",
        )


def set_up_model(model: StoredModel, rows: Any = None, data_dir: str | None = None) -> Setup:
    """A finished model with the data that its recipe names, on all devices.

    Args:
      model: the model.
      rows: the user's own examples instead, all of them.
      data_dir: where the data sets are, if not where the recipe says.
    """
    recipe = recipe_of(model.card, model.folder)
    config = recipe.data if rows is None else recipe.data.keeping_all_rows()
    if data_dir is not None:
        config = dataclasses.replace(config, data_dir=data_dir)
    recipe = dataclasses.replace(
        recipe, data=config, model=model.card.config, mesh=sharding.MeshConfig()
    )
    return set_up(recipe, rows, reading=Reading.of(model.card, model.tokenizer))


def recipe_of(card: Card, folder: Path) -> Recipe:
    """The recipe that made a model: the one in a run's folder, or the one its card names.

    Raises:
      LookupError: there is neither.
    """
    if (folder / recipe_files.FILE).is_file():
        return recipe_files.read(folder / recipe_files.FILE)
    if not card.recipe:
        raise LookupMistake(
            f"the card {card.name!r} names no recipe, so it is unknown what to evaluate on"
        )
    return recipe_files.get(card.recipe)


@in_32_bits()
def evaluate_files(
    source: str | Path,
    texts: Path,
    references: Path,
    *,
    step: Step = "best",
    dtype: Precision | None = None,
    beam_size: int = 4,
) -> tuple[float, str]:
    """BLEU of a translator on plain text files, line by line, and sacrebleu's signature.

    Raises:
      ValueError: the files have different numbers of lines, or the model is not a translator.
    """
    predictor = hub.load(source, dtype=dtype, step=step)
    if not isinstance(predictor, predictors.Translator):
        raise ValueMistake(f"{source} is a model for {predictor.card.task}, not for translation")
    lines = [list(read_lines([path])) for path in (texts, references)]
    if len(lines[0]) != len(lines[1]):
        raise ValueMistake(
            f"{texts} has {len(lines[0])} lines and {references} has {len(lines[1])}; "
            "line n of one must be the translation of line n of the other"
        )
    return bleu.corpus_bleu(predictor(lines[0], beam_size=beam_size), lines[1])
