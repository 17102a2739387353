"""Texts of several sentences: cut, translated one by one, joined."""

from __future__ import annotations

import sys

import pytest

from zoo.predictors import sentences
from zoo.predictors.sentences import by_sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith left. He slept!  Why?", "<Dr. Smith left.> <He slept!>  <Why?>"),
        (" One. Two.\r\n\n  Three", " <One.> <Two.>\r\n\n  <Three>"),
        ("a\nb\n", "<a>\n<b>\n"),
        ("One. One. One.", "<One.> <One.> <One.>"),
        ("", ""),
        (" \n ", " \n "),
        ("数は大きい。🦓 …", None),
        ("(((. \\1 [a-z]* \x00 .) ?!", None),
    ],
)
def test_what_is_between_sentences_is_kept(text, expected):
    (same,) = by_sentence([text], list)
    assert same == text
    (marked,) = by_sentence([text], lambda sentences: [f"<{each}>" for each in sentences])
    assert expected is None or marked == expected


def test_sentences_are_translated_as_if_alone(translator):
    options = {"beam_size": 2, "max_new_tokens": 4}
    one, other = translator(["It is so.", "No."], **options)
    text = "It is so. No.\nNo. " + "It is so. " * 5
    whole = translator(["", text], split=True, **options)
    assert whole == ["", f"{one} {other}\n{other} " + f"{one} " * 5]
    assert translator(text, split=True, **options) == whole[1]
    with pytest.raises(ValueError, match=r"split=True, `zoo translate --split`, where it is sev"):
        translator(text)
    with pytest.raises(ValueError, match="split=True takes neither num_return, prefix nor scores"):
        translator(text, split=True, num_return=2)
    with pytest.raises(TypeError, match="takes a string or a list of strings; got int"):
        translator([3], split=True)


def test_the_splitter_is_silent_where_an_installer_has_not_compiled_it(monkeypatch, tmp_path):
    """As uv does; Python then warns of its escapes, and warnings are errors here."""
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "pysbd"]:
        monkeypatch.delitem(sys.modules, name)
    assert sentences._segmenter.__wrapped__().segment("One. Two.") == ["One. ", "Two."]
