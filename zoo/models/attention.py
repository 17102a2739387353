"""Multi-head attention (Vaswani et al. 2017, section 3.2), over whole sequences and over a cache.

Shapes: `B` batch, `T` queries, `S` keys, `D` model, `H` heads, `K` width of a head.

Queries and values are [B, H, T, K], keys [B, H, K, S]. In this layout both products read a cache as
it is stored; the usual [B, T, H, K] takes two to five times as long on a CPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from zoo import xla
from zoo.models.dense import Precision
from zoo.models.layers import Dropout, dense

HIDDEN = -1e9
"""The score of a key that a query may not see."""

KeysValues = tuple[Float[Array, "B H K _"], Float[Array, "B H _ K"]]
"""Keys [B, H, K, S] and values [B, H, S, K] of any one sequence."""


def attention_weights(
    queries: Float[Array, "B H T K"],
    keys: Float[Array, "B H K S"],
    mask: Bool[Array, "#B 1 #T S"],
) -> Float[Array, "B H T S"]:
    """For each query how much each key counts: the softmax of their scores."""
    scores = jnp.einsum("bhtk,bhks->bhts", queries, keys) / math.sqrt(queries.shape[-1])
    return jax.nn.softmax(jnp.where(mask, scores, HIDDEN), axis=-1)


def attend(
    queries: Float[Array, "B H T K"],
    keys: Float[Array, "B H K S"],
    values: Float[Array, "B H S K"],
    mask: Bool[Array, "#B 1 #T S"],
    drop: Callable[[Array], Array] = lambda weights: weights,
) -> Float[Array, "B H T K"]:
    """For each query the weighted mean of the values."""
    weights = drop(attention_weights(queries, keys, mask))
    return jnp.einsum("bhts,bhsk->bhtk", weights, values)


class Attention(nn.Module):
    """Attention of the positions of one sequence to those of another, or of the same.

    Keys and values are computed by `keys_values` and passed in, so that a decoder can cache them.

    Parameters: dense layers `query`, `key`, `value` and `out`, each [D, D].
    """

    d_model: int
    num_heads: int
    """Heads; they divide d_model."""
    dropout_rate: float = 0.0
    """Share of the attention weights that is dropped in training."""
    dtype: Precision = "float32"
    """Of the dense layers. Scores, softmax and weighted sums are float32."""

    def setup(self) -> None:
        self.query = dense(self.d_model, self.dtype)
        self.key = dense(self.d_model, self.dtype)
        self.value = dense(self.d_model, self.dtype)
        self.out = dense(self.d_model, self.dtype)
        self.dropout = Dropout(self.dropout_rate)

    def keys_values(self, x: Float[Array, "B S D"]) -> KeysValues:
        """The keys and values of a sequence."""
        return self._heads(self.key(x)).swapaxes(2, 3), self._heads(self.value(x))

    def __call__(
        self,
        x: Float[Array, "B T D"],
        keys: Float[Array, "B H K S"],
        values: Float[Array, "B H S K"],
        mask: Bool[Array, "#B 1 #T S"],
        train: bool = False,
    ) -> Float[Array, "B T D"]:
        """For each position of `x` a mean of the values, weighted by query and keys; float32.

        `mask` is True where a query may see a key. A query that may see none gets zeros, so that no
        answer depends on the amount of padding. (trax gives it the sum of all values, an artefact
        of float32.) Training takes the rng `dropout`.
        """
        queries = self._heads(self.query(x))
        dropout_rate = self.dropout_rate if train else 0.0
        if self.dtype == "bfloat16" and xla.has_fused_attention(queries, dropout_rate):
            context = xla.fused_attention(attend, queries, keys, values, mask)
        else:
            drop = functools.partial(self.dropout, train=train)
            context = attend(queries, keys, values, mask, drop)
        context = jnp.where(mask.any(axis=-1)[..., None], context, 0.0)
        return self.out(context.swapaxes(1, 2).reshape(x.shape))

    def weights(
        self,
        x: Float[Array, "B T D"],
        keys: Float[Array, "B H K S"],
        mask: Bool[Array, "#B 1 #T S"],
    ) -> Float[Array, "B H T S"]:
        """How much each key counts for each position of `x`, in each head."""
        return attention_weights(self._heads(self.query(x)), keys, mask)

    def _heads(self, x: Float[Array, "B T D"]) -> Float[Array, "B H T K"]:
        batch, length, width = x.shape
        heads = x.reshape(batch, length, self.num_heads, width // self.num_heads)
        return heads.swapaxes(1, 2)
