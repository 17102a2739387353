from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from zoo.config import Mistake
from zoo.pipelines import ops
from zoo.pipelines.lengths import padded_size
from zoo.pipelines.ops.execution import through_numpy
from zoo.pipelines.sources.opening import from_user
from zoo.pipelines.tfdata import arrays, tensorflow
from zoo.tokenizers import ByteTokenizer

GOLDEN = Path(__file__).parents[2] / "golden" / "data"
PAIR = ("inputs", "targets")


def dataset(*examples: dict[str, object]):
    """A dataset of examples whose sequences differ in length."""
    tf = tensorflow()
    arrays = [{key: np.asarray(value) for key, value in example.items()} for example in examples]
    spec = {
        key: tf.TensorSpec([None] * array.ndim, tf.as_dtype(array.dtype))
        for key, array in arrays[0].items()
    }
    return tf.data.Dataset.from_generator(lambda: iter(arrays), output_signature=spec)


def lengths(*sizes: int):
    """Examples of the given lengths, filled with them."""
    return dataset(*({"inputs": [size] * size} for size in sizes))


def lists(result) -> list[dict[str, object]]:
    return [
        {key: value.tolist() for key, value in element.items()}
        for element in result.as_numpy_iterator()
    ]


def column(result, key: str = "inputs") -> list[object]:
    return [element[key] for element in lists(result)]


def trax_examples():
    """The sixty pairs of sequences that trax's pipelines were run on."""
    with np.load(GOLDEN / "examples.npz") as arrays:
        pairs = [(arrays[f"ex{i:03d}_0"], arrays[f"ex{i:03d}_1"]) for i in range(60)]
    return dataset(*(dict(zip(PAIR, pair, strict=True)) for pair in pairs))


