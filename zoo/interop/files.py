"""The bytes of trax's files, unpacked within bounds, and the arrays of its `.npy` files.

A file from elsewhere may be made to fill the memory: a megabyte of gzip can unpack to a gigabyte of
zeros, and a header can announce any size. Here nothing is reserved that the file does not fill.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

UNPACKED = 512 * 2**20
"""What any gzip file may unpack to, in bytes …"""
RATIO = 32
"""… and larger ones, as a multiple of their size. Weights hardly shrink (by 7 % in float32)."""

PIECE = 2**20
"""Bytes that are asked for at once: room is made for them before it is known whether they come."""

GZIP = b"\x1f\x8b"

UNREADABLE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError),
    *(OSError, EOFError, zlib.error),
)
"""What the readers of gzip, pickle and `.npy` raise where a file is not what they expect."""


class CheckpointError(ValueError):
    """A file that is no checkpoint of trax, or one that does not fit the model; one line says why.

    Where arrays do not fit, the lines below it list both sides.
    """


class Stream:
    """A file read from its beginning to its end, unpacked if it is gzip, whatever its name."""

    def __init__(self, file: io.BufferedReader) -> None:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise CheckpointError("the file is empty")
        packed = file.peek(2).startswith(GZIP)
        self._file = io.BufferedReader(gzip.GzipFile(fileobj=file)) if packed else file
        self._limit = max(UNPACKED, RATIO * size) if packed else size
        self._left = self._limit

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer where the file ends.

        Raises:
          CheckpointError: the file unpacks to more than it may.
        """
        pieces = []
        while size > 0 and (piece := self._file.read(min(size, PIECE))):
            pieces.append(self._counted(piece))
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readline(self) -> bytes:
        """The next bytes up to a line feed, but not more than a name may have."""
        return self._counted(self._file.readline(1024))

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise CheckpointError(
                f"it unpacks to more than {self._limit:,} bytes, as no weights do; nothing is read"
            )
        return data

    def at_end(self) -> bool:
        """Whether all is read. At the end of a gzip file its checksum is compared."""
        return not self._file.peek(1)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Stream]:
    """The file as a stream. What goes wrong while it is read becomes an error that names it.

    Raises:
      FileNotFoundError: there is no such file.
      CheckpointError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            yield Stream(file)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        except UNREADABLE as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise CheckpointError(
                f"{path} is cut short, damaged or no checkpoint of trax ({reason:.200}); "
                "fetch it again"
            ) from error


def array(
    raw: bytes | bytearray, dtype: np.dtype[Any], shape: tuple[int, ...], *, columns: bool = False
) -> np.ndarray[Any, Any]:
    """The numbers in `raw`, in place, in the machine's byte order; `columns` for Fortran's order.

    Raises:
      CheckpointError: `raw` holds no numbers, or not so many as `shape` says.
    """
    if dtype.kind not in "biuf":
        raise CheckpointError(f"it has an array of {dtype!s:.60}, but trax's hold numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(raw):
        raise CheckpointError(f"it has {len(raw)} bytes for an array {shape!s:.60} of {dtype}")
    values: np.ndarray[Any, Any] = np.ndarray(shape, dtype, raw, order="F" if columns else "C")
    return values if dtype.isnative else values.astype(dtype.newbyteorder("="))


def arrays(stream: Stream) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays of a file of `.npy` images, one after the other until the file ends."""
    headers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    source: Any = stream  # of a file's methods, NumPy uses read
    while not stream.at_end():
        shape, columns, dtype = headers[np.lib.format.read_magic(source)](source)
        raw = stream.read(math.prod(shape) * dtype.itemsize)
        yield array(raw, dtype, shape, columns=columns)
