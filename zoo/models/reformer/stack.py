"""The stack of a Reformer's layers, through which two streams pass (see `reversible`).

Layers whose attention is of the same kind share one compiled loop: of a cycle of n kinds,
`layer_0` holds the parameters of the layers 0, n, 2 n …, stacked along a leading axis.

Shapes: `B` batch, `S` source length, `T` length, `D` model, `H` heads, `K` width of a query, `W`
width of a value; in decoding `N` beams.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from zoo.config import ValueMistake
from zoo.models.layers import sinusoids
from zoo.models.reformer import reversible
from zoo.models.reformer.attention import CrossAttention
from zoo.models.reformer.config import ReformerStackConfig
from zoo.models.reformer.heads import AttentionConfig, LayerCache
from zoo.models.reformer.layer import (
    AttentionBranch,
    FeedForwardBranch,
    Layer,
    Masks,
    SourceBranch,
)
from zoo.models.reformer.reversible import Extras, Streams

Rotations = Sequence[Any]
"""An array [G, K, R, F] for each layer that attends by hashes, in order; see `hash_buckets`."""


class Cycle(nn.Module):
    """One repetition of the layers that are repeated."""

    layers: tuple[Layer, ...]

    def __call__(
        self, streams: Streams, step: tuple[Any, Any], memory: Any, extras: Extras
    ) -> tuple[Streams, tuple[Any, ...]]:
        """The streams after these layers, and the choices of their branches.

        Args:
          streams: those before.
          step: the number of the repetition, and the rotations of each branch.
          memory: see `reversible.Branch`.
          extras: the rest of them.
        """
        repetition, rotations = step
        branches = [branch for layer in self.layers for branch in layer.branches().values()]
        each = reversible.split(extras._replace(rotations=rotations), repetition)
        return reversible.forward(branches, streams, memory, each)


@struct.dataclass
class Source:
    """A decoder's source in decoding."""

    layers: tuple[Any, ...]
    """Keys [B, H, S, K] and values [B, H, S, W] for each layer."""
    mask: Bool[Array, "B S"] | None
    """True at real tokens."""


@struct.dataclass
class Cache:
    """The state of decoding, see `zoo.models.base`."""

    length: Int[Array, ""]
    """Tokens read so far, the same for all rows."""
    layers: tuple[LayerCache, ...]
    rotations: tuple[Float[Array, "_ _ _ _"] | None, ...]
    """Of each layer; None where attention is not by hashes."""
    source: Source | None = None
    """None in a language model."""

    def reorder(self, parents: Int[Array, "B M"]) -> Cache:
        """The cache in which beam m has the history of beam `parents[:, m]`."""
        layers = tuple(layer.reorder(parents) for layer in self.layers)
        return dataclasses.replace(self, layers=layers)

    def rows(self, indices: Int[Array, "R"]) -> Cache:
        """See `zoo.models.base.Cache`."""
        batch, _, heads = self.layers[0].keys.shape[:3]

        def take(x: jax.Array) -> jax.Array:
            return jnp.take(x, indices, axis=0)

        def of_rows(each: jax.Array) -> jax.Array:
            if each.shape[0] == heads:  # all rows have the same
                return each
            return take(each.reshape(batch, heads, *each.shape[1:])).reshape(-1, *each.shape[1:])

        layers, source = jax.tree.map(take, (self.layers, self.source))
        rotations = jax.tree.map(of_rows, self.rotations)
        return dataclasses.replace(self, layers=layers, source=source, rotations=rotations)


