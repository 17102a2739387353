"""Residual networks for images.

* `ResNet`: He et al. 2015, "Deep Residual Learning for Image Recognition", for ImageNet (section
  3.3 and table 1) and for CIFAR (section 4.2).
* `WideResNet`: Zagoruyko & Komodakis 2016, "Wide Residual Networks".

Each convolution has a batch normalisation after it, or before it in `WideResNet`. Their running
statistics are the collection `batch_stats`, which a training step must carry
(`mutable=["batch_stats"]`).

Shapes: `B` batch, `H` height, `W` width, `C` channels, `N` classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Num

from zoo import registry, xla
from zoo.config import ConfigError
from zoo.models.base import ModelConfig, TraxQuirks
from zoo.models.layers import ACTIVATIONS, Activation, Dropout, dense

ConvPrecision = Literal["float32", "bfloat16"]
"""Precision of convolutions and of the activations between them."""

EPSILON = 1e-5
"""Added to a variance before its root is taken."""


@dataclass(frozen=True, kw_only=True)
class ImageModelConfig(ModelConfig):
    """Images [B, H, W, C] -> logits [B, N]: the fields that all networks here have."""

    input_shape: tuple[int, ...] | None = None
    """(H, W, C) of an image, in pixels. Only C matters to the parameters: a network takes images of
    any size."""
    num_classes: int | None = None
    """N, the width of the last layer."""
    norm_momentum: float = field(default=0.9, metadata={"weights": False})
    """Share of the running statistics that a training step keeps; 0 to 1."""
    dtype: ConvPrecision = "float32"
    """Precision of convolutions, of the activations between them and of the head's product. Batch
    statistics, and the parameters in training, are float32 with both."""
    trax: TraxQuirks | None = None
    """Set for trax's weights, whose networks differ; see `models/trax/resnet.py`."""

    def in_precision(self, dtype: Any) -> Any:
        if dtype == "int8":
            raise ConfigError(
                f"dtype is {dtype!r}; a {type(self).__name__} spends its time in convolutions, "
                f"which come in {' and '.join(get_args(ConvPrecision))}"
            )
        return super().in_precision(dtype)

    def example_inputs(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        if self.input_shape is None or len(self.input_shape) != 3:
            raise ConfigError(
                f"{type(self).__name__}.input_shape is not set: give the height, the width and the "
                f"channels of an image, such as (32, 32, 3) (it is {self.input_shape})"
            )
        return (jax.ShapeDtypeStruct((batch, *self.input_shape), jnp.float32),)


class ImageModule(nn.Module):
    """Makes the layers that the networks and their blocks share."""

    config: Any

    @nn.nowrap
    def conv(self, features: int, size: int, stride: int = 1, *, name: str) -> nn.Conv:
        """A square convolution, padded on each side by half its size, rounded down.

        It has no bias, which a normalisation would remove. Parameter: `kernel` [size, size, C,
        features]. An image [H, W] becomes [⌈H / stride⌉, ⌈W / stride⌉].
        """
        return nn.Conv(
            features,
            (size, size),
            stride,
            padding=size // 2,
            use_bias=False,
            dtype=jnp.dtype(self.config.dtype),
            kernel_init=nn.initializers.he_normal(),
            conv_general_dilated=xla.convolution,
            name=name,
        )

    @nn.nowrap
    def norm(
        self,
        x: Float[Array, "B H W C"],
        train: bool,
        *,
        name: str,
        scale_init: nn.initializers.Initializer = nn.initializers.ones,
    ) -> Float[Array, "B H W C"]:
        """Each channel with mean 0 and variance 1, scaled and shifted (Ioffe & Szegedy 2015).

        In training the statistics are those of the whole batch, on however many devices it lies,
        and the running ones move towards them; otherwise the running ones are used. Parameters:
        `scale`, `bias` [C]; in `batch_stats`: `mean`, `var` [C], float32, the variance biased.

        Raises:
          ConfigError: training on a single value a channel, which would become 0.
        """
        if train and math.prod(x.shape[:-1]) == 1:
            raise ConfigError(
                "batch normalisation cannot train on one value a channel: the batch is one image, "
                "of which 1 x 1 positions are left here, so that the variance is 0; take a "
                "batch_size of 2 or more, or larger images"
            )
        layer = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.config.norm_momentum,
            epsilon=EPSILON,
            dtype=jnp.dtype(self.config.dtype),
            scale_init=scale_init,
            name=name,
        )
        normal: jax.Array = layer(x)
        return normal

    @nn.nowrap
    def head(self, x: Float[Array, "B H W C"]) -> Float[Array, "B N"]:
        """Float32 logits from the last activations."""
        size = self.config.size_of("num_classes")
        logits: jax.Array = dense(size, self.config.dtype, name="head")(self.pool(x))
        return logits

    @nn.nowrap
    def pool(self, x: Float[Array, "B H W C"]) -> Float[Array, "B C"]:
        """The mean of each channel over all positions, float32."""
        return x.astype(jnp.float32).mean(axis=(1, 2))


