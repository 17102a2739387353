from __future__ import annotations

import pytest

from zoo.pipelines import tfdata
from zoo.pipelines.ops.execution import through_numpy
from zoo.pipelines.tfdata import arrays, is_dataset, numpy_function, tensorflow


def test_no_call_into_python_begins_when_the_interpreter_ends(monkeypatch):
    monkeypatch.setattr(tfdata, "GRACE", 0)
    calls = tfdata._Calls()
    with calls:
        pass
    calls._end()
    with pytest.raises(StopIteration), calls:
        raise AssertionError("it began")
    assert not calls._running


def test_errors_of_python_reach_the_caller():
    tf = tensorflow()

    def fail(number):
        raise ValueError("no such row")

    numbers = tf.data.Dataset.range(1).map(lambda n: {"n": n})
    broken = through_numpy(fail, {"x": tf.TensorSpec([], tf.int64)}, ["n"])(numbers)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no such row"):
        list(broken)


def test_an_error_of_tensorflow_itself_stays_what_it_is():
    tf = tensorflow()

    def fail(number):
        raise ValueError(f"{number} is not available")

    numbers = tf.data.Dataset.range(3)
    with pytest.raises(ValueError, match=r"^0 is not available$"):
        list(arrays(numbers.map(lambda n: numpy_function(fail, [n], tf.int64))))
    with pytest.raises(tf.errors.InvalidArgumentError, match="could not correctly convert"):
        list(arrays(numbers.map(lambda n: {"n": tf.strings.to_number("x")})))


def test_a_dataset_is_known():
    assert is_dataset(tensorflow().data.Dataset.range(1))
    assert not is_dataset([1])


def test_a_pipeline_without_tensorflow_says_what_to_install(monkeypatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ImportError) as error:
        tensorflow.__wrapped__()
    assert str(error.value) == (
        "this data is read with TensorFlow (No module named 'tensorflow'): "
        'pip install "flax-zoo[train]"'
    )
