from __future__ import annotations

import copy
import json
import pickle
import random
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from zoo.config import ConfigError, ValueMistake, from_json, to_json
from zoo.tokenizers import (
    ByteTokenizer,
    CharTokenizer,
    IdTokenizer,
    Kind,
    SentencePieceTokenizer,
    SubwordTokenizer,
    Tokenizer,
    TokenizerConfig,
    WordTokenizer,
    describe,
    load,
    pieces,
    read_lines,
    split_sentence,
    split_words,
    subwords,
)
from zoo.tokenizers.config import KINDS

TEXTS = [
    "The cat sat on the mat, and the dog didn't.",
    "A naïve café: 9.5 € — isn't it?\nYes; it's <br />fine_too!",
    "the the the end",
]
HARD = [
    "",
    " ",
    "  ",
    " a",
    "a ",
    "a  b",
    "tab\tand\r\nnewline",
    "x_y\\z \\u \\95;",
    "a\u0301 combining",
    "\u4e2d\u6587 \u0e44\u0e17\u0e22 \U0001f600",
    "\u2028line\x85separators\x0b\x1c",
    "<pad><eos><unk>",
    "''quoted'' 'tis o'clock' a''b ’x’ l’eau",  # noqa: RUF001
    "e" * 200,
    *TEXTS,
]

# The alphabet that every vocabulary of subwords must have, and a few longer entries.
SUBWORDS = [
    "<pad>",
    "<EOS>",
    "the_",
    "cat_",
    "ca",
    ", _",
    "._",
    *sorted(set("\\_u;0123456789the cat,.<padEOS>")),
]


@pytest.fixture(scope="module")
def sentencepiece() -> SentencePieceTokenizer:
    return SentencePieceTokenizer.train(TEXTS * 5, size=45)


@pytest.fixture(params=["words", "lower", "elsewhere", "bytes", "chars", "ids", "sub", "piece"])
def tokenizer(request: pytest.FixtureRequest, sentencepiece: SentencePieceTokenizer) -> Tokenizer:
    """One tokenizer of each kind."""
    by_name: dict[str, Callable[[], Tokenizer]] = {
        "words": lambda: WordTokenizer.train(TEXTS),
        "lower": lambda: WordTokenizer.train(TEXTS, lowercase=True, min_count=2),
        "elsewhere": lambda: WordTokenizer(["cat", "", "the", "UNK"], unknown="UNK"),
        "bytes": lambda: ByteTokenizer(3),
        "chars": lambda: CharTokenizer.train(HARD[:12]),
        "ids": lambda: IdTokenizer(13),
        "sub": lambda: SubwordTokenizer(SUBWORDS),
        "piece": lambda: sentencepiece,
    }
    return by_name[request.param]()


def texts_for(tokenizer: Tokenizer) -> list[str]:
    return ["", "3 7 5", " 0  12 "] if isinstance(tokenizer, IdTokenizer) else HARD


# ---- what all share


def test_ids_are_integers_below_the_size_of_the_vocabulary(tokenizer: Tokenizer) -> None:
    for text in texts_for(tokenizer):
        ids = tokenizer.encode(text)
        assert type(ids) is list
        assert all(type(i) is int and 0 <= i < tokenizer.vocab_size for i in ids)
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""


def test_encoding_twice_gives_the_same_ids(tokenizer: Tokenizer) -> None:
    for text in texts_for(tokenizer):
        assert tokenizer.encode(text) == tokenizer.encode(text)


def test_a_saved_tokenizer_loads_as_an_equal_one(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "file")
    described = json.loads(json.dumps(describe(tokenizer)))
    loaded = load(**described, path=tmp_path / "file")
    assert type(loaded) is type(tokenizer)
    assert loaded.vocab_size == tokenizer.vocab_size
    assert describe(loaded) == describe(tokenizer)
    for text in texts_for(tokenizer):
        assert loaded.encode(text) == tokenizer.encode(text)
    every_id = range(-1, tokenizer.vocab_size + 2)
    assert loaded.decode(every_id) == tokenizer.decode(every_id)
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "file").read_bytes()


