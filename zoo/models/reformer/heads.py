"""The parts of every kind of attention in a Reformer: heads, scores, chunks and a cache.

Each head has weights of its own, and the heads' outputs are added up.

Whether a query sees a key follows from two integers, their positions: keys of later positions are
hidden if attention is causal, keys without a position (`NOWHERE`) always, and where queries double
as keys the query's own position is seen only if nothing else is. Scores of hidden keys are lowered,
as in trax, whose float32 results depend on the order of these few operations.

Shapes: `*b` any leading axes, `B` batch, `T` positions, `D` model, `H` heads, `K` width of a query,
`W` width of a value, `C` chunks of `M` queries, `N` keys that a chunk sees; in decoding `N`
beams and `L` tokens that the cache has room for.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Int

from zoo import xla
from zoo.config import ConfigError
from zoo.models.attention import HIDDEN
from zoo.models.dense import Precision, multiply

ITSELF = -1e5
"""Added to the score of the query's own position where queries double as keys: it is far below all
scores and far above those of hidden keys (section 2, "Causal masking for shared-QK attention")."""

NOWHERE = -1
"""The position of a key that no query sees."""


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The sizes that all attention layers of a model have in common."""

    d_model: int
    num_heads: int
    d_key: int
    """Width of a head's queries and keys."""
    d_value: int
    """Width of a head's values."""
    dropout_rate: float = 0.0
    """Dropout rate of the output."""
    dtype: Precision = "float32"
    """Precision of the projections."""
    max_positions: int | None = None
    """Length of the longest sequence that may be decoded."""


@dataclass(frozen=True, kw_only=True)
class AttentionConfig(abc.ABC):
    """A kind of self-attention. The layers of a Reformer may be of different kinds."""

    chunk_len: int | None = None
    """Positions of a chunk, which attend to each other; None: attend to the whole sequence."""
    chunks_before: int = 0
    """Chunks before its own that a position sees."""
    chunks_after: int = 0
    """Chunks after its own that a position sees."""

    def __post_init__(self) -> None:
        if self.chunk_len is not None and self.chunk_len < 1:
            raise ConfigError(f"chunk_len is {self.chunk_len}; it is 1 or more")
        if self.chunks_before < 0 or self.chunks_after < 0:
            raise ConfigError(
                f"chunks_before={self.chunks_before} and chunks_after={self.chunks_after} must not "
                "be negative"
            )

    @abc.abstractmethod
    def build(self, common: HeadConfig, causal: bool) -> nn.Module:
        """The layer, with the methods of `SelfAttention`."""

    def rotation_shape(self, common: HeadConfig, length: int) -> tuple[int, int, int, int] | None:
        """The shape of the random rotations for a sequence of this length; None: it takes none."""
        return None

    def reads_padding(self, pad_id: int | None, looks_ahead: bool) -> bool:
        """Whether the padding after a text changes the answer for it."""
        return pad_id is None and looks_ahead


# Parameters.


def input_kernel(layer: Any, name: str, width: int) -> Float[Array, "H D K"]:
    """The parameter that projects the model's width to each head's."""
    init = nn.initializers.glorot_uniform(in_axis=1, out_axis=(0, 2))
    kernel: jax.Array = layer.param(
        name, init, (layer.common.num_heads, layer.common.d_model, width), jnp.float32
    )
    return kernel


def output_kernel(layer: Any) -> Float[Array, "H W D"]:
    """The parameter `out`, which projects the heads back to the model's width."""
    init = nn.initializers.glorot_uniform(in_axis=(0, 1), out_axis=2)
    common = layer.common
    shape = common.num_heads, common.d_value, common.d_model
    kernel: jax.Array = layer.param("out", init, shape, jnp.float32)
    return kernel


# Scores.


def attend(
    queries: Float[Array, "*b M K"],
    keys: Float[Array, "*#b N K"],
    values: Float[Array, "*#b N W"],
    query_positions: Int[Array, "*#b M"],
    key_positions: Int[Array, "*#b N"],
    *,
    causal: bool,
    avoid_self: bool,
) -> tuple[Float[Array, "*b M W"], Float[Array, "*b M"]]:
    """Each query's weighted mean of the values, and the log-sum-exp of its scores.

    The keys are scaled already. A query that sees no key gets a weight of about 1 for every key:
    the caller must not use its result.
    """
    scores = jnp.einsum("...mk,...nk->...mn", queries, keys)
    query, key = query_positions[..., :, None], key_positions[..., None, :]
    hidden = key < 0
    if causal:
        hidden = hidden | (query < key)
    lowered = jnp.where(hidden, HIDDEN, 0.0)
    if avoid_self:
        lowered = jnp.where(query == key, ITSELF, lowered)
    weights, normaliser = xla.softmax(scores + lowered)
    return jnp.einsum("...mn,...nw->...mw", weights, values), normaliser


def shared_keys(queries: Float[Array, "*b K"]) -> Float[Array, "*b K"]:
    """Queries as keys: scaled to length √K (section 2, "Shared-QK Transformer"), then by 1/√K."""
    width = queries.shape[-1]
    mean_square = jnp.einsum("...k,...k->...", queries, queries, precision="highest") / width
    return queries / (jnp.sqrt(mean_square + 1e-6) * math.sqrt(width))[..., None]


