"""What a type checker sees of the public names, in a user's file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]

OPTIONS = (
    *("--strict", "--config-file=", "--follow-imports=silent"),  # the zoo has its own options
    *("--cache-dir", str(CHECKOUT / ".mypy_cache" / "user")),
)

PROGRAM = """
import zoo
from zoo.predictors import LanguageModel, Prediction, Scored, Translator

model = zoo.load("any", dtype="int8", code="mine.py")
model("text", top_k=3, beam_size=2)
model.generate("ROMEO:", stream=True)
model.score("text")
model.score(["a"], ["b"])
print(model.card.name, model.max_len, model.variables["params"])


def typed(classify: zoo.predictors.TextClassifier, tag: zoo.predictors.Tagger) -> None:
    one: Prediction = classify("text")
    several: list[Prediction] = classify(["text"], top_k=2)
    words: list[str] = [t.word for t in tag("text")]
    nested: list[list[zoo.predictors.Tag]] = tag([["Mr.", "Lee"]])
    print(one, several, words, nested)


def written(translate: Translator, write: LanguageModel) -> None:
    text: str = translate("a", beam_size=1)
    texts: list[str] = translate(["a"], max_new_tokens=3)
    scored: Scored = translate("a", scores=True)
    best: list[Scored] = translate("a", num_return=2)
    all_: list[list[Scored]] = translate(["a"], num_return=2)
    score: float = translate.score("a", "b")
    text = write.generate("a", temperature=0.5)
    texts = list(write.generate("a", stream=True)) + write.generate(["a"])
    best = write.generate("a", num_return=2)
    print(text, texts, scored, best, all_, score)


if isinstance(model, Translator):
    model("text", num_return=2)
"""

MISTAKES = {
    "translate('a', beam=3)": "Unexpected keyword argument",
    "translate('a', num_return=2).text": 'has no attribute "text"',
    "zoo.load('any', dtype='half')": "incompatible type",
    "zoo.laod('any')": 'has no attribute "laod"',
    "zoo.load('any').genrate('a')": 'has no attribute "genrate"',
}


@pytest.mark.slow
def test_a_user_s_file_passes_mypy_strict_and_mistakes_are_found(tmp_path):
    def check(program: str) -> tuple[int, str]:
        (tmp_path / "mine.py").write_text(program)
        ended = subprocess.run(
            [sys.executable, "-m", "mypy", *OPTIONS, "mine.py"],
            cwd=tmp_path,
            env={**os.environ, "MYPYPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
        )
        return ended.returncode, ended.stdout

    code, output = check(PROGRAM)
    assert (code, output) == (0, "Success: no issues found in 1 source file\n")
    wrong = "import zoo\n\n\ndef f(translate: zoo.predictors.Translator) -> None:\n"
    code, output = check(wrong + "".join(f"    {mistake}\n" for mistake in MISTAKES))
    assert code == 1
    for number, message in enumerate(MISTAKES.values(), start=5):
        assert any(
            f"mine.py:{number}: error" in line and message in line for line in output.splitlines()
        ), (number, output)
