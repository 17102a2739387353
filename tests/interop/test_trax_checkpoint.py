"""Every format of trax is read; those without a sample from files that are written here."""

from __future__ import annotations

import collections
import gzip
import io
import json
import pickle

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from zoo.interop import trax

SHAPES = [(5, 4), (1, 7, 4), (4,), (4, 3), (3,)]
WEIGHTS = [
    np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    for seed, shape in enumerate(SHAPES)
]
ADAM = tuple((weight * 2, weight * 3) for weight in WEIGHTS)
RATE = np.array(0.1, np.float32)
OPT_PARAMS = {"learning_rate": np.array(0.5, np.float32), "b1": np.array(0.25, np.float32)}


def history():
    reports = collections.defaultdict(list)
    reports["metrics/loss"] = [(1, 4.5), (2, np.float32(3.5)), (3, np.array(2.5, np.float32))]
    return {"train": reports}


def npy(arrays):
    """`.npy` images, one after the other."""
    stream = io.BytesIO()
    for array in arrays:
        np.save(stream, array)
    return stream.getvalue()


def assert_equal(arrays, expected):
    assert len(arrays) == len(expected)
    for array, other in zip(arrays, expected, strict=True):
        assert array.dtype == other.dtype
        np.testing.assert_array_equal(array, other)


def before_june_2020(write, stubs):
    a, b, c, d, e = WEIGHTS
    shared = {"__marker_for_cached_weights_": ()}
    content = {
        "step": 3,
        "weights": (a, (), (b, [c]), shared, ((), (d, e)), None),
        "loss_weights": (),
        "state": ((), (RATE,), {"__marker_for_cached_state_": ()}),
        "loss_state": (),
        "slots": ADAM,
        "opt_params": OPT_PARAMS,
        "history": stubs.History(history()),
        "version_timestamp": "Jan-13-2020",
    }
    return write(content, "model.pkl")


def june_18_2020(write, stubs):
    signature = tuple(
        stubs.ShapeDtype((2, 9), dtype) for dtype in (np.int64, np.dtype("int64"), np.float64)
    )
    content = {
        "step": 3,
        "flat_weights": WEIGHTS,
        "slots": ADAM,
        "opt_params": OPT_PARAMS,
        "history": stubs.History(history()),
        "flat_state": [RATE],
        "input_signature": signature,
        "version_timestamp": "Jun-18-2020",
    }
    return write(content)


def of_loop(stubs, timestamp, **changes):
    return {
        "step": 3,
        "flat_weights": WEIGHTS,
        "flat_state": [RATE],
        "flat_eval_state": [RATE],
        "slots_per_task": (ADAM,),
        "input_signature": (stubs.ShapeDtype((2, 9), np.int32),),
        "version_timestamp": timestamp,
    } | changes


def june_29_2020(write, stubs):
    content = of_loop(stubs, "Jun-29-2020", slots=list(ADAM))
    del content["flat_eval_state"], content["slots_per_task"]
    return write(content)


def august_21_2020(write, stubs):
    content = of_loop(stubs, "Aug-21-2020")
    del content["flat_eval_state"]
    return write(content)


def september_17_2020(write, stubs):
    return write(of_loop(stubs, "Sep-17-2020"), protocol=4)


def october_28_2020_in_shards(write, stubs):
    write(pickle.dumps(WEIGHTS[:2], 4), "model.pkl.gz.shard0")
    write(pickle.dumps(WEIGHTS[2:], 4), "model.pkl.gz.shard1")
    return write(of_loop(stubs, "Oct-28-2020", flat_weights=2), protocol=4)


def february_2021(write, stubs):
    write(npy(WEIGHTS), "model.pkl.gz.npy")
    content = of_loop(stubs, "Oct-28-2020", flat_weights=2, history={"_values": history()})
    return write(content, protocol=5)


def february_2021_gzipped(write, stubs):
    write(gzip.compress(npy(WEIGHTS)), "model.pkl.gz.npy")
    return write(of_loop(stubs, "Oct-28-2020", flat_weights=0), protocol=5)


def march_10_2021(write, stubs):
    write(npy(WEIGHTS), "model.weights.npy.gz")
    write(npy([slot for slots in ADAM for slot in slots]), "model.opt_slots0.npy.gz")
    numbers = {"flat_weights": 2, "slots_per_task": 2}
    content = of_loop(stubs, "Mar-10-2021", **numbers, history={"_values": history()})
    return write(content, protocol=5)


def saved_by_a_layer(write, stubs):
    return write({"flat_weights": WEIGHTS, "flat_state": [RATE]}, protocol=4)


def saved_by_a_layer_with_arrays_of_jax(write, stubs):
    arrays = [jnp.asarray(weight) for weight in WEIGHTS]
    signature = stubs.ShapeDtype((2, 9), np.dtype("int32"))
    content = {"flat_weights": arrays, "flat_state": [jnp.float32(0.1)]}
    return write(content | {"input_signature": signature}, protocol=5)


