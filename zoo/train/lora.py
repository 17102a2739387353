"""Training adapters (see `zoo.storage.adapters`): a module whose parameters are the adapters.

The variables of a run are then `params`, the adapters, and `base`, the frozen parameters; so only
adapters have gradients, a state of the optimizer, and places in checkpoints.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from flax import linen as nn

from zoo.config import ConfigError
from zoo.hub import StoredModel
from zoo.storage import adapters, weights
from zoo.storage.adapters import BASE, LoRA
from zoo.storage.files import absolute
from zoo.storage.remote import place
from zoo.train import sharding, stacking
from zoo.train.patterns import check_matches, paths_of
from zoo.train.recipe import Recipe
from zoo.train.state import TrainState


def adapted(module: nn.Module, recipe: Recipe) -> Any:
    """The model, or the model with the adapters that a recipe trains.

    Raises:
      ConfigError: adapters of no trained model.
    """
    if not recipe.lora.targets:
        return module
    if recipe.init_from is None:
        raise ConfigError(
            "lora.targets is set, but init_from is not: adapters are of a trained model; name it, "
            "as in --init-from NAME (zoo.fit: init_from=…)"
        )
    return Adapted(module, recipe.lora, fresh_of(recipe))


def fresh_of(recipe: Recipe) -> tuple[str, ...]:
    """Patterns of the parameters that replace those of the base: they are trained as a whole."""
    return recipe.init_from.skip if recipe.init_from else ()


def kept_random(recipe: Recipe) -> tuple[str, ...]:
    """Patterns of the trained parameters that are in no source: adapters are in none."""
    return (".*",) if recipe.lora.targets else fresh_of(recipe)


@dataclass(frozen=True)
class Adapted:
    """A Linen module with adapters. It is initialised and applied as a module is."""

    module: nn.Module
    lora: LoRA
    fresh: tuple[str, ...] = ()

    def init(self, key: jax.Array, *inputs: Any) -> dict[str, Any]:
        """Adapters, and in place of the base random weights.

        Raises:
          ConfigError: a pattern of a target matches no parameter, or one that is no kernel.
        """
        variables = dict(self.module.init(key, *inputs))
        params = variables.pop("params")
        check_matches("lora.targets", self.lora.targets, paths_of(params))
        own = adapters.shapes(params, self.lora, self.fresh)
        return {
            "params": adapters.initialise(jax.random.fold_in(key, 1), own, params),
            BASE: adapters.without(params, own),
            **variables,
        }

    def apply(
        self, variables: Mapping[str, Any], *arguments: Any, mutable: Any = False, **options: Any
    ) -> Any:
        """The module's `apply`, with the adapters merged into the base."""
        if isinstance(mutable, Sequence) and not isinstance(mutable, str):
            mutable = [name for name in mutable if name != BASE]
        given = adapters.whole(variables, self.lora.scale)
        return self.module.apply(given, *arguments, mutable=mutable, **options)


def source_of(model: StoredModel, recipe: Recipe) -> dict[str, Any]:
    """The variables that a run begins with: those of the model in `init_from`, of which the
    parameters are frozen where adapters are trained."""
    variables = dict(model.variables)
    if not recipe.lora.targets:
        return variables
    params = variables.pop("params")
    own = adapters.shapes(params, recipe.lora, fresh_of(recipe))
    return {BASE: adapters.without(params, own), **variables}


def with_base(
    state: TrainState, model: StoredModel, recipe: Recipe, shapes: TrainState
) -> TrainState:
    """The restored state of adapters, which a checkpoint holds without their base.

    Args:
      state: the state.
      model: the base.
      recipe: the run's recipe.
      shapes: of the whole state, with the places of its arrays.
    """
    base = jax.device_get(source_of(model, recipe)[BASE])
    wanted = shapes.variables[BASE]
    variables = {**state.variables, BASE: sharding.put(stacking.as_in(wanted, base), wanted)}
    return dataclasses.replace(state, variables=variables)


def described(model: StoredModel, recipe: Recipe) -> dict[str, Any]:
    """The `adapter` of the run's card."""
    assert recipe.init_from is not None
    source = recipe.init_from.source
    path = place(source)
    return {
        "base": str(absolute(path)) if path.exists() else source,
        "sha256": weights.digest(model.variables["params"]),
        "rank": recipe.lora.rank,
        "alpha": recipe.lora.alpha,
        "targets": recipe.lora.targets,
        "fresh": fresh_of(recipe),
    }
