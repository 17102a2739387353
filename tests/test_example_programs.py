"""The programs in examples/, run as a user runs them: in Python, and the same walk in the shell."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
EXAMPLES = CHECKOUT / "examples"

ROWS = [
    row
    for _ in range(20)
    for row in (("a fine film", "pos"), ("a dull one", "neg"), ("an average film", "so so"))
]


@pytest.fixture
def folder(tmp_path):
    """A folder with the files that the examples read."""
    draw = random.Random(0)
    houses = "".join(
        f"{area:.1f},{rooms},{rooms % 2},{2 * area + 15 * rooms}\n"
        for area, rooms in ((draw.uniform(40, 250), draw.randint(1, 8)) for _ in range(100))
    )
    (tmp_path / "houses.csv").write_text(f"area,rooms,garden,price\n{houses}")
    lines = "".join(f"{text},{label}\n" for text, label in ROWS)
    (tmp_path / "reviews.csv").write_text(f"text,label\n{lines}")
    reviews = "".join(f'<review label="{label}">{text}</review>' for text, label in ROWS)
    (tmp_path / "reviews.xml").write_text(f"<reviews>{reviews}</reviews>")
    return tmp_path


def run(folder, *words):
    """Runs Python in a folder; its standard output."""
    path = os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_one_s_own_module_is_trained_loaded_asked_and_exported_in_python(folder):
    out = run(folder, EXAMPLES / "own_model.py", "houses.csv")
    price = float(out.split()[-1])
    assert price == pytest.approx(2 * 120 + 15 * 3, rel=0.2)
    assert (folder / "out" / "houses" / "own_model.py").is_file()


def test_the_program_of_one_s_own_module_is_short():
    lines = (EXAMPLES / "own_model.py").read_text().split('"""')[2].splitlines()
    code = [line for line in lines if line.strip() and not line.startswith(("import", "from"))]
    assert len(code) <= 25


@pytest.mark.parametrize(
    ("recipe", "file", "flags", "question"),
    [
        (
            "own_model.py:houses",
            "houses.csv",
            ("--model.width", 8, "--optimizer.b1", 0.8),
            "120 3 1",
        ),
        ("own_loss.py:focal", "reviews.csv", ("--task.gamma", 3), "a fine film"),
        ("own_metric.py:top_two", "reviews.csv", (), "a fine film"),
        ("own_format.py:from_xml", "reviews.xml", (), "a fine film"),
    ],
)
def test_each_program_s_recipe_is_walked_through_in_the_shell(
    folder, monkeypatch, capsys, recipe, file, flags, question
):
    from zoo.cli import main

    monkeypatch.chdir(folder)
    code = EXAMPLES / recipe.partition(":")[0]

    def zoo_command(*words):
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    small = () if "houses" in recipe else ("--model.num-buckets", 64)
    zoo_command(
        *("train", EXAMPLES / recipe, "--data.train", file, "--workdir", "run", "--quiet"),
        *("--steps", 4, "--eval-every", 2, "--checkpoint-every", 4, *small, *flags),
    )
    asked = zoo_command("predict", "run", "--code", code, question)
    assert question in asked
    assert "validation/loss" in zoo_command("eval", "run", "--code", code)
    zoo_command("export", "run", "--code", code, "--out", "exported")
    assert zoo_command("predict", "exported", "--code", code, question) == asked


@pytest.mark.slow
def test_one_s_own_environment_is_learnt_and_played_in(folder, monkeypatch, capsys):
    from zoo import registry
    from zoo.cli import main

    monkeypatch.chdir(folder)
    for part in (registry.environments._modules, registry.environments._functions):
        monkeypatch.delitem(part, "line", raising=False)
    code = EXAMPLES / "own_environment.py"
    words = f"train {code}:line_ppo --steps 2 --task.num-steps 4 --data.test-episodes 3"
    assert main([*words.split(), "--workdir", "run", "--quiet"]) == 0, capsys.readouterr().err
    assert main(["play", "run", "--code", str(code), "--episodes", "3"]) == 0
    assert capsys.readouterr().out.endswith("(3 episodes of line)\n")


def test_a_model_of_the_users_code_is_not_loaded_by_its_card_alone(folder, monkeypatch, capsys):
    from zoo.cli import main

    program = folder / "mine.py"
    program.write_text((EXAMPLES / "own_model.py").read_text())
    words = ["train", f"{program}:houses", "--data.train", str(folder / "houses.csv")]
    words += ["--steps", "1", "--eval-every", "1", "--checkpoint-every", "1", "--quiet"]
    assert main([*words, "--workdir", str(folder / "run")]) == 0
    asked = f"import zoo; zoo.load({str(folder / 'run')!r})"
    ended = subprocess.run(
        [sys.executable, "-c", asked], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "mine:Net is not part of the zoo. If you trust mine.py, say where" in ended.stderr
    assert "code='mine.py' in Python, --code mine.py in the shell" in ended.stderr


def test_a_callback_watches_a_run_from_the_shell_and_ends_it(folder, monkeypatch, capsys):
    from zoo.cli import main

    monkeypatch.chdir(folder)
    words = ["train", "bag_of_embeddings_file", "--data.train", "reviews.csv", "--workdir", "run"]
    words += ["--model.num-buckets", "64", "--steps", "200", "--eval-every", "20", "--quiet"]
    words += ["--optimizer.learning-rate", "0.1", "--model.dropout-rate", "0.0"]
    assert main([*words, "--callback", f"{EXAMPLES / 'own_callback.py'}:watch"]) == 0
    assert "the largest weight is" in capsys.readouterr().out
    assert main([*words, "--callback", "watch"]) == 2
    assert "there is no callback 'watch' (known: mlflow, samples" in capsys.readouterr().err