def test_a_tokenizer_can_be_copied_to_another_process(tokenizer: Tokenizer) -> None:
    texts = texts_for(tokenizer)
    expected = [tokenizer.encode(text) for text in texts]
    for other in (pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        assert [other.encode(text) for text in texts] == expected


def test_ids_that_no_token_has_decode_to_nothing_and_arrays_decode(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(texts_for(tokenizer)[1])
    text = tokenizer.decode(ids)
    assert tokenizer.decode([-1, *ids, tokenizer.vocab_size, 10**6]) == text
    assert tokenizer.decode(np.array(ids, np.int32)) == text
    assert tokenizer.decode(iter(ids)) == text


@pytest.mark.parametrize("value", [b"bytes", None, 3, ["a", "b"]])
def test_what_is_no_string_is_refused(tokenizer: Tokenizer, value: Any) -> None:
    name = type(value).__name__
    message = f"a text must be a string, not {name}: {value!r}"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        tokenizer.encode(value)


def test_what_is_not_unicode_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueMistake, match=r"^'a\\udcff' is not Unicode text: character 2 is half"):
        tokenizer.encode("a\udcff")
    for kind in (WordTokenizer, CharTokenizer, SubwordTokenizer):
        with pytest.raises(ValueMistake, match="is not Unicode text"):
            kind(["a", "\ud800"])  # a vocabulary that no file could hold


@pytest.mark.parametrize("train", [WordTokenizer, CharTokenizer, SentencePieceTokenizer])
def test_training_refuses_what_are_no_texts(train: Any) -> None:
    with pytest.raises(TypeError, match=r"^expected several strings, not one: 'a text'$"):
        train.train("a text")
    with pytest.raises(TypeError, match=r"^a text must be a string, not bytes: b'b'$"):
        train.train(["a", b"b"])


@pytest.mark.parametrize("kind", ["words", "bytes", "chars", "ids", "subwords", "sentencepiece"])
def test_a_missing_or_empty_file_is_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary"
    with pytest.raises(FileNotFoundError, match=f"^there is no file {re.escape(str(path))}$"):
        load(kind, path)
    with pytest.raises(FileNotFoundError, match=f"^there is no file {re.escape(str(tmp_path))}$"):
        load(kind, tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}") as caught:
        load(kind, path)
    if kind != "sentencepiece":
        assert str(caught.value) == f"{path} is empty"


@pytest.mark.parametrize("kind", ["words", "chars", "subwords"])
def test_a_vocabulary_that_is_not_utf8_is_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary"
    path.write_bytes(b"'<pad>'\n'na\xefve_'\n")
    with pytest.raises(
        ValueError, match=r"vocabulary, line 2: byte 4 is 0xef, which is not UTF-8$"
    ):
        load(kind, path)


# ---- bytes


def test_bytes_have_ids_from_the_offset_on() -> None:
    assert ByteTokenizer().vocab_size == 258
    assert ByteTokenizer().encode("Aé") == [67, 197, 171]
    assert ByteTokenizer(0).encode("Aé") == [65, 195, 169]
    assert ByteTokenizer(5).decode([70, 0, 1, 4, 71]) == "AB"


def test_every_text_survives_bytes() -> None:
    for text in HARD:
        assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text


def test_bytes_that_are_not_utf8_decode_to_the_replacement_character() -> None:
    assert ByteTokenizer(0).decode([195]) == "\ufffd"
    assert ByteTokenizer(0).decode([255, 65]) == "\ufffdA"


def test_a_negative_offset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^offset is -1; it must be 0 or more$"):
        ByteTokenizer(-1)


@pytest.mark.parametrize("content", ["junk", '{"kind": "ids"}', "[1]", '{"kind": "bytes"}'])
def test_a_file_of_something_else_holds_no_options(content: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(ValueError, match=r'file: expected \{"kind": "bytes", "offset": NUMBER\}$'):
        ByteTokenizer.load(tmp_path / "file")


# ---- ids


def test_text_of_ids_is_integers_between_spaces() -> None:
    tokenizer = IdTokenizer(13)
    assert tokenizer.encode(" 3 7\n12  0 ") == [3, 7, 12, 0]
    assert tokenizer.decode([3, 7, 12, 0]) == "3 7 12 0"


@pytest.mark.parametrize("word", ["x", "1.0", "1_0", "--1", "٣", "9" * 30])
def test_text_that_is_no_integer_is_refused(word: str) -> None:
    with pytest.raises(ValueError) as caught:
        IdTokenizer(13).encode(f"1 {word}")
    assert str(caught.value) == (
        f"{word!r} is not an integer; the text must be integers between spaces, as '3 7 5'"
    )


@pytest.mark.parametrize("word", ["13", "-1"])
def test_an_id_out_of_range_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=f"^the id {word} is not among 0 to 12$"):
        IdTokenizer(13).encode(f"1 {word}")


def test_a_vocabulary_of_no_ids_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^vocab_size is 0; it must be 1 or more$"):
        IdTokenizer(0)


# ---- characters


def test_characters_are_ordered_by_frequency_then_code_point() -> None:
    tokenizer = CharTokenizer.train(["banana", "ab\n"])
    assert tokenizer.encode("abn\nz") == [3, 4, 5, 6, 2]
    assert tokenizer.decode([0, 3, 4, 5, 6, 2, 1]) == "abn\n\ufffd"
    assert CharTokenizer.train(["banana", "ab\n"], size=5).encode("abn") == [3, 4, 2]
    assert CharTokenizer.train(["banana", "ab\n"], min_count=2).encode("bn\n") == [4, 5, 2]


def test_the_file_of_characters_is_readable_and_keeps_those_that_do_not_print(
    tmp_path: Path,
) -> None:
    text = "a ä\n\r\t\0\x1c\x85\u2028\ufeff\U0001f600"
    tokenizer = CharTokenizer(text)
    tokenizer.save(tmp_path / "file")
    assert (tmp_path / "file").read_text(encoding="utf-8").split("\n") == [
        *("<pad>", "<eos>", "<unk>", "a", "U+0020", "ä", "U+000A", "U+000D", "U+0009", "U+0000"),
        *("U+001C", "U+0085", "U+2028", "U+FEFF", "\U0001f600", ""),
    ]
    assert CharTokenizer.load(tmp_path / "file").decode(tokenizer.encode(text)) == text


def test_a_broken_file_of_characters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"file: the first lines must be <pad>, <eos>, <unk>$"):
        CharTokenizer.load(path)
    path.write_text("<pad>\n<eos>\n<unk>\na\nU+110000\n")
    with pytest.raises(ValueError) as caught:
        CharTokenizer.load(path)
    assert str(caught.value) == (
        f"{path}, line 5: expected one character, or one such as U+000A, not 'U+110000'"
    )
    with pytest.raises(ValueError, match=r"^'ab' is not one character$"):
        CharTokenizer(["ab"])


