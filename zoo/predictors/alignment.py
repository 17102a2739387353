"""Which words of the source a translation looks at, by the attention of the decoder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.models.attention import Attention
from zoo.models.seq2seq import LSTMSeq2Seq
from zoo.models.transformer import Block
from zoo.predictors.batching import Array

TO_SOURCE: dict[type[nn.Module], str] = {Block: "cross_attention", LSTMSeq2Seq: "attention"}
"""The modules that have an attention to the source, and its name in them."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """How much each token of a source counted for each token of its translation."""

    source: tuple[str, ...]
    """The source's tokens as text, S."""
    target: tuple[str, ...]
    """The translation's tokens as text, and its end, T."""
    weights: Array
    """float32 [T, S]: the mean over the heads, of one layer or of all. A row sums to 1, and belongs
    to the step that chose its token."""


@functools.partial(jax.jit, static_argnames="module")
def source_weights(
    module: nn.Module, variables: Any, inputs: jax.Array, targets: jax.Array
) -> jax.Array:
    """The mean weights of each layer's attention to the source, float32 [layers, B, T, S].

    It has no layers if the module has no such attention.

    Args:
      module: a translator.
      variables: its variables.
      inputs: int32 [B, S].
      targets: int32 [B, T].
    """
    found: list[jax.Array] = []

    def watch(
        call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        attention = context.module
        if isinstance(attention, Attention) and context.method_name == "__call__":
            names = [name for kind, name in TO_SOURCE.items() if isinstance(attention.parent, kind)]
            if attention.name in names:
                x, keys, _, mask, *_ = args
                found.append(attention.weights(x, keys, mask).mean(axis=1))
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        module.apply(variables, inputs, targets, train=False)
    return jnp.stack(found) if found else jnp.zeros((0, *targets.shape, inputs.shape[1]))
