"""What training does to images at random.

Everything is done to a batch at once, with random numbers that are a function of the run's seed and
the batch's number: a resumed run goes on with the same images.

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
"""Keeps these random numbers apart from those of the order of the rows."""

ASPECT = 4 / 3
"""A random crop is at most so much wider than high, or higher than wide."""

ATTEMPTS = 10
"""Crops that are tried before the largest one in the centre is taken."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Which changes are made to a training image; without any it is prepared as in evaluation."""

    crop_area: float = 1.0
    """Least share of the image's area that is cut out, at a random place and with a random aspect,
    and resized (Szegedy et al. 2015, "Going Deeper with Convolutions": 0.08). 1: none is."""
    pad: int = 0
    """Pixels by which the image is continued on each side, by its reflection, before it is cut out
    again at a random place (He et al. 2015, section 4.2: 4, of 32; reflected: Zagoruyko & Komodakis
    2016, section 3). Of black borders batch normalisation would learn statistics that images
    without borders do not have."""
    flip: bool = False
    """Exchange left and right, of every other image on average."""
    mixup: float = 0.0
    """The alpha of mixup (Zhang et al. 2018): images and targets are mixed in pairs, by shares from
    the distribution beta(alpha, alpha). 0: none is."""
    cutmix: float = 0.0
    """The alpha of CutMix (Yun et al. 2019): a rectangle comes from another image, its share of the
    area from the distribution beta(alpha, alpha), and so does that share of the target. 0: none
    does. With `mixup` too, each batch has one of them."""

    def __post_init__(self) -> None:
        if not 0 < self.crop_area <= 1:
            raise ConfigError(f"crop_area is {self.crop_area}; it is a share, above 0 and up to 1")
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
        """Images [B, H, W, C] and targets [B], augmented: all but `crop_area`.

        Args:
          images: uint8. Where images are mixed, these are the rows of `draws`, of which the first
            only serves to be mixed into the second.
          targets: the class of each.
          num_classes: N.
          draws: random numbers.

        Returns:
          Images, uint8 as they were; targets. Where they are mixed, both are float32, one less,
          and targets are shares of the classes [B - 1, N].
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
    """A part of an image: of at least that share of its area, at most ASPECT times as wide as high.

    Of an image that is too narrow for it, the largest part in the centre of such an aspect.
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
    """Each image [B, H, W, C] moved by up to `pad` pixels, with its reflection where it was not."""
    batch, height, width, _ = images.shape
    padded = np.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    tops, lefts = (draws(lambda n: draws.random.integers(0, 2 * pad + 1, n)) for _ in range(2))
    # [B, C, H, W], as the view has the window's axes last.
    return np.ascontiguousarray(windows[np.arange(batch), tops, lefts].transpose(0, 2, 3, 1))


def flip(images: Array, draws: Draws) -> Array:
    """Every other image [B, H, W, C], on average, with left and right exchanged."""
    chosen = draws(draws.random.random) < 0.5
    return np.where(chosen[:, None, None, None], images[:, :, ::-1], images)


def mixup(images: Array, shares: Array, alpha: float, draws: Draws) -> tuple[Array, Array]:
    """Each image but the first, and its target, mixed with the one before; the order is random.

    Images and shares [B, N] of the classes are float32.
    """
    share = draws(lambda n: draws.random.beta(alpha, alpha, n)).astype(np.float32)[1:]
    return _mix(images, share[:, None, None, None]), _mix(shares, share[:, None])


def _mix(values: Array, share: Array) -> Array:
    mixed: Array = share * values[1:] + (1 - share) * values[:-1]
    return mixed


def cutmix(images: Array, shares: Array, alpha: float, draws: Draws) -> tuple[Array, Array]:
    """Each image but the first with a rectangle of the one before, and its target by the areas."""
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
    """Which positions of an axis lie in an interval for each example: bool [B, size].

    Centres and lengths [B] are parts of the size; what reaches out of the image is cut off.
    """
    positions = (np.arange(size) + 0.5)[None] / size
    near: Array = np.abs(positions - centres[:, None]) < sides[:, None] / 2
    return near
