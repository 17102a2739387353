"""A loss of your own for a task of the zoo: the focal loss on a CSV of texts and their classes.

    python examples/own_loss.py reviews.csv

In the shell:

    zoo train examples/own_loss.py:focal --data.train reviews.csv --task.gamma 3 \\
        --workdir runs/focal
    zoo predict runs/focal "a fine film"
    zoo export runs/focal --out out/focal
"""

import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp

import zoo
from zoo.train import TextClassification


@dataclass(frozen=True, kw_only=True)
class FocalLoss(TextClassification):
    """Cross-entropy that counts easy examples less (Lin et al. 2017, equation 4)."""

    gamma: float = 2.0

    def loss(self, output, batch):
        log = jax.nn.log_softmax(output)
        right = jnp.take_along_axis(log, batch["targets"][:, None], axis=1)[:, 0]
        losses = -((1 - jnp.exp(right)) ** self.gamma) * right
        return jnp.sum(batch["weights"] * losses), jnp.sum(batch["weights"])


def focal(file="reviews.csv"):
    changes = {"task": FocalLoss(), "data.train": (file,)}
    return zoo.override(zoo.recipe("bag_of_embeddings_file"), changes)


if __name__ == "__main__":
    zoo.fit(focal(*sys.argv[1:]), "runs/focal")
    print(zoo.load("runs/focal")("a fine film"))
    zoo.export("runs/focal", "out/focal")