def saved_by_a_layer_with_arrays_of_jax_0_3(write, stubs):
    arrays = [stubs.DeviceArray(weight) for weight in WEIGHTS]
    return write({"flat_weights": arrays, "flat_state": [stubs.DeviceArray(RATE)]})


def weights_alone(write, stubs):
    return write({"flat_weights": WEIGHTS}, protocol=5)


FORMATS = {
    before_june_2020: "step state slots opt_params history",
    june_18_2020: "step state slots opt_params history input_signature",
    june_29_2020: "step state slots input_signature",
    august_21_2020: "step state slots input_signature",
    september_17_2020: "step state slots input_signature",
    october_28_2020_in_shards: "step state slots input_signature",
    february_2021: "step state slots history input_signature",
    february_2021_gzipped: "step state slots input_signature",
    march_10_2021: "step state slots history input_signature",
    saved_by_a_layer: "state",
    saved_by_a_layer_with_arrays_of_jax: "state input_signature",
    saved_by_a_layer_with_arrays_of_jax_0_3: "state",
    weights_alone: "",
}
"""What writes a file in each format, and what there is in it beside the weights."""


@pytest.mark.parametrize("file", FORMATS, ids=lambda file: file.__name__)
def test_every_format_is_read(file, write, stubs):
    checkpoint = trax.read(file(write, stubs))
    content = FORMATS[file].split()
    assert_equal(checkpoint.weights, WEIGHTS)
    assert_equal(checkpoint.state, [RATE] if "state" in content else [])
    slots = [slot for slots in ADAM for slot in slots]
    assert_equal(checkpoint.slots, slots if "slots" in content else [])
    numbers = {"learning_rate": 0.5, "b1": 0.25}
    assert checkpoint.opt_params == (numbers if "opt_params" in content else {})
    reports = {"train": {"metrics/loss": [(1, 4.5), (2, 3.5), (3, 2.5)]}}
    assert checkpoint.history == (reports if "history" in content else {})
    assert checkpoint.step == (3 if "step" in content else None)
    signature = checkpoint.input_signature
    assert all(isinstance(item, jax.ShapeDtypeStruct) for item in signature)
    assert {item.shape for item in signature} == (
        {(2, 9)} if "input_signature" in content else set()
    )


def test_the_signature_of_a_batch_has_shapes_and_dtypes(write, stubs):
    signature = trax.read(june_18_2020(write, stubs)).input_signature
    assert signature == (
        jax.ShapeDtypeStruct((2, 9), np.int64),
        jax.ShapeDtypeStruct((2, 9), np.int64),
        jax.ShapeDtypeStruct((2, 9), np.float64),
    )


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3).T,  # in Fortran's order
        np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2],  # with gaps
        np.zeros((0, 3), np.float32),
        np.array(1.5, ">f8"),
        np.array([1.5, -2], np.float16),
    ],
    ids=["columns", "gaps", "empty", "big endian", "half"],
)
def test_arrays_of_any_layout_are_read_from_pickles_and_npy_files(write, array, protocol):
    from_pickle = trax.read(write({"flat_weights": [array]}, protocol=protocol)).weights
    write(npy([array, array]), "other.weights.npy.gz")
    from_npy = trax.read(write({"flat_weights": 2}, "other.pkl.gz")).weights
    assert_equal([*from_pickle, *from_npy], [array.astype(array.dtype.newbyteorder("="))] * 3)


def test_bfloat16_is_read_from_its_bits_in_both_ways_to_mark_them(write):
    values = np.array([1.5, -3.0, 0.1], ml_dtypes.bfloat16)
    bits = values.view(np.uint16)
    marked = trax.read(write({"flat_weights": [(bits, "bfloat16"), WEIGHTS[0]]}))
    assert_equal(marked.weights, [values, WEIGHTS[0]])
    write(npy([bits, WEIGHTS[0]]), "model.weights.npy.gz")
    assert_equal(trax.read(write({"flat_weights": 2})).weights, [values, WEIGHTS[0]])


def test_slots_of_several_tasks_come_one_after_the_other_and_may_be_missing(write):
    write(npy(WEIGHTS), "model.weights.npy.gz")
    path = write({"flat_weights": 2, "slots_per_task": 2})
    assert trax.read(path).slots == ()
    write(npy(WEIGHTS[:2]), "model.opt_slots0.npy.gz")
    write(npy(WEIGHTS[2:]), "model.opt_slots1.npy.gz")
    assert_equal(trax.read(path).slots, WEIGHTS)


def test_a_file_may_have_any_name_and_other_keys_beside_the_weights(write):
    path = write(gzip.compress(pickle.dumps({"flat_weights": WEIGHTS, "notes": ["mine"]})), "old")
    assert_equal(trax.read(str(path)).weights, WEIGHTS)


