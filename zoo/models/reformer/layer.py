"""A layer of a Reformer and its branches: self-attention, attention to a source, feed-forward.

Each branch reads one stream and changes the other (see `reversible`).

Shapes: `*b` any leading axes, `B` batch, `S` source length, `T` length, `D` model, `H` heads, `K`
width of a query, `W` width of a value; in decoding `N` beams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Shaped

from zoo.models.layers import ACTIVATIONS, LayerNorm, dense, dropout
from zoo.models.reformer.attention import CrossAttention
from zoo.models.reformer.config import ReformerStackConfig
from zoo.models.reformer.heads import LayerCache
from zoo.models.reformer.reversible import Extras, Streams


class Masks(NamedTuple):
    """True at real tokens; None where there is no padding."""

    sequence: Bool[Array, "B T"] | None = None
    """Of the sequence that the stack transforms."""
    source: Bool[Array, "B S"] | None = None
    """Of the source that a decoder reads."""


class AttentionBranch(nn.Module):
    """Layer norm, then attention of the sequence to itself."""

    heads: nn.Module
    """The attention, from `AttentionConfig.build`."""

    def setup(self) -> None:
        self.norm = LayerNorm()

    def __call__(
        self, x: Float[Array, "B T D"], memory: Any, extras: Extras
    ) -> tuple[Float[Array, "B T D"], Any]:
        """See `reversible.Branch`."""
        change, choices = self.heads(
            self.norm(x), extras.masks.sequence, extras.rotations, extras.choices, extras.rng
        )
        return change, choices

    def extend(
        self, x: Float[Array, "B N T D"], cache: LayerCache, length: Int[Array, ""], rotations: Any
    ) -> tuple[Float[Array, "B N T D"], LayerCache]:
        """The change by the next tokens, and the cache with them."""
        change, cache = self.heads.extend(self.norm(x), cache, length, rotations)
        return change, cache


class SourceBranch(nn.Module):
    """Layer norm, then attention to the source."""

    heads: CrossAttention
    """The attention."""

    def setup(self) -> None:
        self.norm = LayerNorm()

    def __call__(
        self, x: Float[Array, "B T D"], memory: Float[Array, "B S D"], extras: Extras
    ) -> tuple[Float[Array, "B T D"], tuple[()]]:
        """See `reversible.Branch`."""
        keys, values = self.heads.keys_values(memory)
        return self.heads(self.norm(x), keys, values, extras.masks.source, extras.rng), ()

    def remember(
        self, memory: Float[Array, "B S D"]
    ) -> tuple[Float[Array, "B H S K"], Float[Array, "B H S W"]]:
        """The keys and values of the source, which every step of decoding needs."""
        return self.heads.keys_values(memory)

    def extend(
        self,
        x: Float[Array, "B N T D"],
        keys_values: tuple[Float[Array, "B H S K"], Float[Array, "B H S W"]],
        mask: Bool[Array, "B S"] | None,
    ) -> Float[Array, "B N T D"]:
        """The change by the next tokens."""
        flat = jax.lax.collapse(x, 1, 3)
        context: jax.Array = self.heads(self.norm(flat), *keys_values, mask)
        return context.reshape(x.shape)


class FeedForwardBranch(nn.Module):
    """Layer norm, then two dense layers with an activation between them."""

    config: ReformerStackConfig

    def setup(self) -> None:
        self.norm = LayerNorm()
        self.up = dense(self.config.d_ff, self.config.dtype)
        self.down = dense(self.config.d_model, self.config.dtype)

    def __call__(
        self, x: Float[Array, "B T D"], memory: Any, extras: Extras
    ) -> tuple[Float[Array, "B T D"], tuple[()]]:
        """See `reversible.Branch`."""
        chunk_len = self.config.ff_chunk_len
        if chunk_len is None or chunk_len >= x.shape[1] or self.is_initializing():
            return self.change(x, extras.rng), ()

        def piece(branch: FeedForwardBranch, number: Array, part: Array) -> Array:
            rng = None if extras.rng is None else jax.random.fold_in(extras.rng, number)
            return branch.change(part, rng)

        return in_pieces(piece, self, chunk_len, x), ()

    @nn.compact  # an activation may have a parameter
    def change(self, x: Float[Array, "*b T D"], rng: Any = None) -> Float[Array, "*b T D"]:
        """The change by some positions; without a key in `rng` there is no dropout."""
        inner, outer = (None, None) if rng is None else jax.random.split(rng)
        hidden = ACTIVATIONS[self.config.activation](self.up(self.norm(x)))
        out = self.down(dropout(hidden, self.config.dropout_rate, inner))
        return dropout(out, self.config.dropout_rate, outer)


def in_pieces(
    function: Callable[..., Any],
    module: nn.Module,
    chunk_len: int,
    *arrays: Shaped[Array, "B T ..."],
) -> Any:
    """`function(module, number, *parts)` for each piece of a sequence, put together again.

    What is computed inside is recomputed in the backward pass, piece by piece: less memory, more
    time. Positions must not depend on each other.

    Args:
      function: gets the module, the number of the piece, and the piece of each array [B, L, …].
      module: whose parameters it uses.
      chunk_len: L, the positions of a piece; the last one is filled up with zeros.
      *arrays: to be cut.

    Returns:
      A pytree of arrays [B, T, …].
    """
    length = arrays[0].shape[1]
    chunk_len = min(chunk_len, max(length, 1))

    def split(x: jax.Array) -> jax.Array:
        padding = [(0, 0), (0, -length % chunk_len), *[(0, 0)] * (x.ndim - 2)]
        return jnp.pad(x, padding).reshape(len(x), -1, chunk_len, *x.shape[2:]).swapaxes(0, 1)

    def join(x: jax.Array) -> jax.Array:
        return x.swapaxes(0, 1).reshape(x.shape[1], -1, *x.shape[3:])[:, :length]

    def step(module: nn.Module, number: Array, parts: tuple[Array, ...]) -> tuple[Array, Any]:
        return number + 1, function(module, number, *parts)

    scan = nn.scan(
        nn.remat(step),
        variable_axes={"intermediates": 0},
        variable_broadcast="params",
        check_constancy_invariants=False,
    )
    _, pieces = scan(module, jnp.zeros((), jnp.int32), tuple(map(split, arrays)))
    return jax.tree.map(join, pieces)


class Layer(nn.Module):
    """The branches of one layer."""

    attention: AttentionBranch
    cross_attention: SourceBranch | None
    """None: there is no source."""
    mlp: FeedForwardBranch

    @nn.nowrap
    def branches(self) -> dict[str, nn.Module]:
        """By name, in the order in which they are applied."""
        names = ("attention", "cross_attention", "mlp")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def extend(
        self,
        streams: Streams,
        cache: LayerCache,
        length: Int[Array, ""],
        rotations: Any,
        source: tuple[Any, ...],
    ) -> tuple[Streams, LayerCache]:
        """The streams of the next tokens after this layer, and the cache with them.

        Args:
          streams: those before it, [B, N, T, D] each.
          cache: of this layer.
          length: the number of tokens in the cache.
          rotations: of this layer, if it attends by hashes.
          source: if there is one, the last arguments of `SourceBranch.extend`.
        """
        x1, x2 = streams
        change, cache = self.attention.extend(x2, cache, length, rotations)
        x1, x2 = x2, x1 + change
        if self.cross_attention is not None:
            x1, x2 = x2, x1 + self.cross_attention.extend(x2, *source)
        return (x2, x1 + self.mlp.change(x2)), cache
