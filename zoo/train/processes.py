"""Agreement between the processes of one job. With a single process everything here is trivial.

The processes of a run speak through the service that `jax.distributed` started. No message waits
for a device, so a process that fails can tell the others whatever these are waiting for.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import jax

from zoo.config import say
from zoo.train.outcome import OtherProcessError

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds that a process has, after another one has failed, to notice it by itself. It cannot while
it waits for a device: then it ends without an exception."""

_runs = itertools.count()  # all processes of a job start the same runs


def writes() -> bool:
    """Whether this process writes logs, cards and event files: the first process does."""
    return jax.process_index() == 0


@contextlib.contextmanager
def together() -> Iterator[Job]:
    """The processes that train together. An error that leaves this context in one ends all."""
    if jax.process_count() == 1:
        yield Job()
        return
    job = _Several(f"zoo/{next(_runs)}")
    try:
        yield job
    except BaseException as error:
        job.fail(error)
        raise
    finally:
        job.close()


class Job:
    """One process, which agrees with itself.

    All processes of a job must call its methods at the same places.
    """

    def agree(self, flag: bool = True) -> bool:
        """Whether the flag is set in all processes; they wait for each other.

        Raises:
          OtherProcessError: another process failed.
        """
        return flag

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; they wait for each other. Raises as `agree`."""
        return not self.agree(not flag)

    def share(self, value: T) -> T:
        """The first process's value, which is JSON-ready, in all. Raises as `agree`."""
        return value

    def stop(self, signal: int | None) -> int | None:
        """The signal after which all processes end at this call; None: go on.

        They find out in the background at which call that is, so that a call takes no time.

        Args:
          signal: its number, if this process was signalled.
        """
        return signal

    def close(self) -> None:
        """The run is over for this process, as for all others."""


class _Several(Job):
    """One of several processes."""

    def __init__(self, name: str) -> None:
        """
        Args:
          name: of the run, the same in all processes.
        """
        # JAX exports the service's client under no public name.
        from jax._src import distributed

        self._client: Any = distributed.global_state.client
        self._name, self._number = name, jax.process_index()
        self._others = range(1, jax.process_count())
        self._calls = itertools.count()
        self._failure = ""
        self._closed = self._asked = False
        self._lock = threading.Lock()  # held while the processes find their last call of `stop`
        self._turn, self._last_turn, self._signal = 0, sys.maxsize, 0
        # Python waits for it at its end: a thread that is killed inside the client takes all along.
        self._listener = threading.Thread(target=self._listen, name="zoo-processes")
        self._listener.start()

    def agree(self, flag: bool = True) -> bool:
        return all(self._gather(flag))

    def share(self, value: T) -> T:
        first: T = self._gather(value)[0]
        return first

    def _gather(self, value: Any) -> list[Any]:
        """The values of all processes."""
        call = next(self._calls)
        if self._number:
            self._set(f"from/{call}/{self._number}", json.dumps(value))
            values: list[Any] = json.loads(self._get(f"all/{call}"))
            return values
        values = [value, *(json.loads(self._get(f"from/{call}/{n}")) for n in self._others)]
        self._set(f"all/{call}", json.dumps(values))
        # Every process has made this call, so none reads what was said at the one before.
        for old in (f"from/{call}", f"all/{call - 1}"):
            self._client.key_value_delete(f"{self._name}/{old}")
        return values

    def stop(self, signal: int | None) -> int | None:
        if signal is not None and not self._asked:
            self._asked = True
            self._announce({"stop": int(signal)})
        with self._lock:
            self._turn += 1
            return self._signal if self._turn >= self._last_turn else None

    def fail(self, error: BaseException) -> None:
        """Tells the others of an error, and gives them time to hear of it."""
        if self._failure or self._closed:
            return  # they know
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        with contextlib.suppress(Exception):  # the service may be what failed
            self._announce({"failed": f"process {self._number} of the job failed: {message}"})
            deadline = time.monotonic() + PATIENCE
            for number in {0, *self._others} - {self._number}:
                self._get(f"heard/{number}", deadline)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(Exception):
            self._set(f"heard/{self._number}", "")

    # The thread that hears what other processes announce.

    def _announce(self, event: dict[str, Any]) -> None:
        for number in itertools.count():
            try:
                return self._set(f"event/{number}", json.dumps(event))
            except RuntimeError as error:
                if "ALREADY_EXISTS" not in str(error):
                    raise

    def _listen(self) -> None:
        with contextlib.suppress(Exception):  # the job's service has ended
            for number in itertools.count():
                event = json.loads(self._get(f"event/{number}"))
                if "stop" in event:
                    self._find_last_turn(event["stop"])
                elif self._hear(event["failed"]):
                    return

    def _find_last_turn(self, signal: int) -> None:
        """Finds the call of `stop` that none has made yet. Meanwhile none makes one."""
        with self._lock:
            self._set(f"turn/{self._number}", str(self._turn))
            turns = [int(self._get(f"turn/{number}")) for number in (0, *self._others)]
            self._last_turn, self._signal = max(turns) + 1, signal

    def _hear(self, failure: str) -> bool:
        """Notes that another process failed. Returns False if it was this one."""
        if failure.startswith(f"process {self._number} "):
            return False
        self._failure = failure
        self._set(f"heard/{self._number}", "")
        deadline = time.monotonic() + PATIENCE
        while not self._closed and time.monotonic() < deadline:
            time.sleep(0.1)
        if not self._closed:
            say(f"{failure}; this process ends too")
            os._exit(1)  # the main thread waits for a device that waits for the other process
        return True

    # Values by name, in the job's service.

    def _set(self, key: str, value: str) -> None:
        self._client.key_value_set(f"{self._name}/{key}", value)

    def _get(self, key: str, deadline: float | None = None) -> str:
        """The value of a name as soon as it has one."""
        while True:
            try:
                return str(self._client.blocking_key_value_get(f"{self._name}/{key}", 1000))
            except RuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise
            listening = threading.current_thread() is self._listener
            if self._failure and not listening:
                raise OtherProcessError(self._failure)
            late = deadline is not None and time.monotonic() > deadline
            if late or (self._closed and listening):
                raise TimeoutError(f"nothing is known of {key}")