# ---- words


def test_words_are_words_and_single_marks() -> None:
    assert split_words("Don't stop!<br /><BR>It's 9.5...") == (
        ["Don't", "stop", "!", "It's", "9", ".", "5", ".", ".", "."]
    )
    assert split_words("'tis rock'n'roll' snake_case (née X)", lowercase=True) == (
        ["'", "tis", "rock'n'roll", "'", "snake_case", "(", "née", "x", ")"]
    )


def test_the_way_for_ascii_gives_what_the_regular_expression_gives() -> None:
    draw = random.Random(0)
    characters = [chr(i) for i in range(128)] + list("''''aaabbb   ..<") + ["<br />"]
    for _ in range(3000):
        text = "".join(draw.choices(characters, k=12))
        spaced = re.sub(r"(?i)<br\s*/?>", " ", text)
        assert split_words(text) == re.findall(r"\w+(?:'\w+)*|[^\w\s]", spaced)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी में लिखा", ["हिन्दी", "में", "लिखा"]),
        ("வணக்கம் உலகம்!", ["வணக்கம்", "உலகம்", "!"]),
        ("שָׁלוֹם עולם", ["שָׁלוֹם", "עולם"]),
        ("می\u200cخواهم، بروم", ["می\u200cخواهم", "،", "بروم"]),  # noqa: RUF001
        ("cafe\u0301 d\u2019e\u0301te\u0301.", ["café", "d’été", "."]),  # noqa: RUF001
        ("q\u0307x i\u20e3", ["q\u0307x", "i\u20e3"]),
        ("❤️ 👍🏽! 👨\u200d👩\u200d👧ok", ["❤️", "👍🏽", "!", "👨\u200d👩\u200d👧", "ok"]),
        ("Kranken\u00adhaus", ["Kranken\u00adhaus"]),
    ],
)
def test_what_combines_with_a_letter_or_a_mark_belongs_to_its_word(
    text: str, words: list[str]
) -> None:
    assert split_words(text) == words
    for form in ("NFC", "NFD"):
        assert split_words(unicodedata.normalize(form, text)) == [
            unicodedata.normalize("NFC", word) for word in words
        ]


def test_a_lowered_word_is_one_word() -> None:
    assert split_words("İstanbul", lowercase=True) == ["i\u0307stanbul"]
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, "İ\u0323Ǆ ΟΔΟΣ")
        assert split_words(text, lowercase=True) == ["ị\u0307ǆ", "οδος"]


@pytest.mark.parametrize("kind", [WordTokenizer, CharTokenizer])
def test_both_ways_to_write_a_character_have_the_same_ids(kind: Any, tmp_path: Path) -> None:
    text = "une idée à l'école"
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    for learned in forms:
        tokenizer = kind.train([learned])
        tokenizer.save(tmp_path / "file")
        for same in (tokenizer, kind.load(tmp_path / "file")):
            assert same.encode(forms[0]) == same.encode(forms[1])
            assert 2 not in same.encode(forms[1])
    elsewhere = WordTokenizer([unicodedata.normalize("NFD", "é"), "UNK"], unknown="UNK")
    assert elsewhere.encode_words(["é", "e\u0301"]) == [0, 0]
    assert elsewhere.words("e\u0301 é") == ["é", "é"]


def test_words_are_ordered_by_frequency_then_code_points() -> None:
    texts = ["b a the", "the a. The"]
    tokenizer = WordTokenizer.train(texts)
    assert tokenizer.encode("a the . The b other") == [3, 4, 5, 6, 7, 2]
    assert tokenizer.decode([0, 3, 4, 2, 1]) == "a the <unk>"
    assert WordTokenizer.train(texts, lowercase=True).encode("THE a b") == [3, 4, 6]
    assert WordTokenizer.train(texts, size=5).vocab_size == 5
    assert WordTokenizer.train(texts, min_count=2).vocab_size == 5


