"""Files as trax wrote them: its modules stand here as stubs, so that pickles carry their names."""

from __future__ import annotations

import gzip
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]


class ShapeDtype:
    __slots__ = ("dtype", "shape")

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, dtype


class History:
    def __init__(self, values):
        self._values = values


def reconstruct_device_array(*args):
    raise AssertionError("nothing that a pickle names is ever called")


class DeviceArray:
    """An array as JAX 0.3.14 to 0.3.25 pickled it."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        function, args, state = self.value.__reduce__()
        return reconstruct_device_array, (function, args, state, {"weak_type": False})


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """The stubs. While the fixture is in use, they are pickled under the names of the real ones."""
    for module, item in (
        ("trax.shapes", ShapeDtype),
        ("trax.supervised.history", History),
        ("jax._src.device_array", reconstruct_device_array),
    ):
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name not in sys.modules:
                monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setattr(sys.modules[module], item.__name__, item, raising=False)
        monkeypatch.setattr(item, "__module__", module)
    return types.SimpleNamespace(ShapeDtype=ShapeDtype, History=History, DeviceArray=DeviceArray)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an object as trax did: `write(content, name="model.pkl.gz", protocol=3)`."""

    def to_file(content: Any, name: str = "model.pkl.gz", *, protocol: int = 3) -> Path:
        data = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
        path = tmp_path / name
        path.write_bytes(gzip.compress(data, 2, mtime=0) if name.endswith(".gz") else data)
        return path

    return to_file
