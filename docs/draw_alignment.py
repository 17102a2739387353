"""Draws README's picture: which English words each German word looks at.

    python docs/draw_alignment.py

Its colours can be read on white and on black, since GitHub shows an SVG on either.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import zoo

SENTENCE = "A little girl in a red coat is playing with her dog."
LAYER = 1
"""The middle one of three decoder layers, whose attention follows the words most closely."""

CELL, LEFT, TOP = 25, 84, 66
"""Pixels: the side of a square, and the room for the words."""

INK, BLUE = "#768390", "#2f81f7"


def picture() -> str:
    translator = zoo.load("transformer_ende_small")
    found = translator.align(SENTENCE, translator(SENTENCE), layer=LAYER)
    width, height = LEFT + CELL * len(found.source) + 20, TOP + CELL * len(found.target) + 8
    title = f"{SENTENCE} {translator(SENTENCE)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="14" fill="{INK}">',
        f"<title>{escape(title)}</title>",
    ]
    for column, word in enumerate(found.source):
        x, y = LEFT + CELL * column + CELL // 2, TOP - 10
        place = f'x="{x}" y="{y}" transform="rotate(-45 {x} {y})"'
        parts.append(f"<text {place}>{escape(word)}</text>")
    for row, (word, weights) in enumerate(zip(found.target, found.weights, strict=True)):
        y = TOP + CELL * row
        middle = y + CELL // 2 + 4
        parts.append(f'<text x="{LEFT - 10}" y="{middle}" text-anchor="end">{escape(word)}</text>')
        for column, weight in enumerate(weights.tolist()):
            square = (
                f'x="{LEFT + CELL * column}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" rx="4"'
            )
            parts.append(f'<rect {square} fill-opacity="0.12"/>')
            if weight >= 0.01:
                parts.append(f'<rect {square} fill="{BLUE}" fill-opacity="{weight:.2f}"/>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    path = Path(__file__).parent / "_static" / "alignment.svg"
    path.write_text(picture(), encoding="utf-8")
    print(path)
