"""What tests of models share."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.jit, static_argnames=("module", "train", "method", "sizes"))
def _apply(module, variables, inputs, sizes, train, method, rngs):
    keywords = {"method": method} if method else {"train": train, "rngs": rngs}
    return module.apply(variables, *inputs, *sizes, **keywords)


def run(module, variables, *inputs, train=False, method=None, rngs=None) -> Any:
    """The module's answer, compiled: op by op these tests would take minutes.

    Integers among the inputs are sizes, known when the program is compiled; they follow the arrays.
    """
    sizes = tuple(item for item in inputs if isinstance(item, int))
    arrays = tuple(item for item in inputs if not isinstance(item, int))
    return _apply(module, variables, arrays, sizes, train, method, rngs)


def random_variables(config, key) -> tuple[Any, Any]:
    """The module of a config, and random variables for it, made without compiling an `init`.

    Normal, also what `init` makes 0: biases, positions. Scales and variances are around 1.
    """
    seed = np.random.default_rng(int(jax.random.bits(key)))

    def leaf(path, shape):
        name = jax.tree_util.keystr(path)
        mean = 1.0 if "scale" in name or "['var']" in name else 0.0
        values = seed.normal(mean, 0.25, shape.shape)
        return jnp.asarray(abs(values) if "['var']" in name else values, jnp.float32)

    return config.build(), jax.tree_util.tree_map_with_path(leaf, config.variable_shapes())


SIZES = {"d_model": 16, "d_ff": 16, "num_heads": 2, "max_len": 40}
"""Of a tiny Transformer."""


def toy_predictor(config, task, key, preprocessing=None, tokenizer=None, labels=()) -> Any:
    """A predictor with random weights, large enough that answers differ."""
    from zoo import predictors, tokenizers
    from zoo.storage.cards import Card

    tokenizer = tokenizer or tokenizers.ByteTokenizer()
    random = np.random.default_rng(int(jax.random.bits(key())))

    def leaf(path, shape):
        name = jax.tree_util.keystr(path)
        values = random.normal(1.0 if "scale" in name else 0.0, 0.4, shape.shape)
        return jnp.asarray(abs(values) if "['var']" in name else values, jnp.float32)

    card = Card(
        name="toy",
        task=task,
        config=config,
        tokenizer=tokenizers.describe(tokenizer),
        preprocessing=preprocessing or {},
        labels=labels,
    )
    variables = jax.tree_util.tree_map_with_path(leaf, config.variable_shapes())
    return predictors.create(card, variables, tokenizer)


@functools.cache
def summing_config() -> type:
    """The config of a module that sums: of one argument, or of two with a tree of outputs."""
    from flax import linen as nn

    from zoo.models.base import ModelConfig

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, y=None, *, train=False):
            x = x.astype(jnp.float32).reshape(x.shape[0], -1)
            total = x.sum(-1) + self.param("bias", nn.initializers.ones, ())
            return total if y is None else {"sum": total + y, "first": x[:, :2]}

    @dataclass(frozen=True, kw_only=True)
    class NetConfig(ModelConfig):
        shapes: tuple[tuple[int, ...], ...]
        dtype_of_inputs: str = "float32"

        def build(self):
            return Net()

        def example_inputs(self, batch):
            return tuple(
                jax.ShapeDtypeStruct((batch, *shape), self.dtype_of_inputs) for shape in self.shapes
            )

    return NetConfig