class ReformerStack(nn.Module):
    """Positions and layers: an encoder, or a decoder if `causal`.

    Parameters: `positions` [max_len, D], or a table `axial_0` … for each side of the box; and
    `layer_0` … for each kind of attention, stacked as said above.

    Forward-mode differentiation needs `reversible=False`, see `ReformerStackConfig`.
    """

    config: ReformerStackConfig
    num_layers: int
    causal: bool
    reads_source: bool = False
    """Whether the layers attend to a source too."""

    def setup(self) -> None:
        config = self.config
        if config.axial_shape:
            self.tables = tuple(
                self.param(f"axial_{side}", nn.initializers.normal(1.0), shape, jnp.float32)
                for side, shape in enumerate(self.axial_shapes())
            )
        else:
            self.positions = self.param("positions", sinusoids, (config.max_len, config.d_model))
        self.kinds, self.repetitions = config.cycle(self.num_layers)
        for place, kind in enumerate(self.kinds):
            setattr(self, f"layer_{place}", self.layer(kind))
        self.layers = tuple(getattr(self, f"layer_{place}") for place in range(len(self.kinds)))
        self.cycles = nn.scan(
            Cycle,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast, nn.broadcast),
            length=self.repetitions,
            check_constancy_invariants=False,  # as nothing is broadcast out of the loop
        )(self.layers)

    # What a layer is made of.

    @nn.nowrap
    def layer(self, kind: AttentionConfig) -> Layer:
        """A layer that is not part of any module yet."""
        source = SourceBranch(self.cross_attention(), parent=None) if self.reads_source else None
        return Layer(
            attention=AttentionBranch(self.self_attention(kind), parent=None),
            cross_attention=source,
            mlp=FeedForwardBranch(self.config, parent=None),
            parent=None,
        )

    @nn.nowrap
    def self_attention(self, kind: AttentionConfig) -> nn.Module:
        """A layer's attention of the sequence to itself."""
        return kind.build(self.config.heads, self.causal)

    @nn.nowrap
    def cross_attention(self) -> CrossAttention:
        """A layer's attention to the source."""
        return CrossAttention(self.config.heads, parent=None)

    # A whole sequence.

    def __call__(
        self,
        x: Float[Array, "B T D"],
        masks: Masks,
        memory: Any = (),
        rotations: Rotations | None = None,
        *,
        train: bool,
    ) -> Streams:
        """Embeddings -> the two streams [B, T, D] after the last layer, float32.

        Args:
          x: the embeddings.
          masks: where tokens are real.
          memory: the source's vectors [B, S, D], for a decoder that reads one.
          rotations: of the layers that attend by hashes, in order; None: drawn, see `rotations`.
          train: whether there is dropout, which takes the rng `dropout`.

        Raises:
          ValueError: the sequence is longer than `max_positions`, or rotations do not fit.
        """
        length = x.shape[1]
        self.config.check_length(length, "a sequence")
        x = x + self.positions_at(jnp.arange(length))[None]
        drawn = self.rotations(rotations, length, train)
        extras = Extras(
            masks=masks,
            rotations=tuple(
                _stacked(drawn[place :: len(self.kinds)]) if name == "attention" else None
                for place, layer in enumerate(self.layers)
                for name in layer.branches()
            ),
            rng=self.make_rng("dropout") if train and self.config.dropout_rate else None,
        )
        if self.is_initializing() or not self.config.reversible:
            return self.run((x, x), memory, extras)[0]
        reversibly = nn.custom_vjp(
            lambda stack, *inputs: stack.run(*inputs)[0],
            forward_fn=lambda stack, *inputs: stack.run_keeping(*inputs),
            backward_fn=self.backward(),
        )
        streams: Streams = reversibly(self, (x, x), memory, extras)
        return streams

    def run(self, streams: Streams, memory: Any, extras: Extras) -> tuple[Streams, tuple[Any, ...]]:
        """The streams after all layers, and the choices of the branches, see `reversible`."""
        steps = jnp.arange(self.repetitions), extras.rotations
        result: tuple[Streams, tuple[Any, ...]] = self.cycles(
            streams, steps, memory, extras._replace(rotations=None)
        )
        return result

    def run_keeping(self, streams: Streams, memory: Any, extras: Extras) -> tuple[Streams, Any]:
        """The streams after all layers, and what `backward` needs."""
        streams, choices = self.run(streams, memory, extras)
        kept = self.variables["params"], streams, memory, extras._replace(choices=choices)
        return streams, kept

    @nn.nowrap
    def backward(self) -> Callable[[Any, Streams], Any]:
        """The backward pass, as `nn.custom_vjp` wants it.

        In it Flax has no scope, so detached branches are applied to their parameters.
        """
        kinds, _ = self.config.cycle(self.num_layers)
        branches = {
            (f"layer_{place}", name): branch
            for place, kind in enumerate(kinds)
            for name, branch in self.layer(kind).branches().items()
        }

        def apply(branch: nn.Module, own: Any, *inputs: Any) -> Any:
            return branch.apply({"params": own}, *inputs)

        functions = [functools.partial(apply, branch) for branch in branches.values()]

        def pull_back(kept: Any, gradients: Streams) -> Any:
            parameters, streams, memory, extras = kept
            own = tuple(parameters[layer][name] for layer, name in branches)
            _, of_own, of_streams, of_memory = reversible.backward(
                functions, own, streams, memory, extras, gradients
            )
            of_parameters = jax.tree.map(jnp.zeros_like, parameters)
            for (layer, name), gradient in zip(branches, of_own, strict=True):
                of_parameters[layer][name] = gradient
            return {"params": of_parameters}, of_streams, of_memory, None

        return pull_back

    def rotations(
        self, given: Rotations | None, length: int, train: bool
    ) -> tuple[jax.Array | None, ...]:
        """The rotations of each layer; None for one that does not attend by hashes.

        They are drawn from the rng `lsh` if there is one; else in training from `dropout`; else
        from a fixed key, so that a model always gives the same answer.

        Raises:
          ValueError: given rotations are not as many, or not of the shapes, that the layers need.
        """
        kinds = self.kinds * self.repetitions
        shapes = {
            number: shape
            for number, kind in enumerate(kinds)
            if (shape := kind.rotation_shape(self.config.heads, length))
        }
        if given is not None:
            return _checked(given, shapes, kinds, length)
        key = jax.random.key(0)
        if shapes and self.has_rng("lsh"):
            key = self.make_rng("lsh")
        elif shapes and train and self.has_rng("dropout"):
            key = self.make_rng("dropout")
        drawn = {
            number: jax.random.normal(jax.random.fold_in(key, number), shape, jnp.float32)
            for number, shape in shapes.items()
        }
        return tuple(drawn.get(number) for number in range(self.num_layers))

    # Positions.

    @nn.nowrap
    def axial_shapes(self) -> list[tuple[int, ...]]:
        """[1, 1 …, side, … 1, width] for each side of the box."""
        shape, widths = self.config.axial_shape, self.config.side_widths
        return [
            (1, *(size if side == other else 1 for other in range(len(shape))), width)
            for side, (size, width) in enumerate(zip(shape, widths, strict=True))
        ]

    def positions_at(self, at: Int[Array, "T"]) -> Float[Array, "T D"]:
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

    # Decoding.

    def start(
        self,
        batch: int,
        length: int,
        rotations: Rotations | None = None,
        memory: Float[Array, "B S D"] | None = None,
        mask: Bool[Array, "B S"] | None = None,
    ) -> Cache:
        """A cache with room for `length` tokens, for one beam a row.

        Args:
          batch: number of rows.
          length: the most tokens that will be read.
          rotations: as in a call.
          memory: the source's vectors, for a decoder that reads one.
          mask: True at real tokens of the source.

        Raises:
          ValueError: `length` is more than `max_positions`, or rotations do not fit.
        """
        self.config.check_length(length, "a cache")
        source = None
        if memory is not None:
            layers = [
                of_repetition(SourceBranch.remember, repetition)(layer.cross_attention, memory)
                for repetition in range(self.repetitions)
                for layer in self.layers
            ]
            source = Source(tuple(layers), mask)
        return Cache(
            length=jnp.zeros((), jnp.int32),
            layers=tuple(
                self.self_attention(kind).start(batch, length)
                for kind in self.kinds * self.repetitions
            ),
            rotations=self.rotations(rotations, self.config.max_positions, train=False),
            source=source,
        )

    def extend(
        self, x: Float[Array, "B N T D"], cache: Cache, count: Int[Array, ""] | None = None
    ) -> tuple[Streams, Cache]:
        """Embeddings of the next tokens -> their streams [B, N, T, D], and the cache with `count`.

        Padding is written into the cache too. It is hidden from all tokens before it, and
        overwritten by those that take its place.
        """
        length, new = cache.length, x.shape[2]
        x = x + self.positions_at(length + jnp.arange(new, dtype=jnp.int32))[None, None]
        streams, layers = (x, x), []
        for number in range(self.num_layers):
            repetition, place = divmod(number, len(self.kinds))
            source: tuple[Any, ...] = ()
            if cache.source is not None:
                source = cache.source.layers[number], cache.source.mask
            streams, layer = of_repetition(Layer.extend, repetition)(
                self.layers[place],
                streams,
                cache.layers[number],
                length,
                cache.rotations[number],
                source,
            )
            layers.append(layer)
        length = length + (new if count is None else count)
        return streams, dataclasses.replace(cache, length=length, layers=tuple(layers))


