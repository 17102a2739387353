"""Tokenizers: any text there and back, any ids, any vocabulary saved and loaded."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import strategies as st
from properties import Refused, any_texts, asked, holds, long_texts, scalars, unicode_texts

WORDS = ("<pad>", "<eos>", "<unk>", "a", "b", "ship", "é", "'", ".")
LETTERS = "abc .é\n"
SUBWORDS = (*"\\_u;0123456789abcé", "ab", "a_", "the_", " ", "<pad>", "")


@pytest.fixture(scope="module")
def tokenizers():
    from zoo import tokenizers as kinds

    trained = kinds.SentencePieceTokenizer.train(["the ship sails on the sea"] * 9, size=16)
    bytes_too = kinds.SentencePieceTokenizer.train(
        ["the ship sails on the sea"] * 9, size=272, byte_fallback=True
    )
    return {
        "bytes": kinds.ByteTokenizer(),
        "chars": kinds.CharTokenizer(LETTERS),
        "words": kinds.WordTokenizer(WORDS, lowercase=True),
        "known words": kinds.WordTokenizer(WORDS[3:]),
        "subwords": kinds.SubwordTokenizer(SUBWORDS),
        "ids": kinds.IdTokenizer(13),
        "pieces": trained,
        "pieces and bytes": bytes_too,
    }


NAMES = st.sampled_from(
    ["bytes", "chars", "words", "known words", "subwords", "ids", "pieces", "pieces and bytes"]
)


@holds(few=80, seconds=10, name=NAMES, text=long_texts | scalars)
def test_any_text_has_ids_or_is_refused(tokenizers, name, text):
    tokenizer = tokenizers[name]
    ids = asked(tokenizer.encode, text)
    if isinstance(ids, Refused):
        return
    assert isinstance(ids, list)
    assert all(type(id_) is int and 0 <= id_ < tokenizer.vocab_size for id_ in ids)
    decoded = tokenizer.decode(ids)
    assert isinstance(decoded, str)
    if name == "bytes":
        assert decoded == text
    if name == "chars":
        normal = unicodedata.normalize("NFC", text)
        assert decoded == "".join(c if c in LETTERS else "\ufffd" for c in normal)
    if name == "ids":
        assert tokenizer.encode(decoded) == ids


@holds(
    few=40,
    seconds=10,
    name=NAMES,
    ids=st.lists(st.integers(-3, 300) | st.integers(-(2**70), 2**70), max_size=20),
)
def test_any_ids_have_a_text(tokenizers, name, ids):
    text = asked(tokenizers[name].decode, ids)
    assert isinstance(text, str)


@holds(few=40, seconds=10, name=st.sampled_from(["words", "ids"]), text=long_texts)
def test_any_sentence_has_words(tokenizers, name, text):
    tokenizer = tokenizers[name]
    words = asked(tokenizer.words, text)
    if isinstance(words, Refused):
        return
    assert all(isinstance(word, str) and word for word in words)
    normal = text if name == "ids" else unicodedata.normalize("NFC", text)
    assert "".join(words) == "".join(normal.split())
    ids = asked(tokenizer.encode_words, words)
    assert isinstance(ids, Refused) or len(ids) == len(words)


@holds(
    few=40,
    seconds=10,
    kind=st.sampled_from(["WordTokenizer", "CharTokenizer", "SubwordTokenizer"]),
    entries=st.lists(any_texts | st.characters() | st.sampled_from(WORDS + SUBWORDS), max_size=8),
    text=unicode_texts,
)
def test_any_vocabulary_comes_back_from_its_file_or_is_refused(tmp_path, kind, entries, text):
    from zoo import tokenizers

    cls, path = getattr(tokenizers, kind), tmp_path / "vocabulary"
    tokenizer = asked(cls, entries)
    if isinstance(tokenizer, Refused) or isinstance(asked(tokenizer.save, path), Refused):
        return
    again = asked(cls.load, path)
    if isinstance(again, Refused):  # a file without a line
        assert tokenizer.vocab_size == 0
        return
    assert again.vocab_size == tokenizer.vocab_size
    assert asked(again.encode, text) == asked(tokenizer.encode, text)
    every = range(tokenizer.vocab_size)
    assert again.decode(every) == tokenizer.decode(every)


@holds(
    few=40,
    seconds=10,
    kind=st.sampled_from(["words", "chars", "bytes", "ids", "subwords", "sentencepiece"]),
    content=st.binary(max_size=80)
    | st.lists(any_texts | st.sampled_from(WORDS), max_size=6).map(
        lambda lines: "\n".join(lines).encode(errors="surrogatepass")
    )
    | st.sampled_from([b'{"kind": "bytes", "offset": 2}', b"[" * 5000, b"'a_'\n", b"\xff\xfea"]),
    text=unicode_texts,
)
def test_any_file_is_a_vocabulary_or_is_refused(tmp_path, kind, content, text):
    from zoo import tokenizers

    path = tmp_path / "vocabulary"
    path.write_bytes(content)
    tokenizer = asked(tokenizers.load, kind, path)
    if not isinstance(tokenizer, Refused):
        asked(tokenizer.encode, text)


@holds(
    few=20,
    seconds=20,
    kind=st.sampled_from(["WordTokenizer", "CharTokenizer", "SentencePieceTokenizer"]),
    texts=st.lists(long_texts, max_size=4),
    size=st.none() | st.integers(-1, 300),
)
def test_any_texts_train_a_tokenizer_or_are_refused(kind, texts, size):
    from zoo import tokenizers

    options = {} if size is None else {"size": size}
    tokenizer = asked(getattr(tokenizers, kind).train, texts, **options)
    if not isinstance(tokenizer, Refused):
        assert size is None or tokenizer.vocab_size <= size
        for text in texts:
            asked(tokenizer.encode, text)