# ResNet.


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(ImageModelConfig):
    """Images [B, H, W, C] -> logits [B, N]. The defaults are those of ResNet-50."""

    block: Literal["basic", "bottleneck"] = "bottleneck"
    """`basic`: two 3 x 3 convolutions. `bottleneck`: 1 x 1, 3 x 3 and a 1 x 1 that is four times as
    wide."""
    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    """Blocks of each stage. Each stage but the first halves the image and doubles the width."""
    width: int = 64
    """Channels of the first stage's inner convolutions."""
    stem: Literal["7x7", "3x3"] = "7x7"
    """The first layers: a 7 x 7 convolution with stride 2 and a max pool with stride 2, or, for
    small images, one 3 x 3 convolution."""
    shortcut: Literal["projection", "padding"] = "projection"
    """Where a block changes the shape: a 1 x 1 convolution and its normalisation (the paper's
    option B), or every second position, with zeros for the new channels (option A, of the networks
    for CIFAR)."""
    activation: Activation = "relu"
    """Follows each normalisation and each sum."""
    zero_init: bool = True
    """Let the scale of each block's last normalisation begin at 0, so that every block begins as
    its shortcut (Goyal et al. 2017, section 5.1); otherwise it begins at 1."""

    def build(self) -> nn.Module:
        return self.trax.build(self) if self.trax else ResNet(self)


class ResidualBlock(ImageModule):
    """A few convolutions, and a shortcut past them.

    A bottleneck has its stride in the 3 x 3 convolution ("v1.5", somewhat better than the paper's
    first 1 x 1).
    """

    config: ResNetConfig
    features: int
    """Channels of the inner convolutions."""
    stride: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B _ _ _"]:
        """[B, H, W, C] -> [B, ⌈H / stride⌉, ⌈W / stride⌉, `features`, four times in a bottleneck].

        In training it updates the collection `batch_stats`.
        """
        config = self.config
        activate = ACTIVATIONS[config.activation]
        layers = self.convolutions()
        y = x
        for i, (features, size, stride) in enumerate(layers):
            last = i == len(layers) - 1
            y = self.conv(features, size, stride, name=f"conv_{i}")(y)
            scale_init = (
                nn.initializers.zeros if last and config.zero_init else nn.initializers.ones
            )
            y = self.norm(y, train, name=f"norm_{i}", scale_init=scale_init)
            y = y if last else activate(y)
        if x.shape != y.shape:
            x = self.shortcut(x, y.shape[-1], train)
        return activate(x + y)

    @nn.nowrap
    def convolutions(self) -> list[tuple[int, int, int]]:
        """Features, size and stride of each."""
        if self.config.block == "basic":
            return [(self.features, 3, self.stride), (self.features, 3, 1)]
        return [(self.features, 1, 1), (self.features, 3, self.stride), (4 * self.features, 1, 1)]

    @nn.nowrap
    def shortcut(
        self, x: Float[Array, "B H W C"], features: int, train: bool
    ) -> Float[Array, "B _ _ _"]:
        """The input in the shape of the block's output, `features` wide, see `config.shortcut`."""
        if self.config.shortcut == "padding":
            x = x[:, :: self.stride, :: self.stride]
            return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, features - x.shape[-1])))
        x = self.conv(features, 1, self.stride, name="shortcut")(x)
        return self.norm(x, train, name="shortcut_norm")


