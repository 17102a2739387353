"""Greedy decoding, sampling and beam search over a step function, each one loop on the device.

A model is a function here, `step(tokens [B, N, T], cache, count) -> (logits [B, N, T, V], cache)`.
It reads the first `count` of T tokens for each beam (all of them without a `count`), and after each
gives the logits of the next. The first token that is read is START. The cache is a pytree of the
model's own. For beam search it has a method `reorder(parents [B, N])`, which gives the cache in
which beam n continues what beam `parents[:, n]` has read; for several answers to one beginning it
has `rows(indices [R])`, which gives the cache whose row r continues row `indices[r]`.

`Sampling`, `Beam` and `Controls` are what a user asks for. A compiled loop takes
`Sampling.choice()`, `Beam.length_penalty` and `Controls.bans()`, whose numbers are arguments of the
program: another temperature compiles nothing.
"""

from zoo.decoding.beam import Beam, beam_search
from zoo.decoding.controls import Bans, Controls
from zoo.decoding.sampling import (
    START,
    Choice,
    Counted,
    Prefix,
    Sampled,
    Sampling,
    Step,
    begin,
    log_probabilities,
    read_prefix,
    sample,
)

__all__ = [
    "START",
    "Bans",
    "Beam",
    "Choice",
    "Controls",
    "Counted",
    "Prefix",
    "Sampled",
    "Sampling",
    "Step",
    "beam_search",
    "begin",
    "log_probabilities",
    "read_prefix",
    "sample",
]
