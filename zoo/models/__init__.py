"""The model families.

Importing this package imports none of them: it says which module defines which name.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from zoo import registry
from zoo.config import override

if TYPE_CHECKING:
    from flax import linen as nn

FAMILIES = {
    "zoo.models.bag_of_embeddings": ("bag_of_embeddings",),
    "zoo.models.lstm": (
        "gru_lm",
        "lstm_classifier",
        "lstm_lm",
        "lstm_lm_tiny",
        "lstm_tagger",
    ),
    "zoo.models.mlp": ("mlp",),
    "zoo.models.reformer.models": (
        "reformer_base",
        "reformer_lm_base",
        "reformer_lm_long",
        "reformer_lm_small",
        "reformer_lm_tiny",
        "reformer_tagger",
        "reformer_tiny",
    ),
    "zoo.models.resnet": (
        "resnet101",
        "resnet152",
        "resnet18",
        "resnet20_cifar",
        "resnet32_cifar",
        "resnet34",
        "resnet50",
        "resnet56_cifar",
        "wide_resnet16_4",
        "wide_resnet28_10",
    ),
    "zoo.models.seq2seq": ("lstm_seq2seq",),
    "zoo.models.transformer": (
        "transformer_base",
        "transformer_big",
        "transformer_decoder_base",
        "transformer_encoder_base",
        "transformer_encoder_tiny",
        "transformer_lm_base",
        "transformer_lm_small",
        "transformer_lm_tiny",
        "transformer_small",
        "transformer_tiny",
    ),
}

registry.models.declare(FAMILIES)


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


def import_families() -> None:
    """Imports every family, so that `config.from_dict` can find each config class by its name."""
    from zoo.models import trax

    for module in FAMILIES:
        importlib.import_module(module)
    for found in pkgutil.iter_modules(trax.__path__, f"{trax.__name__}."):
        importlib.import_module(found.name)