class ResNet(ImageModule):
    """The module of `ResNetConfig`."""

    config: ResNetConfig
    block: ClassVar[type[ResidualBlock]] = ResidualBlock

    @nn.compact
    def __call__(
        self, inputs: Num[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B N"]:
        """Classifies images.

        Args:
          inputs: images of any size.
          train: normalise with the statistics of the batch and move the running ones, the
            collection `batch_stats`, towards them; it must be mutable then. No rngs are needed.

        Returns:
          Float32 logits, unnormalised.

        Raises:
          ConfigError: `num_classes` is None, or as with `ImageModule.norm`.
        """
        config = self.config
        size, stride = (7, 2) if config.stem == "7x7" else (3, 1)
        x = self.conv(config.width, size, stride, name="stem")(inputs.astype(config.dtype))
        x = ACTIVATIONS[config.activation](self.norm(x, train, name="stem_norm"))
        if config.stem == "7x7":
            x = self.max_pool(x)
        for stage, blocks in enumerate(config.stage_sizes):
            for number in range(blocks):
                stride = 2 if stage > 0 and number == 0 else 1
                block = self.block(
                    config, config.width * 2**stage, stride, name=f"stage_{stage}_block_{number}"
                )
                x = block(x, train=train)
        return self.head(x)

    @nn.nowrap
    def max_pool(self, x: Float[Array, "B H W C"]) -> Float[Array, "B _ _ C"]:
        """The greatest value of each 3 x 3 window; it halves the image."""
        largest: jax.Array = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        return largest


# WideResNet.


@dataclass(frozen=True, kw_only=True)
class WideResNetConfig(ImageModelConfig):
    """Images [B, H, W, C] -> logits [B, N]. The defaults are those of WRN-28-10.

    Blocks normalise and activate before they convolve, so that nothing changes the sums of the
    residuals (He et al. 2016, "Identity Mappings in Deep Residual Networks"). There is no
    `zero_init`: after a scale of 0 the relu would let no gradient back to it.
    """

    num_blocks: int = 4
    """Blocks of each of the three groups; the network has 6 · num_blocks + 4 layers."""
    widen_factor: int = 10
    """The groups have 16, 32 and 64 channels times this."""
    dropout_rate: float = 0.0
    """Between the convolutions of a block; the paper has 0.3 where images are not augmented."""

    def build(self) -> nn.Module:
        return self.trax.build(self) if self.trax else WideResNet(self)


class PreActivation(ImageModule):
    """A wide block's branch: normalise, activate, convolve, twice."""

    config: WideResNetConfig
    features: int
    stride: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], *, train: bool = False
    ) -> tuple[Float[Array, "B _ _ _"], Float[Array, "B H W C"]]:
        """The branch, and the first activation, from which a shortcut with a new shape starts.

        The branch is [B, ⌈H / stride⌉, ⌈W / stride⌉, features]. In training it updates the
        collection `batch_stats` and, with dropout, needs the rng `dropout`.
        """
        activated = nn.relu(self.norm(x, train, name="norm_0"))
        y = self.conv(self.features, 3, self.stride, name="conv_0")(activated)
        y = nn.relu(self.norm(y, train, name="norm_1"))
        y = Dropout(self.config.dropout_rate)(y, train=train)
        return self.conv(self.features, 3, name="conv_1")(y), activated