def test_the_file_of_words_has_one_a_line(tmp_path: Path) -> None:
    WordTokenizer.train(["b a a"]).save(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"<pad>\n<eos>\n<unk>\na\nb\n"


def test_words_of_a_sentence_have_one_id_each() -> None:
    tokenizer = WordTokenizer.train(["The cat's mat"], lowercase=True)
    assert tokenizer.encode_words(["the", "CAT'S", "two words", "<pad>", "<eos>"]) == [
        5,
        3,
        2,
        2,
        2,
    ]
    with pytest.raises(TypeError, match=r"^expected several strings, not one: 'the cat'$"):
        tokenizer.encode_words("the cat")
    with pytest.raises(TypeError, match=r"^a text must be a string, not int: 3$"):
        tokenizer.encode_words(["the", 3])  # type: ignore[list-item]


def test_words_that_are_split_already_are_counted_whole() -> None:
    words = ["U.S.-led", "don't", "don't", "The", "the"]
    tokenizer = WordTokenizer.train(words, split=False)
    assert tokenizer.encode_words(words) == [5, 3, 3, 4, 6]
    assert (tokenizer.unknown_id, WordTokenizer(["a"]).unknown_id) == (2, None)
    lowered = WordTokenizer.train(words, split=False, lowercase=True, min_count=2)
    assert lowered.encode_words(["THE", "Don't", "U.S.-led"]) == [4, 3, 2]
    config = TokenizerConfig(kind="words", min_count=2)
    assert config.build(lambda: words, split=False).vocab_size == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n", []),
        ("It is nice today!", "It is nice today !"),
        ("Britain's and dogs' won't they've", "Britain 's and dogs ' wo n't they 've"),
        ('"Stop," he said (twice)...', '" Stop , " he said ( twice ) ...'),
        ("It cost $10,000.50, or 5%.", "It cost $ 10,000.50 , or 5 % ."),
        ("the U.S.-led U.S. at 5 p.m. by J. Doe.", "the U.S.-led U.S. at 5 p.m. by J. Doe ."),
        ("the U.S.'s 's n't . ' ''", "the U.S. 's 's n't . ' ' '"),
        ("“Zwölf” – l’été", "“ Zwölf ” – l’été"),  # noqa: RUF001
        ("Mr. Lee et al. know 5.", "Mr . Lee et al . know 5 ."),
        ("(" * 200_000, "(" * 200_000),  # no word: it would take minutes to split
    ],
)
def test_sentences_are_split_as_in_corpora_of_tagged_words(
    text: str, words: str | list[str]
) -> None:
    assert split_sentence(text) == (words.split(" ") if words else [])


def test_a_word_that_the_vocabulary_knows_is_not_split() -> None:
    tokenizer = WordTokenizer(["mr.", "o'clock's", "UNK"], lowercase=True, unknown="UNK")
    assert tokenizer.words("(Mr. Lee. O'clock's") == ["(", "Mr.", "Lee", ".", "O'clock's"]
    assert IdTokenizer(9).words(" 3  7. ") == ["3", "7."]
    assert IdTokenizer(9).encode_words(["3", "7"]) == [3, 7]


def test_a_file_of_words_from_elsewhere_counts_lines_from_0(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes("the\r\ncat\r\n\r\nd\x85e\r\nthe\r\nUNK".encode())
    tokenizer = WordTokenizer.load(tmp_path / "words.txt", unknown="UNK")
    assert tokenizer.vocab_size == 6
    assert tokenizer.encode_words(["cat", "", "d\x85e", "the", "dog"]) == [1, 2, 3, 4, 5]
    assert tokenizer.decode([0, 1]) == "the cat"


def test_an_unknown_word_without_a_word_for_it_is_an_error() -> None:
    with pytest.raises(ValueError) as caught:
        WordTokenizer(["the", "cat"]).encode("the dog")
    assert str(caught.value) == (
        "'dog' is not in the vocabulary, which has no entry for unknown ones; "
        "name one, as with unknown='UNK'"
    )
    with pytest.raises(ValueError) as caught:
        WordTokenizer(["the", "cat"], unknown="UNK")
    assert str(caught.value) == (
        "the vocabulary of 2 words has no word 'UNK', which `unknown` names for unknown words"
    )


def test_a_word_with_a_line_break_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^a file with one entry on each line cannot hold 'a\\nb'$"
    ):
        WordTokenizer(["a\nb"]).save(tmp_path / "file")
    with pytest.raises(ValueError, match="cannot hold"):
        SubwordTokenizer(["a", "b\n"]).save(tmp_path / "file")
    for word in ("\0", "\ufeff", "a\r"):  # read as UTF-16, as its mark, as the end of a line
        with pytest.raises(ValueError, match="cannot hold"):
            WordTokenizer([word]).save(tmp_path / "file")


def test_training_without_words_or_with_a_size_too_small_is_an_error() -> None:
    message = r"^the texts to train on have no {} that occur {} times or more$"
    with pytest.raises(ValueError, match=message.format("words", 1)):
        WordTokenizer.train(["", " "])
    with pytest.raises(ValueError, match=message.format("words", 3)):
        WordTokenizer.train(["a a"], min_count=3)
    with pytest.raises(ValueError, match=message.format("characters", 1)):
        CharTokenizer.train([])
    with pytest.raises(ValueError, match=r"^size is 3; it must be 4 or more$"):
        WordTokenizer.train(["a"], size=3)


