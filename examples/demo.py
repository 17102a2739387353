"""`make demo`: the zoo's animals in turn, then one that is raised on the spot.

    python examples/demo.py [FOLDER]

It needs no network and no data but scikit-learn's own digits.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import zoo

SENTENCES = [
    "A little girl is playing with a dog in the park.",
    "Two men are sitting on a bench and talking.",
    "I would like a cup of coffee, please.",
]
REVIEWS = [
    "A film to remember: wonderful actors, and a story that never lets go.",
    "Two hours of my life that I will never get back.",
    "The music is good, but the plot is dull and the ending makes no sense at all.",
]
LINE = "ROMEO:\nO, she doth teach"
SHADES = " .:-=+*#%@"


def title(text: str) -> None:
    """A line above what follows."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}")


def draw(image: np.ndarray) -> list[str]:
    """An 8 x 8 image of values 0 to 16 as lines of text."""
    return ["".join(2 * SHADES[int(value) * 9 // 16] for value in row) for row in image]


def show_the_zoo() -> None:
    title("zoo list")
    print("models:   ", ", ".join(zoo.list_models()))
    print("recipes:  ", ", ".join(zoo.list_recipes()))
    print("published:", ", ".join(zoo.list_pretrained()))


def translate() -> None:
    title('zoo.load("transformer_ende_small")(sentences)')
    for sentence, german in zip(
        SENTENCES, zoo.load("transformer_ende_small")(SENTENCES), strict=True
    ):
        print(f"  {sentence}\n    {german}")


def judge() -> None:
    title('zoo.load("bag_of_embeddings_imdb")(reviews)')
    for review, opinion in zip(REVIEWS, zoo.load("bag_of_embeddings_imdb")(REVIEWS), strict=True):
        print(f"  {opinion.label:>3} {opinion.probability:4.0%}  {review}")


def recite() -> None:
    title('zoo.load("transformer_shakespeare").generate(line, stream=True)')
    print(LINE, end="", flush=True)
    model = zoo.load("transformer_shakespeare")
    for piece in model.generate(LINE, max_new_tokens=100, temperature=0.8, seed=1, stream=True):
        print(piece, end="", flush=True)
    print()


def train(workdir: Path) -> None:
    title(f'zoo.fit("mlp_digits", workdir="{workdir}")')
    shutil.rmtree(workdir, ignore_errors=True)
    start = time.monotonic()
    result = zoo.fit("mlp_digits", workdir=workdir)
    seconds = time.monotonic() - start

    title(f'zoo.load("{workdir}")(images)')
    read = zoo.load(workdir)
    images = load_digits().images[-5:]
    for lines in zip(*map(draw, images), strict=True):
        print("   ".join(lines))
    answers = read([np.uint8(image * (255 / 16)) for image in images])
    print("   ".join(f"{answer.label} ({answer.probability:.0%})".center(16) for answer in answers))
    print(f"\ntest accuracy {result.metrics['test/accuracy']:.2%} after {seconds:.0f} s")
    print(f"the learning curve is in {workdir / 'learning_curve.png'}")


def main() -> None:
    show_the_zoo()
    translate()
    judge()
    recite()
    train(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))


if __name__ == "__main__":
    main()
