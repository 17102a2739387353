"""Ctrl-C and SIGTERM, by which a run ends between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Signals:
    """The first signal is noted, or raises where `raising` says so; a second one ends all."""

    def __init__(self) -> None:
        self.received: int | None = None
        """The number of the signal that came; None: none did."""
        self._before: dict[int, Any] = {}
        self._raises = False

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Inside, signals are noted. Only the main thread may do this; elsewhere none comes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            if before is not None:  # None is a handler that is not Python's: it can't be put back
                self._before[number] = before
                signal.signal(number, self._note)
        try:
            yield
        finally:
            self._restore()

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Inside, the first signal raises KeyboardInterrupt."""
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def _note(self, number: int, frame: Any) -> None:
        self.received = number
        self._restore()
        if self._raises:
            raise KeyboardInterrupt

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
