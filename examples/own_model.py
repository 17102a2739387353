"""A Linen module of your own on a CSV file: trained, loaded, asked and exported.

    python examples/own_model.py houses.csv

In the shell:

    zoo train examples/own_model.py:houses --data.train houses.csv --workdir runs/houses
    zoo predict runs/houses --code examples/own_model.py "120, 3, 1"
    zoo export runs/houses --code examples/own_model.py --out out/houses
"""

import sys

import jax.numpy as jnp
import optax
from flax import linen as nn

import zoo


class Net(nn.Module):
    width: int = 64

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(1)(nn.relu(nn.Dense(self.width)(x)))[..., 0]


def squared_error(output, batch):
    return jnp.sum(batch["weights"] * (output - batch["targets"]) ** 2), jnp.sum(batch["weights"])


def houses(file="houses.csv"):
    return zoo.Recipe(
        model=zoo.module(Net, width=128),
        data=zoo.arrays(file, target="price", standardise=True),
        task=zoo.task(squared_error),
        optimizer=zoo.optax(optax.adamw, learning_rate=1e-2),
        steps=500,
        batch_size=64,
    )


if __name__ == "__main__":
    zoo.fit(houses(*sys.argv[1:]), "runs/houses")
    print(zoo.load("runs/houses")([120.0, 3.0, 1.0]))
    zoo.export("runs/houses", "out/houses")
