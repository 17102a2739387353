"""BLEU, and the tokenizer that it takes for the language of the targets."""

from __future__ import annotations

import pytest

from zoo.config import override
from zoo.pipelines import TranslationData
from zoo.tokenizers import TokenizerConfig
from zoo.tokenizers.scripts import unspaced_language
from zoo.train import Translation, bleu, recipe_files

CHINESE = ["一只棕色的狗在草地上奔跑。", "两个年轻人站在街上聊天。"]
JAPANESE = ["茶色の犬が草の上を走っている。", "若者が二人、通りで話している。"]
THAI = ["สุนัขสีน้ำตาลกำลังวิ่ง", "ชายหนุ่มสองคนยืนคุยกัน"]
ENGLISH = ["A brown dog runs on the grass.", "Two young men, 田 and 山, stand in the street."]


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (CHINESE, "zh"),
        (JAPANESE, "ja"),
        (["갈색 개가 달린다."], "ko"),
        (THAI, "th"),
        (ENGLISH, None),
        (["Ο σκύλος τρέχει.", "Собака бежит."], None),  # noqa: RUF001
        ([], None),
        (["123 ."], None),
    ],
)
def test_languages_without_spaces_are_known_by_their_script(texts, language):
    assert unspaced_language(texts) == language


@pytest.mark.parametrize(
    ("language", "references", "tokenizer"),
    [
        ("de", ENGLISH, "13a"),
        (None, ENGLISH, "13a"),
        ("zh-Hant", (), "zh"),
        ("cmn", (), "zh"),
        ("de", CHINESE, "zh"),  # `de` is what nobody changed
        ("zh", ["abc"], "zh"),
        (None, THAI, "char"),
        ("th_TH", (), "char"),
    ],
)
def test_the_tokenizer_is_that_of_the_language(language, references, tokenizer):
    assert bleu.tokenizer_of(language, references) == tokenizer


@pytest.mark.parametrize(("language", "package"), [("ja", "MeCab"), ("ko", "mecab_ko")])
def test_characters_are_counted_where_a_package_is_missing(monkeypatch, language, package):
    monkeypatch.setattr(bleu.importlib.util, "find_spec", lambda name: None)
    assert bleu.tokenizer_of(language) == "char"
    monkeypatch.setattr(bleu.importlib.util, "find_spec", lambda name: name == package or None)
    assert bleu.tokenizer_of(language) == f"{language}-mecab"


@pytest.mark.parametrize(("texts", "tokenizer"), [(CHINESE, "zh"), (THAI, "char")])
def test_a_translation_that_is_nearly_right_is_worth_something(texts, tokenizer):
    close = [text[:-3] + text[-1] for text in texts]
    score, signature = bleu.corpus_bleu(close, texts)
    assert 60 < score < 100
    assert f"tok:{tokenizer}" in signature
    assert "tok:13a" in bleu.corpus_bleu(ENGLISH, ENGLISH)[1]


def test_the_data_decides_the_language_of_the_task():
    rows = list(zip(ENGLISH, CHINESE, strict=True)) * 3
    data = TranslationData(holdout=0, tokenizer=TokenizerConfig(kind="bytes"))
    facts = data.open(rows).facts
    recipe = recipe_files.get("transformer_multi30k").resolve(facts)
    assert recipe.task.target_language == "zh"
    turned = data.open([(target, source) for source, target in rows]).facts
    assert recipe_files.get("transformer_multi30k").resolve(turned).task.target_language == "de"
    fixed = override(recipe_files.get("transformer_multi30k"), {"task.target_language": "ja"})
    assert fixed.resolve(facts).task == Translation(target_language="ja")
