"""google/trax's checkpoints: old weights in a new model, without trax.

>>> from zoo.interop import trax
>>> config = trax.config("Transformer", input_vocab_size=33300, max_len=2048)  # doctest: +SKIP
>>> checkpoint = trax.read("ende_wmt32k.pkl.gz")  # doctest: +SKIP
>>> variables = trax.to_variables(checkpoint, config)  # doctest: +SKIP
>>> config.build().apply(variables, inputs, targets)  # doctest: +SKIP

A checkpoint has arrays and no names, so the constructor's call must be known; what does not fit it
exactly is refused. `zoo import-trax` makes a folder for `zoo.load` in the same way.
"""

from zoo.interop.checkpoint import Checkpoint, read
from zoo.interop.constructors import config, parse_call
from zoo.interop.files import CheckpointError
from zoo.interop.mapping import complete, to_variables

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "complete",
    "config",
    "parse_call",
    "read",
    "to_variables",
]
