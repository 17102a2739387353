"""A hash of the content of each row, the same on every machine and in every process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from zoo.pipelines.base import Array
from zoo.pipelines.sources.image_files import FilePath
from zoo.tokenizers import nfc

VALIDATION, TEST = 0, 1
"""Seeds of the hashes by which rows are held out, one for each purpose: what is small by one is not
by the other. They are not the run's, so that runs compare."""

END = 4096
"""Bytes at the beginning and at the end of a file that stand for its content, with its size."""


def of_rows(columns: Mapping[str, Array], seed: int = VALIDATION) -> Array:
    """The hash of each row: uint64 [N].

    Texts are hashed in Unicode's NFC, as they are read; whole numbers by their value, whatever
    their dtype. An image file that is not read yet is known by its size, beginning and end, not by
    its path.

    Args:
      columns: each [N, ...]; their order does not matter.
      seed: of the hash.
    """
    return combined(of_values(columns), seed)


def of_values(columns: Mapping[str, Array]) -> list[Array]:
    """The hash of each value, uint64 [N] of each column: the work of `of_rows`, for all seeds."""
    return [_of_column(columns[name]) for name in sorted(columns)]


def combined(values: Iterable[Array], seed: int = VALIDATION) -> Array:
    """The hash of each row of which `of_values` has the values: uint64 [N]."""
    found = np.full(1, seed, np.uint64)
    for column in values:
        found = _mixed(found + column)
    return found


def _of_column(column: Array) -> Array:
    if column.dtype.kind in "biuf" and column.ndim == 1:
        if column.dtype.kind == "f":
            column = column.astype(np.float64) + 0.0  # 0.0 and -0.0 are equal
        else:
            column = column.astype(np.int64)
        return _mixed(column.view(np.uint64))
    if column.dtype.kind in "biuf":
        if column.dtype.kind == "f":
            column = column + np.zeros((), column.dtype)
        size = int(np.prod(column.shape[1:])) * column.dtype.itemsize
        content = memoryview(np.ascontiguousarray(column).reshape(-1).view(np.uint8))
        return _digests(content[n * size : (n + 1) * size] for n in range(len(column)))
    return _digests(map(_content, column.tolist()))


def _digests(rows: Iterable[Any]) -> Array:
    found = b"".join([hashlib.blake2b(row, digest_size=8).digest() for row in rows])
    return np.frombuffer(found, "<u8").astype(np.uint64)


def _mixed(values: Array) -> Array:
    """A bijection of 64-bit numbers that spreads each bit over all (Steele, Lea and Flood 2014,
    "Fast splittable pseudorandom number generators", the finaliser of SplitMix64)."""
    values = np.asarray(values) + np.array([0x9E3779B97F4A7C15], np.uint64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = values ^ (values >> np.uint64(31))
    return mixed


def _content(value: Any) -> bytes:
    """A value of a column of objects, as bytes."""
    if isinstance(value, FilePath):
        return _of_file(value)
    if isinstance(value, list | tuple):  # the words of a sentence
        return "\0".join([nfc(str(item)) for item in value]).encode(errors="surrogatepass")
    if not isinstance(value, bytes):
        return nfc(str(value)).encode(errors="surrogatepass")
    if value.isascii():
        return value
    try:
        return nfc(value.decode()).encode()
    except UnicodeDecodeError:  # the content of a file
        return value


def _of_file(path: bytes) -> bytes:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            beginning = file.read(END)
            file.seek(max(size - END, 0))
            return b"%d %b%b" % (size, beginning, file.read(END))
    except OSError:  # who reads the image says so
        return bytes(path)
