"""zoo.weights: flat names, safetensors, strict merge."""

import os

import ml_dtypes
import numpy as np
import pytest

from zoo.storage import weights


def tree():
    return {
        "params": {
            "embedding": np.arange(6, dtype=np.float32).reshape(3, 2),
            "head": {"kernel": np.ones((2, 4), np.float32), "bias": np.zeros(4, np.float32)},
        }
    }


def test_flatten_and_unflatten_are_inverse():
    flat = weights.flatten(tree())
    assert list(flat) == ["params/embedding", "params/head/kernel", "params/head/bias"]
    assert weights.flatten(weights.unflatten(flat)) == flat


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_safetensors_round_trip_keeps_values_and_dtype(tmp_path, dtype):
    before = weights.cast(tree(), dtype)
    before["params"]["count"] = np.int32(7).reshape(())
    weights.save(tmp_path / "w.safetensors", before)
    after = weights.load(tmp_path / "w.safetensors")
    for name, leaf in weights.flatten(before).items():
        loaded = weights.flatten(after)[name]
        assert loaded.dtype == leaf.dtype
        np.testing.assert_array_equal(np.asarray(loaded, np.float32), np.asarray(leaf, np.float32))


def test_a_broken_safetensors_file_is_refused_by_name(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(path, tree())
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(
        ValueError,
        match=r"w.safetensors is not a readable safetensors file \(.*fetch or export it again",
    ):
        weights.load(path)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_can_be_read_by_whom_the_umask_allows(tmp_path, umask, mode):
    path = tmp_path / "w.safetensors"
    before = os.umask(umask)
    try:
        weights.save(path, tree())
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_a_file_says_whether_it_is_whole(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(path, tree())
    assert weights.is_readable(path)
    path.write_bytes(path.read_bytes() + b"x")
    assert not weights.is_readable(path)
    assert not weights.is_readable(tmp_path / "nothing")


def test_a_place_that_cannot_be_written_to_is_an_os_error(tmp_path):
    with pytest.raises(
        OSError, match=r"nowhere/w.safetensors could not be written: .*No such file"
    ):
        weights.save(tmp_path / "nowhere" / "w.safetensors", tree())


def test_merge_takes_the_source_and_converts_to_the_dtype_of_the_target():
    source = weights.cast(tree(), ml_dtypes.bfloat16)
    merged = weights.merge(tree(), source)
    assert merged["params"]["embedding"].dtype == np.float32
    np.testing.assert_array_equal(merged["params"]["embedding"], tree()["params"]["embedding"])


def test_merge_lists_both_sides_of_every_difference():
    source = tree()
    source["params"]["head"] = {
        "kernel": np.ones((2, 9), np.float32),
        "scale": np.ones(9, np.float32),
    }
    with pytest.raises(ValueError) as error:
        weights.merge(tree(), source)
    assert str(error.value) == (
        "the weights do not fit the model (+ the model has, - the weights have):\n"
        "  + params/head/kernel [2, 4]\n"
        "  - params/head/kernel [2, 9]\n"
        "  + params/head/bias [4]\n"
        "  - params/head/scale [9]"
    )


def test_merge_leaves_fresh_what_skip_names_whatever_its_shape():
    source = tree()
    source["params"]["head"] = {"kernel": np.full((2, 9), 5.0, np.float32)}
    merged = weights.merge(tree(), source, skip=("params/head/.*",))
    np.testing.assert_array_equal(merged["params"]["head"]["kernel"], np.ones((2, 4)))
    np.testing.assert_array_equal(merged["params"]["embedding"], tree()["params"]["embedding"])


def test_count_gives_values_and_bytes():
    assert weights.count(tree()) == (6 + 8 + 4, 4 * 18)
