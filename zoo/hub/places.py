"""Folders that the operating system gives each user; an account without a home has none."""

from __future__ import annotations

from pathlib import Path


def user_cache(name: str) -> Path | None:
    """The folder for what a program can make again; None if the user has no home folder."""
    import pooch

    try:
        folder = Path(pooch.os_cache(name))
    except RuntimeError:  # what platformdirs raises without a home
        return None
    return folder if folder.is_absolute() else None  # older versions leave `~` as it is
