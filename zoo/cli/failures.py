"""What is shown of an error that is no mistake of the user's: where it is in the user's code and
the zoo's."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

ZOO = Path(__file__).parents[1]


def described(error: BaseException) -> str:
    """The traceback of an error and of its causes, without frames of other packages.

    Where none would be left, all are shown.
    """
    shown = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = shown
    while part is not None:
        own = [frame for frame in part.stack if _is_own(frame.filename)]
        part.stack = traceback.StackSummary.from_list(own or list(part.stack))
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    return "".join(shown.format()) + (
        "(only lines of your code and of the zoo; ZOO_DEBUG=1 shows all)"
    )


def _is_own(file: str) -> bool:
    """Whether a file is the zoo's or the user's, and not Python's or another package's."""
    path = Path(file)
    if ZOO in path.parents:
        return True
    others = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return path.is_absolute() and not any(Path(folder) in path.parents for folder in others)
