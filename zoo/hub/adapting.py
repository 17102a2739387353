"""`zoo.with_adapter`: several adapters over one base, which is loaded once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from zoo.config import ValueMistake
from zoo.hub import devices, opening

if TYPE_CHECKING:
    from zoo.predictors import Predictor
    from zoo.storage.checkpoints import Step

P = TypeVar("P", bound="Predictor")


def with_adapter(base: P, source: str | Path, *, step: Step = "best") -> P:
    """A predictor of a model with adapters, made of a predictor of their base.

    The base stays what it is, and its arrays serve both; only the kernels that are adapted take
    memory of their own. So any number of adapters share one base:

    >>> base = zoo.load("transformer_ende_small", dtype="float32")  # doctest: +SKIP
    >>> chess, law = (zoo.with_adapter(base, f"adapters/{name}") for name in ("chess", "law"))

    Args:
      base: the predictor, in float32.
      source: the folder of a run that trained adapters, or of exported ones.
      step: of a run: which checkpoint.

    Raises:
      ValueError: there are no adapters in the folder, or they belong to another base (the message
        has both digests), or the base is not in float32.
    """
    import jax

    from zoo import predictors
    from zoo.storage import adapters

    card = opening.card(source)
    if not card.adapter:
        raise ValueMistake(f"{source} has whole weights and no adapters; zoo.load loads it")
    if base.card.config.precision != "float32":
        raise ValueMistake(
            f"{base.card.name} is in {base.card.config.precision}; adapters are merged in float32: "
            "load the base with dtype='float32'"
        )
    adapters.check_base(card.adapter, base.variables["params"], base.card.name)
    folder = opening.find(source).parent
    number, own, _, _ = opening.own_variables(card, folder, step, devices.device(None))
    # As host arrays they go to wherever those of the base are.
    variables = opening.whole_variables(card, jax.device_get(own), base.variables)
    config = card.config.in_precision("float32")
    card = dataclasses.replace(card, config=config, checkpoint=number)
    tokenizer = opening.load_tokenizer(card, folder)
    return cast("P", predictors.create(card, variables, tokenizer))
