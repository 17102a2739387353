"""A metric of your own: how often the right class is among the two most probable ones.

    python examples/own_metric.py reviews.csv

In the shell:

    zoo train examples/own_metric.py:top_two --data.train reviews.csv --workdir runs/top_two
    zoo eval runs/top_two --code examples/own_metric.py
    zoo predict runs/top_two "a fine film"
    zoo export runs/top_two --out out/top_two
"""

import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp

import zoo
from zoo.train import Best, TextClassification


def top_two_accuracy(output, batch):
    _, best = jax.lax.top_k(output, 2)
    hits = jnp.any(best == batch["targets"][:, None], axis=1)
    return jnp.sum(batch["weights"] * hits), jnp.sum(batch["weights"])


@dataclass(frozen=True, kw_only=True)
class TopTwo(TextClassification):
    """Classification whose best checkpoint is the one of the best top-two accuracy."""

    best = Best("validation/top_two", "max")

    def metrics(self):
        return {**super().metrics(), "top_two": top_two_accuracy}


def top_two(file="reviews.csv"):
    return zoo.override(
        zoo.recipe("bag_of_embeddings_file"), {"task": TopTwo(), "data.train": (file,)}
    )


if __name__ == "__main__":
    result = zoo.fit(top_two(*sys.argv[1:]), "runs/top_two")
    print(result.metrics["validation/top_two"])
    print(zoo.load("runs/top_two")("a fine film"))
    zoo.export("runs/top_two", "out/top_two")
