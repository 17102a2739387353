"""The layers of a Reformer, and the stack of them through which two streams pass.

Each layer is a function of one stream that changes the other (see `reversible`). Parameters of
layers that have the same place in the cycle of attention types are stacked: `layer_0` holds those
of the layers 0, n, 2 n … of a cycle of n, along the leading axis.

Shapes: `B` batch, `S` source length, `T` length, `D` model, `H` heads, `K` width of a query, `W` of
a value; in decoding `N` beams, `L` the most tokens of a cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from zoo.models.layers import ACTIVATIONS, Dropout, LayerNorm, dense, sinusoids
from zoo.models.reformer.chunks import in_pieces
from zoo.models.reformer.config import ReformerStackConfig
from zoo.models.reformer.lsh_attention import LSHAttentionConfig, draw_rotations
from zoo.models.reformer.reversible import Given, Streams, reversible
from zoo.models.reformer.self_attention import (
    AttentionConfig,
    CrossAttention,
    LayerCache,
    LSHSelfAttention,
    SelfAttention,
    empty_cache,
)

Rotations = Sequence[Any]
"""An array [G, K, R, F] for each layer that attends by hashes, in order; see `hash_buckets`."""


class Masks(NamedTuple):
    """True at real tokens; None where there is no padding."""

    own: Bool[Array, "B T"] | None = None
    source: Bool[Array, "B S"] | None = None


@struct.dataclass
class Memory:
    """What a decoder sees of a source in decoding."""

    layers: tuple[Any, ...]
    """Keys [B, H, S, K] and values [B, H, S, W], one entry a layer."""
    mask: Bool[Array, "B S"] | None


@struct.dataclass
class Cache:
    """The state of decoding: all that the next step must know of the tokens before it."""

    length: Int[Array, ""]
    """Tokens so far, the same for all rows."""
    layers: tuple[LayerCache, ...]
    rotations: tuple[Float[Array, "_ _ _ _"] | None, ...]
    """One entry a layer; None where attention is not by hashes."""
    memory: Memory | None = None
    """None in a language model."""

    def reorder(self, parents: Int[Array, "B M"]) -> Cache:
        """The cache in which beam m has the past of beam `parents[:, m]`."""
        return replace(self, layers=tuple(layer.reorder(parents) for layer in self.layers))


class AttentionLayer(nn.Module):
    """Layer norm and attention to the own sequence."""

    config: ReformerStackConfig
    attention: AttentionConfig
    causal: bool

    def setup(self) -> None:
        config = self.config
        how = config.sizes, self.causal, config.dropout_rate, config.dtype
        self.norm = LayerNorm()
        if isinstance(self.attention, LSHAttentionConfig):
            self.heads: Any = LSHSelfAttention(self.attention, *how)
        else:
            self.heads = SelfAttention(self.attention, *how)

    def __call__(
        self, x: Float[Array, "B T D"], memory: Any, given: Given, train: bool
    ) -> tuple[Float[Array, "B T D"], Any]:
        normed, mask = self.norm(x), given.fixed.own
        if isinstance(self.attention, LSHAttentionConfig):
            found, sorting = self.heads(normed, given.each, mask, given.kept, train=train)
            return found, sorting
        # A decoder has padding at the end alone, where it is hidden as the future is.
        return self.heads(normed, None if self.causal else mask, train=train), ()

    def extend(
        self,
        x: Float[Array, "B N T D"],
        cache: LayerCache,
        length: Int[Array, ""],
        rotations: Float[Array, "G K R F"] | None,
    ) -> tuple[Float[Array, "B N T D"], LayerCache]:
        """The next tokens, and the cache with them."""
        extra: tuple[Any, ...] = ()
        if isinstance(self.attention, LSHAttentionConfig):
            # Those of the longest text: a token's hash depends on no text's length.
            extra = rotations, self.attention.factors(self.config.max_positions, rotations)
        found, cache = self.heads.extend(self.norm(x), cache, length, *extra)
        return found, cache


class SourceLayer(nn.Module):
    """Layer norm and attention to a source."""

    config: ReformerStackConfig
    sum_values: bool

    def setup(self) -> None:
        config = self.config
        self.norm = LayerNorm()
        self.heads = CrossAttention(
            config.sizes, config.dropout_rate, config.dtype, self.sum_values
        )

    def __call__(
        self, x: Float[Array, "B T D"], memory: Float[Array, "B S D"], given: Given, train: bool
    ) -> tuple[Float[Array, "B T D"], Any]:
        keys, values = self.heads.keys_values(memory)
        return self.heads(self.norm(x), keys, values, given.fixed.source, train=train), ()

    def remember(self, memory: Float[Array, "B S D"]) -> tuple[jax.Array, jax.Array]:
        """The keys and values of a source."""
        return self.heads.keys_values(memory)

    def extend(
        self,
        x: Float[Array, "B N T D"],
        keys_values: tuple[Float[Array, "B H S K"], Float[Array, "B H S W"]],
        mask: Bool[Array, "B S"] | None,
    ) -> Float[Array, "B N T D"]:
        """What the next tokens find."""
        flat = jax.lax.collapse(x, 1, 3)
        found: jax.Array = self.heads(self.norm(flat), *keys_values, mask, train=False)
        return found.reshape(x.shape)


class FeedForwardLayer(nn.Module):
    """Layer norm and two dense layers with an activation between them."""

    config: ReformerStackConfig

    def setup(self) -> None:
        config = self.config
        self.norm = LayerNorm()
        self.up = dense(config.d_ff, config.dtype)
        self.down = dense(config.d_model, config.dtype)
        self.dropout = Dropout(config.dropout_rate)

    def __call__(
        self, x: Float[Array, "*b T D"], memory: Any, given: Given, train: bool
    ) -> tuple[Float[Array, "*b T D"], Any]:
        hidden = ACTIVATIONS[self.config.activation](self.up(self.norm(x)))
        out = self.down(self.dropout(hidden, train=train))
        return self.dropout(out, train=train), ()


@dataclass(frozen=True)
class Apply:
    """A layer as a function of `reversible`, in pieces of the sequence if `chunk_len` is given."""

    layer: nn.Module
    train: bool
    chunk_len: int | None = None

    def __call__(self, parameters: Any, x: jax.Array, memory: Any, given: Given) -> Any:
        if self.chunk_len is None or self.chunk_len >= x.shape[1]:
            return self._whole(parameters, x, memory, given)

        def piece(number: jax.Array, parameters: Any, part: jax.Array) -> jax.Array:
            key = None if given.key is None else jax.random.fold_in(given.key, number)
            out: jax.Array = self._whole(parameters, part, memory, given._replace(key=key))[0]
            return out

        return in_pieces(piece, self.chunk_len, parameters, x), ()

    def _whole(self, parameters: Any, x: jax.Array, memory: Any, given: Given) -> Any:
        rngs = {} if given.key is None else {"dropout": given.key}
        return self.layer.apply(
            {"params": parameters}, x, memory, given, train=self.train, rngs=rngs
        )


class ReformerStack(nn.Module):
    """Positions and layers: an encoder, or a decoder if `causal`."""

    config: ReformerStackConfig
    num_layers: int
    causal: bool
    reads_source: bool = False
    sum_values: bool = False
    """See `CrossAttention`."""

    def setup(self) -> None:
        config = self.config
        if config.axial_shape:
            self.tables = tuple(
                self.param(f"axial_{axis}", nn.initializers.normal(1.0), shape)
                for axis, shape in enumerate(self._axial_shapes())
            )
        else:
            self.positions = self.param("positions", sinusoids, (config.max_len, config.d_model))
        self.kinds, self.repetitions = config.cycle(self.num_layers)
        self.stacked = tuple(
            self.param(f"layer_{place}", self._initial, kind)
            for place, kind in enumerate(self.kinds)
        )

    def __call__(
        self,
        x: Float[Array, "B T D"],
        masks: Masks,
        memory: Any = (),
        rotations: Rotations | None = None,
        *,
        train: bool,
    ) -> Streams:
        """Embeddings -> the two streams after the last layer.

        Args:
          x: the embeddings.
          masks: what is padding.
          memory: the source's vectors [B, S, D], for a decoder that reads one.
          rotations: of the layers that attend by hashes, in order; None: drawn, see `rotations`.
          train: whether there is dropout.
        """
        length = x.shape[1]
        self.config.check_length(length, "a sequence")
        x = x + self._first_positions(length)[None]
        names, functions = self._functions(train)
        drawn = self.rotations(rotations, length, train)
        given = Given(
            fixed=masks,
            each=tuple(
                _stack(drawn[place :: len(self.kinds)]) if name == "attention" else None
                for place, name in names
            ),
            key=self.make_rng("dropout") if train and self.config.dropout_rate else None,
        )
        parameters = tuple(self.stacked[place][name] for place, name in names)
        return reversible(functions, parameters, (x, x), memory, given)

    def rotations(
        self, given: Rotations | None, length: int, train: bool
    ) -> tuple[jax.Array | None, ...]:
        """The rotations of each layer; None for one that does not attend by hashes.

        They are drawn by the stream of random numbers `lsh`, if there is one, in training by
        `dropout`; otherwise they are always the same, so that an answer is.
        """
        kinds = enumerate(self.kinds * self.repetitions)
        by_hashes = [(i, kind) for i, kind in kinds if isinstance(kind, LSHAttentionConfig)]
        sizes, found = self.config.sizes, dict[int, jax.Array]()
        if given is not None and len(given) != len(by_hashes):
            raise ValueError(
                f"{len(given)} rotations are given, but {len(by_hashes)} layers attend by hashes"
            )
        key = jax.random.key(0)
        if by_hashes and given is None:
            stream = "lsh" if self.has_rng("lsh") else "dropout"
            if self.has_rng(stream) and (train or stream == "lsh"):
                key = self.make_rng(stream)
        for number, (i, kind) in enumerate(by_hashes):
            shape = kind.rotation_shape(sizes.num_heads, sizes.d_key, length)
            if given is None:
                found[i] = draw_rotations(jax.random.fold_in(key, i), shape)
                continue
            found[i] = jnp.asarray(given[number])
            fits = found[i].shape[1:3] == shape[1:3] and found[i].shape[0] % shape[0] == 0
            if not fits or (kind.num_buckets is not None and found[i].shape[3] != shape[3]):
                raise ValueError(
                    f"rotations {number} have the shape {list(found[i].shape)}; for {length} "
                    f"positions it is {list(shape)}, or the first of these times the examples"
                )
        return tuple(found.get(i) for i in range(self.num_layers))

    def embed(self, at: Int[Array, "T"]) -> Float[Array, "T D"]:
        """The vectors of some positions."""
        config = self.config
        if not config.axial_shape:
            return jnp.take(self.positions, at, axis=0)
        digits = jnp.unravel_index(at, config.axial_shape)
        return jnp.concatenate(
            [
                jnp.take(table.reshape(side, -1), digit, axis=0)
                for table, side, digit in zip(self.tables, config.axial_shape, digits, strict=True)
            ],
            axis=-1,
        )

    def _first_positions(self, length: int) -> Float[Array, "T D"]:
        """The vectors of the positions from 0 on: without a gather, whose gradient is a scatter."""
        if not self.config.axial_shape:
            return self.positions[:length]
        others = self.config.axial_shape[1:]
        rows = -(-length // math.prod(others))
        tables = self.tables[0][:, :rows], *self.tables[1:]
        wide = [jnp.broadcast_to(x, (1, rows, *others, x.shape[-1])) for x in tables]
        return jnp.concatenate(wide, axis=-1).reshape(-1, self.config.d_model)[:length]

    def start(
        self,
        batch: int,
        length: int,
        rotations: Rotations | None = None,
        memory: Float[Array, "B S D"] | None = None,
        mask: Bool[Array, "B S"] | None = None,
    ) -> Cache:
        """A cache of no tokens with room for `length`, for one beam a row."""
        self.config.check_length(length, "a cache")
        remembered = None
        if memory is not None:
            remembered = Memory(
                tuple(
                    layer.apply({"params": parameters}, memory, method="remember")
                    for name, layer, parameters, _ in self._each_layer()
                    if name == "cross_attention"
                ),
                mask,
            )
        kinds = self.kinds * self.repetitions
        return Cache(
            length=jnp.zeros((), jnp.int32),
            layers=tuple(empty_cache(kind, self.config.sizes, batch, length) for kind in kinds),
            rotations=self.rotations(rotations, self.config.max_positions, train=False),
            memory=remembered,
        )

    def extend(
        self, x: Float[Array, "B N T D"], cache: Cache
    ) -> tuple[tuple[Float[Array, "B N T D"], Float[Array, "B N T D"]], Cache]:
        """Embeddings of the next tokens -> the two streams, and the cache with them."""
        length, new = cache.length, x.shape[2]
        x = x + self.embed(length + jnp.arange(new))[None, None]
        x1, x2, layers = x, x, []
        remembered, mask = (), None
        if cache.memory is not None:
            remembered, mask = cache.memory.layers, cache.memory.mask
        for name, layer, parameters, i in self._each_layer():

            def apply(*inputs: Any, layer: Any = layer, parameters: Any = parameters) -> Any:
                return layer.apply({"params": parameters}, *inputs, method="extend")

            if name == "attention":
                change, kept = apply(x2, cache.layers[i], length, cache.rotations[i])
                layers.append(kept)
            elif name == "cross_attention":
                change = apply(x2, remembered[i], mask)
            else:
                change, _ = layer.apply({"params": parameters}, x2, (), Given(), train=False)
            x1, x2 = x2, x1 + change
        return (x1, x2), replace(cache, length=length + new, layers=tuple(layers))

    @nn.nowrap
    def _layers(self, kind: AttentionConfig) -> dict[str, nn.Module]:
        """The functions that make up a layer, by the names of their parameters."""
        layers: dict[str, nn.Module] = {
            "attention": AttentionLayer(self.config, kind, self.causal, parent=None)
        }
        if self.reads_source:
            layers["cross_attention"] = SourceLayer(self.config, self.sum_values, parent=None)
        return layers | {"mlp": FeedForwardLayer(self.config, parent=None)}

    def _functions(self, train: bool) -> tuple[list[tuple[int, str]], tuple[Apply, ...]]:
        """One cycle: (place in it, name) and function of each."""
        names, functions = [], []
        for place, kind in enumerate(self.kinds):
            for name, layer in self._layers(kind).items():
                chunk_len = self.config.ff_chunk_len if name == "mlp" else None
                names.append((place, name))
                functions.append(Apply(layer, train, chunk_len))
        return names, tuple(functions)

    def _each_layer(self) -> list[tuple[str, nn.Module, Any, int]]:
        """Name, module, parameters and number of the layer for every function, in order."""
        found = []
        for repetition in range(self.repetitions):
            for place, kind in enumerate(self.kinds):
                for name, layer in self._layers(kind).items():
                    parameters = jax.tree.map(
                        lambda leaf, at=repetition: leaf[at], self.stacked[place][name]
                    )
                    number = repetition * len(self.kinds) + place
                    found.append((name, layer, parameters, number))
        return found

    def _initial(self, key: jax.Array, kind: AttentionConfig) -> dict[str, Any]:
        """First parameters of the layers of one place in the cycle."""
        config, sizes = self.config, self.config.sizes
        x = jnp.zeros((1, 1, config.d_model))
        each = None
        if isinstance(kind, LSHAttentionConfig):
            each = jnp.zeros(kind.rotation_shape(sizes.num_heads, sizes.d_key, 1))
        given = Given(fixed=Masks(), each=each)
        found = {}
        for number, (name, layer) in enumerate(self._layers(kind).items()):

            def one(key: jax.Array, layer: nn.Module = layer) -> Any:
                return layer.init(key, x, x, given, train=False)["params"]

            keys = jax.random.split(jax.random.fold_in(key, number), self.repetitions)
            found[name] = jax.vmap(one)(keys)
        return found

    @nn.nowrap
    def _axial_shapes(self) -> list[tuple[int, ...]]:
        """[1, 1 …, side, … 1, width] for each side."""
        shape, widths = self.config.axial_shape, self.config.side_widths
        return [
            (1, *(side if axis == other else 1 for other in range(len(shape))), width)
            for axis, (side, width) in enumerate(zip(shape, widths, strict=True))
        ]


def _stack(rotations: Sequence[jax.Array | None]) -> jax.Array | None:
    given = [each for each in rotations if each is not None]
    return jnp.stack(given) if given else None
