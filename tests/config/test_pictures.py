"""The HTML that notebooks show: all text escaped, many entries cut, colours by type."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from zoo.config import pictures

HOSTILE = '<script>alert("a")</script> & <b>'


class Text(HTMLParser):
    """The tags and the text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_all_text_is_escaped_and_all_tags_are_closed():
    for html in (
        pictures.bars({HOSTILE: 0.5}),
        pictures.tagged(
            [(HOSTILE, f"B-{HOSTILE}", 0.5), (HOSTILE, "O", 1.0)], (f"B-{HOSTILE}", "O")
        ),
        pictures.table({HOSTILE: HOSTILE, "b": {HOSTILE: HOSTILE}, "c": (HOSTILE,)}),
        pictures.image(b"png", HOSTILE),
    ):
        parsed = Text(html)
        assert not parsed.open
        assert "script" not in parsed.tags
        if "img" not in parsed.tags:
            assert HOSTILE in parsed.text


def test_bars_are_as_long_as_their_shares_and_many_are_cut():
    html = pictures.bars({"pos": 0.75, "neg": 0.25})
    assert re.findall(r"width: (\d+\.\d)%", html) == ["75.0", "25.0"]
    many = Text(pictures.bars({str(number): 0.01 for number in range(1000)})).text
    assert many.endswith("… 990 more")


def test_tags_of_one_type_have_one_colour_and_outside_has_none():
    labels = ("O", "B-geo", "I-geo", "B-per", "NN")
    words = [("Rome", "B-geo", 0.9), ("City", "I-geo", 0.8), ("Anna", "B-per", 0.7)]
    html = pictures.tagged([*words, ("went", "O", 1.0), ("dog", "NN", 0.5)], labels)
    rome, city, anna, dog = re.findall(r"hsla\((\d+)", html)
    assert rome == city
    assert len({rome, anna, dog}) == 3
    assert 'title="90%"' in html
    assert Text(html).text == "Rome B-geo City I-geo Anna B-per went dog NN"


def test_on_a_narrow_page_a_picture_shrinks_and_a_word_stays_with_its_tag():
    assert "max-width: min(40em, 100%)" in pictures.image(b"png", "a curve")
    assert "white-space: nowrap" in pictures.tagged([("Rome", "B-geo", 0.9)], ("B-geo",))


def test_a_table_leaves_empty_entries_out():
    text = Text(pictures.table({"a": "", "b": {}, "c": 0, "d": 0.123456, "e": ("x", "y")})).text
    assert text == "c0d0.1235ex, y"
