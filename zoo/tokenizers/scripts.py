"""The writing system of texts, where it has no spaces between words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice

SAMPLED = 1000
"""Number of texts that are looked at."""

# Japanese is known by its kana: Chinese characters occur in both languages.
_SCRIPTS = {
    "ja": re.compile("[\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff\uff66-\uff9f]"),
    "ko": re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]"),
    "zh": re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "lo": re.compile("[\u0e80-\u0eff]"),
    "bo": re.compile("[\u0f00-\u0fff]"),
    "my": re.compile("[\u1000-\u109f]"),
    "km": re.compile("[\u1780-\u17ff]"),
}
"""Languages, and the characters that only they have."""


def unspaced_language(texts: Iterable[str]) -> str | None:
    """Chinese, Japanese, Korean or another language in whose script most letters of texts are.

    >>> [unspaced_language([text]) for text in ("一只狗。", "犬が走る。", "A dog.")]
    ['zh', 'ja', None]

    Returns:
      A code of ISO 639-1; None: most letters are in other scripts.
    """
    counts: Counter[str] = Counter()
    letters = 0
    for text in islice(texts, SAMPLED):
        letters += sum(map(str.isalpha, text))
        for language, pattern in _SCRIPTS.items():
            counts[language] += len(pattern.findall(text))
    if sum(counts.values()) * 2 <= letters or not letters:
        return None
    if counts["ja"] * 20 > counts["zh"]:
        counts["ja"] += counts.pop("zh")
    return max(counts, key=lambda language: counts[language])
