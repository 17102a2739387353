"""What is shown of an error that is no mistake of the user's: where it is in the user's code and
the zoo's."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from pathlib import Path

ZOO = Path(__file__).parents[1]


def missing_devices() -> str | None:
    """A line about JAX_PLATFORMS if it asks for devices that JAX does not have here, else None."""
    platforms = os.environ.get("JAX_PLATFORMS")
    if not platforms or "jax" not in sys.modules:
        return None
    import jax

    try:
        jax.devices()
    except Exception as error:  # a RuntimeError, or an AssertionError if there is no plugin
        reason = " ".join(str(error).split())
        return (
            f"JAX_PLATFORMS is {platforms!r}, and JAX has no such devices here"
            f"{reason and f' ({reason})'}; unset it, or install the JAX for them"
        )
    return None


def described(error: BaseException) -> str:
    """The traceback of an error and of its causes, without what is in other packages only."""
    shown = part = traceback.TracebackException.from_exception(error)
    _cut(shown)
    while following := part.__cause__ or (None if part.__suppress_context__ else part.__context__):
        if _cut(following):
            part = following
        else:  # take it out of the chain
            part.__cause__, part.__context__ = following.__cause__, following.__context__
            part.__suppress_context__ = following.__suppress_context__
    return "".join(shown.format()) + (
        "(only lines of your code and of the zoo; ZOO_DEBUG=1 shows all)"
    )


def _cut(part: traceback.TracebackException) -> bool:
    """Leaves only the user's frames and the zoo's; all, if there are none of them: False."""
    own = [frame for frame in part.stack if _is_own(frame.filename)]
    if own:
        part.stack = traceback.StackSummary.from_list(own)
    part.__notes__ = [note for note in part.__notes__ or () if "JAX has removed" not in note]
    return bool(own)


def _is_own(file: str) -> bool:
    """Whether a file is the zoo's or the user's, and not Python's or another package's."""
    path = Path(file)
    if ZOO in path.parents:
        return True
    others = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return path.is_absolute() and not any(Path(folder) in path.parents for folder in others)
