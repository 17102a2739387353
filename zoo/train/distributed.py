"""The start of one process of many: who takes part, and whether all still do.

JAX ends the whole process, with a stack trace, where another one does not appear. So the processes
first call the roll, over TCP at the coordinator's address, and only then start JAX's runtime there.
Their connections stay open: the system closes that of a process that is killed, and the others end
with a line instead of waiting for it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import jax

from zoo.config import ConfigError, say

COORDINATOR, PROCESSES, PROCESS = (
    "JAX_COORDINATOR_ADDRESS",
    "JAX_NUM_PROCESSES",
    "JAX_PROCESS_ID",
)
"""Variables of the environment that stand for the arguments of `join`."""

BYE = b"\n"
"""Sent by a process that ends by itself."""


@dataclass(frozen=True)
class _Place:
    """What a process must know of the job."""

    coordinator: str
    processes: int
    process: int
    local_devices: tuple[int, ...] | None = None


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    timeout: int = 300,
) -> None:
    """Starts JAX's distributed runtime, if this process is one of many. Must be called before JAX
    looks for devices.

    What is left out is taken from the environment: `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES`
    and `JAX_PROCESS_ID`, or what SLURM, Open MPI, Cloud TPU or GKE say.

    Args:
      coordinator: HOST:PORT of process 0, which the others reach.
      processes: number of processes.
      process: number of this process, from 0.
      timeout: seconds to wait for processes that have not started yet.

    Raises:
      ConfigError: the processes do not agree on their number, or some did not appear; the message
        names them.
    """
    place = _place(coordinator, processes, process, os.environ)
    if place is None or jax.distributed.is_initialized():
        return
    connections = _roll_call(place, timeout)
    jax.distributed.initialize(
        place.coordinator,
        place.processes,
        place.process,
        local_device_ids=place.local_devices,
        initialization_timeout=timeout,
    )
    atexit.register(_part, connections)
    threading.Thread(target=_watch, args=(connections,), name="zoo-others", daemon=True).start()


def _place(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environment: Mapping[str, str],
) -> _Place | None:
    """Where this process is in a job; None: there is only this one.

    Raises:
      ConfigError: arguments and environment say only part of it, or nonsense.
    """
    coordinator = coordinator or environment.get(COORDINATOR)
    processes = _number(processes, environment, PROCESSES)
    process = _number(process, environment, PROCESS)
    local = None
    if processes is None and process is None and (found := _detected()) is not None:
        detected, processes, process, local = found
        coordinator = coordinator or detected
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    missing = [f"--distributed.{name}" for name, value in given.items() if value is None]
    if len(missing) == 3 or (processes == 1 and not process):
        return None
    if coordinator is None or processes is None or process is None:
        raise ConfigError(
            f"one process of many needs {' and '.join(missing)} too, or a cluster that is known: "
            "SLURM, Open MPI, Cloud TPU, GKE"
        )
    if not 0 <= process < processes:
        raise ConfigError(
            f"distributed.process is {process}; of {processes} processes it is 0 to {processes - 1}"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(
            f"distributed.coordinator is {coordinator!r}; it must be HOST:PORT, such as node1:1234"
        )
    return _Place(coordinator, processes, process, local)


def _number(value: int | None, environment: Mapping[str, str], name: str) -> int | None:
    if value is not None or not (text := environment.get(name)):
        return value
    if not text.isdigit():
        raise ConfigError(f"{name} is {text!r}; it must be a number")
    return int(text)


def _detected() -> tuple[str, int, int, tuple[int, ...] | None] | None:
    """Coordinator, number of processes, this one's number, and its devices, as a cluster that JAX
    knows says; None: there is no cluster, or only this process."""
    # JAX detects clusters under no public name but that of `initialize`, which would start.
    from jax._src.clusters import ClusterEnv

    found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, 300)
    coordinator, processes, process, local = found
    if processes is None or processes <= 1:
        return None
    own = None if "JAX_LOCAL_DEVICE_IDS" in os.environ else local  # JAX reads that by itself
    return str(coordinator), processes, int(process or 0), tuple(own) if own else None


# The roll call.


def _roll_call(place: _Place, timeout: float) -> dict[int, socket.socket]:
    """The connections to other processes, by their number: to all from process 0, to it from the
    others.

    Raises:
      ConfigError: as `join`.
    """
    host, _, port = place.coordinator.rpartition(":")
    deadline = time.monotonic() + timeout
    if place.process == 0:
        return _call(int(port), place, deadline, timeout)
    return {0: _answer(host.strip("[]"), int(port), place, deadline, timeout)}


def _call(port: int, place: _Place, deadline: float, timeout: float) -> dict[int, socket.socket]:
    """Process 0: waits for the others, and tells each whether all is well."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    present: dict[int, socket.socket] = {}
    try:
        server = socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise ConfigError(f"process 0 cannot listen at {place.coordinator}: {error}") from error
    with server:
        problem = ""
        while len(present) < place.processes - 1 and not problem:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                missing = sorted(set(range(1, place.processes)) - present.keys())
                problem = (
                    f"process {', '.join(map(str, missing))} of {place.processes} did not appear "
                    f"within {timeout:g} s; is it running, and does it reach {place.coordinator}?"
                )
                break
            hello = _read(connection)
            if hello is None:  # something else that knocks at ports
                connection.close()
                continue
            number, processes = hello
            if processes != place.processes:
                problem = (
                    f"the processes do not agree on their number: process 0 was started as one of "
                    f"{place.processes}, process {number} as one of {processes}"
                )
            elif number in present:
                problem = f"two processes were started as number {number}"
            present[number if number not in present else -1] = connection
    for connection in present.values():
        _send(connection, json.dumps(problem).encode() + b"\n")
        if problem:
            connection.close()
    if problem:
        raise ConfigError(problem)
    return present


