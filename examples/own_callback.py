"""A callback of your own: it prints the largest weight at each report, and ends a run that is done.

    python examples/own_callback.py reviews.csv

In the shell:

    zoo train bag_of_embeddings_file --data.train reviews.csv --workdir runs/watched \\
        --callback examples/own_callback.py:watch
    zoo predict runs/watched "a fine film"
    zoo export runs/watched --out out/watched
"""

import sys

import jax

import zoo


def watch(report):
    largest = max(float(abs(leaf).max()) for leaf in jax.tree.leaves(report.state.params))
    print(f"step {report.step}: the largest weight is {largest:.3f}")
    return report.metrics.get("validation/accuracy", 0.0) == 1.0  # True ends the run


if __name__ == "__main__":
    recipe = zoo.override(zoo.recipe("bag_of_embeddings_file"), {"data.train": tuple(sys.argv[1:])})
    zoo.fit(recipe, "runs/watched", callbacks=[watch])
    print(zoo.load("runs/watched")("a fine film"))
    zoo.export("runs/watched", "out/watched")
