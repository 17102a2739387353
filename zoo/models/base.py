"""The base of the model families: the config that builds a module, and how models decode.

A family is one config class and one Linen module for each form that it has. The config holds every
number that the module depends on; the module takes the config and nothing else. Whether a call
trains is an argument of the call.

**Decoding.** Models that produce tokens share one protocol, so that `zoo.decoding` serves all of
them without knowing any. Its state is a plain value, the cache, that goes in and comes out:

    cache = module.start(source, length)              # nothing read yet; room for `length` tokens
    logits, cache = module.extend(tokens, cache)      # reads tokens; after each, logits of the next
    cache = cache.reorder(parents)                    # beam search: beams continue other beams
    cache = cache.rows(indices)                       # several answers: rows continue other rows

`Decoder` and `Cache` state what each of them owes. A recurrent language model also has `begin`
and `unroll` (`Recurrent`), which carry its state from one piece of a long text to the next.

**Old weights.** Models trained by trax keep a few of its peculiarities, such as averaging over
padding. They are in `models/trax/`: a config that needs them holds a `TraxQuirks`, which then
builds a variant of the module. The families' own files do without them.

Shapes: `B` batch, `N` and `M` beams, `T` tokens, `V` vocabulary.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, get_args, runtime_checkable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from zoo.config import ConfigError, ValueMistake, check_share, check_size, override
from zoo.models.dense import Precision

C = TypeVar("C", bound="ModelConfig")
B = TypeVar("B", bound="BoundedConfig")

SIZES = frozenset(
    "vocab_size target_vocab_size num_classes input_shape input_size hidden_sizes stage_sizes width"
    " widen_factor d_model d_ff d_key d_value num_heads num_layers num_encoder_layers"
    " num_decoder_layers num_blocks max_len".split()
)
"""Config fields that are sizes: 1 or more, or None where the data decides."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(abc.ABC):
    """The values that a Linen module is built from: frozen, hashable, JSON-ready.

    A field that is None by default (`vocab_size`, `num_classes`, `input_shape`) is decided by the
    data: `Recipe.resolve` fills it in, and `build` does not guess it.

    Raises:
      ConfigError: a size is below 1 or a dropout rate is not in [0, 1).
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name.endswith("dropout_rate"):
                check_share(field.name, getattr(self, field.name))
            elif field.name in SIZES:
                check_size(field.name, getattr(self, field.name))

    @abc.abstractmethod
    def build(self) -> nn.Module:
        """The module. It takes only this config; `train` is an argument of its call."""

    @abc.abstractmethod
    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shapes and dtypes of the arguments of a call, enough to initialise the parameters."""

    def variable_shapes(self) -> dict[str, Any]:
        """Shapes and dtypes of the module's variables; nothing is computed."""
        shapes = _variable_shapes(self)
        own: dict[str, Any] = jax.tree.map(lambda leaf: leaf, shapes)  # the caller may change it
        return own

    def fields_without_weights(self) -> frozenset[str]:
        """The fields that no weight depends on. Fine-tuning keeps the recipe's own values of them.

        They are `dtype`, `remat`, dropout rates, and fields with the metadata `weights: False`.
        """
        return frozenset(
            field.name
            for field in dataclasses.fields(self)
            if field.name in ("dtype", "remat")
            or field.name.endswith("dropout_rate")
            or not field.metadata.get("weights", True)
        )

    def size_of(self, field: str) -> int:
        """The value of a size that the data may decide.

        Raises:
          ConfigError: it is still None.
        """
        value = getattr(self, field)
        if value is None:
            raise ConfigError(
                f"{type(self).__name__}.{field} is not set: give it (zoo.create(name, {field}=…)), "
                "or train by a recipe, whose data decides it"
            )
        return int(value)

    @property
    def precision(self) -> Precision:
        """The precision of the dense layers, see `dense`."""
        dtype: Precision = getattr(self, "dtype", "float32")
        return dtype

    def in_precision(self: C, dtype: Precision) -> C:
        """This config with its dense layers in another precision.

        Raises:
          ConfigError: there is no such precision, or the family does not have it.
        """
        if dtype not in get_args(Precision):
            raise ConfigError(f"dtype is {dtype!r}; it is one of {', '.join(get_args(Precision))}")
        if dtype == self.precision:
            return self
        if not hasattr(self, "dtype"):
            raise ConfigError(
                f"{type(self).__name__} has no dtype: dense layers take little of its time, so "
                f"{dtype!r} would gain nothing; leave dtype out"
            )
        return override(self, {"dtype": dtype})

    @property
    def max_positions(self) -> int | None:
        """The longest sequence that the module takes, in positions; None: any length."""
        return None

    @property
    def described_limit(self) -> str:
        """The fields that set `max_positions`, for error messages: `max_len=256`."""
        return f"max_len={self.max_positions}"

    def check_length(self, length: int, what: str) -> None:
        """Raises ValueError if `what` has more positions than the module takes."""
        if self.max_positions is not None and length > self.max_positions:
            raise ValueMistake(
                f"{what} of {length} positions is longer than {self.described_limit}; give a "
                "shorter one"
            )

    def with_max_len(self: C, length: int) -> C:
        """This config with room for sequences of `length` positions; itself if it has that."""
        return self

    @property
    def reads_padding(self) -> bool:
        """Whether the padding after a text changes the answer for it."""
        return False

    @property
    def padding(self) -> int:
        """The id to pad a sequence with; 0 for a model that knows none."""
        pad_id: int | None = getattr(self, "pad_id", None)
        return pad_id or 0

    @property
    def exact_lengths(self) -> bool:
        """Whether an answer depends on the padded length, so that padding may not be added.

        So it is where padding is read; it may also be where the length decides something else, such
        as the number of hash buckets.
        """
        return self.reads_padding

    @property
    def stacks_layers(self) -> bool:
        """Whether the module also takes parameters whose blocks are stacked, see `stacks`."""
        return False

    @property
    def carries_state(self) -> bool:
        """Whether the module has `begin` and `unroll`, see `Recurrent`."""
        return False


