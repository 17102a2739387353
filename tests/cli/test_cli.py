"""The command: what it prints, and one line for each mistake."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
CSV = "text,label\n" + "".join(
    f"the ship number {i} sails,sea\na plane number {i} flies,sky\n" for i in range(20)
)


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "my.csv"
    path.write_text(CSV)
    return path


@pytest.fixture(scope="module")
def trained(csv):
    """A run of a few steps on a user's own file, which the tests only read."""
    from zoo.cli import main

    run = csv.parent / "run"
    command = f"train bag_of_embeddings_file --data.train {csv} --workdir {run} --quiet"
    flags = "--model.num-buckets 64 --steps 20 --optimizer.learning-rate 0.05"
    assert main([*command.split(), *flags.split()]) == 0
    return run


def test_help_fits_a_screen_and_names_every_command(zoo_command):
    from zoo.cli.main import COMMANDS

    for words in ([], ["--help"], ["-h"]):
        code, out, err = zoo_command(*words)
        assert (code, err) == (0, "")
        assert len(out.splitlines()) <= 24
        assert max(map(len, out.splitlines())) <= 80
        assert set(COMMANDS) <= set(out.split())


def test_every_command_has_help(zoo_command):
    from zoo.cli.main import COMMANDS

    for name in COMMANDS:
        code, out, err = zoo_command(name, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: zoo {name} ")


def test_list_has_a_line_about_each_name_by_family_and_task(zoo_command):
    code, out, err = zoo_command("list", "mlp*")
    assert (code, err) == (0, "")
    models, recipes, published = out.split("\n\n")
    assert models.splitlines()[:2] == ["models (1)", "  mlp"]
    assert re.fullmatch(r"    mlp  \w.*", models.splitlines()[2])
    assert recipes.splitlines()[:2] == ["recipes (2)", "  image classification"]
    assert [line.split()[0] for line in recipes.splitlines()[2:]] == ["mlp_digits", "mlp_mnist"]
    assert published.splitlines()[2].split()[:2] == ["mlp_mnist", "Handwritten"]


def test_list_gives_scripts_a_name_a_line(zoo_command):
    import zoo

    out = zoo_command("list", "--plain")[1]
    names = {*zoo.list_models(), *zoo.list_recipes(), *zoo.list_pretrained()}
    names |= set(zoo.list_environments())
    assert out.splitlines() == sorted(names)
    out = zoo_command("list", "--plain", "--kind", "published")[1]
    assert out.splitlines() == list(zoo.list_pretrained())
    assert zoo_command("list", "nothing*")[:2] == (0, "\n")


def test_a_file_of_one_s_own_is_trained_evaluated_shown_exported_and_used(
    zoo_command, trained, tmp_path
):
    code, out, _ = zoo_command("eval", trained)
    assert code == 0
    assert out.splitlines()[1] == "validation/accuracy  1.00000"
    code, out, _ = zoo_command(
        "export", trained, "--out", tmp_path / "topics", "--dtype", "bfloat16"
    )
    assert code == 0
    assert "topics.safetensors" in out
    code, out, _ = zoo_command("show", tmp_path / "topics")
    assert code == 0
    assert "config.num_buckets = 64" in out
    assert "embedding" in out
    code, out, _ = zoo_command(
        "predict", tmp_path / "topics", "the ship sails", "a plane flies", "--top-k", "2"
    )
    assert code == 0
    first, second = out.splitlines()
    assert re.fullmatch(r"sea \d\.\d{4}  sky \d\.\d{4}\tthe ship sails", first)
    assert second.startswith("sky ")


def test_a_recipe_of_one_s_own_and_a_run_s_json_are_recipes_too(
    zoo_command, csv, trained, tmp_path
):
    own = tmp_path / "mine.py"
    own.write_text(
        "import dataclasses, zoo\n"
        "def small(width: int = 4):\n"
        "    recipe = zoo.recipe('bag_of_embeddings_file')\n"
        f"    return zoo.override(recipe, {{'data.train': ({str(csv)!r},), "
        "'model.d_model': width, 'steps': 2})\n"
    )
    code, _, err = zoo_command(
        "train", f"{own}:small", "--width", "3", "--workdir", tmp_path / "own", "--quiet"
    )
    assert (code, err) == (0, "")
    code, out, _ = zoo_command("show", tmp_path / "own")
    assert "config.d_model = 3" in out
    code, _, err = zoo_command(
        "train", trained / "recipe.json", "--steps", "3", "--workdir", tmp_path / "again", "--quiet"
    )
    assert (code, err) == (0, "")


def test_a_run_is_fine_tuned_for_other_classes(zoo_command, trained, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(CSV.replace(",sea", ",water").replace(",sky", ",air"))
    words = ("train", "bag_of_embeddings_file", "--data.train", other, "--steps", "2", "--quiet")
    words += ("--init-from", trained, "--workdir", tmp_path / "tuned")
    code, _, err = zoo_command(*words)
    assert code == 2
    assert "start its head afresh" in err and "--skip 'head/.*'" in err
    code, _, err = zoo_command(*words, "--skip", "head/.*")
    assert (code, err) == (0, "")
    code, out, _ = zoo_command("predict", tmp_path / "tuned", "the ship sails")
    assert out.split()[0] in ("water", "air")


def test_show_memory_takes_the_flags_of_train(zoo_command, monkeypatch):
    from zoo.train import memory

    monkeypatch.setattr(memory, "capacity", lambda mesh: 10)
    code, out, err = zoo_command(
        *("show", "mlp_digits", "--memory", "--batch-size", "2", "--mesh.data", "1")
    )
    assert (code, err) == (0, "")
    title, header, first, *_, last = out.splitlines()
    assert title.startswith("memory of a training step of mlp_digits on 1 ")
    assert header.split() == ["batch", "parameters", "optimizer", "activations", "total"]
    assert re.match(r"2 . 8 . 8 . 1 +0\.\d MB ", first)
    assert last == "that is too little: take a smaller batch_size"


def test_model_replaces_the_recipe_s_model(zoo_command, csv, tmp_path):
    code, _, err = zoo_command(
        *("train", "bag_of_embeddings_file", "--model", "bag_of_embeddings", "--data.train", csv),
        *("--steps", "2", "--workdir", tmp_path / "run", "--quiet"),
    )
    assert (code, err) == (0, "")
    _, out, _ = zoo_command("show", tmp_path / "run")
    assert "config.d_model = 256" in out


def test_a_translator_translates_lines_and_is_judged_on_files(zoo_command, monkeypatch, tmp_path):
    sizes = "--model.d-model 8 --model.d-ff 8 --data.num-examples 8 --batch-size 4 --steps 2"
    run = tmp_path / "copy"
    code, _, err = zoo_command(
        "train", "transformer_copy", *sizes.split(), "--workdir", run, "--quiet"
    )
    assert (code, err) == (0, "")
    monkeypatch.setattr("sys.stdin", io.StringIO("3 4 5\n\n2 2\n"))
    options = ("--beam-size", "1", "--max-new-tokens", "3")
    code, out, _ = zoo_command("translate", run, *options)
    assert code == 0
    assert out.splitlines()[1] == ""
    assert len(out.splitlines()) == 3
    monkeypatch.setattr("sys.stdin", io.StringIO("3 4\nfour\n\xff 3\n5 6\n"))
    code, out, err = zoo_command("translate", run, *options)
    assert code == 2
    lines = out.splitlines()
    assert len(lines) == 4 and lines[0] and lines[1:3] == ["", ""] and lines[3]
    assert [line.partition(": '")[0] for line in err.splitlines()[1:]] == [
        "zoo: line 2",
        "zoo: line 3",
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("3 4 5\n"))
    several = ("--num-return", "2", "--beam-size", "2", "--max-new-tokens", "3")
    code, out, _ = zoo_command("translate", run, *several)
    assert [float(line.split("\t")[0]) for line in out.splitlines()] < [0, 0]
    monkeypatch.setattr("sys.stdin", io.StringIO("3 4 5\n"))
    controls = "--suppress 9 7 --repetition-penalty 1.5 --no-repeat-ngram 1 --min-new-tokens 3"
    code, out, _ = zoo_command("translate", run, *options, *controls.split())
    written = out.split()
    assert code == 0 and len(written) == len(set(written)) == 3
    assert not {"7", "9"} & set(written)
    for control in ("--repetition-penalty 0", "--no-repeat-ngram 0", "--suppress nine"):
        assert zoo_command("translate", run, *options, *control.split())[0] == 2
    for name, text in (("a", "3 4\n5 6\n"), ("b", "3 4\n5 6\n"), ("c", "3 4\n")):
        (tmp_path / name).write_text(text)
    files = ("--source", tmp_path / "a", "--reference", tmp_path / "b")
    code, out, _ = zoo_command("eval", run, *files)
    assert re.fullmatch(r"BLEU  \d+\.\d\d  nrefs:1\|case:mixed\|.*\n", out)
    code, _, err = zoo_command(
        "eval", run, "--source", tmp_path / "a", "--reference", tmp_path / "c"
    )
    assert code == 2
    assert "a has 2 lines and" in err and "line n of one must be the translation" in err
    code, _, err = zoo_command("eval", run, "--source", tmp_path / "a")
    assert (code, err) == (
        2,
        "zoo: give --source and --reference together: files of the same sentences\n",
    )
    code, _, err = zoo_command("predict", run, "3 4")
    assert code == 2
    assert err.endswith("is a model of translation; ask it with `zoo translate`\n")


def test_a_language_model_of_one_s_own_text_goes_on_with_a_prompt(
    zoo_command, monkeypatch, tmp_path
):
    text = tmp_path / "my.txt"
    text.write_text("the ship sails, the plane flies. " * 40)
    sizes = "--model.d-model 8 --model.d-ff 8 --model.num-layers 1 --model.num-heads 2"
    data = f"--data.train {text} --data.tokenizer.kind chars --data.length 16"
    code, _, err = zoo_command(
        *("train", "transformer_lm_text", *sizes.split(), *data.split()),
        *("--data.tokenizer.vocab-size", "None", "--steps", "2"),
        *("--workdir", tmp_path / "lm", "--quiet"),
    )
    assert (code, err) == (0, "")
    options = ("--prompt", "the ", "--max-new-tokens", "9", "--temperature", "0")
    code, out, _ = zoo_command("generate", tmp_path / "lm", *options)
    assert code == 0
    assert out.startswith("the ") and len(out) <= len("the ") + 9 + 1  # ids without text are silent
    assert zoo_command("generate", tmp_path / "lm", *options)[1] == out
    # Each flag of a control reaches the predictor, with its type.
    asked = {}

    def generate(self, prompt, **given):
        asked.update(given)
        return iter(["rest"])

    monkeypatch.setattr("zoo.predictors.LanguageModel.generate", generate)
    controls = "--suppress a b --repetition-penalty 1.5 --no-repeat-ngram 2 --min-new-tokens 3"
    words = (*options, *controls.split(), "--stop", "\n", "end")
    assert zoo_command("generate", tmp_path / "lm", *words)[1] == "the rest\n"
    assert asked["suppress"] == ("a", "b") and asked["stop"] == ("\n", "end")
    numbers = ("repetition_penalty", "no_repeat_ngram", "min_new_tokens", "max_new_tokens")
    assert [asked[name] for name in numbers] == [1.5, 2, 3, 9]


def test_a_vocabulary_is_trained_from_text(zoo_command, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(
        "\n".join(f"the quick brown fox jumps over the lazy dog {i}" for i in range(200))
    )
    out = tmp_path / "new" / "v.model"
    ended = zoo_command("train-vocab", text, "--size", "40", "--out", out)
    assert ended == (0, f"{out}: 40 pieces\n", "")


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    zoo_command, trained, tmp_path, monkeypatch
):
    from zoo.hub import exporting
    from zoo.tokenizers import SentencePieceTokenizer

    file = tmp_path / "file"
    file.write_text("text\n")
    monkeypatch.setattr(SentencePieceTokenizer, "train", None)  # it would be a TypeError
    monkeypatch.setattr(exporting.opening, "open_model", None)
    commands = (
        ("train-vocab", file, "--out", tmp_path),
        ("train-vocab", file, "--out", file / "v.model"),
        ("export", trained, "--out", file),
        ("export", trained, "--out", file / "model"),
        ("import-trax", file, "--model", "mlp", "--out", file),
        ("train", "mlp_digits", "--workdir", file),
    )
    for words in commands:
        code, _, err = zoo_command(*words)
        assert code == 2 and len(err.splitlines()) == 1
        assert "is a file" in err or "is a folder" in err or "Not a directory" in err


def typed(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_a_bad_line_is_named_and_the_others_are_answered(zoo_command, trained, monkeypatch):
    typed(monkeypatch, b"\xef\xbb\xbfthe ship sails\r\nA \xff plane.\n\na plane flies\n")
    code, out, err = zoo_command("predict", trained)
    assert code == 2
    assert [line.partition("\t")[2] for line in out.split("\n")] == [
        *("the ship sails", "", "", "a plane flies", ""),
    ]
    assert out.startswith("sea ") and out.split("\n")[1] == ""
    assert err.splitlines()[1:] == ["zoo: line 2: byte 3 is 0xff, which is not UTF-8"]
    code, out, err = zoo_command("predict", trained, "the ship sails", "caf\udce9")
    assert code == 2
    assert out.split("\n")[1] == "" and "zoo: input 2: 'caf\\udce9' is not Unicode text" in err
    typed(monkeypatch, b"never read\n")
    code, out, err = zoo_command("predict", trained, "--top-k", "-1")
    assert (code, out) == (2, "")
    assert err.splitlines()[1].startswith("zoo: top_k is -1")


@pytest.mark.parametrize("name", ["model", "quiet", "workdir"])
def test_a_parameter_of_a_recipe_that_is_an_option_of_the_command_is_refused(
    zoo_command, tmp_path, name
):
    own = tmp_path / "mine.py"
    own.write_text(f"def small({name}=1, width: int = 2):\n    return None\n")
    code, _, err = zoo_command("train", f"{own}:small", "--width", "3")
    assert code == 2
    assert err == (
        f"zoo: {own}:small: the parameter(s) {name!r} cannot be set, because --{name} belongs to "
        "the command; give them other names\n"
    )


def test_a_pattern_without_quotes_is_said_to_need_them(zoo_command, tmp_path, monkeypatch):
    for name in ("t.en", "t.de"):
        (tmp_path / name).write_text("3 4\n" * 4)
    monkeypatch.chdir(tmp_path)
    for option in ("train", "validation", "test"):
        words = {name: ["t.{en,de}"] for name in ("train", "validation", "test")}
        words[option] = ["t.en", "t.de"]
        flags = [word for name, given in words.items() for word in (f"--data.{name}", *given)]
        code, _, err = zoo_command("train", "transformer_multi30k", *flags, "--workdir", "run")
        assert code == 2
        assert err == (
            "zoo: t.en and t.de: a pair of files is one name, as 't.{en,de}', in quotes: without "
            "them a shell makes two of it. Files with both languages are .csv, .jsonl, .tsv\n"
        )
    code, _, err = zoo_command("list", "t.de", "t.en")
    assert code == 2 and "put a pattern in quotes, or the shell makes names of files of it" in err


def test_what_a_command_says_beside_its_output_is_seen(zoo_command, trained):
    code, _, err = zoo_command("predict", trained, "the ship sails")
    assert code == 0
    assert re.fullmatch(r"zoo: .*/run at step \d+ \(best validation/accuracy\)\n", err)


def test_doctor_finds_what_is_there(zoo_command, monkeypatch, tmp_path):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    assert f"cache:     {tmp_path}/cache absent\n" in zoo_command("doctor")[1]
    (tmp_path / "cache" / "toy").mkdir(parents=True)
    assert f"cache:     {tmp_path}/cache toy 0.0 MB\n" in zoo_command("doctor")[1]
    (tmp_path / "cache" / "toy" / "weights").write_bytes(bytes(2_500_000))
    code, out, _ = zoo_command("doctor")
    assert code == 0
    assert f"cache:     {tmp_path}/cache toy 2.5 MB\n" in out
    for word in ("jax", "devices", "cache:", "no accelerator (as it should)", "data:", "published"):
        assert word in out


def test_data_shows_examples_raw_and_as_ids_with_lengths_and_labels(zoo_command, csv):
    words = ("data", "bag_of_embeddings_file", "--data.train", csv, "--examples", "1")
    code, out, err = zoo_command(*words, "--batch-size", "4")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "data of bag_of_embeddings_file: 38 train, 2 validation examples"
    assert re.fullmatch(r"tokenizer: WordTokenizer, \d+ ids", lines[1])
    assert lines[3:5] == ["train example 1", "  text       the ship number 0 sails"]
    assert lines[5] == "  label      sea"
    assert re.fullmatch(r"  inputs     int32 \[5\]  \d+ \d+ \d+ \d+ \d+", lines[6])
    assert lines[7:9] == ["  targets    int32 []  0", "  weights    float32 []  1.0"]
    assert lines[10] == "lengths of inputs in the first 38 examples: 5 to 5, median 5"
    assert lines[11] == "labels (2), with their numbers in the first 38 examples:"
    assert re.fullmatch(r"  sea \d\d, sky \d\d", lines[12])
    assert lines[13].startswith("first batch: inputs int32 [4, 8], targets int32 [4], weights flo")
    code, out, _ = zoo_command(*words, "--split", "validation")
    assert "validation example 1" in out and "first batch" not in out
    code, _, err = zoo_command(*words, "--split", "test")
    assert code == 2 and len(err.splitlines()) == 1 and "test" in err


def test_data_shows_the_range_of_images(zoo_command):
    code, out, err = zoo_command("data", "mlp_digits", "--examples", "1")
    assert (code, err) == (0, "")
    assert re.search(r"  image      uint8 \[8, 8, 1\]  0 to 255\n  label      \d\n", out)
    assert "  inputs     float32 [8, 8, 1]  -1 to 1\n" in out
    assert "labels (10): 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n" in out


def test_show_reads_the_data_of_a_recipe_only_when_asked(zoo_command, monkeypatch, tmp_path):
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    code, out, _ = zoo_command("show", "mlp_mnist")
    assert code == 0
    assert "model.num_classes = None" in out
    assert "(`--resolve` reads the data and fills in what is None" in out
    code, _, err = zoo_command("show", "mlp_mnist", "--resolve")
    assert code == 2
    assert "mnist" in err and str(tmp_path) in err
    code, out, _ = zoo_command("show", "mlp_digits", "--resolve")
    assert "model.num_classes = 10" in out and "parameters: " in out
    code, out, _ = zoo_command("show", "bag_of_embeddings")
    assert code == 0
    assert "vocab_size is not set" in out


MISTAKES = [
    (
        ("show", "mlp_minst"),
        "no model, recipe, published weights, environment or run named 'mlp_minst'; did you mean "
        "'mlp_mnist'?",
    ),
    (("train", "mlp_digit"), "no recipe named 'mlp_digit'; did you mean 'mlp_digits'? ("),
    (
        ("train", "mlp_digits", "--stepz", "3"),
        "unknown arguments: --stepz 3; did you mean '--steps'? (`zoo train mlp_digits --help` ",
    ),
    (
        ("train", "mlp_digits", "--steps", "many"),
        "--steps INT: invalid literal for int() with base 10: 'many'",
    ),
    (
        ("train", "mlp_digits", "--model.hidden-sizes", "3,4"),
        "--model.hidden-sizes [INT [INT ...]]: Could not find valid parse for arguments: ['3,4'] (",
    ),
    (("train", "mlp_digits", "--steps", "0"), "steps is 0; it must be 1 or more"),
    (("train", "mlp_digits", "--model", "mpl"), "no model named 'mpl'; did you mean 'mlp'?"),
    (
        ("train", "transformer_copy", "--model", "transformer_lm_tiny"),
        "a TransformerLM takes 1 input(s), and translation gives a model 2; take a model of its",
    ),
    (
        ("train", "mlp_digits", "--init-from", "nothing"),
        "no published model or run folder named 'nothing'",
    ),
    (
        ("train", "nothing.py:recipe"),
        "nothing.py does not exist; give the path of a Python file",
    ),
    (
        ("train", "mlp_digits", "--skip", "head/.*"),
        "--skip goes with --init-from: it says which of its weights to leave out",
    ),
    (("predict", "nothing", "text"), "no published model or run folder named 'nothing'"),
    (("eval", "nothing"), "no published model or run folder named 'nothing'"),
    (
        ("predict", "nothing", "--step", "first"),
        "--step is 'first'; it is best, latest, average, ema or the number of a step",
    ),
    (("show", "--memory"), "missing: NAME (`zoo show --help` lists all arguments)"),
    (("predict",), "missing: NAME (`zoo predict --help` lists all arguments)"),
    (("export", "a"), "missing: --out PATH (`zoo export --help` lists all arguments)"),
    (("generate", "a", "--top-k"), "--top-k {None}|INT lacks a value (`zoo generate --help`"),
    (("eval", "a", "--dtype", "half"), "--dtype is 'half'; it is one of None, bfloat16, float32, "),
    (("list", "--plian"), "unknown arguments: --plian; did you mean '--plain'? (`zoo list --help`"),
    (("show", "--memory", "mlp_minst"), "no recipe named 'mlp_minst'; did you mean 'mlp_mnist'?"),
    (("lisst",), "no command named 'lisst'; did you mean 'list'?"),
]


@pytest.mark.parametrize(
    ("words", "message"),
    MISTAKES,
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(zoo_command, words, message):
    code, _, err = zoo_command(*words)
    assert code == 2
    assert err.startswith("zoo: ")
    assert message in err
    assert len(err.splitlines()) == 1


OWN_MISTAKES = {
    "a line that is no Python": ("def small(:", 1, "SyntaxError: invalid syntax"),
    "a module that is not there": ("\nimport no_such", 2, "ModuleNotFoundError: No module named"),
    "a mistake in the function": (
        "def small():\n    return nothing",
        2,
        "NameError: name 'nothing'",
    ),
}


@pytest.mark.parametrize("case", OWN_MISTAKES)
def test_a_mistake_in_a_recipe_of_one_s_own_is_one_line_that_says_where(
    zoo_command, tmp_path, case
):
    text, line, message = OWN_MISTAKES[case]
    own = tmp_path / "mine.py"
    own.write_text(text)
    code, _, err = zoo_command("train", f"{own}:small")
    assert code == 2
    assert err.startswith(f"zoo: {own}:{line}: {message}")
    assert len(err.splitlines()) == 1


BAD_FILES = {
    "a missing column": ("text,topic\na,b\n", "'label'"),
    "an empty file": ("", "is empty"),
    "bytes that are not UTF-8": (b"text,label\n\xff\xfe,sea\n", "UTF-8"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_line_and_exit_code_2(zoo_command, tmp_path, case):
    content, message = BAD_FILES[case]
    path = tmp_path / "my.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, _, err = zoo_command(
        "train", "bag_of_embeddings_file", "--data.train", path, "--workdir", tmp_path / "run"
    )
    assert code == 2
    assert message in err
    assert str(path) in err
    assert len(err.splitlines()) == 1


def test_a_text_that_the_tokenizer_rejects_is_one_line_and_exit_code_2(zoo_command, tmp_path):
    path = tmp_path / "my.csv"
    path.write_text("text,label\n1 2,sea\n2 3,sky\n3 four,sky\n")
    code, _, err = zoo_command(
        *("train", "bag_of_embeddings_file", "--data.train", path, "--workdir", tmp_path / "run"),
        *("--data.tokenizer.kind", "ids", "--data.tokenizer.vocab-size", "9"),
        *("--data.tokenizer.no-lowercase", "--data.holdout", "0", "--model.num-buckets", "8"),
        "--quiet",
    )
    assert code == 2
    assert err == (
        "zoo: 'four' is not an integer; the text must be integers between spaces, as '3 7 5'\n"
    )


def test_a_missing_data_set_says_where_it_was_looked_for(zoo_command, monkeypatch, tmp_path):
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "there"))
    code, _, err = zoo_command(
        "train", "mlp_mnist", "--data.data-dir", tmp_path / "here", "--workdir", tmp_path / "run"
    )
    assert code == 2
    assert "mnist" in err
    assert str(tmp_path / "here") in err
    assert str(tmp_path / "there" / "tfds") in err
    assert "tfds build mnist" in err
    assert len(err.splitlines()) == 1


def test_debug_shows_the_traceback(zoo_command, monkeypatch):
    from zoo.registry import UnknownNameError

    monkeypatch.setenv("ZOO_DEBUG", "1")
    with pytest.raises(UnknownNameError):
        zoo_command("train", "mlp_digit")


def test_the_installed_command_ends_without_a_traceback():
    ended = subprocess.run(
        [sys.executable, "-m", "zoo.cli", "train", "mlp_digit"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("zoo: no recipe named 'mlp_digit'")
    assert "Traceback" not in ended.stderr
