"""Random changes to training images.

A batch is changed as a whole. Its random numbers are a function of the run's seed and the batch's
number, so a resumed run sees the same images.

Shapes: B examples in a batch, H height, W width, C channels, N classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zoo.config import ConfigError
from zoo.pipelines.base import Array
from zoo.preprocessing import Box

PURPOSE = 1
"""Separates these random numbers from those of the order of the rows."""

ASPECT = 4 / 3
"""The largest ratio of the sides of a random crop, in either direction."""

ATTEMPTS = 10
"""Number of crops that are tried before the largest one in the centre is taken."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Which changes are made to training images; with none they are prepared as in evaluation."""

    crop_area: float = 1.0
    """Smallest share of the image's area, above 0, that a crop at a random place and with a random
    aspect ratio has before it is resized (Szegedy et al. 2015, "Going Deeper with Convolutions":
    0.08). 1: images are not cropped."""
    pad: int = 0
    """Pixels by which the image is extended on each side before its size is cut out at a random
    place (He et al. 2015, section 4.2: 4, of 32). The border is the image's reflection (Zagoruyko
    & Komodakis 2016, section 3): with black borders batch normalisation would learn statistics that
    images in evaluation do not have."""
    flip: bool = False
    """Flip each image left to right with probability 1/2."""
    mixup: float = 0.0
    """Alpha of mixup (Zhang et al. 2018): images and targets are averaged in pairs, with weights
    from the distribution beta(alpha, alpha). 0: no mixup."""
    cutmix: float = 0.0
    """Alpha of CutMix (Yun et al. 2019): a rectangle, and its share of the target, comes from
    another image; the share of the area is from the distribution beta(alpha, alpha). 0: no CutMix.
    With `mixup` too, each batch gets one of the two."""

    def __post_init__(self) -> None:
        if not 0 < self.crop_area <= 1:
            raise ConfigError(f"crop_area is {self.crop_area}; it must be in (0, 1]")
        for name in ("pad", "mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more")

    @property
    def mixes(self) -> bool:
        """Whether targets become shares of the classes: float32 [B, N]."""
        return bool(self.mixup or self.cutmix)

    def __call__(
        self, images: Array, targets: Array, num_classes: int, draws: Draws
    ) -> tuple[Array, Array]:
        """Changes images and targets; `crop_area` is not applied here.

        Args:
          images: uint8 [B, H, W, C]. Where images are mixed, the first one is there only to be
            mixed into the second.
          targets: the class of each: int32 [B].
          num_classes: N.
          draws: random numbers for these rows.

        Returns:
          Images uint8 [B, H, W, C] and targets int32 [B]. Where they are mixed: images float32
          [B - 1, H, W, C] and shares of the classes float32 [B - 1, N].
        """
        if self.pad:
            images = pad_and_crop(images, self.pad, draws)
        if self.flip:
            images = flip(images, draws)
        if not self.mixes:
            return images, targets
        images, shares = images.astype(np.float32), np.eye(num_classes, dtype=np.float32)[targets]
        if self.cutmix and (not self.mixup or draws.random.random() < 0.5):
            return cutmix(images, shares, self.cutmix, draws)
        return mixup(images, shares, self.mixup, draws)


@dataclass(frozen=True)
class Draws:
    """Random numbers for some rows of a batch, drawn for all of them.

    What happens to a row then does not depend on which others a process holds.
    """

    random: np.random.Generator
    size: int
    """Rows of the whole batch."""
    rows: Array
    """Those at hand: int [B]."""

    def __call__(self, draw: Callable[[int], Array]) -> Array:
        """One number for each row at hand: [B].

        Args:
          draw: a number of rows -> as many random numbers.
        """
        numbers: Array = draw(self.size)[self.rows]
        return numbers


def random_box(width: int, height: int, area: float, random: np.random.Generator) -> Box:
    """A random part of an image, with sides in a ratio of at most ASPECT.

    Args:
      width: of the image, in pixels.
      height: of the image, in pixels.
      area: smallest share of the image's area. An image that is too narrow for it gives the largest
        part in its centre.
      random: where the numbers come from.
    """
    for _ in range(ATTEMPTS):
        size = width * height * random.uniform(area, 1)
        aspect = math.exp(random.uniform(-math.log(ASPECT), math.log(ASPECT)))
        across, down = math.sqrt(size * aspect), math.sqrt(size / aspect)
        if across <= width and down <= height:
            left, top = random.uniform(0, width - across), random.uniform(0, height - down)
            return left, top, min(left + across, width), min(top + down, height)
    across, down = min(width, height * ASPECT), min(height, width * ASPECT)
    left, top = (width - across) / 2, (height - down) / 2
    return left, top, left + across, top + down


def pad_and_crop(images: Array, pad: int, draws: Draws) -> Array:
    """Moves each image [B, H, W, C] by up to `pad` pixels; the gap is filled by its reflection."""
    batch, height, width, _ = images.shape
    padded = np.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    tops, lefts = (draws(lambda n: draws.random.integers(0, 2 * pad + 1, n)) for _ in range(2))
    # [B, C, H, W], as the view has the window's axes last.
    return np.ascontiguousarray(windows[np.arange(batch), tops, lefts].transpose(0, 2, 3, 1))


def flip(images: Array, draws: Draws) -> Array:
    """Flips each image [B, H, W, C] left to right with probability 1/2."""
    chosen = draws(draws.random.random) < 0.5
    return np.where(chosen[:, None, None, None], images[:, :, ::-1], images)


def mixup(images: Array, shares: Array, alpha: float, draws: Draws) -> tuple[Array, Array]:
    """Averages each image but the first, and its target, with the one before it.

    Rows come in random order, so these pairs are random. Images and shares [B, N] of the classes
    are float32.
    """
    share = draws(lambda n: draws.random.beta(alpha, alpha, n)).astype(np.float32)[1:]
    return _mix(images, share[:, None, None, None]), _mix(shares, share[:, None])


def _mix(values: Array, share: Array) -> Array:
    mixed: Array = share * values[1:] + (1 - share) * values[:-1]
    return mixed


def cutmix(images: Array, shares: Array, alpha: float, draws: Draws) -> tuple[Array, Array]:
    """Puts a rectangle of each image into the next one, and mixes their targets by its area."""
    _, height, width, _ = images.shape
    random = draws.random
    sides = np.sqrt(1 - draws(lambda n: random.beta(alpha, alpha, n)))[1:]
    rows = _within(height, draws(random.random)[1:], sides)
    columns = _within(width, draws(random.random)[1:], sides)
    inside = rows[:, :, None] & columns[:, None]
    mixed = np.where(inside[..., None], images[:-1], images[1:])
    share = 1 - inside.mean(axis=(1, 2), dtype=np.float32)
    return mixed, _mix(shares, share[:, None])


def _within(size: int, centres: Array, sides: Array) -> Array:
    """Which positions of an axis are in an interval, for each example: bool [B, size].

    Args:
      size: of the axis.
      centres: of the intervals, as shares of the size: [B].
      sides: lengths of the intervals, as shares of the size: [B].
    """
    positions = (np.arange(size) + 0.5)[None] / size
    near: Array = np.abs(positions - centres[:, None]) < sides[:, None] / 2
    return near