class WideResNet(ImageModule):
    """The module of `WideResNetConfig`."""

    config: WideResNetConfig

    @nn.compact
    def __call__(
        self, inputs: Num[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B N"]:
        """Classifies images; arguments, result and errors as with `ResNet`.

        Training with dropout needs the rng `dropout`.
        """
        config = self.config
        x = self.conv(16, 3, name="stem")(inputs.astype(config.dtype))
        for stage, (width, stride) in enumerate(((16, 1), (32, 2), (64, 2))):
            x = self.group(x, stage, width * config.widen_factor, stride, train)
        return self.head(nn.relu(self.norm(x, train, name="norm")))

    @nn.nowrap
    def group(
        self, x: Float[Array, "B H W C"], stage: int, features: int, stride: int, train: bool
    ) -> Float[Array, "B _ _ _"]:
        """The blocks of one width; the first one has the stride."""
        for number in range(self.config.num_blocks):
            branch = self.branch(stage, number, features, stride if number == 0 else 1)
            y, activated = branch(x, train=train)
            if x.shape != y.shape:
                x = self.conv(features, 1, stride, name=f"stage_{stage}_shortcut")(activated)
            x = x + y
        return x

    @nn.nowrap
    def branch(self, stage: int, number: int, features: int, stride: int) -> PreActivation:
        return PreActivation(self.config, features, stride, name=f"stage_{stage}_block_{number}")


# Variants.


@registry.models.register
def resnet18() -> ResNetConfig:
    """18 layers for ImageNet, in basic blocks (He et al. 2015, table 1)."""
    return ResNetConfig(block="basic", stage_sizes=(2, 2, 2, 2))


@registry.models.register
def resnet34() -> ResNetConfig:
    """34 layers for ImageNet, in basic blocks."""
    return ResNetConfig(block="basic", stage_sizes=(3, 4, 6, 3))


@registry.models.register
def resnet50() -> ResNetConfig:
    """50 layers for ImageNet, in bottlenecks, v1.5."""
    return ResNetConfig()


@registry.models.register
def resnet101() -> ResNetConfig:
    """101 layers for ImageNet, in bottlenecks."""
    return ResNetConfig(stage_sizes=(3, 4, 23, 3))


@registry.models.register
def resnet152() -> ResNetConfig:
    """152 layers for ImageNet, in bottlenecks."""
    return ResNetConfig(stage_sizes=(3, 8, 36, 3))


def _for_cifar(blocks: int) -> ResNetConfig:
    """He et al. 2015, section 4.2: three stages of `blocks` blocks, 6 · blocks + 2 layers.

    As in the paper, no scale begins at 0: networks as flat as these train without that.
    """
    return ResNetConfig(
        block="basic",
        stage_sizes=(blocks, blocks, blocks),
        width=16,
        stem="3x3",
        shortcut="padding",
        zero_init=False,
    )


@registry.models.register
def resnet20_cifar() -> ResNetConfig:
    """20 layers for images of 32 x 32 pixels: 0.27 million parameters."""
    return _for_cifar(3)


@registry.models.register
def resnet32_cifar() -> ResNetConfig:
    """32 layers for images of 32 x 32 pixels."""
    return _for_cifar(5)


@registry.models.register
def resnet56_cifar() -> ResNetConfig:
    """56 layers for images of 32 x 32 pixels."""
    return _for_cifar(9)


@registry.models.register
def wide_resnet28_10() -> WideResNetConfig:
    """28 layers, ten times as wide: 36.5 million parameters, for images of 32 x 32 pixels."""
    return WideResNetConfig()


@registry.models.register
def wide_resnet16_4() -> WideResNetConfig:
    """16 layers, four times as wide: 2.7 million parameters, for images of 32 x 32 pixels."""
    return WideResNetConfig(num_blocks=2, widen_factor=4)
