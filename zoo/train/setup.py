"""The start of training, of evaluation and of the estimate of memory: data, mesh and module."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from flax import linen as nn
from jax.sharding import AbstractMesh, Mesh

from zoo.pipelines.base import Data, LabelError
from zoo.pipelines.mixture import MixedData, Mixture
from zoo.train import averaging, lora, sharding, stacking
from zoo.train.fine_tuning import Reading, Source
from zoo.train.recipe import Recipe
from zoo.train.state import TrainState, check_batch_size, shapes_of_state


@dataclass(frozen=True)
class Setup:
    """A recipe whose data is open."""

    recipe: Recipe
    """Resolved: the data has decided what it left open."""
    data: Data
    mesh: Mesh
    module: nn.Module

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, where the data is a mixture."""
        return tuple(self.data.parts) if isinstance(self.data, MixedData) else ()

    def part(self, name: str) -> Setup:
        """The setup of one part of a mixture: its data with its task. Of other data: this one."""
        if not (isinstance(self.data, MixedData) and isinstance(self.recipe.data, Mixture)):
            return self
        config = {part.name: part.data for part in self.recipe.data.parts}[name]
        recipe = dataclasses.replace(self.recipe, data=config, task=self.recipe.task.part(name))
        return Setup(recipe, self.data.parts[name], self.mesh, self.module)


def trained(module: nn.Module, recipe: Recipe) -> Any:
    """The module that a recipe trains: the model, perhaps with adapters, perhaps with its layers
    stacked.

    Raises:
      ConfigError: adapters of no trained model.
    """
    adapted = lora.adapted(module, recipe)
    return stacking.Stacking(adapted) if recipe.scan_layers else adapted


def shapes_of(recipe: Recipe, mesh: Mesh | AbstractMesh) -> TrainState:
    """The shapes of the state that a resolved recipe begins with, and the places of its arrays.

    Raises:
      ConfigError: the devices cannot share the batch, or a pattern matches no parameter.
    """
    shapes = shapes_of_state(
        trained(recipe.model.build(), recipe),
        recipe.model,
        recipe.transformation(),
        mesh,
        lambda: recipe.task.initial_carry(recipe.model, recipe.batch_size, recipe.seed),
    )
    check_batch_size(recipe.batch_size, shapes, mesh, recipe.accumulate)
    return shapes if recipe.ema is None else averaging.begun(shapes)


def set_up(
    recipe: Recipe,
    rows: Any = None,
    *,
    source: Source | None = None,
    reading: Reading | None = None,
) -> Setup:
    """Opens the data of a recipe, which decides what the model's config leaves open.

    Args:
      recipe: the recipe.
      rows: the user's own examples instead of those that the recipe names.
      source: a model to fine-tune. Its architecture replaces the recipe's.
      reading: how to read the data; None: as the source does, if there is one.

    Raises:
      ConfigError: the classes of the data are not those of the source, or the recipe does not fit
        the data, the source or the devices.
    """
    if source is not None:
        recipe = source.with_architecture(recipe)
    how = reading or (source.reading if source else Reading())
    config = recipe.data.matching(how.preprocessing)
    try:
        data = config.open(
            rows, tokenizer=how.tokenizer, labels=how.labels, pad_id=recipe.model.padding
        )
    except LabelError as error:
        if source is None or reading is not None:
            raise
        raise source.other_labels(error) from error
    recipe = recipe.resolve(data.facts)
    return Setup(recipe, data, sharding.make_mesh(recipe.mesh), recipe.model.build())
