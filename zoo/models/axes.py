"""The names of the parameters' axes: one table for all families.

A name says what an axis counts. `zoo.train.sharding` decides by it over which devices an axis is
divided, so that no model knows of devices.
"""

from __future__ import annotations

import re

AXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("embedding", ("vocab", "embed")),
    ("positions", ("positions", "embed")),
    ("(query|key|value)/kernel", ("embed", "heads")),  # all heads side by side
    ("(query|key|value)/bias", ("heads",)),
    ("out/kernel", ("heads", "embed")),
    ("heads/(query|key|value)", ("heads", "embed", "head")),
    ("heads/out", ("heads", "head", "embed")),
    ("up/kernel", ("embed", "mlp")),
    ("up/bias", ("mlp",)),
    ("down/kernel", ("mlp", "embed")),
    ("logits/kernel", ("embed", "vocab")),
    ("logits/bias", ("vocab",)),
    ("head/kernel", ("embed", "classes")),
    ("((input|recurrent)_)?(gates|candidate)/kernel", ("embed", "gates")),
)
"""The end of a parameter's path, as a regular expression, and the names of its last axes."""


def axes_of(path: str, ndim: int) -> tuple[str, ...] | None:
    """The names of an array's axes; None: the table has none for it.

    What an optimizer keeps for a parameter has a path that ends like the parameter's.

    Args:
      path: its slash path.
      ndim: number of its axes. Those before the named ones count layers that are stacked.

    >>> axes_of("params/decoder/block_0/attention/query/kernel", 2)
    ('embed', 'heads')
    """
    for pattern, names in AXES:
        if len(names) <= ndim and re.search(f"(^|/){pattern}$", path):
            return ("layers",) * (ndim - len(names)) + names
    return None
