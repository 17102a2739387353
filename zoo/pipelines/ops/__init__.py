"""The steps of a `tf.data` pipeline: functions that take a `tf.data.Dataset` and return one.

Steps that need a size or a tokenizer are made from it: `shuffle(1000, seed=0)` is such a function.
`pipe` chains them. trax's tutorial, `TFDS -> Tokenize -> Shuffle -> FilterByLength ->
BucketByLength -> AddLossWeights`, is

    pipe(
        from_tfds("imdb_reviews", "train").dataset,
        select(inputs="text", targets="label"),
        tokenize(tokenizer),
        shuffle(1000, seed=0),
        filter_by_length(2048),
        bucket_by_length((32, 128, 512, 2048), (256, 64, 16, 4, 1)),
        add_weights(),
    )

with `from_tfds` of `zoo.pipelines.sources.opening`. An element is a dict of tensors: one example,
or one batch of examples along the first axis. Docstrings write `{"inputs": [5, 6]}` for such a
dict. The length of a feature is that of its first axis.
"""

from zoo.pipelines.ops.batching import batch, group_by_length, pad_to_bucket
from zoo.pipelines.ops.examples import (
    add_weights,
    filter_by_length,
    look_up,
    select,
    tokenize,
    truncate,
)
from zoo.pipelines.ops.execution import Step, epochs, pipe, prefetch, shuffle
from zoo.pipelines.ops.trax import append_eos, bucket_by_length, bucket_by_tokens, pad_to_length

__all__ = [
    "Step",
    "add_weights",
    "append_eos",
    "batch",
    "bucket_by_length",
    "bucket_by_tokens",
    "epochs",
    "filter_by_length",
    "group_by_length",
    "look_up",
    "pad_to_bucket",
    "pad_to_length",
    "pipe",
    "prefetch",
    "select",
    "shuffle",
    "tokenize",
    "truncate",
]
