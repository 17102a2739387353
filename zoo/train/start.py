"""The start of a run, fresh or resumed: from a recipe to the first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import optax

from zoo import hub
from zoo.config import ConfigError
from zoo.hub import compilation
from zoo.storage import checkpoints
from zoo.storage.cards import Card
from zoo.storage.checkpoints import FOLDER, Checkpoints
from zoo.train import folder, saving
from zoo.train.fine_tuning import Reading, load_source
from zoo.train.recipe import Recipe
from zoo.train.setup import Setup, set_up
from zoo.train.state import Progress, TrainState, check_batch_size, create_state


@dataclass(frozen=True)
class Run(Setup):
    """Everything a run is made of, except what changes: its state and its progress."""

    workdir: Path
    card: Card
    """As written before the first step."""
    optimizer: optax.GradientTransformation
    store: Checkpoints

    @property
    def validates(self) -> bool:
        """Whether there is a validation split."""
        return "validation" in self.data.facts.num_examples


def start(recipe: Recipe, workdir: Path, rows: Any = None) -> tuple[Run, TrainState, Progress]:
    """Starts a run, or resumes the one in the folder from its latest checkpoint.

    Args:
      recipe: the recipe.
      workdir: the run's folder, locked.
      rows: the user's own examples instead of those that the recipe names.

    Raises:
      ConfigError: the folder holds a run of another recipe or of other data, or the recipe does not
        fit its data.
      OSError: there are checkpoints and none can be read.
    """
    compilation.use_cache()

    # The data comes first: it decides what the model's config leaves open. A resumed run keeps the
    # vocabulary, classes and sizes that it began with; a fine-tuned one those of its source.
    source = load_source(recipe.init_from)
    resumes = checkpoints.any_in(workdir / FOLDER)
    card = folder.earlier_card(workdir, rows is not None) if resumes else None
    reading = Reading.of(card, hub.load_tokenizer(card, workdir)) if card else None
    setup = set_up(recipe, rows, source=source, reading=reading)
    recipe, data, mesh, module = setup.recipe, setup.data, setup.mesh, setup.module
    if not resumes:
        _check_lengths(setup)
    folder.record_recipe(workdir, recipe, resumes=resumes)
    card = card or folder.write_card(workdir, recipe, data.facts, own_rows=rows is not None)

    # Weights, then the optimizer, then whatever an earlier session saved.
    optimizer = recipe.optimizer.build(recipe.steps)
    state = create_state(
        module,
        recipe.model,
        optimizer,
        recipe.seed,
        mesh,
        source=source.model.variables if source else None,
        skip=recipe.init_from.skip if recipe.init_from else (),
        carry=jax.device_get(recipe.task.initial_carry(recipe.model, recipe.batch_size)),
    )
    check_batch_size(recipe.batch_size, state, mesh)
    best = recipe.task.best if "validation" in data.facts.num_examples else None
    store = Checkpoints(workdir / FOLDER, best, latest=recipe.keep_checkpoints)
    state, progress = saving.restore(store, state, mesh)
    if not progress.ended(recipe.steps):
        card = folder.clear_results(workdir, card)
    return Run(recipe, data, mesh, module, workdir, card, optimizer, store), state, progress


def _check_lengths(setup: Setup) -> None:
    """Refuses sequences that are too long for the model before the first step, and not when
    evaluation, which leaves no example out, reaches them."""
    config, data = setup.recipe.model, setup.data
    if config.max_positions is None or not hasattr(data, "longest"):
        return
    for split in data.facts.num_examples.keys() - {"train"}:
        longest = data.longest(split)
        if longest > config.max_positions:
            raise ConfigError(
                f"the {split} split has a sentence that is padded to {longest} tokens, and the "
                f"model reads up to {config.described_limit}; take data without such sentences"
                + ("" if setup.recipe.init_from else ", or a model with more positions")
            )
