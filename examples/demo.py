"""`make demo`: the zoo's animals in turn, then one that is raised on the spot.

    python examples/demo.py [FOLDER]

It needs no network and no data but scikit-learn's own digits.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

import zoo

PARAGRAPH = (
    "My brother lives in a small house near the sea. Every morning he walks along the beach with "
    "his dog. A little girl is building a castle out of sand. Would you like to come with me?"
)
SENTENCE = "On Monday Angela Merkel flew from Berlin to New York to speak at the United Nations."
LINE = "ROMEO:\nO, she doth teach"
SHADES = " .:-=+*#%@"
COLOURED = sys.stdout.isatty()


def title(text: str) -> None:
    """A line above what follows."""
    print(f"\n\033[1m{text}\033[0m" if COLOURED else f"\n{text}")


def translate() -> None:
    title('zoo.load("transformer_ende_small")(paragraph, split=True)')
    print(f"  {PARAGRAPH}\n")
    print(f"  {zoo.load('transformer_ende_small')(PARAGRAPH, split=True)}")


def tag() -> None:
    title('zoo.load("lstm_ner")(sentence)')
    for word in zoo.load("lstm_ner")(SENTENCE):
        if word.label != "O":
            print(f"  {word.word:>8}  {word.label:<6} {word.probability:4.0%}")


def name_a_picture() -> None:
    title('zoo.load("resnet20_cifar10")(picture)')
    picture = ship()
    answer = zoo.load("resnet20_cifar10")(picture)
    for line in coloured(picture) if COLOURED else shaded(picture.mean(-1)[::2]):
        print(f"  {line}")
    print(f"  {answer.label} ({answer.probability:.0%})")


def recite() -> None:
    title('zoo.load("lstm_shakespeare").generate(line, temperature=0.5, stream=True)')
    print(LINE, end="", flush=True)
    model = zoo.load("lstm_shakespeare")
    for piece in model.generate(LINE, max_new_tokens=300, temperature=0.5, seed=1, stream=True):
        print(piece, end="", flush=True)
    print()


def play() -> None:
    title('zoo.load("ppo_cartpole").play(100)')
    print(f"  steps for which the pole stays up, of 500: {zoo.load('ppo_cartpole').play(100)}")


def train(workdir: Path) -> None:
    title(f'zoo.fit("mlp_digits", workdir="{workdir}")')
    shutil.rmtree(workdir, ignore_errors=True)
    start = time.monotonic()
    result = zoo.fit("mlp_digits", workdir=workdir)
    seconds = time.monotonic() - start

    print("\n  accuracy on held-out digits; bars begin at 90%")
    for step, accuracy in curve(workdir):
        print(f"  {step:>5} steps {accuracy:6.1%} {'#' * round(400 * max(0.0, accuracy - 0.9))}")

    title(f'zoo.load("{workdir}")(images)')
    read = zoo.load(workdir)
    images = load_digits().images[-5:]
    for lines in zip(*(shaded(16 * image) for image in images), strict=True):
        print("   ".join(lines))
    answers = read([np.uint8(image * (255 / 16)) for image in images])
    print("   ".join(f"{answer.label} ({answer.probability:.0%})".center(16) for answer in answers))
    print(f"\ntest accuracy {result.metrics['test/accuracy']:.2%} after {seconds:.0f} s")
    print(f"the learning curve is in {workdir / 'learning_curve.png'}")


def curve(workdir: Path) -> Iterator[tuple[int, float]]:
    """The steps of a run's evaluations, and what each reached."""
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if "validation/accuracy" in entry:
            yield entry["step"], entry["validation/accuracy"]


def ship() -> np.ndarray:
    """A ship on the sea, drawn: uint8 [32, 32, 3]."""
    sky, sea, hull = (165, 200, 230), (45, 90, 120), (120, 40, 35)
    white, red, glass = (240, 240, 235), (200, 60, 40), (60, 80, 110)
    image = Image.new("RGB", (256, 256), sky)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 154, 256, 256), fill=sea)
    draw.polygon((24, 144, 232, 144, 200, 192, 56, 192), fill=hull)
    draw.rectangle((80, 104, 176, 143), fill=white)
    draw.rectangle((112, 56, 136, 103), fill=red)
    for left in range(88, 170, 16):
        draw.rectangle((left, 116, left + 8, 128), fill=glass)
    return np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS))


def coloured(picture: np.ndarray) -> Iterator[str]:
    """A picture as lines for a terminal, two of its rows in each: the upper halves of blocks."""
    for above, below in zip(picture[::2], picture[1::2], strict=True):
        pixels = zip(above.tolist(), below.tolist(), strict=True)
        blocks = (
            "\033[38;2;{};{};{}m\033[48;2;{};{};{}m▀".format(*up, *down) for up, down in pixels
        )
        yield "".join(blocks) + "\033[0m"


def shaded(image: np.ndarray) -> Iterator[str]:
    """Grey values from 0 to 256 as lines of text."""
    for row in image:
        yield "".join(2 * SHADES[min(int(value), 255) * len(SHADES) // 256] for value in row)


def main() -> None:
    translate()
    tag()
    name_a_picture()
    recite()
    play()
    train(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))


if __name__ == "__main__":
    main()
