"""Residual networks for images.

* `ResNet`: He et al. 2015, "Deep Residual Learning for Image Recognition": for ImageNet (section
  3.3 and table 1; trax: `Resnet50`) and for CIFAR (section 4.2).
* `WideResNet`: Zagoruyko & Komodakis 2016, "Wide Residual Networks" (trax: `WideResnet`, which is
  another network, see `WideResNetConfig.trax_groups`).

Every convolution is followed or preceded by a batch normalisation, whose running statistics are the
collection `batch_stats`: training has to carry it (`mutable=["batch_stats"]`).

Shapes: `B` batch, `H` height, `W` width, `C` channels, `N` classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Num

from zoo import registry
from zoo.config import ConfigError
from zoo.models.base import ModelConfig
from zoo.models.convolution import (
    BatchNorm,
    Conv,
    ConvPrecision,
    Padding,
    average,
    max_pool,
)
from zoo.models.dense import Precision
from zoo.models.layers import ACTIVATIONS, Activation, Dropout, dense

C = TypeVar("C", bound="ImageModelConfig")


@dataclass(frozen=True, kw_only=True)
class ImageModelConfig(ModelConfig):
    """Images [B, H, W, C] -> logits [B, N]: what the networks below share."""

    input_shape: tuple[int, ...] | None = None
    """(H, W, C) of an image. Without a `pool_window` only C matters to the parameters."""
    num_classes: int | None = None
    """Width of the last layer."""
    norm_momentum: float = 0.9
    """Part of the running statistics that is kept at a training step (trax: 0.999 in Resnet50)."""
    pool_window: int | None = None
    """The head takes the means over windows of that size, one position apart, all of them in a row
    (trax: 7, and 8 in WideResnet). None: the mean over all positions, for images of any size."""
    trax_layers: bool = False
    """For trax's weights: convolutions have biases, which a normalisation behind them takes away
    again; images are padded as TensorFlow's `same` does, and not at all in front of a max pool."""
    dtype: ConvPrecision = "float32"
    """Of convolutions, of what goes between them, and of the head's product. Statistics, and the
    parameters in training, are float32 in either."""

    def in_precision(self: C, dtype: Precision) -> C:
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
                f"channels of an image, as (32, 32, 3) (it is {self.input_shape})"
            )
        return (jax.ShapeDtypeStruct((batch, *self.input_shape), jnp.float32),)


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(ImageModelConfig):
    """Images [B, H, W, C] -> logits [B, N]. As it stands: ResNet-50."""

    block: Literal["basic", "bottleneck"] = "bottleneck"
    """Two convolutions of 3 x 3, or 1 x 1, 3 x 3 and another 1 x 1, which is four times as wide."""
    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    """Blocks of each stage. Every stage but the first halves the image and doubles the width."""
    width: int = 64
    """Channels of the first stage's inner convolutions (trax: `d_hidden`)."""
    stem: Literal["7x7", "3x3"] = "7x7"
    """What comes first: 7 x 7 with stride 2 and a max pool with stride 2, or, for small images, one
    convolution of 3 x 3."""
    shortcut: Literal["projection", "padding"] = "projection"
    """Where a block changes the shape: a convolution of 1 x 1 and its normalisation (option B), or
    every second position and zeros for the new channels (option A, of the networks for CIFAR)."""
    stride_on: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a bottleneck has the stride: `3x3` is v1.5, as in later libraries and
    somewhat better; `1x1`, the first one, is the paper's, and trax's."""
    activation: Activation = "relu"
    """After each normalisation, and after each sum."""
    zero_init: bool = True
    """Each block's last normalisation begins with a scale of 0, so that every block begins as its
    shortcut (Goyal et al. 2017, section 5.1). trax: 1."""

    def build(self) -> ResNet:
        return ResNet(self)


@dataclass(frozen=True, kw_only=True)
class WideResNetConfig(ImageModelConfig):
    """Images [B, H, W, C] -> logits [B, N]. As it stands: WRN-28-10.

    Blocks normalise and activate in front of their convolutions, so that the sums of the residuals
    are left as they are (He et al. 2016, "Identity Mappings in Deep Residual Networks"). There is
    no `zero_init`: behind a scale of 0 would come a relu, which lets no gradient through to it.
    """

    num_blocks: int = 4
    """Blocks of each of the three groups (trax: `n_blocks`); the depth is 6 · num_blocks + 4."""
    widen_factor: int = 10
    """The groups have 16, 32 and 64 channels times this."""
    dropout_rate: float = 0.0
    """Between the convolutions of a block; 0.3 in the paper where images are not augmented."""
    trax_groups: bool = False
    """For the weights of trax's WideResnet, which is another network: the first block of a group
    has a shortcut of 3 x 3 over the group's input itself, always; the other blocks come one after
    the other inside one residual (where there are none, it doubles its values)."""

    def build(self) -> WideResNet:
        return WideResNet(self)


class ResidualBlock(nn.Module):
    """[B, H, W, C] -> [B, H', W', features], or four times the features for a bottleneck."""

    config: ResNetConfig
    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W _"], *, train: bool) -> Float[Array, "B _ _ _"]:
        config = self.config
        conv, norm = _layers(config)
        activate = ACTIVATIONS[config.activation]
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        layers = self._convolutions()
        y = x
        for i, (features, size, stride) in enumerate(layers):
            last = i == len(layers) - 1
            scale_init = zeros if last and config.zero_init else ones
            y = conv(features, size, stride, name=f"conv_{i}")(y)
            y = norm(scale_init=scale_init, name=f"norm_{i}")(y, train=train)
            y = y if last else activate(y)
        if x.shape != y.shape:
            if config.shortcut == "padding":
                x = _padded_shortcut(x, y.shape[-1], self.stride)
            else:
                x = conv(y.shape[-1], 1, self.stride, name="shortcut")(x)
                x = norm(name="shortcut_norm")(x, train=train)
        return activate(x + y)

    def _convolutions(self) -> list[tuple[int, int, int]]:
        """Features, size and stride of each."""
        features, stride = self.features, self.stride
        if self.config.block == "basic":
            return [(features, 3, stride), (features, 3, 1)]
        first, second = (stride, 1) if self.config.stride_on == "1x1" else (1, stride)
        return [(features, 1, first), (features, 3, second), (4 * features, 1, 1)]


class ResNet(nn.Module):
    """The module of `ResNetConfig`."""

    config: ResNetConfig

    @nn.compact
    def __call__(
        self, inputs: Num[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B N"]:
        config = self.config
        conv, norm = _layers(config)
        size, stride = (7, 2) if config.stem == "7x7" else (3, 1)
        x = conv(config.width, size, stride, name="stem")(inputs.astype(config.dtype))
        x = ACTIVATIONS[config.activation](norm(name="stem_norm")(x, train=train))
        if config.stem == "7x7":
            x = max_pool(x, 3, 2, "valid" if config.trax_layers else "symmetric")
        for stage, blocks in enumerate(config.stage_sizes):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                name = f"stage_{stage}_block_{block}"
                x = ResidualBlock(config, config.width * 2**stage, stride, name=name)(
                    x, train=train
                )
        return _head(config, x)


class PreActivation(nn.Module):
    """A wide block's branch: normalise, activate, convolve, twice.

    Gives the branch [B, H', W', features] and the first activation [B, H, W, C], from which a
    shortcut that changes the shape starts.
    """

    config: WideResNetConfig
    features: int
    stride: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], *, train: bool
    ) -> tuple[Float[Array, "B _ _ _"], Float[Array, "B H W C"]]:
        conv, norm = _layers(self.config)
        activated = nn.relu(norm(name="norm_0")(x, train=train))
        y = conv(self.features, 3, self.stride, name="conv_0")(activated)
        y = nn.relu(norm(name="norm_1")(y, train=train))
        y = Dropout(self.config.dropout_rate)(y, train=train)
        return conv(self.features, 3, name="conv_1")(y), activated


class WideResNet(nn.Module):
    """The module of `WideResNetConfig`."""

    config: WideResNetConfig

    @nn.compact
    def __call__(
        self, inputs: Num[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B N"]:
        config = self.config
        conv, norm = _layers(config)
        x = conv(16, 3, name="stem")(inputs.astype(config.dtype))
        for stage, (width, stride) in enumerate(((16, 1), (32, 2), (64, 2))):
            features = width * config.widen_factor
            branches = [
                PreActivation(
                    config,
                    features,
                    stride if block == 0 else 1,
                    name=f"stage_{stage}_block_{block}",
                )
                for block in range(config.num_blocks)
            ]
            shortcut = conv(
                features, 3 if config.trax_groups else 1, stride, name=f"stage_{stage}_shortcut"
            )
            group = _trax_group if config.trax_groups else _group
            x = group([functools.partial(b, train=train) for b in branches], shortcut, x)
        x = nn.relu(norm(name="norm")(x, train=train))
        return _head(config, x)


Branch = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def _group(branches: list[Branch], shortcut: Conv, x: jax.Array) -> jax.Array:
    for branch in branches:
        y, activated = branch(x)
        x = y + (x if x.shape == y.shape else shortcut(activated))
    return x


def _trax_group(branches: list[Branch], shortcut: Conv, x: jax.Array) -> jax.Array:
    x = branches[0](x)[0] + shortcut(x)
    y = x
    for branch in branches[1:]:
        y, _ = branch(y)
    return x + y


def _layers(config: ImageModelConfig) -> tuple[Callable[..., Conv], Callable[..., BatchNorm]]:
    """The convolution and the normalisation of a network, but for their sizes and names."""
    padding: Padding = "same" if config.trax_layers else "symmetric"
    conv = functools.partial(Conv, padding=padding, bias=config.trax_layers, dtype=config.dtype)
    return conv, functools.partial(BatchNorm, momentum=config.norm_momentum)


def _padded_shortcut(
    x: Float[Array, "B H W C"], features: int, stride: int
) -> Float[Array, "B _ _ _"]:
    x = x[:, ::stride, ::stride]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, features - x.shape[-1])))


def _head(config: ImageModelConfig, x: Float[Array, "B H W C"]) -> Float[Array, "B N"]:
    x = average(x, config.pool_window)
    return dense(config.size_of("num_classes"), config.dtype, name="head")(x)


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
    """50 layers for ImageNet, in bottlenecks, v1.5 (trax's `Resnet50` is v1 and pads otherwise)."""
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
    """He et al. 2015, section 4.2: three stages of so many blocks, 6 · blocks + 2 layers.

    As there, no scale begins at 0: networks as flat as these train without that.
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
    """20 layers for images of 32 x 32: 0.27 million parameters."""
    return _for_cifar(3)


@registry.models.register
def resnet32_cifar() -> ResNetConfig:
    """32 layers for images of 32 x 32."""
    return _for_cifar(5)


@registry.models.register
def resnet56_cifar() -> ResNetConfig:
    """56 layers for images of 32 x 32."""
    return _for_cifar(9)


@registry.models.register
def wide_resnet28_10() -> WideResNetConfig:
    """28 layers, ten times as wide: 36.5 million parameters, for images of 32 x 32."""
    return WideResNetConfig()


@registry.models.register
def wide_resnet16_4() -> WideResNetConfig:
    """16 layers, four times as wide: 2.7 million parameters, for images of 32 x 32."""
    return WideResNetConfig(num_blocks=2, widen_factor=4)