def assert_equals_trax(result, name: str, keys: Sequence[str] = PAIR) -> None:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        expected = [
            [arrays[f"b{i:03d}_{k}"] for k in range(len(keys))]
            for i in range(len(arrays.files) // len(keys))
        ]
    elements = list(result.as_numpy_iterator())
    assert len(elements) == len(expected)
    for element, values in zip(elements, expected, strict=True):
        for key, value in zip(keys, values, strict=True):
            assert element[key].dtype == value.dtype
            np.testing.assert_array_equal(element[key], value)


# Against trax


WITH_WEIGHTS = (*PAIR, "weights")
BUCKETS = ((4, 8, 16, 32), (8, 6, 4, 3, 2))


def test_bucketing_by_both_lengths_gives_the_batches_of_trax():
    bucket = ops.bucket_by_length(*BUCKETS, PAIR)
    result = ops.pipe(trax_examples(), bucket, ops.add_weights(id_to_mask=0))
    assert_equals_trax(result, "bucket_by_length", WITH_WEIGHTS)


def test_bucketing_by_one_length_gives_the_batches_of_trax():
    result = ops.pipe(trax_examples(), ops.bucket_by_length(*BUCKETS, ["inputs"]))
    assert_equals_trax(result, "bucket_by_length_key0")


def test_strict_bucketing_gives_the_batches_of_trax():
    bucket = ops.bucket_by_length(*BUCKETS, PAIR, strict=True)
    result = ops.pipe(trax_examples(), bucket, ops.add_weights(id_to_mask=0))
    assert_equals_trax(result, "bucket_by_length_strict", WITH_WEIGHTS)


def test_filtered_batches_are_those_of_trax():
    keep = ops.filter_by_length(30, keys=PAIR)
    result = ops.pipe(trax_examples(), keep, ops.batch(7), ops.add_weights(id_to_mask=0))
    assert_equals_trax(result, "batch", WITH_WEIGHTS)


def test_weights_without_a_mask_are_those_of_trax():
    result = ops.pipe(trax_examples(), ops.batch(5), ops.add_weights())
    assert_equals_trax(result, "add_loss_weights_nomask", WITH_WEIGHTS)


def test_weights_that_exist_are_masked_as_in_trax():
    with np.load(GOLDEN / "add_loss_weights_existing.npz") as arrays:
        inputs = [row for i in range(2) for row in arrays[f"b{i:03d}_0"]]
    examples = [{"inputs": row, "targets": [3, 0, 5, 0], "weights": [1, 1, 2, 1]} for row in inputs]
    result = ops.pipe(dataset(*examples), ops.batch(2), ops.add_weights(id_to_mask=0))
    assert_equals_trax(result, "add_loss_weights_existing", WITH_WEIGHTS)


def test_bounds_of_lengths_are_inclusive_as_in_trax():
    result = ops.filter_by_length(25, 10, ["inputs"])(trax_examples())
    assert_equals_trax(result, "filter_min")


def test_end_of_sequence_is_appended_as_in_trax():
    assert_equals_trax(ops.append_eos(PAIR)(trax_examples()), "append_eos")


def test_truncation_is_that_of_trax():
    assert_equals_trax(ops.truncate(inputs=10, targets=12)(trax_examples()), "truncate")


def test_padding_to_a_length_is_that_of_trax():
    result = ops.pipe(
        trax_examples(),
        ops.filter_by_length(20, keys=PAIR),
        ops.pad_to_length(inputs=20),
        ops.pad_to_length(9, targets=24),
    )
    assert_equals_trax(result, "pad_to_length")


@pytest.mark.parametrize("case", json.loads((GOLDEN / "pad_to_max_dims.json").read_text()))
def test_axes_are_padded_to_the_sizes_of_trax(case):
    longest = np.max(case["shapes"], axis=0).tolist()
    padded = [padded_size(n, case["boundary"], strict=case["strict"]) for n in longest]
    assert [len(case["shapes"]), *padded] == case["out"]


# One by one


def test_select_keeps_and_renames():
    assert lists(ops.select(inputs="text")(dataset({"text": [5], "id": 7}))) == [{"inputs": [5]}]


def test_tokenize_turns_texts_into_ids():
    tf = tensorflow()
    texts = tf.data.Dataset.from_tensor_slices({"inputs": ["Hi", "", "é!"], "targets": [0, 1, 2]})
    result = ops.tokenize(ByteTokenizer())(texts)
    assert lists(result) == [
        {"inputs": [74, 107], "targets": 0},
        {"inputs": [], "targets": 1},
        {"inputs": [197, 171, 35], "targets": 2},
    ]
    assert result.element_spec["inputs"] == tf.TensorSpec([None], tf.int32)


def test_two_features_can_be_tokenized_at_once_or_one_after_the_other():
    texts = tensorflow().data.Dataset.from_tensor_slices(
        {"inputs": ["ab"] * 3, "targets": ["c"] * 3}
    )
    bytes_ = ByteTokenizer()
    at_once = ops.tokenize(bytes_, PAIR)(texts)
    one_by_one = ops.pipe(texts, ops.tokenize(bytes_, ["targets"]), ops.tokenize(bytes_))
    assert lists(at_once) == lists(one_by_one) == [{"inputs": [99, 100], "targets": [101]}] * 3


def test_look_up_replaces_names_and_numbers():
    tf = tensorflow()
    names = tf.data.Dataset.from_tensor_slices({"targets": ["pos", "neg"]})
    assert column(ops.look_up("targets", {b"neg": 0, b"pos": 1})(names), "targets") == [1, 0]
    numbers = tf.data.Dataset.from_tensor_slices({"targets": np.array([4, 2], np.int32)})
    assert column(ops.look_up("targets", {2: 0, 4: 1})(numbers), "targets") == [1, 0]


def test_look_up_names_what_is_not_in_the_table():
    tf = tensorflow()
    names = tf.data.Dataset.from_tensor_slices({"targets": ["neg", "pso"]})
    with pytest.raises(Mistake, match=r"^'targets' has the value 'pso', .*; did you mean 'pos'\?"):
        list(arrays(ops.look_up("targets", {"neg": 0, b"pos": 1})(names)))
    numbers = tf.data.Dataset.from_tensor_slices({"targets": [[1, 7]]})
    with pytest.raises(Mistake, match=r"^'targets' has the value 7, .* \(2 known\)$"):
        list(arrays(ops.look_up("targets", {1: -1, 2: 1})(numbers)))
    for table, has in (({}, "no entries"), ({"a": 0, 1: 1}, "both texts and numbers")):
        with pytest.raises(Mistake, match=f"the table has {has}"):
            ops.look_up("targets", table)


def test_a_length_filter_takes_the_longest_of_its_features():
    examples = dataset({"inputs": [1], "targets": [1, 2, 3]}, {"inputs": [1, 2], "targets": [1]})
    assert column(ops.filter_by_length(2, keys=PAIR)(examples)) == [[1, 2]]


def test_shuffle_is_a_function_of_seed_and_epoch():
    numbers = tensorflow().data.Dataset.range(20)

    def order(**how: int) -> list[int]:
        return list(ops.shuffle(20, **how)(numbers).as_numpy_iterator())

    assert order(seed=1) == order(seed=1, epoch=0)
    assert sorted(order(seed=1)) == list(range(20))
    orders = [order(seed=seed, epoch=epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_shuffle_takes_any_whole_number_as_seed():
    numbers = tensorflow().data.Dataset.range(5)
    assert sorted(ops.shuffle(5, seed=-1)(numbers).as_numpy_iterator()) == list(range(5))


def test_epochs_are_made_from_their_number_without_end():
    tf = tensorflow()
    result = ops.epochs(lambda epoch: tf.data.Dataset.from_tensors(epoch * 10), first=3)
    assert list(result.take(3).as_numpy_iterator()) == [30, 40, 50]


def test_batches_are_padded_to_their_longest():
    batches = ops.batch(2)(lengths(2, 1, 3))
    assert column(batches) == [[[2, 2], [1, 0]]]


def test_the_last_batch_is_kept_on_request():
    batches = ops.batch(2, drop_remainder=False)(lengths(2, 1, 3))
    assert column(batches) == [[[2, 2], [1, 0]], [[3, 3, 3]]]


def test_bucketing_works_as_its_docstring_says():
    bucket = ops.bucket_by_length((2, 4), (2, 1, 1))
    assert column(bucket(dataset({"inputs": [5]}, {"inputs": [6, 7, 8]}, {"inputs": [9, 9]}))) == [
        [[6, 7, 8, 0]],
        [[5, 0], [9, 9]],
    ]


def test_a_boundary_belongs_to_the_bucket_below():
    result = ops.bucket_by_length((2, 4), (9, 9, 9), drop_remainder=False)(lengths(2, 3, 4, 5))
    assert column(result) == [[[2, 2]], [[3, 3, 3, 0], [4, 4, 4, 4]], [[5] * 5]]


def test_bucketing_drops_incomplete_batches_and_nothing_else():
    sizes = np.random.default_rng(0).integers(1, 40, 200).tolist()
    group = ops.group_by_length((4, 16), (5, 4, 3), drop_remainder=False)
    whole = [len(batch) for batch in column(group(lengths(*sizes)))]
    assert sum(whole) == 200
    rows = [row for batch in column(group(lengths(*sizes))) for row in batch]
    assert sorted(max(row) for row in rows) == sorted(sizes)


@pytest.mark.parametrize(
    ("boundaries", "batch_sizes", "message"),
    [
        (
            (32, 128),
            (8, 4),
            "2 bucket boundaries make 3 bucket(s), but there are 2 batch sizes (8, 4); "
            "add one for lengths above 128",
        ),
        (
            (32, 128),
            (8,),
            "2 bucket boundaries make 3 bucket(s), but there are 1 batch sizes (8,); "
            "add one for lengths up to 128, lengths above 128",
        ),
        (
            (),
            (),
            "0 bucket boundaries make 1 bucket(s), but there are 0 batch sizes (); "
            "add one for all lengths",
        ),
        (
            (32,),
            (8, 4, 2),
            "1 bucket boundaries make 2 bucket(s), but there are 3 batch sizes (8, 4, 2); "
            "leave out 1",
        ),
        ((32,), (8, 0), "batch sizes must be 1 or more; got (8, 0)"),
        ((32, 32), (8, 8, 8), "bucket boundaries must be positive and rise; got (32, 32)"),
        ((0, 32), (8, 8, 8), "bucket boundaries must be positive and rise; got (0, 32)"),
    ],
)
def test_buckets_that_do_not_fit_are_refused_at_once(boundaries, batch_sizes, message):
    with pytest.raises(ValueError) as error:
        ops.bucket_by_length(boundaries, batch_sizes)
    assert str(error.value) == message


def test_a_batch_by_tokens_never_has_more_of_them():
    sizes = np.random.default_rng(0).integers(1, 17, 300).tolist()
    bucket = ops.bucket_by_tokens(64, (8, 16), drop_remainder=False)
    batches = [np.array(batch) for batch in column(bucket(lengths(*sizes)))]
    assert max(batch.size for batch in batches) == 64
    assert {batch.shape for batch in batches} >= {(8, 8), (4, 16)}
    assert sum(len(batch) for batch in batches) == 300


def test_a_batch_by_tokens_refuses_a_boundary_that_no_batch_can_hold():
    with pytest.raises(ValueError) as error:
        ops.bucket_by_tokens(64, (8, 65))
    assert str(error.value) == (
        "one example of length 65 has more than 64 tokens; raise max_tokens or lower the last "
        "boundary"
    )


def test_padding_to_a_bucket_leaves_labels_and_lengths_beyond_alone():
    batches = dataset(
        {"inputs": [[5, 6, 7]], "targets": [1]}, {"inputs": [[8] * 5], "targets": [2]}
    )
    result = lists(ops.pad_to_bucket((4,))(batches))
    assert result == [
        {"inputs": [[5, 6, 7, 0]], "targets": [1]},
        {"inputs": [[8] * 5], "targets": [2]},
    ]


def test_texts_without_tokens_are_padded_where_trax_fails():
    assert column(ops.bucket_by_length((4,), (2, 1))(lengths(0, 0))) == [[[0], [0]]]


def test_padding_to_a_length_leaves_longer_sequences_alone():
    assert column(ops.pad_to_length(9, inputs=2)(lengths(1, 3))) == [[1, 9], [3, 3, 3]]


def test_weights_are_zero_at_padding():
    examples = dataset({"targets": [5, 6, 0]})
    assert lists(ops.add_weights(id_to_mask=0)(examples)) == [
        {"targets": [5, 6, 0], "weights": [1.0, 1.0, 0.0]}
    ]


def test_elements_are_replaced_by_what_numpy_makes_of_them():
    tf = tensorflow()
    spec = {"twice": tf.TensorSpec([None], tf.int64)}
    double = through_numpy(lambda x: {"twice": 2 * x}, spec, ["x"])
    assert lists(double(dataset({"x": [1, 2], "y": 3}))) == [{"twice": [2, 4]}]


def test_the_tutorial_of_trax_is_one_pipe():
    texts = ["a" * n for n in (1, 3, 2, 9, 4)]
    reviews = tensorflow().data.Dataset.from_tensor_slices(
        {"text": texts, "label": [0, 1, 0, 1, 0]}
    )
    result = ops.pipe(
        reviews,
        ops.select(inputs="text", targets="label"),
        ops.tokenize(ByteTokenizer()),
        ops.shuffle(5, seed=0),
        ops.filter_by_length(8),
        ops.bucket_by_length((2, 4), (2, 2, 1)),
        ops.add_weights(),
        ops.prefetch,
    )
    batches = lists(result)
    assert sorted(sum(map(bool, row)) for batch in batches for row in batch["inputs"]) == [
        1,
        2,
        3,
        4,
    ]
    assert all(batch["weights"] == [1.0, 1.0] for batch in batches)


BATCHES = ops.bucket_by_length((4,), (2, 1))
IDS = ops.tokenize(ByteTokenizer())


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([IDS, BATCHES, ops.filter_by_length(3)], "filter_by_length takes single examples"),
        ([IDS, BATCHES, ops.truncate(inputs=3)], "Put truncate before the step that makes"),
        ([IDS, ops.batch(2), ops.append_eos()], "its first axis counts rows"),
        ([IDS, ops.batch(2), ops.pad_to_length(inputs=3)], "pad_to_length takes single examples"),
        ([IDS, BATCHES, BATCHES], "group_by_length takes single examples"),
        ([ops.batch(2), IDS], "put tokenize before the step that makes batches"),
        ([IDS, ops.batch(2), ops.batch(2)], "Batches are made once: leave out one of the two"),
        ([IDS, BATCHES, ops.batch(2)], "batch takes single examples, and 'inputs' has the shape"),
        (
            [IDS, ops.look_up("inputs", {b"a": 0})],
            "look_up has a table of texts here, and 'inputs'",
        ),
        ([ops.look_up("inputs", {1: 0})], "look_up has a table of numbers here, and 'inputs' is"),
        ([IDS, IDS], "'inputs' has the shape [?] (int32); it is tokenized already"),
        ([BATCHES, IDS], "put tokenize(…) or look_up(…) before group_by_length"),
        ([ops.filter_by_length(3)], "filter_by_length takes numbers, and 'inputs' is text"),
        ([IDS, ops.pad_to_bucket((4,))], "put pad_to_bucket after the step that makes batches"),
        ([ops.add_weights()], "add_weights takes numbers, and 'targets' is text"),
        ([IDS, ops.filter_by_length(3, keys=("text",))], "here there are 'inputs', 'targets'"),
        ([ops.select(inputs="text")], "select works on the feature 'text'"),
        ([ops.look_up("label", {b"a": 0})], "look_up works on the feature 'label'"),
    ],
)
def test_steps_in_a_wrong_order_are_refused_when_they_are_chained(steps, message):
    texts = from_user([("to be", "a"), ("or not", "b")], ("inputs", "targets")).dataset
    with pytest.raises(Mistake) as error:
        ops.pipe(texts, *steps)
    assert message in str(error.value)


def test_sequences_of_vectors_are_no_batch():
    frames = from_user({"inputs": np.ones((2, 3, 5), np.float32)}, ("inputs",)).dataset
    assert len(list(ops.pipe(frames, ops.filter_by_length(3), ops.truncate(inputs=2)))) == 2
