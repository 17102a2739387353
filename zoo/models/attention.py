"""Multi-head attention (Vaswani et al. 2017, section 3.2), over whole sequences and over a cache.

Shapes: `B` batch, `T` queries, `S` keys, `D` model, `H` heads, `K` head width. Heads stand before
positions, and the positions of keys after the width, values [B, H, S, K] and keys [B, H, K, S]: so
both products take a cache as it lies. Other layouts take two to five times as long on a CPU.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from zoo.models.dense import Dense, Precision
from zoo.models.layers import Dropout

HIDDEN = -1e9
"""The score of a key that is not to be seen."""


class Attention(nn.Module):
    """Queries of one sequence, keys and values of another or the same: `keys_values` makes them.

    That they come in separately is what lets a decoder keep them.
    """

    d_model: int
    num_heads: int
    dropout_rate: float = 0.0
    """Of the attention weights."""
    dtype: Precision = "float32"

    def setup(self) -> None:
        self.query = Dense(self.d_model, self.dtype)
        self.key = Dense(self.d_model, self.dtype)
        self.value = Dense(self.d_model, self.dtype)
        self.out = Dense(self.d_model, self.dtype)
        self.dropout = Dropout(self.dropout_rate)

    def keys_values(
        self, x: Float[Array, "B S D"]
    ) -> tuple[Float[Array, "B H K S"], Float[Array, "B H S K"]]:
        """What a sequence offers to queries."""
        return self._heads(self.key(x)).swapaxes(2, 3), self._heads(self.value(x))

    def __call__(
        self,
        x: Float[Array, "B T D"],
        keys: Float[Array, "B H K S"],
        values: Float[Array, "B H S K"],
        mask: Bool[Array, "#B 1 #T S"],
        train: bool = False,
    ) -> Float[Array, "B T D"]:
        """What the positions of `x` find.

        Args:
          x: makes the queries.
          keys, values: see `keys_values`.
          mask: True where a query may see a key. A query that sees none finds zeros, so that no
            answer depends on the amount of padding (trax has the sum of all values there, an
            artefact of its float32 arithmetic).
          train: whether there is dropout.
        """
        queries = self._heads(self.query(x))
        if self._has_flash(queries, keys, train):
            found = _flash(queries, keys, values, mask)
        else:
            scores = jnp.einsum("bhtk,bhks->bhts", queries, keys) / math.sqrt(queries.shape[-1])
            weights = jax.nn.softmax(jnp.where(mask, scores, HIDDEN), axis=-1)
            weights = self.dropout(weights, train=train)
            found = jnp.einsum("bhts,bhsk->bhtk", weights, values)
        found = jnp.where(mask.any(axis=-1)[..., None], found, 0.0)
        return self.out(found.swapaxes(1, 2).reshape(x.shape))

    def _has_flash(
        self, queries: Float[Array, "B H T K"], keys: Float[Array, "B H K S"], train: bool
    ) -> bool:
        """Whether cuDNN's fused attention takes this: heads of some widths, on a GPU.

        Its gradients are for even lengths, and it knows no dropout of the weights.
        """
        length, width = queries.shape[2:]
        even = length % 2 == 0 and keys.shape[3] % 2 == 0
        return (
            jax.default_backend() == "gpu"
            and self.dtype == "bfloat16"
            and width % 8 == 0
            and width <= 128
            and (not train or (even and self.dropout_rate == 0))
        )

    def _heads(self, x: Float[Array, "B T D"]) -> Float[Array, "B H T K"]:
        batch, length, width = x.shape
        heads = x.reshape(batch, length, self.num_heads, width // self.num_heads)
        return heads.swapaxes(1, 2)


def _flash(
    queries: Float[Array, "B H T K"],
    keys: Float[Array, "B H S K"],
    values: Float[Array, "B H S K"],
    mask: Bool[Array, "#B 1 #T S"],
) -> Float[Array, "B H T K"]:
    keys = keys.swapaxes(2, 3)
    q, k, v = (x.swapaxes(1, 2).astype(jnp.bfloat16) for x in (queries, keys, values))
    batch, _, length, _ = queries.shape
    full = jnp.broadcast_to(mask, (batch, 1, length, keys.shape[2]))
    found: jax.Array = jax.nn.dot_product_attention(q, k, v, mask=full, implementation="cudnn")
    return found.swapaxes(1, 2).astype(jnp.float32)
