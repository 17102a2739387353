"""How a text is split into words."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable

from zoo.tokenizers.base import check_text
from zoo.tokenizers.reading import nfc

_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_OUTER_APOSTROPHE = re.compile(r"'(?:(?!\w)|(?<!\w'))")
_ASCII_MARKS = tuple(
    (mark, f" {mark} ")
    for mark in map(chr, range(128))
    if not (mark.isalnum() or mark.isspace() or mark in "_'")
)


_ASTRAL = re.compile("[\U00010000-\U0010ffff]")


@functools.cache
def _word(astral: bool) -> re.Pattern[str]:
    """A word or a single mark, each with the characters that combine with it.

    Those are Unicode's marks (category M: accents, vowel signs, variation selectors), the joiners
    within words (soft hyphen, ZWNJ, ZWJ, word joiner) and the skin tones of emoji. Python's `\\w`
    has none of them, though Hindi has one in nearly every word.

    Args:
      astral: whether the text has characters above U+FFFF. A set without these is ten times as fast
        in Python's `re`, as is one without `\\w` in it.
    """
    planes = [range(0x300, 0x10000)]
    combines = "\u00ad\u200c\u200d\u2060"
    if astral:
        planes += [range(0x10000, 0x20000), range(0xE0100, 0xE01F0)]
        combines += "\U0001f3fb-\U0001f3ff"
    marks = (chr(c) for plane in planes for c in plane if unicodedata.category(chr(c))[0] == "M")
    combines += "".join(marks)
    word = rf"\w+(?:[{combines}]+\w*)*"
    mark = rf"[^\w\s][{combines}]*"
    # A ZWJ glues the emoji after it to the one before.
    return re.compile(rf"{word}(?:['’]{word})*|{mark}(?:(?<=\u200d){mark})*")  # noqa: RUF001


def folded(text: str, *, lowercase: bool) -> str:
    """The form of a text in which words are compared: Unicode's NFC, lowered or not.

    >>> folded("Cafe\u0301", lowercase=True)
    'café'
    """
    return nfc(nfc(text).lower()) if lowercase else nfc(text)


def split_words(text: str, *, lowercase: bool = False) -> list[str]:
    """Words (letters, digits and underscores, with apostrophes between them) and single marks.

    Characters that combine with others, such as accents and vowel signs, belong to their word; the
    words are in Unicode's NFC. HTML line breaks, which are frequent in IMDB's reviews, count as
    white space.

    >>> split_words("Don't stop!<br />It's 9.5...")
    ["Don't", 'stop', '!', "It's", '9', '.', '5', '.', '.', '.']
    """
    if "<" in check_text(text):
        text = _LINE_BREAK.sub(" ", text)
    text = folded(text, lowercase=lowercase)
    if not text.isascii():
        return _word(_ASTRAL.search(text) is not None).findall(text)
    # Gives the same for ASCII in a third of the time: put spaces around marks, then split at them.
    for mark, spaced in _ASCII_MARKS:
        if mark in text:
            text = text.replace(mark, spaced)
    if "'" in text:
        text = _OUTER_APOSTROPHE.sub(" ' ", text)
    return text.split()


LONGEST_WORD = 100
"""Number of characters of the longest word that is split: an address of a page stays whole."""

_OPENING = re.compile(r"[\"'`“”‘’«([{<$€£#]")  # noqa: RUF001
_CLOSING = re.compile(r"(?:\.\.+|[\"'`“”‘’»)\]}>%.,;:!?…])\Z")  # noqa: RUF001
_CLITIC = re.compile(r"(?:n['’]t|['’](?:s|m|d|re|ve|ll))\Z", re.IGNORECASE)  # noqa: RUF001
_ABBREVIATION = re.compile(r"(?:[^\W\d_]\.)+\Z")


def split_sentence(text: str, known: Callable[[str], bool] = lambda word: False) -> list[str]:
    """The words of a sentence, split as in corpora of tagged words (the Penn Treebank's way).

    Marks around a word are words of their own, marks within it are not; a clitic such as `n't` or
    `'s` is a word. The words are in Unicode's NFC.

    Args:
      text: the sentence.
      known: whether a word is in the vocabulary; such a word is not split further.

    >>> split_sentence("Britain's envoy (Mr. Lee) won't pay $10,000.", {"Mr."}.__contains__)
    ['Britain', "'s", 'envoy', '(', 'Mr.', 'Lee', ')', 'wo', "n't", 'pay', '$', '10,000', '.']
    """
    words = []
    for word in nfc(check_text(text)).split():
        words += _split_marks(word, known) if len(word) <= LONGEST_WORD else [word]
    return words


def _split_marks(word: str, known: Callable[[str], bool]) -> list[str]:
    before, after = [], []
    while len(word) > 1 and not known(word) and not _CLITIC.fullmatch(word):
        end = _CLITIC.search(word)
        if end is None and not _ABBREVIATION.match(word):
            end = _CLOSING.search(word)
        if _OPENING.match(word):
            before.append(word[0])
            word = word[1:]
        elif end is not None:
            after.append(end[0])
            word = word[: end.start()]
        else:
            break
    return [part for part in (*before, word, *reversed(after)) if part]
