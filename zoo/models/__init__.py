"""The model families. Importing this package imports none of them."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

from zoo import registry
from zoo.config import override

if TYPE_CHECKING:
    from flax import linen as nn


def create(name: str, **fields: Any) -> nn.Module:
    """The Linen module of a registered model, with some fields of its config changed.

    >>> zoo.create(  # doctest: +SKIP
    ...     "mlp", input_shape=(28, 28, 1), num_classes=10, hidden_sizes=(64,)
    ... )

    Raises:
      UnknownNameError: no model has that name.
      ConfigError: its config has no such field, or the value is of the wrong type.
    """
    module: nn.Module = override(registry.models.get(name)(), fields).build()
    return module


def import_families(text: str = "") -> None:
    """Imports the families, so that `config.from_dict` finds their classes by name.

    Args:
      text: of a stored config; only families whose classes it names are imported, or all of them
        if it names none.
    """
    classes = dict(registry.defined_in(__name__, r"^class (\w+)"))
    named = classes.keys() & set(re.findall(r"\w+", text))
    own = f"{__name__}.own"  # a module of the user's is named by nothing that the zoo knows
    for module in sorted({own, *(classes[name] for name in named or classes)}):
        importlib.import_module(module)
