"""Values that are missing: None, NaN, and what pandas writes for them. A class may not be empty."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from zoo.config import ValueMistake

_NAMES = ("NAType", "NaTType")
"""The classes of pandas' own missing values."""


def is_missing(value: Any) -> bool:
    """Whether a value of a row is None, NaN, or pandas' NA or NaT.

    >>> [is_missing(value) for value in (None, float("nan"), np.float32("nan"), "", "nan", 0)]
    [True, True, True, False, False, False]
    """
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in _NAMES


def is_empty(value: Any) -> bool:
    """Whether a value that must be a name is missing, or has no characters but white space.

    >>> is_empty(" "), is_empty(b""), is_empty("O"), is_empty(0)
    (True, True, False, False)
    """
    return is_missing(value) or (isinstance(value, str | bytes) and not value.strip())


def check(values: Iterable[Any], origin: str) -> None:
    """Raises ValueMistake with the row of the first value that is missing.

    Args:
      values: one for each row.
      origin: where they come from.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        row = 1 + int(np.argmax(np.ma.getmaskarray(values).reshape(len(values), -1).any(axis=1)))
        raise ValueMistake(
            f"{origin}, row {row}: the value is missing (masked); fill it in, or leave out the row"
        )
    if isinstance(values, np.ndarray) and (values.ndim > 1 or values.dtype.kind not in "Of"):
        return
    values = list(values)
    suspects = {kind for kind in set(map(type, values)) if not issubclass(kind, str | bytes | int)}
    if not suspects:
        return
    for row, value in enumerate(values, start=1):
        if is_missing(value):
            raise ValueMistake(
                f"{origin}, row {row}: the value is missing ({value!r}); fill it in, or leave out "
                "the row"
            )


def check_names(values: Iterable[Any], origin: str, what: str = "class") -> None:
    """Raises ValueMistake with the row of the first name of a class that is missing or empty.

    Args:
      values: one for each row.
      origin: where they come from.
      what: what is missing, for the message.
    """
    values = list(values)
    for value in dict.fromkeys(values):
        if is_empty(value):
            row = 1 + next(row for row, other in enumerate(values) if is_empty(other))
            shown = value.decode() if isinstance(value, bytes) else value
            raise ValueMistake(
                f"{origin}, row {row}: the {what} is missing ({shown!r}); fill it in, or leave out "
                "the row"
            )