MISTAKES = {
    "a list": ([1, 2], "a checkpoint of trax is a dict with 'flat_weights' (or 'weights'), but"),
    "a string": ("hello", "but this is hello"),
    "another dict": ({"params": 1, "step": 2}, "but this is a dict of params, step"),
    "integers": (
        {"flat_weights": [np.zeros((2, 3), np.int32)]},
        "one of its weights is int32 [2, 3]; weights are floats",
    ),
    "strings": ({"flat_weights": ["kernel"]}, "it has kernel where an array belongs"),
    "a flag": ({"flat_weights": [WEIGHTS[0], True]}, "one of its weights is bool []"),
    "files that are missing": (
        {"flat_weights": 2},
        "its weights are in another file, but none of model.weights.npy.gz, model.pkl.gz.npy and "
        "model.pkl.gz.shard0 exists; put it beside this one",
    ),
    "an odd step": (
        {"flat_weights": WEIGHTS, "step": "many"},
        "checkpoint of trax (ValueError",
    ),
    "an odd history": ({"flat_weights": WEIGHTS, "history": 3}, "(AttributeError"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_is_no_checkpoint_is_refused_in_one_line(write, case):
    content, message = MISTAKES[case]
    path = write(content)
    with pytest.raises(trax.CheckpointError) as error:
        trax.read(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_shard_is_named(write):
    write(pickle.dumps(WEIGHTS[:2]), "model.pkl.gz.shard0")
    with pytest.raises(trax.CheckpointError, match=r"and model\.pkl\.gz\.shard1 is missing"):
        trax.read(write({"flat_weights": 2}))


def test_a_missing_file_is_not_a_broken_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        trax.read(tmp_path / "nothing.pkl.gz")


def test_the_file_with_the_weights_is_named_where_it_is_broken(write):
    write(npy(WEIGHTS)[:-3], "model.weights.npy.gz")
    with pytest.raises(trax.CheckpointError, match=r"model\.weights\.npy\.gz: it has 9 bytes for"):
        trax.read(write({"flat_weights": 2}))
    write(npy(WEIGHTS)[:-90], "model.weights.npy.gz")
    with pytest.raises(trax.CheckpointError, match=r"model\.weights\.npy\.gz is cut short, damage"):
        trax.read(write({"flat_weights": 2}))


@pytest.mark.shared
def test_every_golden_checkpoint_has_the_arrays_of_its_index(shared):
    folder = shared / "golden" / "open"
    indices = sorted(folder.glob("*/*.index.json"))
    assert len(indices) > 20
    for path in indices:
        index = json.loads(path.read_text())
        name = path.name.removesuffix(".index.json")
        files = [path.with_name(name + end) for end in (".pkl.gz", ".model.pkl.gz")]
        checkpoint = trax.read(next(file for file in files if file.is_file()))
        if "weights" in index:
            assert [list(array.shape) for array in checkpoint.weights] == [
                entry["shape"] for entry in index["weights"]
            ]
            assert len(checkpoint.state) == len(index.get("state", checkpoint.state))
        else:
            assert len(checkpoint.weights) == len(index["names"])


@pytest.mark.shared
def test_files_that_training_loop_wrote_are_read_with_history_and_slots(shared):
    folder = shared / "golden" / "open" / "loop"
    checkpoint = trax.read(folder / "lm_adam.model.pkl.gz")
    facts = json.loads((folder / "lm_adam.json").read_text())
    assert checkpoint.step == facts["n_steps"] == 12
    assert len(checkpoint.slots) == 2 * len(checkpoint.weights)
    for name, reports in facts["history"].items():
        mode, metric = name.split(":")
        found = checkpoint.history[mode][metric]  # the last report came after the last checkpoint
        assert found == [tuple(report) for report in reports[: len(found)]]
        assert len(found) >= len(reports) - 1
    plain, of_jax = (
        trax.read(folder / f"{name}.pkl.gz") for name in ("numpy_arrays_lm", "jax_arrays_lm")
    )
    assert_equal(plain.weights, of_jax.weights)
    golden = np.load(folder / "bf16.npz")
    for number, weight in enumerate(trax.read(folder / "bf16.model.pkl.gz").weights):
        expected = golden[f"w{number}_as_float32"]
        np.testing.assert_array_equal(weight.astype(np.float32), expected)


@pytest.mark.shared
def test_a_checkpoint_that_strangers_trained_is_read(shared):
    checkpoint = trax.read(shared / "golden" / "open" / "real_soccer_ner" / "model.pkl.gz")
    assert checkpoint.step == 1000
    assert [signature.shape for signature in checkpoint.input_signature] == [(64, 50)]
    # Adam's two means of each of the weights: embedding, two of the LSTM, two of the head.
    weights = [array.shape for array in checkpoint.weights]
    assert len(weights) == 5
    assert [slot.shape for slot in checkpoint.slots] == [s for s in weights for _ in range(2)]
    assert checkpoint.history["train"]["metrics/CrossEntropyLoss"][0] == (1, 2.0298988819122314)
