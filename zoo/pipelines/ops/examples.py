"""Steps that work on single examples: choosing features, ids, filters, lengths, weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.config import ValueMistake, did_you_mean
from zoo.pipelines.base import Array
from zoo.pipelines.ops import order
from zoo.pipelines.ops.execution import Step, mapped
from zoo.pipelines.tfdata import Dataset, Tensor, numpy_function, tensorflow, traced
from zoo.tokenizers import nfc

if TYPE_CHECKING:
    from zoo.tokenizers import Tokenizer

CHUNK = 256
"""Number of examples that are handed to Python at once."""

INPUTS = ("inputs",)


def select(**columns: str) -> Step:
    """Keeps the named features, under new names.

    `select(inputs="text")`: {"text": "a b", "id": 7} -> {"inputs": "a b"}
    """
    select = mapped(lambda example: {new: example[old] for new, old in columns.items()})
    return order.needing("select", tuple(columns.values()), order.anything, select)


def tokenize(tokenizer: Tokenizer, keys: Sequence[str] = INPUTS) -> Step:
    """Texts, brought to Unicode's NFC, become ids (int32).

    `tokenize(ByteTokenizer())`: {"inputs": "Hi"} -> {"inputs": [74, 107]}
    """
    tf = tensorflow()

    def encode(texts: Array) -> tuple[Array, Array]:
        rows = [tokenizer.encode(nfc(text.decode())) for text in texts]
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

    def apply(dataset: Dataset) -> Dataset:
        # A call into Python costs as much as tokenizing a sentence: one call for many texts. The
        # other features may be of any length, hence ragged batches.
        return dataset.ragged_batch(CHUNK).map(traced(run)).unbatch().map(traced(dense))

    return order.needing("tokenize", keys, order.text, apply)


def look_up(key: str, table: Mapping[Any, int]) -> Step:
    """Replaces texts or numbers by numbers (int32).

    `look_up("targets", {"neg": 0, "pos": 1})`: {"targets": "pos"} -> {"targets": 1}; a value that
    is not in the table stops the pipeline.

    Raises:
      ValueMistake: the table is empty, or has both texts and numbers.
    """
    tf = tensorflow()
    named = {name.encode() if isinstance(name, str) else name: n for name, n in table.items()}
    texts = {isinstance(name, bytes) for name in named}
    if len(texts) != 1:
        has = "both texts and numbers" if texts else "no entries"
        raise ValueMistake(f"look_up({key!r}, …): the table has {has}")
    keys = tf.constant(list(named), tf.string if texts == {True} else tf.int64)
    values = tf.constant(list(table.values()), tf.int64)
    numbers = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, values), tf.int64.min
    )

    def refuse(found: Array) -> bool:
        wrong = [one for one in np.ravel(found).tolist() if one not in named]
        word = wrong[0].decode(errors="replace") if texts == {True} else wrong[0]
        known = [one.decode() if isinstance(one, bytes) else str(one) for one in named]
        raise ValueMistake(
            f"{key!r} has the value {word!r}, which is not in the table of look_up"
            f"{did_you_mean(str(word), known)} ({len(known)} known)"
        )

    def replace(example: dict[str, Any]) -> dict[str, Any]:
        number = numbers.lookup(tf.cast(example[key], keys.dtype))
        known = tf.cond(
            tf.reduce_all(number > tf.int64.min),
            lambda: tf.constant(True),
            lambda: numpy_function(refuse, [example[key]], tf.bool),
        )
        with tf.control_dependencies([known]):
            return {**example, key: tf.cast(number, tf.int32)}

    need = order.texts if texts == {True} else order.keys
    return order.needing("look_up", (key,), need, mapped(replace))


def filter_by_length(
    max_len: int | None = None, min_len: int = 0, keys: Sequence[str] = INPUTS
) -> Step:
    """Drops examples whose length, the longest of the `keys`, is out of bounds.

    Both bounds are inclusive. `filter_by_length(3, 2)`: lengths 1, 2, 3, 4 -> 2, 3
    """

    def within(example: dict[str, Any]) -> Any:
        length = length_of(example, keys)
        enough = length >= min_len
        return enough if max_len is None else enough & (length <= max_len)

    return order.needing(
        "filter_by_length", keys, order.sequence, lambda dataset: dataset.filter(traced(within))
    )


def truncate(**lengths: int) -> Step:
    """Cuts sequences off.

    `truncate(inputs=2)`: {"inputs": [5, 6, 7]} -> {"inputs": [5, 6]}; {"inputs": [5]} stays.
    """
    cut = mapped(
        lambda example: {
            **example,
            **{key: example[key][:length] for key, length in lengths.items()},
        }
    )
    return order.needing("truncate", tuple(lengths), order.sequence, cut)


def add_weights(id_to_mask: int | None = None) -> Step:
    """Adds `weights` (float32): 1 for each target, or 0 where the target is `id_to_mask`.

    Weights that are there already are multiplied. Works on examples and on batches.

    `add_weights(id_to_mask=0)`: {"targets": [5, 6, 0]} -> {…, "weights": [1.0, 1.0, 0.0]}; with
    "weights": [3, 1, 1] there before -> [3.0, 1.0, 0.0]
    """
    tf = tensorflow()

    def add(example: dict[str, Any]) -> dict[str, Any]:
        weights = tf.cast(example.get("weights", tf.ones_like(example["targets"])), tf.float32)
        if id_to_mask is not None:
            weights *= tf.cast(example["targets"] != id_to_mask, tf.float32)
        return {**example, "weights": weights}

    return order.needing("add_weights", ("targets",), order.numbers, mapped(add))


def length_of(example: Mapping[str, Tensor], keys: Sequence[str]) -> Tensor:
    """The length of the longest of some features: int64 []."""
    tf = tensorflow()
    lengths = [tf.shape(example[key], tf.int64)[0] for key in keys]
    return lengths[0] if len(lengths) == 1 else tf.reduce_max(tf.stack(lengths))
