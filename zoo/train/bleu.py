"""BLEU (Papineni et al. 2002), always by sacrebleu (Post 2018), so that figures are comparable."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from zoo.config import ValueMistake
from zoo.tokenizers.scripts import unspaced_language

DEFAULT = "13a"
"""sacrebleu's tokenizer for languages with spaces between words."""

_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
_OTHERS = ("th", "lo", "bo", "my", "km")
"""Languages for which sacrebleu has no tokenizer of words that downloads nothing."""

_PACKAGES = {"ja-mecab": "MeCab", "ko-mecab": "mecab_ko"}
"""Modules that tokenizers of sacrebleu need."""

_CODES = {"cmn": "zh", "yue": "zh", "zho": "zh", "jpn": "ja", "kor": "ko", "tha": "th"}
"""Codes of three letters for languages of this module."""


def tokenizer_of(language: str | None, references: Sequence[str] = ()) -> str:
    """sacrebleu's tokenizer for a language; characters, where a package for its words is missing.

    Without spaces between words, a sentence would be one token, and nearly every BLEU 0.

    Args:
      language: a code such as `de`, `zh-CN` or `jpn`; None: it is known by its script.
      references: texts in that language, whose script goes before a language with spaces.

    >>> tokenizer_of("de"), tokenizer_of("zh_CN"), tokenizer_of(None, ["一只狗在跑。"])
    ('13a', 'zh', 'zh')
    """
    code = (language or "").replace("_", "-").partition("-")[0].lower()
    code = _CODES.get(code, code)
    if code not in _TOKENIZERS and code not in _OTHERS:
        code = unspaced_language(references) or code
    if code in _OTHERS:
        return "char"
    name = _TOKENIZERS.get(code, DEFAULT)
    package = _PACKAGES.get(name)
    return name if package is None or importlib.util.find_spec(package) is not None else "char"


def corpus_bleu(
    translations: Sequence[str], references: Sequence[str], language: str | None = None
) -> tuple[float, str]:
    """BLEU of untokenised sentences, from 0 to 100, and the signature of sacrebleu's settings.

    Args:
      translations: what is judged.
      references: one for each.
      language: of both, as in `tokenizer_of`. The signature has its tokenizer.

    Raises:
      ValueMistake: the numbers of sentences differ, or there are none.
    """
    from sacrebleu.metrics.bleu import BLEU

    if len(translations) != len(references) or not translations:
        raise ValueMistake(
            f"{len(translations)} translations and {len(references)} references; "
            "BLEU needs one reference for each translation, and at least one of them"
        )
    metric = BLEU(tokenize=tokenizer_of(language, references))
    score = metric.corpus_score(list(translations), [list(references)]).score
    return float(score), str(metric.get_signature())