@functools.lru_cache(maxsize=16)  # tracing a deep model takes a second
def _variable_shapes(config: ModelConfig) -> dict[str, Any]:
    module = config.build()
    key = jax.random.key(0)
    return dict(
        jax.eval_shape(lambda *inputs: module.init(key, *inputs), *config.example_inputs(1))
    )


@dataclass(frozen=True, kw_only=True)
class TokenConfig(ModelConfig):
    """The fields of every model that reads token ids [B, T]."""

    vocab_size: int | None = None
    """Token ids are 0 … vocab_size - 1; an id outside is clipped to the nearest."""
    d_model: int = 512
    """Width of an embedding, and of each position between the layers."""
    init_scale: float = 1.0
    """The entries of a new embedding table have the variance init_scale² / d_model; 1.0 is trax's.
    """

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        length = min(8, self.max_positions or 8)
        return (jax.ShapeDtypeStruct((batch, length), jnp.int32),)


@dataclass(frozen=True, kw_only=True)
class BoundedConfig(TokenConfig):
    """The fields of every model with a table of positions."""

    max_len: int = 2048
    """The longest sequence, in positions: rows of the table."""

    @property
    def max_positions(self) -> int:
        return self.max_len

    def with_max_len(self: B, length: int) -> B:
        return self if self.max_len >= length else dataclasses.replace(self, max_len=length)


@dataclass(frozen=True, kw_only=True)
class SourceTargetConfig(TokenConfig):
    """The fields of every model that reads a source [B, S] and predicts a target [B, T]."""

    target_vocab_size: int | None = None
    """Size of the target's vocabulary, which then has an embedding table of its own; None: source
    and target share vocabulary and table."""

    @property
    def output_size(self) -> int:
        """Number of logits a target token: the size of the target's vocabulary."""
        return self.target_vocab_size or self.size_of("vocab_size")

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        return super().example_inputs(batch) * 2


@dataclass(frozen=True, kw_only=True)
class TraxQuirks(abc.ABC):
    """The differences of trax in one family, so that its weights give its answers.

    Each family that needs it has a subclass in `models/trax/`. Its fields are off by default; only
    `zoo.interop.trax.config` and the cards of imported models set them.
    """

    @abc.abstractmethod
    def build(self, config: Any) -> nn.Module:
        """The family's module with these quirks, for its config."""

    @property
    def reads_padding(self) -> bool:
        """Whether these quirks make the padding after a text change the answer for it."""
        return False


class Cache(Protocol):
    """The state of decoding: everything that the next step must know of the tokens before it.

    A pytree of arrays, of the same shapes after each step, so that a compiled loop can carry it.
    """

    def reorder(self, parents: Int[Array, "B M"]) -> Cache:
        """The cache in which beam m has the history of beam `parents[:, m]`.

        The number of beams may change, from the one that `start` gives to as many as are followed.
        """

    def rows(self, indices: Int[Array, "R"]) -> Cache:
        """The cache whose row r has the history, and the source, of row `indices[r]`."""


@runtime_checkable
class Decoder(Protocol):
    """A module that gives the logits of one token after the other; called by `apply(method=…)`."""

    def start(self, source: Any, length: int, /) -> Any:
        """A `Cache` with one beam a row in which nothing has been read.

        Args:
          source: the source tokens [B, S], which are encoded here, once; of a language model, which
            has none, the number of rows B.
          length: the most tokens that will be read. A recurrent model needs no such bound.

        Raises:
          ValueError: `length` or the source is longer than the model's `max_positions`.
        """

    def extend(
        self, tokens: Int[Array, "B N T"], cache: Any, count: Int[Array, ""] | None = None, /
    ) -> tuple[Float[Array, "B N T V"], Any]:
        """After each of `tokens` the logits of the next one, and the cache with `tokens` read.

        Args:
          tokens: for each beam the tokens that follow those in the cache, one or several. The first
            token of all is `decoding.START`, 0: what a call shifts in from the left. The cache must
            have room for all T, padding included.
          cache: of the tokens before them.
          count: only the first `count` tokens are read, 0 or more; the rest is padding, whose
            logits mean nothing. So one compiled program serves texts of many lengths. None: all T.

        Returns:
          float32 logits, those that a call on the whole sequence gives at these places (up to
          rounding; a Reformer's hashed attention gives similar ones), and a cache like the one
          given.
        """


@runtime_checkable
class Recurrent(Protocol):
    """A language model whose state lasts from one piece of a text to the next."""

    def begin(self, batch: int, /) -> Any:
        """The state before a text, for B rows: a pytree of arrays."""

    def unroll(
        self, tokens: Int[Array, "B T"], carry: Any, /, *, train: bool = False
    ) -> tuple[Float[Array, "B T V"], Any]:
        """The logits of each token of the next piece of a text, and the state after it."""
