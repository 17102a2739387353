"""The steps of a pipeline: functions that take a `tf.data.Dataset` and return one.

Those that need a size or a tokenizer are made from it: `shuffle(1000, seed=0)` is such a function.
`pipe` chains them. trax's tutorial, `TFDS -> Tokenize -> Shuffle -> FilterByLength ->
BucketByLength -> AddLossWeights`, is

    pipe(
        sources.from_tfds("imdb_reviews", "train").dataset,
        select(inputs="text", targets="label"),
        tokenize(tokenizer),
        shuffle(1000, seed=0),
        filter_by_length(2048),
        bucket_by_length((32, 128, 512, 2048), (256, 64, 16, 4, 1)),
        add_weights(),
    )

An element is a dict of tensors, one example or one batch of examples along the first axis. In the
examples below `{"inputs": [5, 6]}` stands for such a dict. The length of a feature is that of its
first axis.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from zoo.pipelines.base import Array, Dataset, Tensor, numpy_function, tensorflow
from zoo.pipelines.delivery import generator

if TYPE_CHECKING:
    from zoo.tokenizers import Tokenizer

Op: TypeAlias = Callable[[Dataset], Dataset]
"""A step of a pipeline."""

CHUNK = 256
"""Examples that are handed to Python at once."""

INPUTS = ("inputs",)


def pipe(dataset: Dataset, *ops: Op) -> Dataset:
    """The dataset after one step after the other: `pipe(d, f, g)` is `g(f(d))`."""
    for op in ops:
        dataset = op(dataset)
    return dataset


def select(**columns: str) -> Op:
    """Keeps the named features, under new names.

    `select(inputs="text")`: {"text": "a b", "id": 7} -> {"inputs": "a b"}
    """
    return _map(lambda example: {new: example[old] for new, old in columns.items()})


def tokenize(tokenizer: Tokenizer, keys: Sequence[str] = INPUTS) -> Op:
    """Texts become ids (int32).

    `tokenize(ByteTokenizer())`: {"inputs": "Hi"} -> {"inputs": [74, 107]}
    """
    tf = tensorflow()

    def encode(texts: Array) -> tuple[Array, Array]:
        rows = [tokenizer.encode(text.decode()) for text in texts]
        ids = np.fromiter(itertools.chain.from_iterable(rows), np.int32)
        return ids, np.array([len(row) for row in rows], np.int64)

    def run(batch: dict[str, Any]) -> dict[str, Any]:
        for key in keys:
            ids, lengths = numpy_function(encode, [batch[key]], [tf.int32, tf.int64])
            ids, lengths = tf.ensure_shape(ids, [None]), tf.ensure_shape(lengths, [None])
            batch = {**batch, key: tf.RaggedTensor.from_row_lengths(ids, lengths)}
        return batch

    def dense(example: dict[str, Any]) -> dict[str, Any]:
        return {key: tf.convert_to_tensor(value) for key, value in example.items()}

    # A call into Python costs as much as tokenizing a sentence: one call for many texts. The other
    # features may be of any length, hence ragged batches.
    return lambda dataset: dataset.ragged_batch(CHUNK).map(run).unbatch().map(dense)


def look_up(key: str, table: Mapping[Any, int]) -> Op:
    """Replaces texts or numbers by numbers (int32).

    `look_up("targets", {b"neg": 0, b"pos": 1})`: {"targets": "pos"} -> {"targets": 1}; what is not
    in the table stops the pipeline.
    """
    tf = tensorflow()
    keys = tf.constant(list(table), tf.string if isinstance(next(iter(table)), bytes) else tf.int64)
    values = tf.constant(list(table.values()), tf.int64)
    numbers = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)

    def replace(example: dict[str, Any]) -> dict[str, Any]:
        number = numbers.lookup(tf.cast(example[key], keys.dtype))
        known = tf.debugging.assert_non_negative(number, f"{key}: a value is not in the table")
        with tf.control_dependencies([known]):
            return {**example, key: tf.cast(number, tf.int32)}

    return _map(replace)


def append_eos(keys: Sequence[str] = INPUTS, *, eos_id: int = 1) -> Op:
    """Ends sequences with an id.

    {"inputs": [5, 6]} -> {"inputs": [5, 6, 1]}
    """
    tf = tensorflow()

    def append(example: dict[str, Any]) -> dict[str, Any]:
        ended = {
            key: tf.concat([example[key], tf.constant([eos_id], example[key].dtype)], 0)
            for key in keys
        }
        return {**example, **ended}

    return _map(append)


def filter_by_length(
    max_len: int | None = None, min_len: int = 0, keys: Sequence[str] = INPUTS
) -> Op:
    """Drops examples whose length, the longest of the `keys`, is out of bounds.

    Both bounds are inclusive. `filter_by_length(3, 2)`: lengths 1, 2, 3, 4 -> 2, 3
    """

    def within(example: dict[str, Any]) -> Any:
        length = _length(example, keys)
        enough = length >= min_len
        return enough if max_len is None else enough & (length <= max_len)

    return lambda dataset: dataset.filter(within)


def truncate(**lengths: int) -> Op:
    """Cuts sequences off.

    `truncate(inputs=2)`: {"inputs": [5, 6, 7]} -> {"inputs": [5, 6]}; {"inputs": [5]} stays.
    """
    return _map(
        lambda example: {
            **example,
            **{key: example[key][:length] for key, length in lengths.items()},
        }
    )


def shuffle(buffer_size: int, *, seed: int, epoch: int | Tensor = 0) -> Op:
    """Draws each element from the next `buffer_size` ones.

    The order is a function of seed and epoch. Only a buffer as large as the data mixes all of it.
    """
    tf = tensorflow()

    def mixed(epoch: Array) -> np.int64:
        return generator(seed, int(epoch)).integers(2**62)

    def run(dataset: Dataset) -> Dataset:
        number = numpy_function(mixed, [tf.cast(epoch, tf.int64)], tf.int64)
        return dataset.shuffle(buffer_size, seed=number, reshuffle_each_iteration=False)

    return run


def epochs(make: Callable[[Tensor], Dataset], first: int = 0) -> Dataset:
    """`make(first)`, `make(first + 1)`, … one after the other without end.

    What depends on the epoch's number alone can be resumed at any epoch.
    """
    tf = tensorflow()
    return tf.data.Dataset.range(first, tf.int64.max).flat_map(make)


def batch(batch_size: int, *, drop_remainder: bool = True) -> Op:
    """Batches of consecutive examples, each feature padded with 0 to the longest in the batch.

    `batch(2)`: {"inputs": [5, 6]}, {"inputs": [7]}, {"inputs": [8]} ->
    {"inputs": [[5, 6], [7, 0]]}; without `drop_remainder` {"inputs": [[8]]} comes after it.
    """
    return lambda dataset: dataset.padded_batch(batch_size, drop_remainder=drop_remainder)


def bucket_by_length(
    boundaries: Sequence[int],
    batch_sizes: Sequence[int],
    keys: Sequence[str] = INPUTS,
    *,
    strict: bool = False,
    drop_remainder: bool = True,
) -> Op:
    """Batches of similar length, each bucket with a batch size of its own (trax: BucketByLength).

    `group_by_length`, then `pad_to_bucket`, which say what the arguments mean.

    With boundaries (2, 4) and batch sizes (2, 1, 1), {"inputs": [5]}, {"inputs": [6, 7, 8]},
    {"inputs": [9, 9]} -> {"inputs": [[6, 7, 8, 0]]}, {"inputs": [[5, 0], [9, 9]]}

    Raises:
      ValueError: boundaries that do not rise, too few or too many batch sizes, a size below 1.
    """
    group = group_by_length(boundaries, batch_sizes, keys, drop_remainder=drop_remainder)
    pad = pad_to_bucket(boundaries, keys, strict=strict)
    return lambda dataset: pipe(dataset, group, pad)


def group_by_length(
    boundaries: Sequence[int],
    batch_sizes: Sequence[int],
    keys: Sequence[str] = INPUTS,
    *,
    drop_remainder: bool = True,
) -> Op:
    """Batches of similar length, padded with 0 to the longest in the batch.

    Bucket i holds lengths up to and including `boundaries[i]`, one more bucket those beyond. A
    batch leaves as soon as its bucket is full.

    Args:
      boundaries: rising lengths.
      batch_sizes: one more than the boundaries.
      keys: the features whose length counts; the longest decides.
      drop_remainder: leave out the batches that are not full when the dataset ends, as trax does.

    Raises:
      ValueError: as `bucket_by_length`.
    """
    tf = tensorflow()
    check_buckets(boundaries, batch_sizes)
    edges = tf.constant(boundaries, tf.int64)

    def bucket(example: dict[str, Any]) -> Tensor:
        return tf.math.count_nonzero(edges < _length(example, keys))

    return _group(bucket, batch_sizes, drop_remainder)


def group_by_bucket(batch_sizes: Sequence[int], *, drop_remainder: bool = True) -> Op:
    """Batches of examples with the same `bucket`, where that is known already.

    With batch sizes (2, 1) {"row": 7, "bucket": 0}, {"row": 8, "bucket": 1},
    {"row": 9, "bucket": 0} -> {"row": [8], "bucket": [1]}, {"row": [7, 9], "bucket": [0, 0]}
    """
    return _group(lambda example: example["bucket"], batch_sizes, drop_remainder)


def _group(
    bucket: Callable[[dict[str, Any]], Tensor], batch_sizes: Sequence[int], drop_remainder: bool
) -> Op:
    sizes = tensorflow().constant(batch_sizes, tensorflow().int64)
    return lambda dataset: dataset.group_by_window(
        bucket,
        lambda key, examples: examples.padded_batch(sizes[key], drop_remainder=drop_remainder),
        window_size_func=lambda key: sizes[key],
    )


def check_buckets(boundaries: Sequence[int], batch_sizes: Sequence[int] | None) -> None:
    """Raises ValueError unless each bucket between and beyond the boundaries has a batch size."""
    steps = zip([0, *boundaries], boundaries, strict=False)
    if not all(low < high for low, high in steps):
        raise ValueError(f"bucket boundaries must be positive and rise; got {tuple(boundaries)}")
    if batch_sizes is None:
        return
    buckets = [f"lengths up to {boundary}" for boundary in boundaries]
    buckets.append(f"lengths above {boundaries[-1]}" if boundaries else "all lengths")
    count = f"{len(boundaries)} bucket boundaries make {len(buckets)} bucket(s)"
    missing = buckets[len(batch_sizes) :]
    if missing:
        raise ValueError(
            f"{count}, but there are {len(batch_sizes)} batch sizes {tuple(batch_sizes)}; "
            f"add one for {', '.join(missing)}"
        )
    if len(batch_sizes) > len(buckets):
        raise ValueError(
            f"{count}, but there are {len(batch_sizes)} batch sizes {tuple(batch_sizes)}; "
            f"leave out {len(batch_sizes) - len(buckets)}"
        )
    if min(batch_sizes) < 1:
        raise ValueError(f"batch sizes must be 1 or more; got {tuple(batch_sizes)}")


def bucket_by_tokens(
    max_tokens: int,
    boundaries: Sequence[int],
    keys: Sequence[str] = INPUTS,
    *,
    drop_remainder: bool = True,
) -> Op:
    """`bucket_by_length` whose batches have at most `max_tokens` positions, padding included.

    A bucket up to length b has batches of `max_tokens // b` examples. Examples beyond the last
    boundary come one at a time; `filter_by_length` keeps them away.

    `bucket_by_tokens(64, (8, 16))` has batch sizes 8, 4 and 1.

    Raises:
      ValueError: boundaries that do not rise, or one that is larger than `max_tokens`.
    """
    check_buckets(boundaries, None)
    if boundaries and boundaries[-1] > max_tokens:
        raise ValueError(
            f"one example of length {boundaries[-1]} has more than {max_tokens} tokens; raise "
            "max_tokens or lower the last boundary"
        )
    sizes = [*(max_tokens // boundary for boundary in boundaries), 1]
    return bucket_by_length(boundaries, sizes, keys, drop_remainder=drop_remainder)


def pad_to_bucket(
    boundaries: Sequence[int], keys: Sequence[str] = INPUTS, *, strict: bool = False
) -> Op:
    """Pads batches with 0, so that few shapes occur and a program is compiled for few.

    All axes but the first are padded to `padded_size`. The boundary is the smallest one that is not
    below the batch's length, the longest of `keys`. Beyond the last boundary nothing is padded.

    With boundaries (4,): {"inputs": [[5, 6, 7]]} -> {"inputs": [[5, 6, 7, 0]]}
    """
    tf = tensorflow()

    def pad(dataset: Dataset) -> Dataset:
        features = list(dataset.element_spec)

        def run(*arrays: Array) -> dict[str, Array]:
            batch = dict(zip(features, arrays, strict=True))
            boundary = boundary_of(max(batch[key].shape[1] for key in keys), boundaries)
            return {key: _padded(array, boundary, strict) for key, array in batch.items()}

        signature = {
            key: tf.TensorSpec([spec.shape[0], *[None] * (spec.shape.rank - 1)], spec.dtype)
            for key, spec in dataset.element_spec.items()
        }
        return call(run, signature, features)(dataset)

    return pad


def boundary_of(length: int, boundaries: Sequence[int]) -> int | None:
    """The smallest boundary that is not below a length, if there is one.

    >>> boundary_of(4, (4, 8)), boundary_of(5, (4, 8)), boundary_of(9, (4, 8))
    (4, 8, None)
    """
    index = bisect.bisect_left(boundaries, length)
    return boundaries[index] if index < len(boundaries) else None


def ladder(most: int) -> tuple[int, ...]:
    """Lengths to pad to, each at most half as long again as the one before, `most` last.

    >>> ladder(64)
    (8, 12, 16, 24, 32, 48, 64)
    """
    steps = (step << power for power in itertools.count() for step in (8, 12))
    return (*itertools.takewhile(lambda step: step < most, steps), most)


def padded_size(size: int, boundary: int | None, *, strict: bool = False) -> int:
    """The size to which trax pads an axis: the boundary, or the size if that is larger.

    If the boundary more than doubles it, it is the next power of two instead. `strict` pads to a
    multiple of the boundary. Where trax pads nothing to no length, or fails, there is 1 here.

    >>> padded_size(9, 16), padded_size(5, 16), padded_size(20, 16), padded_size(20, None)
    (16, 8, 20, 20)
    >>> padded_size(5, 16, strict=True), padded_size(20, 16, strict=True)
    (16, 32)
    """
    size = max(size, 1)
    if boundary is None:
        return size
    if strict:
        return -(-size // boundary) * boundary
    return 1 << (size - 1).bit_length() if 2 * size < boundary else max(size, boundary)


def _padded(array: Array, boundary: int | None, strict: bool) -> Array:
    sizes = [padded_size(size, boundary, strict=strict) for size in array.shape[1:]]
    missing = [(0, new - old) for new, old in zip(sizes, array.shape[1:], strict=True)]
    return np.pad(array, [(0, 0), *missing])


def unbatch(dataset: Dataset) -> Dataset:
    """Examples one by one, from batches of any size.

    {"row": [7, 8]} -> {"row": 7}, {"row": 8}
    """
    return dataset.unbatch()


def pad_to_length(value: int = 0, **lengths: int) -> Op:
    """Pads sequences of single examples to a length; longer ones stay.

    `pad_to_length(9, targets=4)`: {"targets": [5, 6]} -> {"targets": [5, 6, 9, 9]}
    """
    tf = tensorflow()

    def pad(example: dict[str, Any]) -> dict[str, Any]:
        padded = {}
        for key, length in lengths.items():
            missing = tf.maximum(length - tf.shape(example[key])[0], 0)
            padded[key] = tf.pad(example[key], [[0, missing]], constant_values=value)
        return {**example, **padded}

    return _map(pad)


def add_weights(id_to_mask: int | None = None) -> Op:
    """Adds `weights` (float32), 1 for each target, or 0 where the target is `id_to_mask`.

    Weights that are there already are multiplied.

    `add_weights(id_to_mask=0)`: {"targets": [5, 6, 0]} -> {…, "weights": [1.0, 1.0, 0.0]}; with
    "weights": [3, 1, 1] there before -> [3.0, 1.0, 0.0]
    """
    tf = tensorflow()

    def add(example: dict[str, Any]) -> dict[str, Any]:
        weights = tf.cast(example.get("weights", tf.ones_like(example["targets"])), tf.float32)
        if id_to_mask is not None:
            weights *= tf.cast(example["targets"] != id_to_mask, tf.float32)
        return {**example, "weights": weights}

    return _map(add)


def pad_last_batch(batch_size: int) -> Op:
    """Fills batches that are not full with rows of zeros; weights of 0 make them count nowhere.

    `pad_last_batch(3)`: {"targets": [4, 5], "weights": [1, 1]} ->
    {"targets": [4, 5, 0], "weights": [1, 1, 0]}
    """
    tf = tensorflow()

    def pad(batch: dict[str, Any]) -> dict[str, Any]:
        return {key: pad_feature(value) for key, value in batch.items()}

    def pad_feature(value: Tensor) -> Tensor:
        missing = batch_size - tf.shape(value)[0]
        padded = tf.pad(value, [[0, missing]] + [[0, 0]] * (value.shape.rank - 1))
        return tf.ensure_shape(padded, [batch_size, *value.shape[1:]])

    return _map(pad)


def call(
    function: Callable[..., Mapping[str, Array]],
    signature: Mapping[str, Any],
    keys: Sequence[str] = (),
) -> Op:
    """Replaces each element by what a NumPy function makes of some of its features.

    Args:
      function: takes one array for each of the `keys`, gives a dict of arrays.
      signature: dtype and shape of each of these.
      keys: features of the element; without any, the element is itself one tensor.
    """
    tf = tensorflow()

    def flat(*arrays: Array) -> list[Array]:
        made = function(*arrays)
        return [made[key] for key in signature]

    def run(element: Any) -> dict[str, Any]:
        arguments = [element[key] for key in keys] if keys else [element]
        made = numpy_function(flat, arguments, [spec.dtype for spec in signature.values()])
        return {
            key: tf.ensure_shape(value, spec.shape)
            for (key, spec), value in zip(signature.items(), made, strict=True)
        }

    return _map(run)


def prefetch(dataset: Dataset, *, threads: int = 1) -> Dataset:
    """Prepares the next batches while one is used, and leaves the cores to whoever uses it.

    Args:
      dataset: batches.
      threads: how many work at it; 0: one a core, for work that is more than JAX's.
    """
    tf = tensorflow()
    options = tf.data.Options()
    options.deterministic = True
    # The work of a batch is small, and JAX computes meanwhile: threads would only get in its way.
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def _map(function: Callable[[Any], Any]) -> Op:
    return lambda dataset: dataset.map(function)


def _length(example: Mapping[str, Tensor], keys: Sequence[str]) -> Tensor:
    tf = tensorflow()
    lengths = [tf.shape(example[key], tf.int64)[0] for key in keys]
    return lengths[0] if len(lengths) == 1 else tf.reduce_max(tf.stack(lengths))