def of_repetition(method: Callable[..., Any], repetition: int) -> Callable[..., Any]:
    """`method` of a module with stacked parameters, run with those of one repetition."""

    def pick(variables: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[repetition], variables)

    return nn.map_variables(method, "params", pick)


def _stacked(rotations: Sequence[jax.Array | None]) -> jax.Array | None:
    arrays = [each for each in rotations if each is not None]
    return jnp.stack(arrays) if arrays else None


def _checked(
    given: Rotations,
    shapes: dict[int, tuple[int, int, int, int]],
    kinds: Sequence[AttentionConfig],
    length: int,
) -> tuple[jax.Array | None, ...]:
    """Given rotations for each layer or None, after making sure that they fit."""
    if len(given) != len(shapes):
        raise ValueMistake(
            f"{len(given)} rotations are given, but {len(shapes)} layers attend by hashes"
        )
    arrays = {number: jnp.asarray(each) for number, each in zip(shapes, given, strict=True)}
    for index, (number, shape) in enumerate(shapes.items()):
        sets, *others = arrays[number].shape
        if getattr(kinds[number], "num_buckets", None) is None:
            others[2:] = shape[3:]  # rotations may decide the number of buckets
        if sets % shape[0] or tuple(others) != shape[1:]:
            raise ValueMistake(
                f"rotations {index} have the shape {list(arrays[number].shape)}; for {length} "
                f"positions it is {list(shape)}, or the first of these times the examples"
            )
    return tuple(arrays.get(number) for number in range(len(kinds)))