# ---- subwords


def split_tokens(text: str) -> list[str]:
    """Tensor2Tensor's rule, character by character, to hold the regular expressions against."""

    def is_alphanumeric(character: str) -> bool:
        return unicodedata.category(character)[0] in "LN"

    runs: list[str] = []
    for character in text:
        if runs and is_alphanumeric(runs[-1][-1]) == is_alphanumeric(character):
            runs[-1] += character
        else:
            runs.append(character)
    last = len(runs) - 1
    return [run for i, run in enumerate(runs) if run != " " or i in (0, last)]


def test_tokens_are_runs_of_letters_and_digits_and_runs_of_others() -> None:
    draw = random.Random(0)
    ascii_only = [chr(i) for i in range(128)] + list("aaa     ..__")
    every = [*ascii_only, *"äß中²\u0301\u00a0\u2028½Ⅷ€\U0001f600\ud800"]
    for characters in (ascii_only, every):
        for _ in range(3000):
            text = "".join(draw.choices(characters, k=draw.randrange(10)))
            pattern = subwords._ASCII_TOKEN if text.isascii() else subwords._TOKEN
            assert pattern.findall(text) == subwords._TOKEN.findall(text) == split_tokens(text)


def test_letters_and_digits_are_exactly_categories_l_and_n() -> None:
    for character in map(chr, range(sys.maxunicode + 1)):
        is_alphanumeric = unicodedata.category(character)[0] in "LN"
        assert character.isalnum() == is_alphanumeric
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert re.sub(r"[\W_]+", "", every) == "".join(filter(str.isalnum, every))


def test_subwords_are_the_longest_entries_from_the_left() -> None:
    tokenizer = SubwordTokenizer(SUBWORDS)

    def entries(text: str) -> list[str]:
        return [SUBWORDS[i] for i in tokenizer.encode(text)]

    assert entries("the cat, cap.") == ["the_", "cat_", ", _", "ca", "p", "_", "._"]
    assert entries("a_b") == [*"a_", *"\\u_", *"\\98;", "_"]
    assert entries("\n\\") == [*"\\10;", *"\\\\", "_"]
    for text in HARD:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_subwords_of_padding_and_end_decode_to_their_names() -> None:
    tokenizer = SubwordTokenizer(SUBWORDS)
    assert tokenizer.decode([2, 3, 1, 0, 0]) == "the cat <EOS><pad><pad>".replace("t <", "t<")
    ids = [SUBWORDS.index(c) for c in "\\9999999;"] + [SUBWORDS.index("_")]
    assert tokenizer.decode(ids) == "\u3013"


def test_a_subword_that_stands_twice_has_its_last_id_and_an_empty_one_takes_an_id() -> None:
    tokenizer = SubwordTokenizer([*SUBWORDS, "", "", "the_"])
    assert tokenizer.encode("the") == [len(SUBWORDS) + 2]
    assert tokenizer.vocab_size == len(SUBWORDS) + 3


def test_an_offset_is_saved_as_empty_entries(tmp_path: Path) -> None:
    SubwordTokenizer(SUBWORDS).save(tmp_path / "file")
    shifted = SubwordTokenizer.load(tmp_path / "file", offset=3)
    assert shifted.encode("the cat") == [5, 6]
    assert shifted.decode([0, 1, 2, 5, 6]) == "the cat"
    shifted.save(tmp_path / "shifted")
    assert SubwordTokenizer.load(tmp_path / "shifted").encode("the cat") == [5, 6]


@pytest.mark.parametrize("quote", ["'", '"', ""])
def test_vocabulary_files_of_subwords_may_be_quoted_or_not(quote: str, tmp_path: Path) -> None:
    lines = [f"{quote}{subword}{quote}\n" for subword in SUBWORDS if subword != " "]
    (tmp_path / "file").write_text("".join(lines), encoding="utf-8")
    assert SubwordTokenizer.load(tmp_path / "file").encode("the cat.") == [2, 3, 6]


@pytest.mark.parametrize(
    ("content", "line", "given"),
    [
        ("'<pad>'\n'<EOS>'\n'the_\n", 3, '"\'the_"'),
        ("'<pad>'\n\n'the_'\n", 2, "''"),
        ("'<pad>'\n'the_'\n'cat_\"\n", 3, "'\\'cat_\"'"),
        ("<!DOCTYPE html>\n", 1, "'<!DOCTYPE html>'"),
        ("version https://git-lfs.github.com/spec/v1\n", 1, "'version https://git-lfs"),
    ],
)
def test_a_broken_line_of_subwords_is_named(
    content: str, line: int, given: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(ValueError) as caught:
        SubwordTokenizer.load(tmp_path / "file")
    assert str(caught.value).startswith(
        f"{tmp_path / 'file'}, line {line}: expected an entry in quotes, such as 'the_', not "
        f"{given}"
    )


def test_a_character_that_no_subword_writes_is_an_error() -> None:
    with pytest.raises(ValueError) as caught:
        SubwordTokenizer(["<pad>", "<EOS>", "the_", "_"]).encode("theta")
    assert str(caught.value) == (
        "the vocabulary has no entry 't', needed for 'theta_'; "
        "each character of its entries and of '\\_u;0123456789' must be one too"
    )


def test_the_cache_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subwords._Cache, "SIZE", 4)
    tokenizer, other = SubwordTokenizer(SUBWORDS), SubwordTokenizer(SUBWORDS)
    for number in range(20):
        assert tokenizer.encode(f"the {number}") == other.encode(f"the {number}")
        assert len(tokenizer._tokens) <= 4
    tokenizer.encode("t" * 1000)
    assert all(len(token) < 1000 for token in tokenizer._tokens)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["en_8k.subword", "ende_32k.subword"])
