"""Pictures of the four environments, by Pillow: no display is needed.

Lengths are those of the environment, x to the right and y upwards, until `_Canvas` makes pixels of
them. It draws at twice the size and shrinks the picture, which smooths the edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from zoo.config import ValueMistake

if TYPE_CHECKING:
    from zoo.envs.acrobot import Acrobot, AcrobotState
    from zoo.envs.cartpole import CartPole, CartPoleState
    from zoo.envs.mountain_car import MountainCar, MountainCarState
    from zoo.envs.pendulum import Pendulum, PendulumState

Point = tuple[float, float]

SMOOTH = 2
"""Pixels drawn for each pixel of the picture, in each direction."""

PAPER = "#fbfaf7"
GROUND = "#b9b4a7"
FAINT = "#dcd8cd"
BODY = "#2f4858"
POLE = "#d98e4a"
SECOND = "#e5b05c"
JOINT = "#8a4f1d"
GOAL = "#3f8f5b"
ARROW = "#c0392b"


class _Canvas:
    """A picture of a part of the plane."""

    def __init__(self, width: int, height: int, scale: float, origin: Point) -> None:
        """
        Args:
          width: in pixels.
          height: in pixels.
          scale: pixels for a unit of length.
          origin: where (0, 0) is, in pixels from the lower left corner.
        """
        self._size = width, height
        self._image = Image.new("RGB", (width * SMOOTH, height * SMOOTH), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._scale, self._origin = scale, origin

    def _at(self, point: Point) -> Point:
        x, y = (o + self._scale * p for o, p in zip(self._origin, point, strict=True))
        return SMOOTH * x, SMOOTH * (self._size[1] - y)

    def line(self, points: Sequence[Point], colour: str, pixels: float) -> None:
        """A line of a width in pixels with round ends."""
        places, width = [self._at(point) for point in points], round(SMOOTH * pixels)
        self._draw.line(places, fill=colour, width=width, joint="curve")
        for x, y in (places[0], places[-1]):
            r = width / 2 - 0.5
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def disc(self, centre: Point, colour: str, pixels: float) -> None:
        (x, y), r = self._at(centre), SMOOTH * pixels
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def polygon(self, points: Sequence[Point], colour: str) -> None:
        self._draw.polygon([self._at(point) for point in points], fill=colour)

    def dashes(self, start: Point, end: Point, colour: str, pixels: float, number: int) -> None:
        """A dashed line."""
        for i in range(number):
            ends = i / number, (i + 0.55) / number
            self.line([_between(start, end, share) for share in ends], colour, pixels)

    def arrow(self, points: Sequence[Point], colour: str, pixels: float) -> None:
        """A line with a head at its end, whose size follows from the line's width."""
        (x0, y0), (x, y) = points[-2], points[-1]
        away = math.hypot(x - x0, y - y0) or 1.0
        dx, dy = ((p - q) / away * 2.6 * pixels / self._scale for p, q in ((x, x0), (y, y0)))
        self.line(points, colour, pixels)
        self.polygon([(x + dx, y + dy), (x - dy, y + dx), (x + dy, y - dx)], colour)

    def picture(self) -> Image.Image:
        return self._image.reduce(SMOOTH)


def _between(start: Point, end: Point, share: float) -> Point:
    (x0, y0), (x1, y1) = start, end
    return x0 + share * (x1 - x0), y0 + share * (y1 - y0)


def _numbers(state: Sequence[Any]) -> list[float]:
    return [float(number) for number in state]


def cartpole(env: CartPole, state: CartPoleState, action: Any = None) -> Image.Image:
    """The track with its ends, the cart, the pole, and an arrow for the push."""
    x, _, angle, _ = _numbers(state)
    canvas = _Canvas(600, 300, 110, (300, 90))
    end, deck = env.max_position, 0.14
    canvas.line([(-2.7, -0.19), (2.7, -0.19)], GROUND, 3)
    for side in (-end, end):
        canvas.line([(side, -0.19), (side, -0.02)], GOAL, 3)
    for wheel in (-0.17, 0.17):
        canvas.disc((x + wheel, -0.11), GROUND, 8)
    canvas.polygon([(x - 0.3, -0.1), (x + 0.3, -0.1), (x + 0.3, deck), (x - 0.3, deck)], BODY)
    if action is not None:
        side = 1 if int(action) == 1 else -1
        tail = x + side * 0.36
        canvas.arrow([(tail, 0.02), (tail + side * 0.25, 0.02)], ARROW, 4)
    top = x + 2 * env.half_length * math.sin(angle), deck + 2 * env.half_length * math.cos(angle)
    canvas.line([(x, deck), top], POLE, 11)
    canvas.disc((x, deck), JOINT, 5)
    return canvas.picture()


def acrobot(env: Acrobot, state: AcrobotState, action: Any = None) -> Image.Image:
    """Both links, the line that the tip must pass, and an arrow for the torque at the elbow."""
    one, two, _, _ = _numbers(state)
    canvas = _Canvas(400, 400, 82, (200, 190))
    canvas.dashes((-2.3, env.length), (2.3, env.length), GOAL, 3, 24)
    elbow = env.length * math.sin(one), -env.length * math.cos(one)
    both = one + two
    tip = elbow[0] + env.length * math.sin(both), elbow[1] - env.length * math.cos(both)
    canvas.line([(0, 0), elbow], POLE, 13)
    canvas.line([elbow, tip], SECOND, 13)
    canvas.disc((0, 0), BODY, 8)
    canvas.disc(elbow, JOINT, 6)
    torque = 0 if action is None else int(action) - 1
    _turn(canvas, elbow, 0.3, torque, both - math.pi / 2)
    canvas.disc(tip, GOAL if tip[1] > env.length else JOINT, 5)
    return canvas.picture()


