"""The bytes of trax's files, unpacked within bounds, and the arrays in its `.npy` files.

A malicious file can exhaust the memory: a megabyte of gzip can unpack to a gigabyte of zeros, and a
header can claim any size. No memory is reserved here before the file has filled it.
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

from zoo.config import FileMistake, ValueMistake

UNPACKED = 512 * 2**20
"""Bytes to which any gzip file may unpack; larger ones may unpack to `RATIO` times their size."""

RATIO = 32
"""Largest ratio of unpacked to packed size. Weights hardly shrink (7 % in float32)."""

PIECE = 2**20
"""Bytes to read at once. They are allocated before it is known whether the file has them."""

GZIP = b"\x1f\x8b"

UNREADABLE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError),
    *(OSError, EOFError, zlib.error),
)
"""Errors that the readers of gzip, pickle and `.npy` raise for unexpected content."""


class CheckpointError(ValueMistake):
    """A file is not a checkpoint of trax, or does not fit the model; the first line says why.

    If arrays do not fit, the lines below it list both sides.
    """


class Stream:
    """A file read once from beginning to end, unpacked if it is gzip, whatever its name is."""

    def __init__(self, file: io.BufferedReader) -> None:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise CheckpointError("the file is empty")
        packed = file.peek(2).startswith(GZIP)
        self._file = io.BufferedReader(gzip.GzipFile(fileobj=file)) if packed else file
        self._limit = max(UNPACKED, RATIO * size) if packed else size
        self._left = self._limit

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end of the file.

        Raises:
          CheckpointError: the file unpacks to more than is allowed.
        """
        pieces = []
        while size > 0 and (piece := self._file.read(min(size, PIECE))):
            pieces.append(self._counted(piece))
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readline(self) -> bytes:
        """The next bytes up to a line feed, at most 1024."""
        return self._counted(self._file.readline(1024))

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise CheckpointError(
                f"it unpacks to more than {self._limit:,} bytes, more than any weights; nothing is "
                "read"
            )
        return data

    def at_end(self) -> bool:
        """Whether everything has been read. The end of a gzip file verifies its checksum."""
        return not self._file.peek(1)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Stream]:
    """The file as a stream. Errors while it is read become one that names the file.

    Raises:
      FileNotFoundError: there is no such file.
      CheckpointError: it cannot be read.
    """
    if not path.is_file():
        raise FileMistake(f"there is no file {path}")
    with path.open("rb") as file:
        try:
            yield Stream(file)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        except UNREADABLE as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise CheckpointError(
                f"{path} is cut short, damaged or not a checkpoint of trax ({reason:.200}); "
                "fetch it again"
            ) from error


def array(
    raw: bytes | bytearray, dtype: np.dtype[Any], shape: tuple[int, ...], *, columns: bool = False
) -> np.ndarray[Any, Any]:
    """An array over `raw`, copied only if its byte order is not the machine's.

    Args:
      raw: the bytes.
      dtype: theirs.
      shape: of the array.
      columns: the bytes are in Fortran's order.

    Raises:
      CheckpointError: the dtype is not a number's, or `raw` does not have the size of `shape`.
    """
    if dtype.kind not in "biuf":
        raise CheckpointError(f"it has an array of {dtype!s:.60}, but trax's hold numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(raw):
        raise CheckpointError(f"it has {len(raw)} bytes for an array {shape!s:.60} of {dtype}")
    values: np.ndarray[Any, Any] = np.ndarray(shape, dtype, raw, order="F" if columns else "C")
    return values if dtype.isnative else values.astype(dtype.newbyteorder("="))


def arrays(stream: Stream) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays of a file of concatenated `.npy` images."""
    headers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    source: Any = stream  # NumPy uses only the method read
    while not stream.at_end():
        shape, columns, dtype = headers[np.lib.format.read_magic(source)](source)
        raw = stream.read(math.prod(shape) * dtype.itemsize)
        yield array(raw, dtype, shape, columns=columns)
