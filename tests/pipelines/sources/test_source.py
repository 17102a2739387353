from __future__ import annotations

import numpy as np
import pytest

from zoo.pipelines.sources import opening
from zoo.pipelines.sources.source import Source, chained


def texts(source: Source, column: str = "text") -> list[str]:
    return [value.decode() for value in source.column(column)]


def message(error: type[Exception], function, *arguments, **keywords) -> str:
    """The text of the error that a call raises; it must be one line."""
    with pytest.raises(error) as raised:
        function(*arguments, **keywords)
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.fixture(params=["memory", "stream"])
def source_of(request):
    """Makes a source, in memory or as a stream."""

    def make(**columns: object) -> Source:
        source = opening.from_arrays(columns, "rows")
        if request.param == "memory":
            return source
        return opening.from_dataset(source.dataset, (), "rows")

    return make


def test_columns_are_joined_by_a_space(source_of):
    source = source_of(title=["A", "B"], body=["x y", ""], label=[0, 1])
    joined = source.join(("title", "body"), "text")
    assert set(joined.names) == {"text", "label"}
    assert texts(joined) == ["A x y", "B "]


def test_only_text_can_be_joined(source_of):
    source = source_of(text=[1, 2])
    assert message(ValueError, source.join, ("text",), "text") == (
        "rows: column 'text' is not text; it holds int64 of shape ()"
    )


def test_the_first_rows_come_into_memory(source_of):
    first = source_of(text=["a", "b", "c"], n=[1, 2, 3]).head(2)
    assert first.arrays is not None and first.num_rows == 2
    assert texts(first) == ["a", "b"]
    assert source_of(n=[1]).head(9).count() == 1


def test_sources_follow_one_another(source_of):
    both = chained([source_of(text=["a"], n=[1]), source_of(n=[2, 3], text=["b", "c"])])
    assert texts(both) == ["a", "b", "c"]
    assert (both.column("n").tolist(), both.num_rows) == ([1, 2, 3], 3)
    assert both.origin == "rows, rows"


def test_columns_have_a_dtype_and_a_shape(source_of):
    source = source_of(text=["a"], image=np.zeros((1, 4, 5), np.uint8))
    assert source.spec("text") == (np.dtype(object), ())
    assert source.spec("image") == (np.dtype(np.uint8), (4, 5))
