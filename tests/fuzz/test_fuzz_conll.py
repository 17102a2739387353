"""Sentences with tags: files of the CoNLL tasks, tables and rows of any content."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st
from properties import Refused, any_texts, asked, holds, scalars, unicode_texts

FIELDS = st.sampled_from(["EU", "B-ORG", "O", "1", "1-2", "8.1", "#", "-DOCSTART-", "_", ""])
LINES = st.one_of(
    st.lists(FIELDS | unicode_texts, max_size=4).map(" ".join),
    st.lists(FIELDS | unicode_texts, max_size=4).map("\t".join),
    st.sampled_from(["", " ", "\t", "# text = a b", "EU B-ORG", "EU\tB-ORG", "-DOCSTART- O"]),
    unicode_texts,
)
FILES = st.lists(LINES, max_size=8).map("\n".join).map(str.encode) | st.binary(max_size=40)


def first_batches(data):
    for split in data.facts.num_examples:
        list(itertools.islice(data.evaluate(split, 4), 2))
        data.examples(split, 2)
    return next(iter(data.train(2, seed=0)))


def check_sentences(source):
    assert source.num_rows > 0
    for words, tags in zip(source.arrays["words"], source.arrays["tags"], strict=True):
        assert len(words) == len(tags)
        assert all(isinstance(text, str) for text in (*words, *tags))


@holds(
    few=80,
    seconds=10,
    content=FILES,
    word=st.sampled_from([0, 0, 1, -1, -2, 5, -5, 2**70]),
    tag=st.sampled_from([-1, -1, 1, 0, 3, -(2**70)]),
)
def test_any_file_has_sentences_or_is_refused(tmp_path, content, word, tag):
    from zoo.pipelines.sources import sentences

    path = tmp_path / "sentences.conll"
    path.write_bytes(content)
    found = asked(sentences.read_conll, path, word, tag)
    if not isinstance(found, Refused):
        check_sentences(found)


WORDS = st.text(min_size=1, max_size=6).map(lambda text: "".join(text.split()) or "x")
PLAIN = WORDS.map(lambda word: word.replace("#", "x")).filter(lambda word: word != "-DOCSTART-")


@holds(
    few=40,
    seconds=10,
    written=st.lists(
        st.lists(st.tuples(PLAIN, st.sampled_from(["O", "B-a", "I-a"])), min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    ),
    separator=st.sampled_from([" ", "\t"]),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_the_sentences_that_were_written_are_read(tmp_path, written, separator, ending):
    from zoo.pipelines.sources import sentences

    lines = (
        "".join(f"{word}{separator}{tag}{ending}" for word, tag in sentence) for sentence in written
    )
    path = tmp_path / "sentences.conll"
    path.write_bytes(ending.join(lines).encode())
    found = sentences.read_conll(path, 0, -1)
    pairs = zip(found.arrays["words"], found.arrays["tags"], strict=True)
    assert [list(zip(*pair, strict=True)) for pair in pairs] == written


def tagging(**fields):
    from zoo.pipelines import TaggingData

    return TaggingData(**fields)


@holds(few=20, content=FILES, suffix=st.sampled_from([".conll", ".txt", ".csv", ""]))
def test_any_file_gives_batches_or_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"sentences{suffix}"
    path.write_bytes(content)
    data = asked(tagging(train=(str(path),)).open)
    if not isinstance(data, Refused):
        asked(first_batches, data)


TEXTS = any_texts | st.sampled_from(["O", "B-a", "ship"])
ROWS = st.one_of(
    st.lists(
        st.integers(0, 4).flatmap(
            lambda n: st.tuples(*[st.lists(TEXTS, min_size=n, max_size=n)] * 2)
        ),
        max_size=4,
    ),
    st.lists(
        st.tuples(st.lists(scalars, max_size=2) | scalars, st.lists(TEXTS, max_size=2)), max_size=3
    ),
    st.fixed_dictionaries({"words": st.lists(scalars, max_size=2), "tags": st.lists(scalars)}),
    st.lists(scalars, max_size=3),
    scalars,
)


@holds(few=30, rows=ROWS)
def test_any_rows_give_batches_or_are_refused(rows):
    if rows is None:
        return  # means the files of the config
    data = asked(tagging().open, rows)
    if not isinstance(data, Refused):
        asked(first_batches, data)
