"""Folders that the operating system gives each user; an account without a home has none."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(name: str) -> Path | None:
    """The folder for what a program can make again; None if the user has no home folder."""
    import pooch

    try:
        folder = Path(pooch.os_cache(name))
    except RuntimeError:  # what platformdirs raises without a home
        return None
    return folder if folder.is_absolute() else None  # older versions leave `~` as it is


def expanded(path: str) -> Path | None:
    """A path in which `~` is the home folder; None if it is empty or there is no such folder."""
    folder = os.path.expanduser(path)
    return None if not folder or folder.startswith("~") else Path(folder)
