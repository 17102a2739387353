"""Low-rank adapters (LoRA, Hu et al. 2021): a model as the weights of another and a little more.

    kernel = base kernel + (alpha / rank) · a @ b

Adapters are a tree of parameters: below the path of an adapted kernel `a` [..., I, rank] and `b`
[..., rank, O], and at their own paths the parameters that replace those of the base as a whole,
such as a head for other classes. No module knows of them: they are merged before a model is called.

The last two axes of a kernel are those of a matrix. A kernel of more, such as a Reformer's
[heads, I, O], has a pair for each matrix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from zoo.config import ConfigError, ValueMistake, check_fields, check_size
from zoo.storage import weights

if TYPE_CHECKING:
    from zoo.storage.weights import Tree

BASE = "base"
"""The collection of variables that holds the frozen parameters while adapters are trained."""


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Adapters to train instead of the parameters themselves."""

    targets: tuple[str, ...] = ()
    """Patterns of the kernels to adapt, such as `decoder/.*/(query|value)/kernel`: regular
    expressions that match a whole slash path. (): no adapters, all parameters are trained."""
    rank: int = 8
    """Rank of the change of a kernel."""
    alpha: float = 16.0
    """The change of a kernel is multiplied by alpha / rank."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_size("lora.rank", self.rank)

    @property
    def scale(self) -> float:
        """The factor of a change."""
        return self.alpha / self.rank


def shapes(params: Tree, lora: LoRA, fresh: Sequence[str] = ()) -> dict[str, Any]:
    """The shapes of the adapters of a model.

    Args:
      params: the shapes of its parameters.
      lora: which to adapt.
      fresh: patterns of the parameters that replace those of the base as a whole.

    Raises:
      ConfigError: a kernel to adapt is no matrix.
    """
    own: dict[str, Any] = {}
    for path, leaf in weights.flatten(params).items():
        if _matches(fresh, path):
            own[path] = leaf
        elif _matches(lora.targets, path):
            if len(leaf.shape) < 2:
                raise ConfigError(
                    f"lora.targets matches {path}, whose shape is {tuple(leaf.shape)}; adapters "
                    "are for kernels, which have two axes or more"
                )
            *outer, inputs, outputs = leaf.shape
            own[f"{path}/a"] = jax.ShapeDtypeStruct((*outer, inputs, lora.rank), leaf.dtype)
            own[f"{path}/b"] = jax.ShapeDtypeStruct((*outer, lora.rank, outputs), leaf.dtype)
    return weights.unflatten(own)


def _matches(patterns: Sequence[str], path: str) -> bool:
    return any(re.fullmatch(pattern, path) for pattern in patterns)


def initialise(key: jax.Array, own: Tree, params: Tree) -> dict[str, Any]:
    """Adapters that change nothing yet: `a` is random with variance 1 / I, `b` is 0.

    Args:
      key: of the random numbers.
      own: the shapes of the adapters.
      params: parameters of the model, from which those that replace others are taken.
    """
    given = weights.flatten(params)

    def value(number: int, path: str, shape: Any) -> Any:
        if path in given:
            return given[path]
        if path.endswith("/b"):
            return jnp.zeros(shape.shape, shape.dtype)
        noise = jax.random.normal(jax.random.fold_in(key, number), shape.shape, shape.dtype)
        return noise / jnp.sqrt(shape.shape[-2])

    leaves = enumerate(sorted(weights.flatten(own).items()))
    return weights.unflatten({path: value(n, path, shape) for n, (path, shape) in leaves})


def without(params: Tree, own: Tree) -> dict[str, Any]:
    """The parameters of a base that adapters do not replace."""
    replaced = weights.flatten(own)
    return weights.unflatten(
        {path: leaf for path, leaf in weights.flatten(params).items() if path not in replaced}
    )


def merged(base: Tree, own: Tree, scale: float) -> dict[str, Any]:
    """The parameters of the adapted model. Those that no adapter changes are the base's arrays.

    Args:
      base: the parameters of the base.
      own: the adapters.
      scale: `LoRA.scale`.
    """
    leaves, given = weights.flatten(base), weights.flatten(own)
    kernels = {path.removesuffix("/a") for path in given if path.removesuffix("/a") in leaves}
    for kernel in kernels - given.keys():
        change = jnp.matmul(given[f"{kernel}/a"], given[f"{kernel}/b"], precision="highest")
        leaves[kernel] = leaves[kernel] + scale * change.astype(leaves[kernel].dtype)
    pairs = {f"{kernel}/{name}" for kernel in kernels for name in "ab"}
    leaves |= {path: leaf for path, leaf in given.items() if path not in pairs}
    return weights.unflatten(leaves)


def of_card(described: Mapping[str, Any]) -> tuple[LoRA, tuple[str, ...]]:
    """The config of adapters and the patterns of what is fresh, from the `adapter` of a card."""
    lora = LoRA(
        targets=tuple(described["targets"]), rank=described["rank"], alpha=described["alpha"]
    )
    return lora, tuple(described["fresh"])


def whole(variables: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """The variables of a model whose adapters are trained, as the model takes them; variables
    without a base are returned as they are."""
    others = dict(variables)
    if BASE not in others:
        return others
    return {**others, "params": merged(others.pop(BASE), others["params"], scale)}


def check_base(described: Mapping[str, Any], params: Tree, name: str) -> None:
    """Refuses parameters that are not those that adapters were trained on.

    Args:
      described: the `adapter` of a card.
      params: the parameters.
      name: what they are called in the message.

    Raises:
      ValueError: they are others; the message has both digests.
    """
    found, wanted = weights.digest(params), described["sha256"]
    if found != wanted:
        raise ValueMistake(
            f"the adapters belong to the weights of {described['base']} with the digest {wanted}, "
            f"but those of {name} have {found}; take the base that they were trained on"
        )
