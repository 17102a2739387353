"""Ctrl-C, SIGTERM, SIGHUP and a file named STOP, by which a run ends between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.config import is_url

STOP = "STOP"
"""A file of this name in a run's folder does what SIGTERM does. It is removed then."""

LOOKS_EVERY = 1.0
"""Seconds between two looks for that file."""

LOOKS_FAR_EVERY = 15.0
"""… where each look is a request to remote storage."""

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""The terminal was closed. It may come twice, from the system and the shell, and with a SIGTERM
where a session ends. Windows has none."""


class Signals:
    """The first signal is noted, or raises where `raising` says so; a second one ends all.

    A SIGHUP ends nothing: it is noted, but does not count as the first or the second. Where it is
    ignored, as under `nohup`, it stays so.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """
        Args:
          folder: where to look for a file named STOP; None: nowhere.
        """
        self._stop = folder / STOP if folder else None
        self._is_far = folder is not None and is_url(folder)
        self._looks_every = LOOKS_FAR_EVERY if self._is_far else LOOKS_EVERY
        self._next_look = time.monotonic()
        self._received: int | None = None
        self._before: dict[int, Any] = {}
        self._raises = False

    @property
    def received(self) -> int | None:
        """The number of the signal that came first; None: none did."""
        if self._received is None and self._stop and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + self._looks_every
            # A look that fails is no reason to end: the next one may not.
            with contextlib.suppress(Exception) if self._is_far else contextlib.nullcontext():
                if self._stop.exists():
                    self._stop.unlink(missing_ok=True)
                    self._received = signal.SIGTERM
        return self._received

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Inside, signals are noted. Only the main thread may do this; elsewhere none comes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
        if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
            numbers.append(HANGUP)
        for number in numbers:
            before = signal.getsignal(number)
            if before is not None:  # None is a handler that is not Python's: it can't be put back
                self._before[number] = before
                signal.signal(number, self._note)
        try:
            yield
        finally:
            self._restore(list(self._before))

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Inside, the first signal raises KeyboardInterrupt."""
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def _note(self, number: int, frame: Any) -> None:
        first = self._received is None
        if first:
            self._received = number
        if number != HANGUP:
            self._restore([other for other in self._before if other != HANGUP])
        if self._raises and first:
            raise KeyboardInterrupt

    def _restore(self, numbers: list[int]) -> None:
        for number in numbers:
            signal.signal(number, self._before.pop(number))