def with_neighbours(x: Array, before: int, after: int, fill: int) -> Array:
    """Each chunk of [*b, C, M, F] with the chunks before and after it: [*b, C, N, F].

    Beyond the ends of the sequence is `fill`; chunks that would be beyond them for every chunk are
    left out.
    """
    others = max(x.shape[-3], 1) - 1
    shifts = range(min(before, others), -min(after, others) - 1, -1)
    return jnp.concatenate([_shifted(x, by, fill) for by in shifts], axis=-2)


def _shifted(x: Array, by: int, fill: int) -> Array:
    """For each chunk of [*b, C, M, F] the chunk that is `by` places before it."""
    chunks = x.shape[-3]
    kept = jax.lax.slice_in_dim(x, max(-by, 0), chunks - max(by, 0), axis=x.ndim - 3)
    padding = [(0, 0)] * (x.ndim - 3) + [(max(by, 0), max(-by, 0)), (0, 0), (0, 0)]
    return jnp.pad(kept, padding, constant_values=fill)


def attend_in_chunks(
    config: AttentionConfig,
    queries: Float[Array, "*b T K"],
    keys: Float[Array, "*b T K"],
    values: Float[Array, "*b T W"],
    query_positions: Int[Array, "*#b T"],
    key_positions: Int[Array, "*#b T"],
    *,
    causal: bool,
    avoid_self: bool,
    around: Callable[[Array, int, int, int], Array] = with_neighbours,
) -> tuple[Float[Array, "*b T W"], Float[Array, "*b T"]]:
    """`attend`, in which the queries of a chunk see that chunk and those around it.

    The last chunk is filled up with keys that no query sees. `around` adds the other chunks.
    """
    length = queries.shape[-2]
    chunk_len = min(config.chunk_len or length, max(length, 1))

    def chunks(x: Array, fill: int = 0) -> Array:
        """[*b, T, F] -> [*b, C, M, F]."""
        padding = [(0, 0)] * (x.ndim - 2) + [(0, -length % chunk_len), (0, 0)]
        filled = jnp.pad(x, padding, constant_values=fill)
        return filled.reshape(*x.shape[:-2], -1, chunk_len, x.shape[-1])

    def seen(x: Array, fill: int = 0) -> Array:
        """[*b, T, F] -> [*b, C, N, F]."""
        return around(chunks(x, fill), config.chunks_before, config.chunks_after, fill)

    context, normaliser = attend(
        chunks(queries),
        seen(keys),
        seen(values),
        chunks(query_positions[..., None])[..., 0],
        seen(key_positions[..., None], NOWHERE)[..., 0],
        causal=causal,
        avoid_self=avoid_self,
    )
    context = context.reshape(*queries.shape[:-2], -1, values.shape[-1])
    return context[..., :length, :], normaliser.reshape(*queries.shape[:-2], -1)[..., :length]


def split_heads(
    x: Float[Array, "*b T D"], kernel: Float[Array, "H D K"], dtype: Precision
) -> Float[Array, "*b H T K"]:
    """Each head's projection, as one matrix product."""
    heads, width, size = kernel.shape
    matrix = kernel.swapaxes(0, 1).reshape(width, heads * size)
    product = multiply(x.reshape(-1, width), (matrix,), dtype)
    return product.reshape(*x.shape[:-1], heads, size).swapaxes(-3, -2)


def join_heads(
    x: Float[Array, "*b H T W"], kernel: Float[Array, "H W D"], dtype: Precision
) -> Float[Array, "*b T D"]:
    """The sum of the heads' projections back to the model's width, as one matrix product."""
    *batch, heads, length, size = x.shape
    joined = x.swapaxes(-3, -2).reshape(-1, heads * size)
    product = multiply(joined, (kernel.reshape(heads * size, -1),), dtype)
    return product.reshape(*batch, length, kernel.shape[-1])


# Decoding.


C = TypeVar("C", bound="LayerCache")


@struct.dataclass
class LayerCache:
    """The cache of an attention layer."""

    keys: Float[Array, "B N H L K"]
    """Scaled."""
    values: Float[Array, "B N H L W"]

    def reorder(self: C, parents: Int[Array, "B M"]) -> C:
        """The cache in which beam m has the history of beam `parents[:, m]`."""

        def pick(kept: jax.Array) -> jax.Array:
            where = parents.reshape(*parents.shape, *(1,) * (kept.ndim - 2))
            return jnp.take_along_axis(kept, where, axis=1)

        reordered: C = jax.tree.map(pick, self)
        return reordered

    def write(self: C, position: Int[Array, ""], **new: Array) -> C:
        """The cache with the keys, values … of new tokens from a position on."""
        axes = {"keys": 3, "values": 3, "buckets": 4}
        written = {
            name: jax.lax.dynamic_update_slice_in_dim(
                getattr(self, name), value, position, axis=axes[name]
            )
            for name, value in new.items()
        }
        return replace(self, **written)


def empty_cache(common: HeadConfig, batch: int, length: int) -> LayerCache:
    """A cache with room for `length` tokens, for one beam a row."""
    shape = (batch, 1, common.num_heads, length)
    return LayerCache(
        jnp.zeros((*shape, common.d_key), jnp.float32),
        jnp.zeros((*shape, common.d_value), jnp.float32),
    )
