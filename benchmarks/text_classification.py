"""Text classification beside fastText (Joulin et al. 2016), in one run on one machine.

    make bench
    python benchmarks/text_classification.py --data imdb_reviews --fasttext-python OTHER/bin/python

fastText has the settings that did best on the test split, of those tried (its figures are a bound
from above): one to three n-grams, width 5 to 20, learning rate 0.1 to 1, 3 to 25 epochs, with and
without punctuation. Its seconds are those of `train_supervised`: reading the file of words that
was prepared for it, and training. Preparing that file is timed apart, since fastText has no part in
it. Accuracy is over the whole test split, by its own `model.test`.

The data are looked for where `zoo doctor` says, and never downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

WORDS = r"\w+"
WORDS_AND_MARKS = r"\w+|[^\w\s]"


@dataclass(frozen=True)
class Benchmark:
    """A data set and how fastText does best on it."""

    columns: tuple[str, ...]
    """The texts of these, one after the other, are the text."""
    pattern: str
    """What is a word for fastText; the text is lower case and without <br />."""
    settings: Mapping[str, float]


BENCHMARKS = {
    "imdb_reviews": Benchmark(
        columns=("text",),
        pattern=WORDS,
        settings={"wordNgrams": 2, "dim": 10, "lr": 0.4, "epoch": 7},
    ),
    "ag_news_subset": Benchmark(
        columns=("title", "description"),
        pattern=WORDS_AND_MARKS,
        settings={"wordNgrams": 2, "dim": 10, "lr": 0.5, "epoch": 5},
    ),
}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    data: str
    system: str
    accuracy: float
    seconds: float
    remark: str = ""


def print_table(rows: Iterable[Row]) -> None:
    print(f"\n{'data':<16}{'system':<32}{'accuracy':>9}{'seconds':>9}  remark")
    for row in rows:
        accuracy = f"{100 * row.accuracy:.2f} %"
        print(f"{row.data:<16}{row.system:<32}{accuracy:>9}{row.seconds:>9.1f}  {row.remark}")


# fastText


def prepare(name: str, folder: Path) -> float:
    """Writes train.txt and test.txt in fastText's form; returns the seconds of splitting words."""
    from zoo.pipelines import sources

    benchmark = BENCHMARKS[name]
    word = re.compile(benchmark.pattern)
    seconds = 0.0
    for split in ("train", "test"):
        # fastText takes the lines as they come; the data sets' own order is a shuffled one.
        source = sources.from_tfds(name, split).cached()
        columns = [source.column(column).tolist() for column in benchmark.columns]
        texts = [b" ".join(parts).decode() for parts in zip(*columns, strict=True)]
        labels = source.column("label").tolist()
        start = time.perf_counter()
        lines = [
            f"__label__{label} {' '.join(word.findall(text.replace('<br />', ' ').lower()))}\n"
            for text, label in zip(texts, labels, strict=True)
        ]
        seconds += time.perf_counter() - start
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    return seconds


def train_and_test_fasttext(folder: str, settings: Mapping[str, float]) -> tuple[float, float]:
    """(accuracy on test.txt, seconds of training on train.txt)"""
    import fasttext

    start = time.perf_counter()
    model = fasttext.train_supervised(f"{folder}/train.txt", verbose=0, **settings)
    seconds = time.perf_counter() - start
    _, accuracy, _ = model.test(f"{folder}/test.txt")
    return accuracy, seconds


def measure_fasttext(name: str, python: str, threads: int) -> Row:
    """Runs fastText in a process of its own, which may have another Python than this one."""
    settings = {**BENCHMARKS[name].settings, "thread": threads}
    with tempfile.TemporaryDirectory() as folder:
        preparing = prepare(name, Path(folder))
        command = [python, __file__, "--fasttext-only", folder, json.dumps(settings)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(
            f"fastText did not run with {python}: `make bench` installs it there, or name a Python "
            f"that has it (pip install fasttext==0.9.3) by --fasttext-python\n{done.stderr.strip()}"
        )
    accuracy, seconds = json.loads(done.stdout)
    shown = " ".join(f"{key}={value}" for key, value in settings.items())
    remark = f"{shown}; splitting words took {preparing:.1f} s more"
    return Row(name, "fastText 0.9.3", accuracy, seconds, remark)


def main() -> None:
    # What measure_fasttext starts: this file again, in the other Python.
    if sys.argv[1:2] == ["--fasttext-only"]:
        print(json.dumps(train_and_test_fasttext(sys.argv[2], json.loads(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", nargs="+", choices=BENCHMARKS, default=[*BENCHMARKS])
    parser.add_argument("--fasttext-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    rows = []
    for name in options.data:
        rows.append(measure_fasttext(name, options.fasttext_python, options.threads))
    print_table(rows)


if __name__ == "__main__":
    main()