def test_subwords_are_those_of_trax(name: str, shared: Path, tmp_path: Path) -> None:
    path = shared / "golden/open/vocab" / name
    golden = json.loads((shared / f"golden/open/tokenizer/{name}.json").read_text())
    SubwordTokenizer.load(path).save(tmp_path / name)
    for tokenizer in (SubwordTokenizer.load(path), SubwordTokenizer.load(tmp_path / name)):
        assert tokenizer.vocab_size == golden["vocab_size"]
        for case in golden["cases"]:
            assert tokenizer.encode(case["text"]) == case["ids"]
            assert tokenizer.decode(case["ids"]) == case["detok"]
        for case in golden["detokenize_only"]:
            assert tokenizer.decode(case["ids"]) == case["detok"]
    for case in golden["reserved"]:
        shifted = SubwordTokenizer.load(path, offset=case["n_reserved_ids"])
        assert shifted.encode(case["text"]) == case["ids"]


@pytest.mark.shared
def test_bytes_without_offset_are_the_characters_of_trax(shared: Path) -> None:
    golden = json.loads((shared / "golden/open/tokenizer/char.json").read_text())
    tokenizer = ByteTokenizer(0)
    assert tokenizer.vocab_size == golden["vocab_size"]
    for case in golden["cases"]:
        assert tokenizer.encode(case["text"]) == case["ids"]
        assert tokenizer.decode(case["ids"]) == case["detok"]
    for case in golden["reserved"]:
        assert ByteTokenizer(case["n_reserved_ids"]).encode(case["text"]) == case["ids"]
    for case in golden["invalid_utf8"]:
        assert tokenizer.decode(case["ids"]) == case["detok"]


@pytest.mark.shared
def test_the_words_of_a_trax_tagger_load(shared: Path) -> None:
    path = shared / "golden/open/real_soccer_ner/words.txt"
    tokenizer = WordTokenizer.load(path, unknown="UNK")
    assert tokenizer.vocab_size == 4690
    assert tokenizer.encode_words(["nightline", "kevin", "zzz"]) == [0, 1, 4689]


# ---- SentencePiece


@pytest.mark.shared
def test_pieces_are_those_of_the_library(shared: Path) -> None:
    golden = json.loads((shared / "golden/open/tokenizer/sentencepiece.json").read_text())
    tokenizer = SentencePieceTokenizer.load(shared / "golden/open/vocab/sentencepiece.model")
    assert tokenizer.vocab_size == golden["vocab_size"]
    for case in golden["cases"]:
        assert tokenizer.encode(case["text"]) == case["ids"]
        assert tokenizer.decode(case["ids"]) == case["detok"]


def test_a_trained_model_keeps_0_1_2_for_padding_end_and_unknown(
    sentencepiece: SentencePieceTokenizer,
) -> None:
    assert sentencepiece.vocab_size == 45
    assert sentencepiece.decode([0, 1]) == ""
    assert 2 in sentencepiece.encode("\u4e2d")
    ids = sentencepiece.encode("the cat sat")
    assert min(ids) > 2
    assert sentencepiece.decode(ids) == "the cat sat"


def test_training_reads_lines_of_any_length() -> None:
    long = "abc " * 2000  # the trainer's own limit is 4,192 bytes
    assert 2 not in SentencePieceTokenizer.train([long, "x y"], size=8).encode("abc")


def test_equal_texts_give_equal_models_in_any_process(
    sentencepiece: SentencePieceTokenizer, tmp_path: Path
) -> None:
    script = (
        "import sys, json\n"
        "from zoo.tokenizers import SentencePieceTokenizer as S, WordTokenizer as W\n"
        "texts, out = json.loads(sys.argv[1]), sys.argv[2]\n"
        "S.train(texts * 5, size=45).save(out + '/pieces'); W.train(texts).save(out + '/words')"
    )
    command = [sys.executable, "-c", script, json.dumps(TEXTS), str(tmp_path)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    sentencepiece.save(tmp_path / "here")
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "here").read_bytes()
    WordTokenizer.train(TEXTS).save(tmp_path / "here")
    assert (tmp_path / "words").read_bytes() == (tmp_path / "here").read_bytes()