def _answer(host: str, port: int, place: _Place, deadline: float, timeout: float) -> socket.socket:
    """Another process: reports to process 0, and hears whether all is well."""
    while True:
        try:
            connection = socket.create_connection((host, port), timeout=5)
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"process 0 did not answer at {place.coordinator} within {timeout:g} s "
                    f"({error}); process {place.process} of {place.processes} gives up"
                ) from error
            time.sleep(0.2)
    _send(connection, json.dumps([place.process, place.processes]).encode() + b"\n")
    connection.settimeout(max(1.0, deadline - time.monotonic()) + 5)
    reply = b""
    with contextlib.suppress(OSError), connection.makefile("rb") as lines:
        reply = lines.readline()
    problem = (
        json.loads(reply)
        if reply
        else (
            f"process 0 at {place.coordinator} went away before all processes appeared; process "
            f"{place.process} of {place.processes} gives up"
        )
    )
    if problem:
        connection.close()
        raise ConfigError(str(problem))
    return connection


def _read(connection: socket.socket) -> tuple[int, int] | None:
    """The number of a process that reports, and how many it thinks there are."""
    connection.settimeout(5)
    try:
        with connection.makefile("rb") as lines:
            number, processes = json.loads(lines.readline(100))
        return int(number), int(processes)
    except (OSError, ValueError, TypeError):
        return None


def _send(connection: socket.socket, line: bytes) -> None:
    with contextlib.suppress(OSError):  # the system has closed it: the watch tells
        connection.sendall(line)


# The watch.


def _watch(connections: dict[int, socket.socket]) -> None:
    """Ends this process when another one has ended without a good-bye."""
    with selectors.DefaultSelector() as selector:
        for number, connection in connections.items():
            connection.settimeout(None)
            _notice_silence(connection)
            selector.register(connection, selectors.EVENT_READ, number)
        while selector.get_map():
            for key, _ in selector.select():
                connection = connections[key.data]
                try:
                    line = connection.recv(100)
                except OSError:
                    line = b""
                if line and line != BYE:
                    _end(int(line))  # process 0 tells of another one
                if not line:
                    for other in connections.values():
                        _send(other, str(key.data).encode())
                    _end(key.data)
                selector.unregister(connection)


def _notice_silence(connection: socket.socket) -> None:
    """Lets the system notice, in half a minute, a machine that went off without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name) and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _end(number: int) -> None:
    say(
        f"process {number} of the job has died; this process ends too. The same command in all "
        "processes resumes from the last checkpoint"
    )
    os._exit(1)  # the main thread may wait for a device that waits for the other process


def _part(connections: Mapping[int, socket.socket]) -> None:
    for connection in connections.values():
        _send(connection, BYE)