def mountain_car(env: MountainCar, state: MountainCarState, action: Any = None) -> Image.Image:
    """The hill, the car on its slope, the flag at the goal, and an arrow for the acceleration."""
    x, _ = _numbers(state)
    canvas = _Canvas(600, 400, 300, (400, 175))
    stretch = 0.45  # the hill is drawn less steep than sin 3x

    def on_hill(position: float, above: float = 0.0) -> Point:
        """A point above the hill, square to it."""
        slope = math.atan(stretch * 3 * math.cos(3 * position))
        ground = stretch * env.height(position)
        return position - above * math.sin(slope), ground + above * math.cos(slope)

    ends = float(env.min_position), float(env.max_position)
    hill = [on_hill(float(p)) for p in np.linspace(*ends, 120)]
    canvas.polygon(
        [(-2.0, hill[0][1]), *hill, (2.0, hill[-1][1]), (2.0, -2.0), (-2.0, -2.0)], FAINT
    )
    canvas.line(hill, GROUND, 3)
    canvas.line([(ends[0], hill[0][1]), (ends[0], hill[0][1] + 0.3)], BODY, 4)
    foot = on_hill(env.goal_position)
    top = foot[0], foot[1] + 0.22
    canvas.line([foot, top], BODY, 3)
    canvas.polygon([top, (top[0] + 0.1, top[1] - 0.035), (top[0], top[1] - 0.07)], GOAL)

    slope = math.atan(stretch * 3 * math.cos(3 * x))
    along = math.cos(slope), math.sin(slope)
    ground = on_hill(x)

    def on_car(forward: float, above: float) -> Point:
        return (
            ground[0] + forward * along[0] - above * along[1],
            ground[1] + forward * along[1] + above * along[0],
        )

    outline = [(-0.075, 0.025), (0.075, 0.025), (0.075, 0.06), (0.04, 0.066), (0.022, 0.095)]
    outline += [(-0.04, 0.095), (-0.055, 0.066), (-0.075, 0.06)]
    canvas.polygon([on_car(*corner) for corner in outline], BODY)
    for wheel in (-0.043, 0.043):
        canvas.disc(on_car(wheel, 0.025), POLE, 7.5)
        canvas.disc(on_car(wheel, 0.025), JOINT, 3)
    side = 0 if action is None else int(action) - 1
    if side:
        canvas.arrow([on_car(side * 0.095, 0.045), on_car(side * 0.15, 0.045)], ARROW, 4)
    return canvas.picture()


def pendulum(env: Pendulum, state: PendulumState, action: Any = None) -> Image.Image:
    """The pole, where it ought to be, and an arrow for the torque, the longer the stronger."""
    angle, _ = _numbers(state)
    canvas = _Canvas(400, 400, 140, (200, 200))
    canvas.dashes((0, 0.12), (0, env.length), GOAL, 3, 8)
    tip = -env.length * math.sin(angle), env.length * math.cos(angle)
    canvas.line([(0, 0), tip], POLE, 22)
    canvas.disc((0, 0), BODY, 7)
    if action is not None:
        torque = float(np.asarray(action).reshape(-1)[0]) / env.max_torque
        _turn(canvas, (0, 0), 0.5, max(-1.0, min(1.0, torque)), angle + math.pi / 2)
    return canvas.picture()


def _turn(canvas: _Canvas, centre: Point, radius: float, strength: float, begin: float) -> None:
    """An arc with a head about a joint, counterclockwise if `strength` is positive.

    Args:
      canvas: to draw on.
      centre: of the arc.
      radius: of the arc.
      strength: of the torque, -1 to 1: the arc is as long.
      begin: where the arc begins, in rad from the x axis, counterclockwise.
    """
    if abs(strength) < 0.02:
        return
    arc = begin + np.linspace(0.35, 0.35 + 1.7 * abs(strength), 24) * math.copysign(1, strength)
    points = [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in arc]
    canvas.arrow(points, ARROW, 4)


def save_gif(
    frames: Sequence[Image.Image], path: str | Path, seconds_per_frame: float = 0.04
) -> None:
    """Writes an animation that repeats for ever.

    Args:
      frames: all of one size.
      path: of the file, usually `….gif`.
      seconds_per_frame: GIF rounds it to hundredths; viewers slow down what is below 0.02.

    Raises:
      ValueError: there is no frame.
    """
    if not frames:
        raise ValueMistake("an animation takes at least one frame")
    # One palette for all frames: one of its own for each makes colours flicker. It is chosen from
    # some of them side by side, for an arrow may be missing in the first.
    shown = frames[:: max(1, len(frames) // 16)]
    width, height = frames[0].size
    strip = Image.new("RGB", (width * len(shown), height))
    for i, frame in enumerate(shown):
        strip.paste(frame, (i * width, 0))
    palette = strip.quantize(64)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    small[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=small[1:],
        duration=max(20, round(1000 * seconds_per_frame)),
        loop=0,
    )
