"""The start of a run, fresh or resumed: from a recipe to the first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
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
from zoo.train import averaging, folder, lora, saving
from zoo.train.fine_tuning import Reading, load_source, with_architecture_of
from zoo.train.processes import Job
from zoo.train.recipe import Recipe
from zoo.train.setup import Setup, set_up, shapes_of, trained
from zoo.train.state import Progress, TrainState, create_state


@dataclass(frozen=True)
class Run(Setup):
    """Everything a run is made of, except what changes: its state and its progress."""

    workdir: Path
    card: Card
    """As written before the first step."""
    optimizer: optax.GradientTransformation
    store: Checkpoints
    shapes: TrainState
    """Of the state, with the places of its arrays on the devices."""

    @property
    def validates(self) -> bool:
        """Whether there is a validation split."""
        return "validation" in self.data.facts.num_examples


def start(
    recipe: Recipe,
    workdir: Path,
    rows: Any = None,
    *,
    allow_change: Sequence[str] = (),
    job: Job,
    say: Callable[[str], None],
) -> tuple[Run, TrainState, Progress]:
    """Starts a run, or resumes the one in the folder from its latest checkpoint.

    Args:
      recipe: the recipe.
      workdir: the run's folder, locked.
      rows: the user's own examples instead of those that the recipe names.
      allow_change: fields of the recipe that may differ from those that the run began with.
      job: the processes that train.
      say: told what the user should know.

    Raises:
      ConfigError: the folder holds a run of another recipe or of other data, or the recipe does not
        fit its data.
      OSError: there are checkpoints and none can be read.
      OtherProcessError: another process of the job failed.
    """
    compilation.use_cache()
    resumes = checkpoints.any_in(workdir / FOLDER)
    card = folder.earlier_card(workdir, rows is not None) if resumes else None
    earlier = folder.earlier_recipe(workdir) if resumes else None

    # The data comes first: it decides what the model's config leaves open. A resumed run keeps the
    # vocabulary, classes and sizes that it began with, and a fine-tuned one then needs its source
    # no more; a new one takes them from there.
    source = load_source(recipe.init_from) if card is None else None
    if card is not None and recipe.init_from is not None:
        recipe = with_architecture_of(card, recipe)
    reading = Reading.of(card, hub.load_tokenizer(card, workdir)) if card else None
    setup = set_up(recipe, rows, source=source, reading=reading)
    changed: dict[str, tuple[object, object]] = {}
    if earlier is None:
        _check_lengths(setup)
    else:
        setup = dataclasses.replace(setup, recipe=keep_schedule(setup.recipe, earlier, say))
        changed = folder.check_recipe(workdir, earlier, setup.recipe, allow_change)
    if card is not None:
        changed |= folder.check_rows(workdir, card, setup.data.facts, allow_change)
    recipe, data, mesh, module = setup.recipe, setup.data, setup.mesh, setup.module

    # Weights and the optimizer's state: of the checkpoint, or else new ones.
    optimizer = recipe.transformation()
    shapes = shapes_of(recipe, mesh)
    best = recipe.task.best if "validation" in data.facts.num_examples else None
    if recipe.keep_every is not None:
        saving.check_room(workdir, shapes)
    job.agree()  # nobody failed so far: from here on all wait for each other
    store = Checkpoints(
        workdir / FOLDER,
        best,
        latest=recipe.keep_checkpoints,
        every=recipe.keep_every,
        warn=say,
        agree=job.agree,
    )
    restored = saving.restore(store, shapes, recipe.seed, mesh)
    if restored is None:
        state = create_state(
            trained(module, recipe),
            recipe.model,
            optimizer,
            recipe.seed,
            mesh,
            source=lora.source_of(source.model, recipe) if source else None,
            skip=lora.kept_random(recipe),
            carry=jax.device_get(
                recipe.task.initial_carry(recipe.model, recipe.batch_size, recipe.seed)
            ),
        )
        if recipe.ema is not None:
            state = averaging.begun(state)
        progress = Progress()
    else:
        state, progress = restored
        if card is not None and card.adapter:
            state = lora.with_base(state, hub.open_base(card), recipe, shapes)
        if progress.mesh and progress.mesh != dict(mesh.shape):
            say(
                f"until step {progress.step} the run was on a mesh of {progress.mesh}, and is on "
                f"{dict(mesh.shape)} now: sums are in another order, so that numbers to come are "
                "equal only within rounding"
            )
        if earlier and earlier.scan_layers != recipe.scan_layers:
            say(
                f"until step {progress.step} scan_layers was {earlier.scan_layers}, and is "
                f"{recipe.scan_layers} now: dropout draws other masks, and without it numbers to "
                "come are equal only within rounding"
            )
        steps_before = earlier.steps if earlier else recipe.steps
        progress = progress.going_on(recipe.steps, steps_before, recipe.patience)

    # The folder is written when nothing can be refused any more.
    folder.write_recipe(workdir, recipe)
    card = card or folder.write_card(
        workdir,
        recipe,
        data.facts,
        own_rows=rows is not None,
        adapter=lora.described(source.model, recipe) if source and recipe.lora.targets else {},
    )
    card = folder.note_changes(workdir, card, progress.step, changed)
    card = folder.note_rows(workdir, card, data.facts)
    if not progress.ended(recipe.steps):
        card = folder.clear_results(workdir, card)
    return Run(recipe, data, mesh, module, workdir, card, optimizer, store, shapes), state, progress


def keep_schedule(recipe: Recipe, earlier: Recipe, say: Callable[[str], None]) -> Recipe:
    """The recipe of a resumed run, whose schedule stretches over the steps that the run began with
    unless the user says otherwise."""
    if recipe.schedule_steps is not None:
        return recipe
    length, steps = earlier.schedule_length, recipe.steps
    if length == steps:
        return recipe
    probe = length if length < steps else steps - 1
    kept, stretched = (recipe.learning_rate(probe, n) for n in (length, steps))
    if kept != stretched:
        say(
            f"the learning rate keeps the schedule of {length:,} steps that the run began with, "
            f"and is {kept:.3g} after step {probe:,}; with --schedule-steps {steps} it is "
            f"{stretched:.3g} there"
        )
    return dataclasses.replace(recipe, schedule_steps=length)


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
