"""Evaluation: the metrics of a split, each example once; of a run in training or long finished."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from flax import linen as nn
from jax.sharding import Mesh

from zoo import hub, predictors
from zoo.config import ConfigError
from zoo.models.dense import Precision
from zoo.storage.cards import OWN_ROWS, Card
from zoo.tokenizers import read_lines
from zoo.train import bleu, recipe, sharding, step
from zoo.train.recipe import Recipe
from zoo.train.reporting import prefixed
from zoo.train.tasks import Task

if TYPE_CHECKING:
    from zoo.storage.checkpoints import Step


class Evaluator:
    """Compiled once, called with variables and batches."""

    def __init__(self, module: nn.Module, task: Task, mesh: Mesh) -> None:
        self._module, self._task, self._mesh = module, task, mesh
        self._step = step.make_eval_step(module, task, mesh)

    def __call__(self, variables: Any, batches: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        """The metrics over all the batches.

        Raises:
          ValueError: there were none.
        """
        metrics = None
        for batch in sharding.on_device(batches, self._mesh):
            if metrics is None:
                empty = step.empty_window(self._module, self._task, variables, batch).metrics
                metrics = sharding.replicate(empty, self._mesh)
            metrics = self._step(variables, metrics, batch)
        if metrics is None:
            raise ValueError("there is nothing to evaluate on: the split has no examples")
        result: dict[str, float] = metrics.compute()
        return result


def evaluate(
    source: str | Path,
    split: str | None = None,
    *,
    data: Any = None,
    data_dir: str | None = None,
    step: Step = "best",
    dtype: Precision | None = None,
    limit: int | None = None,
) -> dict[str, float]:
    """The metrics of a run or of a published model, on every example of a split exactly once.

    Args:
      source: the folder of a run, or a published name whose recipe says what to evaluate on.
      split: `test`, `validation` or `train`; by default `test` if there is one, else `validation`.
      data: the examples themselves, as for `zoo.fit`; all are evaluated, and `split` is their name.
      data_dir: where the data sets lie, if not where the recipe says.
      step: which checkpoint of a run.
      dtype: the precision of dense layers; None: the card's.
      limit: number of examples of a sample; the same ones at each call.

    Returns:
      As `test/accuracy`.
    """
    model = hub.open_model(source, step, dtype)
    plan = recipe_of(model.card, model.folder)
    if data is None and model.card.data == OWN_ROWS:
        raise ConfigError(
            f"{source} was trained on {OWN_ROWS}, and its recipe names other data; hand over what "
            "to evaluate on: zoo.evaluate(…, data=…)"
        )
    if data_dir is not None:
        plan = recipe.with_data_dir(plan, data_dir)
    config = plan.data if data is None else plan.data.keeping_all_rows()
    config = config.matching(model.card.preprocessing)
    examples = config.open(data, tokenizer=model.tokenizer, labels=model.card.labels or None)
    plan = plan.resolve(examples.facts)
    available = examples.facts.num_examples
    if data is not None:
        chosen = "train"  # the only split of rows that are handed over
    else:
        chosen = split or ("test" if "test" in available else "validation")
    if chosen not in available:
        raise LookupError(f"the data has no split {chosen!r}; it has {', '.join(available)}")
    mesh = sharding.make_mesh(sharding.MeshConfig())  # whatever devices the run had
    evaluator = Evaluator(model.card.config.build(), plan.task, mesh)
    variables = sharding.replicate(jax.device_get(model.variables), mesh)
    batches = examples.evaluate(chosen, plan.batch_size, limit=limit)
    metrics = evaluator(variables, batches)

    def predictor() -> predictors.Predictor:
        return predictors.create(model.card, model.variables, model.tokenizer)

    more, _ = plan.task.examine(predictor, examples, chosen, limit)
    return prefixed(chosen if data is None else split or "test", metrics | more)


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
      ValueError: the files have different numbers of lines, or the model is no translator.
    """
    predictor = hub.load(source, dtype=dtype, step=step)
    if not isinstance(predictor, predictors.Translator):
        raise ValueError(f"{source} is a model of {predictor.card.task}, not of translation")
    lines = [list(read_lines([path])) for path in (texts, references)]
    if len(lines[0]) != len(lines[1]):
        raise ValueError(
            f"{texts} has {len(lines[0])} lines and {references} {len(lines[1])}; "
            "they must be the same sentences"
        )
    return bleu.corpus_bleu(predictor(lines[0], beam_size=beam_size), lines[1])


def recipe_of(card: Card, folder: Path) -> Recipe:
    """The recipe that made a model: that in a run's folder, or the one the card names."""
    if (folder / recipe.FILE).is_file():
        return recipe.read(folder / recipe.FILE)
    if not card.recipe:
        raise LookupError(
            f"the card {card.name!r} names no recipe, so it is not known what to evaluate on"
        )
    return recipe.get(card.recipe)
