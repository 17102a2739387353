"""The residual networks as trax had them, for its weights.

All convolutions have biases, although a normalisation removes them again, and images are padded as
TensorFlow's `same` does: with a stride of 2 and an even size one row less, left out at the top and
left. The mean at the end is over windows.

Shapes: as in `zoo.models.resnet`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from zoo import xla
from zoo.config import ConfigError
from zoo.models.base import TraxQuirks
from zoo.models.resnet import (
    ImageModule,
    PreActivation,
    ResidualBlock,
    ResNet,
    ResNetConfig,
    WideResNet,
    WideResNetConfig,
)


@dataclass(frozen=True, kw_only=True)
class ResNetQuirks(TraxQuirks):
    """trax's `Resnet50`: padding and biases as above, no padding before the max pool.

    The stride of a bottleneck is in its first convolution, as in He et al. 2015.
    """

    pool_window: int = 7
    """Positions on a side of the windows over which the head takes means, one position apart; the
    means of all windows, row by row, are the inputs of the last layer."""

    def build(self, config: ResNetConfig) -> nn.Module:
        return TraxResNet(config)


@dataclass(frozen=True, kw_only=True)
class WideResNetQuirks(TraxQuirks):
    """trax's `WideResnet`, which is another network than the paper's.

    The first block of a group always has a shortcut, 3 x 3 over the group's input itself. The other
    blocks follow one after the other inside a single residual (where there are none, it doubles its
    values).
    """

    pool_window: int = 8
    """As in `ResNetQuirks`."""

    def build(self, config: WideResNetConfig) -> nn.Module:
        return TraxWideResNet(config)


class TraxLayers(ImageModule):
    """trax's convolution and its mean over windows."""

    @nn.nowrap
    def conv(self, features: int, size: int, stride: int = 1, *, name: str) -> nn.Conv:
        """A square convolution with a bias, padded as TensorFlow's `same` does."""
        return nn.Conv(
            features,
            (size, size),
            stride,
            padding="SAME",
            dtype=jnp.dtype(self.config.dtype),
            kernel_init=nn.initializers.he_normal(),
            bias_init=nn.initializers.normal(1e-6),
            conv_general_dilated=xla.convolution,
            name=name,
        )

    @nn.nowrap
    def pool(self, x: Float[Array, "B H W C"]) -> Float[Array, "B _"]:
        """The mean of each channel over each window, float32.

        Raises:
          ConfigError: no window fits.
        """
        window, (height, width) = self.config.trax.pool_window, x.shape[1:3]
        if window > min(height, width):
            raise ConfigError(
                f"trax.pool_window is {window}, and {height} x {width} positions are left of the "
                "image; make the window smaller or the images larger"
            )
        means: jax.Array = nn.avg_pool(x.astype(jnp.float32), (window, window))
        return means.reshape(len(x), math.prod(means.shape[1:]))


class TraxResidualBlock(TraxLayers, ResidualBlock):
    @nn.nowrap
    def convolutions(self) -> list[tuple[int, int, int]]:
        """Features, size and stride of each; the first has the stride."""
        return [
            (features, size, 1 if number else self.stride)
            for number, (features, size, _) in enumerate(super().convolutions())
        ]


class TraxResNet(TraxLayers, ResNet):
    """The module of a `ResNetConfig` with `ResNetQuirks`."""

    block: ClassVar[type[ResidualBlock]] = TraxResidualBlock

    @nn.nowrap
    def max_pool(self, x: Float[Array, "B H W C"]) -> Float[Array, "B _ _ C"]:
        """The greatest value of each 3 x 3 window that lies in the image."""
        largest: jax.Array = nn.max_pool(x, (3, 3), (2, 2))
        return largest


class TraxPreActivation(TraxLayers, PreActivation):
    pass


class TraxWideResNet(TraxLayers, WideResNet):
    """The module of a `WideResNetConfig` with `WideResNetQuirks`."""

    @nn.nowrap
    def group(
        self, x: Float[Array, "B H W C"], stage: int, features: int, stride: int, train: bool
    ) -> Float[Array, "B _ _ _"]:
        """The blocks of one width: the first beside its shortcut, the others in one residual."""
        branches = [
            TraxPreActivation(
                self.config,
                features,
                stride if number == 0 else 1,
                name=f"stage_{stage}_block_{number}",
            )
            for number in range(self.config.num_blocks)
        ]
        shortcut = self.conv(features, 3, stride, name=f"stage_{stage}_shortcut")
        x = branches[0](x, train=train)[0] + shortcut(x)
        y = x
        for branch in branches[1:]:
            y, _ = branch(y, train=train)
        return x + y
