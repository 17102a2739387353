"""Where a model's weights are put, and with them its computations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.config import ValueMistake

if TYPE_CHECKING:
    import jax


def device(given: jax.Device | str | None) -> jax.Device:
    """The device that is meant.

    Args:
      given: a device; its platform with or without its number among those of this process, such as
        `cpu`, `gpu` or `cuda:1`; None: the one that `jax.default_device` names, else the first.

    Raises:
      ValueError: this process has no such device; the message lists those that it has.
    """
    import jax

    if given is None:
        given = jax.config.jax_default_device
    if given is None:
        return jax.local_devices()[0]
    if isinstance(given, jax.Device):
        return given
    if not isinstance(given, str):
        raise ValueMistake(
            f"device is {given!r}; give a jax.Device or a name such as 'cpu' or 'cuda:1'"
        )
    platform, colon, number = given.partition(":")
    try:
        there = jax.local_devices(backend=platform) if platform else []
    except RuntimeError:  # no such platform
        there = []
    if colon and not number.isdecimal():
        there = []
    place = int(number) if number.isdecimal() else 0
    if place >= len(there):
        known = ", ".join(f"{known.platform}:{known.id}" for known in jax.local_devices())
        raise ValueMistake(f"there is no device {given!r} in this process; it has {known}")
    return there[place]