def test_a_text_too_small_for_the_size_gives_the_largest_possible() -> None:
    with pytest.raises(ValueError) as caught:
        SentencePieceTokenizer.train(["a b c ab"], size=8000)
    found = re.fullmatch(
        r"the text is too small for 8000 pieces; the largest possible size is (\d+)",
        str(caught.value),
    )
    assert found
    assert SentencePieceTokenizer.train(["a b c ab"], size=int(found[1])).vocab_size == int(
        found[1]
    )


def test_a_size_too_small_for_the_text_gives_the_smallest_possible() -> None:
    with pytest.raises(ValueError) as caught:
        SentencePieceTokenizer.train(["abcdefg hij"], size=5)
    found = re.fullmatch(
        r"5 pieces are too few for this text; the smallest possible size is (\d+)",
        str(caught.value),
    )
    assert found
    assert SentencePieceTokenizer.train(["abcdefg hij"], size=int(found[1])).vocab_size > 5


def test_what_cannot_be_trained_on_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"^there is no text to train on$"):
        SentencePieceTokenizer.train(["", " \n "])
    with pytest.raises(ValueError, match=r"^size is 0; it must be 1 or more$"):
        SentencePieceTokenizer.train(["a"], size=0)
    assert pieces._training_error("INTERNAL: x", 9) == (
        "SentencePiece cannot train on this text: INTERNAL: x"
    )


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.model"
    for content in (b"", b"junk"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"file\.model: not a SentencePiece model: INTERNAL"):
            SentencePieceTokenizer.load(path)


def test_a_model_with_other_ids_of_padding_and_end_is_refused(tmp_path: Path) -> None:
    import sentencepiece

    with (tmp_path / "file.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c ab"]), model_writer=file, vocab_size=8, minloglevel=2
        )
    with pytest.raises(ValueError) as caught:
        SentencePieceTokenizer.load(tmp_path / "file.model")
    assert str(caught.value) == (
        f"{tmp_path / 'file.model'}: the model has padding as -1 and end of sequence as 2, but "
        "they must be 0 and 1; train it with pad_id=0 and eos_id=1, or with `zoo train-vocab`"
    )


# ---- files to train on


def test_lines_come_from_one_file_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("one\r\n\nzwölf\x85x\n".encode())
    (tmp_path / "b").write_bytes(b"three")
    assert list(read_lines([tmp_path / "a", str(tmp_path / "b")])) == (
        ["one", "", "zwölf\x85x", "three"]
    )


def test_files_that_cannot_be_trained_on_are_named(tmp_path: Path) -> None:
    def train(name: str) -> SentencePieceTokenizer:
        return SentencePieceTokenizer.train(read_lines([tmp_path / name]))

    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "latin").write_bytes(b"ok\nna\xefve\n")
    with pytest.raises(FileNotFoundError, match=r"^there is no file .*missing$"):
        train("missing")
    with pytest.raises(ValueError, match=r"empty is empty$"):
        train("empty")
    with pytest.raises(ValueError, match=r"latin, line 2: byte 3 is 0xef, which is not UTF-8$"):
        train("latin")


# ---- by name


def never() -> Iterator[str]:
    raise AssertionError("the texts are not needed")


def test_a_config_trains_on_the_texts_or_loads_the_file(tmp_path: Path) -> None:
    config = TokenizerConfig(kind="words", lowercase=True, min_count=2, vocab_size=5)
    trained = config.build(lambda: TEXTS)
    assert trained.decode(trained.encode("The cat THE , .")) == "the <unk> the <unk> ."
    trained.save(tmp_path / "words")
    vocab = str(tmp_path / "words")
    loaded = TokenizerConfig(kind="words", lowercase=True, vocab=vocab).build(never)
    assert loaded.encode("The it.") == trained.encode("The it.")
    assert describe(loaded) == {"kind": "words", "lowercase": True, "unknown": "<unk>"}


def test_bytes_stand_for_characters_that_have_no_piece() -> None:
    texts = TEXTS * 5
    unknown = SentencePieceTokenizer.train(texts, size=45)
    assert unknown.decode(unknown.encode("a 中")) != "a 中"
    config = TokenizerConfig(kind="sentencepiece", vocab_size=300, byte_fallback=True)
    fallback = config.build(lambda: texts)
    assert 2 not in fallback.encode("中")
    assert fallback.decode(fallback.encode("a 中")) == "a 中"


def test_full_character_coverage_gives_the_rarest_character_a_piece() -> None:
    texts = ["a cat sat on the mat"] * 500 + ["ü"]
    assert 2 in SentencePieceTokenizer.train(texts, size=14).encode("ü")
    config = TokenizerConfig(kind="sentencepiece", vocab_size=14, character_coverage=1.0)
    assert 2 not in config.build(lambda: texts).encode("ü")


def test_of_very_many_lines_evenly_spaced_ones_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SentencePieceTokenizer, "MAX_LINES", 40)
    lines = ["the cat sat", "on a mat", "never seen"] * 40
    tokenizer = SentencePieceTokenizer.train(lines, size=12)
    assert 2 not in tokenizer.encode("the cat sat")
    assert 2 in tokenizer.encode("never")


