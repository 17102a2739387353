"""Evaluation: the metrics of a split, each example once; of a run in training or long finished."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
from flax import linen as nn
from jax.sharding import Mesh

from zoo import hub
from zoo.pipelines import base
from zoo.train import recipe, sharding, step
from zoo.train.recipe import Recipe
from zoo.train.reporting import prefixed
from zoo.train.tasks import Task


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
    step: int | Literal["best", "latest"] = "best",
) -> dict[str, float]:
    """The metrics of a run or of a published model, on every example of a split exactly once.

    Args:
      source: the folder of a run, or a published name whose recipe says what to evaluate on.
      split: `test`, `validation` or `train`; by default `test` if there is one, else `validation`.
      data: the examples themselves, as for `zoo.fit`; all are evaluated, and `split` is their name.
      data_dir: where the data sets lie, if not where the recipe says.
      step: which checkpoint of a run.

    Returns:
      As `test/accuracy`.
    """
    path = hub.find(source)
    card = hub.Card.read(path)
    plan = recipe_of(card, path.parent)
    if data_dir is not None:
        plan = recipe.with_data_dir(plan, data_dir)
    variables, _ = hub.load_variables(card, path.parent, step)
    config = plan.data if data is None else dataclasses.replace(plan.data, holdout=0.0)
    examples = config.open(
        data, tokenizer=hub.load_tokenizer(card, path.parent), labels=card.labels or None
    )
    available = examples.facts.num_examples
    if data is not None:
        chosen = "train"  # the only split of rows that are handed over
    else:
        chosen = split or ("test" if "test" in available else "validation")
    if chosen not in available:
        raise LookupError(f"the data has no split {chosen!r}; it has {', '.join(available)}")
    mesh = sharding.make_mesh(plan.mesh)
    evaluator = Evaluator(card.config.build(), plan.task, mesh)
    variables = sharding.replicate(jax.device_get(variables), mesh)
    batches = base.arrays(examples.evaluate(chosen, plan.batch_size))
    return prefixed(chosen if data is None else split or "test", evaluator(variables, batches))


def recipe_of(card: hub.Card, folder: Path) -> Recipe:
    """The recipe that made a model: that in a run's folder, or the one the card names."""
    if (folder / recipe.FILE).is_file():
        return recipe.read(folder / recipe.FILE)
    if not card.recipe:
        raise LookupError(
            f"the card {card.name!r} names no recipe, so it is not known what to evaluate on"
        )
    return recipe.get(card.recipe)
