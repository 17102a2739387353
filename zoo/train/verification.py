"""The proof of `zoo verify` that needs data: a model reaches the metric that its card states."""

from __future__ import annotations

from pathlib import Path

from zoo import hub
from zoo.config import ConfigError
from zoo.hub.verification import Proof, reference
from zoo.train import evaluation

SLACK = 0.1
"""How much worse than the card's figure the metric of a sample may be, as a share of that figure.
"""


def metric(source: str | Path, examples: int) -> Proof:
    """Measures the metric by which the recipe chose the model, on a sample, beside the card's.

    Args:
      source: a published name, a run's folder or an exported folder.
      examples: size of the sample; 0: do not measure it.
    """
    card = hub.card(source)
    if not examples or not card.metrics:
        reason = "the card has none" if examples else "not asked for"
        return Proof("metric", None, reason)
    try:
        best = evaluation.recipe_of(card, hub.find(source).parent).task.best
        with reference():
            measured = evaluation.evaluate(source, limit=examples)
    except (ImportError, OSError, LookupError, ConfigError) as error:
        return Proof("metric", None, f"cannot be measured here: {error}")
    kind = best.metric.rpartition("/")[2]
    names = [name for name in measured if name in card.metrics and name.partition("/")[2] == kind]
    if not names:
        return Proof("metric", None, f"the card has no {kind} of what was measured")
    (name,) = names
    stated, value = card.metrics[name], measured[name]
    loss = stated - value if best.mode == "max" else value - stated
    detail = f"{name} {value:.5f} on about {examples} examples, {stated:.5f} in the card"
    return Proof("metric", loss <= SLACK * abs(stated), detail)
