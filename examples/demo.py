"""What `make demo` runs: lists the zoo, trains a classifier of handwritten digits, reads a few.

    python examples/demo.py [FOLDER]

It needs no network and no data but scikit-learn's own digits.
"""

import shutil
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import zoo

SHADES = " .:-=+*#%@"


def draw(image: np.ndarray) -> list[str]:
    """An 8 x 8 image of values 0 to 16 as lines of text."""
    return ["".join(2 * SHADES[int(value) * 9 // 16] for value in row) for row in image]


def main() -> None:
    workdir = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")
    shutil.rmtree(workdir, ignore_errors=True)
    print("models:   ", ", ".join(zoo.list_models()))
    print("recipes:  ", ", ".join(zoo.list_recipes()))
    print("published:", ", ".join(zoo.list_pretrained()) or "none yet")

    print(f"\nzoo.fit('mlp_digits', workdir='{workdir}')\n")
    start = time.monotonic()
    result = zoo.fit("mlp_digits", workdir=workdir)
    seconds = time.monotonic() - start

    print(f"\nzoo.load('{workdir}')(images)\n")
    read = zoo.load(workdir)
    images = load_digits().images[-5:]
    for lines in zip(*map(draw, images), strict=True):
        print("   ".join(lines))
    answers = read([np.uint8(image * (255 / 16)) for image in images])
    print("   ".join(f"{answer.label} ({answer.probability:.0%})".center(16) for answer in answers))
    print(f"\ntest accuracy {result.metrics['test/accuracy']:.2%} after {seconds:.0f} s")
    print(f"the learning curve is in {workdir / 'learning_curve.png'}")


if __name__ == "__main__":
    main()
