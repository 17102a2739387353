"""Tables of any content: files, rows, columns and numbers, given as data."""

from __future__ import annotations

import csv
import io
import itertools
import json

import numpy as np
import pytest
from hypothesis import strategies as st
from properties import Refused, any_texts, asked, holds, scalars, unicode_texts

ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252", "shift_jis")
NAMES = st.sampled_from(["text", "label", "target", "x", "y"]) | unicode_texts
CELLS = unicode_texts | st.sampled_from(["a", "b", "1", "2", "0.5", "nan", "", " ", '"', "sea"])


def separated(names, rows, separator, ending, quoting, encoding):
    """A table as bytes, written by Python's own writer where it can write it."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator, lineterminator=ending, quoting=quoting)
    try:
        writer.writerow(names)
        writer.writerows(rows)
    except csv.Error:
        pass
    return file.getvalue().encode(encoding, errors="replace")


def lines_of_json(rows):
    return "\n".join(json.dumps(row) for row in rows).encode()


tables = st.builds(
    separated,
    st.just(["text", "label"]) | st.lists(NAMES, max_size=3),
    st.lists(st.lists(CELLS, min_size=2, max_size=2) | st.lists(CELLS, max_size=4), max_size=5),
    st.sampled_from([",", "\t"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(ENCODINGS),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(any_texts, inner, max_size=2),
    max_leaves=4,
)

contents = st.one_of(
    tables,
    tables,
    st.binary(max_size=60),
    st.builds(
        lines_of_json,
        st.lists(st.fixed_dictionaries({"text": CELLS, "label": CELLS | json_values}), max_size=4),
    ),
    st.builds(lines_of_json, st.lists(st.dictionaries(NAMES, json_values, max_size=3), max_size=4)),
    st.sampled_from([b"[" * 9999, b'{"text": 1e999, "label": 2}', b'{"text": 1, "text": 2}']),
    st.integers(4300, 5000).map(lambda n: b'{"text": "a", "label": ' + b"9" * n + b"}"),
)


@holds(
    few=60,
    seconds=10,
    content=contents,
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".txt", ".CSV", ".xml"]),
    encoding=st.sampled_from([*ENCODINGS, "latin-1, utf-8", "no such", "", "base64", "idna"]),
    quotes=st.sampled_from([None, True, False]),
)
def test_any_file_has_columns_or_is_refused(tmp_path, content, suffix, encoding, quotes):
    from zoo.pipelines.sources import formats

    path = tmp_path / f"table{suffix}"
    path.write_bytes(content)
    options = formats.Options(encoding, quotes)
    columns = asked(formats.read, path, options=options)
    if not isinstance(columns, Refused):
        assert len({len(values) for values in columns.values()}) == 1
        assert all(isinstance(name, str) for name in columns)
        for values in columns.values():
            assert all(isinstance(value, str | int | float) for value in values)
    asked(lambda: list(formats.read_unnamed(path, options).values()))


@holds(
    few=40,
    seconds=10,
    names=st.lists(unicode_texts, min_size=2, max_size=3, unique=True),
    rows=st.lists(st.lists(unicode_texts, min_size=3, max_size=3), min_size=1, max_size=4),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_a_csv_file_gives_the_fields_that_were_written(tmp_path, names, rows, encoding, ending):
    from zoo.pipelines.sources import formats

    rows = [row[: len(names)] for row in rows]
    path = tmp_path / "table.csv"
    path.write_bytes(separated(names, rows, ",", ending, csv.QUOTE_ALL, encoding))
    columns = formats.read(path)
    assert list(columns) == names
    assert [list(row) for row in zip(*columns.values(), strict=True)] == rows


def first_batches(data):
    """Some batches of each split that opened data has."""
    for split in data.facts.num_examples:
        list(itertools.islice(data.evaluate(split, 4), 2))
        data.examples(split, 2)
    return next(iter(data.train(2, seed=0)))


def text_data(kind, **fields):
    from zoo.pipelines import TextClassificationData
    from zoo.tokenizers import TokenizerConfig

    return TextClassificationData(tokenizer=TokenizerConfig(kind=kind), **fields)


@holds(
    few=15,
    content=contents,
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".txt"]),
    kind=st.sampled_from(["bytes", "words", "chars"]),
)
def test_any_file_gives_batches_of_texts_or_is_refused(tmp_path, content, suffix, kind):
    path = tmp_path / f"table{suffix}"
    path.write_bytes(content)
    config = asked(text_data, kind, train=(str(path),))
    data = asked(config.open)
    if not isinstance(data, Refused):
        batch = asked(first_batches, data)
        assert isinstance(batch, Refused) or set(batch) == {"inputs", "targets", "weights"}


rows = st.one_of(
    st.lists(st.tuples(CELLS, st.sampled_from(["sea", "sky", "é"])), max_size=6),
    st.lists(st.tuples(any_texts, CELLS | st.integers(-1, 3)), max_size=6),
    st.lists(st.tuples(any_texts | scalars, any_texts | scalars) | scalars, max_size=4),
    st.lists(st.dictionaries(NAMES | scalars.filter(lambda x: x.__hash__), scalars), max_size=3),
    st.fixed_dictionaries(
        {"text": st.lists(any_texts | scalars, max_size=3), "label": st.lists(scalars, max_size=3)}
    ),
    st.dictionaries(NAMES, st.lists(scalars, max_size=3) | scalars, max_size=3),
    scalars,
    st.integers(0, 3).map(lambda n: np.zeros((n, 2))),
    st.integers(0, 3).map(lambda n: np.full((n, 2), "a")),
)


@holds(few=30, rows=rows, kind=st.sampled_from(["bytes", "words", "chars"]))
def test_any_rows_give_batches_of_texts_or_are_refused(rows, kind):
    if rows is None:
        return  # means the data set of the config
    data = asked(text_data(kind).open, rows)
    if not isinstance(data, Refused):
        asked(first_batches, data)


numbers = st.one_of(
    st.integers(-3, 3),
    st.floats(-3, 3),
    st.sampled_from([np.nan, np.inf, 1e300, 10**400, "1", "", "a", None, True, "nan", "1_0", "٣"]),
)


@holds(
    few=30,
    columns=st.dictionaries(
        st.sampled_from(["inputs", "target", "x", "y"]),
        st.lists(numbers, max_size=5) | st.lists(st.integers(0, 2), min_size=4, max_size=4),
        max_size=4,
    )
    | rows,
    standardise=st.booleans(),
    labels=st.sampled_from([None, None, ("a", "1"), ("0", "1", "2")]),
)
def test_any_columns_of_numbers_give_batches_or_are_refused(columns, standardise, labels):
    from zoo.pipelines import arrays

    config = arrays.arrays(standardise=standardise, labels=labels)
    if columns is None:
        return
    data = asked(config.open, columns)
    if not isinstance(data, Refused):
        batch = asked(first_batches, data)
        if not isinstance(batch, Refused):
            assert batch["inputs"].dtype == np.float32
            assert np.isfinite(batch["inputs"]).all()


@holds(few=15, content=contents | st.binary(max_size=200), suffix=st.sampled_from([".csv", ".npz"]))
def test_any_file_of_numbers_gives_batches_or_is_refused(tmp_path, content, suffix):
    from zoo.pipelines import arrays

    path = tmp_path / f"numbers{suffix}"
    path.write_bytes(content)
    data = asked(arrays.arrays(str(path), target="label").open)
    if not isinstance(data, Refused):
        asked(first_batches, data)


@pytest.mark.parametrize("split", ["train"])
def test_the_rows_of_a_table_are_found(split, tmp_path):
    """That the tests above can fail: a plain table is no mistake."""
    path = tmp_path / "table.csv"
    path.write_text("text,label\na ship,sea\na plane,sky\n" * 1)
    batch = first_batches(text_data("words", train=(str(path),)).open())
    assert batch["inputs"].shape[0] == 2