def test_a_config_builds_every_kind(sentencepiece: SentencePieceTokenizer, tmp_path: Path) -> None:
    sentencepiece.save(tmp_path / "model")
    SubwordTokenizer(SUBWORDS).save(tmp_path / "subwords")
    CharTokenizer("ab").save(tmp_path / "chars")
    (tmp_path / "words").write_text("the\nUNK\n")

    def build(**fields: Any) -> Tokenizer:
        if "vocab" in fields:
            fields["vocab"] = str(tmp_path / fields["vocab"])
        config = TokenizerConfig(**fields)
        assert from_json(TokenizerConfig, to_json(config)) == config
        trains = fields["kind"] in ("words", "chars", "sentencepiece") and "vocab" not in fields
        return config.build((lambda: TEXTS * 5) if trains else never)

    assert build(kind="bytes").encode("A") == [67]
    assert build(kind="bytes", offset=0).encode("A") == [65]
    assert build(kind="ids", vocab_size=13).encode("12") == [12]
    assert build(kind="subwords", vocab="subwords").encode("the") == [2]
    assert build(kind="subwords", vocab="subwords", offset=1).encode("the") == [3]
    assert build(kind="sentencepiece", vocab="model").vocab_size == 45
    assert build(kind="sentencepiece", vocab_size=44).vocab_size == 44
    assert build(kind="chars", vocab="chars").encode("ba") == [4, 3]
    assert build(kind="chars", vocab_size=10, min_count=2).vocab_size == 10
    assert build(kind="words", vocab="words", unknown="UNK").encode("the a") == [0, 1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"kind": "bytes", "lowercase": True},
            "lowercase=True does not apply to a tokenizer of kind 'bytes' (it takes offset); "
            "set it to False",
        ),
        (
            {"kind": "subwords", "min_count": 2},
            "min_count=2 does not apply to a tokenizer of kind 'subwords' (it takes vocab, "
            "offset); set it to 1",
        ),
        ({"kind": "ids"}, "a tokenizer of kind 'ids' needs a vocab_size"),
        (
            {"kind": "subwords"},
            "a tokenizer of kind 'subwords' needs vocab, the path of a trax vocabulary file; "
            "kind 'sentencepiece' can be trained",
        ),
        (
            {"kind": "word"},
            "no kind of tokenizer is named 'word'; did you mean 'words'? "
            "(kinds: words, bytes, chars, ids, subwords, sentencepiece)",
        ),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TokenizerConfig(**fields).build(never)
    assert str(caught.value) == message


def test_a_file_with_more_ids_than_wanted_is_refused(tmp_path: Path) -> None:
    CharTokenizer("abc").save(tmp_path / "chars")
    path = str(tmp_path / "chars")
    assert TokenizerConfig(kind="chars", vocab=path, vocab_size=6).build(never).vocab_size == 6
    with pytest.raises(ConfigError) as caught:
        TokenizerConfig(kind="chars", vocab=path, vocab_size=5).build(never)
    assert str(caught.value) == (
        f"vocab_size is 5, but {path} has 6 ids; leave vocab_size out (None), or take another file"
    )


def test_every_kind_that_a_config_may_name_is_known() -> None:
    assert get_args(Kind) == tuple(KINDS)


def test_kinds_without_a_vocabulary_load_from_options_alone() -> None:
    assert load("bytes").encode("A") == [67]
    assert load(**describe(ByteTokenizer(0))).encode("A") == [65]
    assert load("ids", vocab_size=5).vocab_size == 5


def test_load_refuses_what_it_does_not_know() -> None:
    for arguments, options, message in [
        (
            ("wrods", "f"),
            {},
            "no kind of tokenizer is named 'wrods'; did you mean 'words'? "
            "(kinds: words, bytes, chars, ids, subwords, sentencepiece)",
        ),
        (
            ("words", "f"),
            {"lower_case": True},
            "a tokenizer of kind 'words' has no option 'lower_case'; did you mean 'lowercase'? "
            "(options: lowercase, unknown)",
        ),
        (
            ("chars", "f"),
            {"offset": 1},
            "a tokenizer of kind 'chars' has no option 'offset' (options: none)",
        ),
        (("chars",), {}, "a tokenizer of kind 'chars' needs the path of its vocabulary file"),
        (("ids",), {}, "a tokenizer of kind 'ids' needs a vocab_size"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(*arguments, **options)  # type: ignore[arg-type]
        assert str(caught.value) == message


def test_what_is_no_tokenizer_of_zoo_cannot_be_described() -> None:
    message = r"^dict is none of the kinds words, bytes, chars, ids, subwords, sentencepiece$"
    with pytest.raises(TypeError, match=message):
        describe({})  # type: ignore[arg-type]


def test_sentencepiece_is_imported_only_when_it_is_used() -> None:
    script = (
        "import sys, zoo.tokenizers; print({'sentencepiece', 'numpy', 'jax'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout == "set()\n"
