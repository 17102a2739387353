"""HTML for notebooks: what `_repr_html_` of predictions, cards and runs is made of.

Text keeps the colour of the page and backgrounds are translucent, so that a picture can be read on
light and on dark pages. Styles are inline, because notebooks drop others. All text is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

BLUE = "rgba(76, 120, 168, 0.75)"

SHOWN = 10
"""Most bars of a picture."""

_LEFT = "text-align: left; vertical-align: top"


def bars(values: Mapping[str, float]) -> str:
    """A bar for each share, the first ones of many.

    Args:
      values: shares from 0 to 1 by name, in the order of the bars.
    """
    rows = [
        f'<tr><td style="{_LEFT}">{escape(name)}</td>'
        '<td style="width: 16em"><div style="height: 0.9em; '
        f'width: {100 * value:.1f}%; background: {BLUE}"></div></td>'
        f"<td>{value:.1%}</td></tr>"
        for name, value in list(values.items())[:SHOWN]
    ]
    more = len(values) - len(rows)
    rows += [f'<tr><td colspan="3" style="{_LEFT}">… {more:,} more</td></tr>'] if more else []
    return f"<table>{''.join(rows)}</table>"


def tagged(words: Iterable[tuple[str, str, float]], labels: Iterable[str]) -> str:
    """A sentence whose words have the colour of their tag. Words tagged `O` have none.

    Args:
      words: word, tag and probability; the probability shows when the mouse is on the word.
      labels: all tags. Those of one type, such as `B-geo` and `I-geo`, have one colour.
    """
    types = sorted({_type(label) for label in labels})

    def marked(word: str, label: str, probability: float) -> str:
        if label == "O":
            return escape(word)
        hue = 360 * types.index(_type(label)) // len(types)
        return (
            f'<span title="{probability:.0%}" style="background: hsla({hue}, 80%, 50%, 0.3); '
            f'padding: 0.2em 0.3em; border-radius: 0.3em; white-space: nowrap">{escape(word)} '
            f'<small style="opacity: 0.75">{escape(label)}</small></span>'
        )

    return f'<div style="line-height: 2.2">{" ".join(marked(*word) for word in words)}</div>'


def table(rows: Mapping[str, Any]) -> str:
    """A row for each entry. Entries that are empty are left out.

    Args:
      rows: by name a string, a number, a mapping of them (a line each), or a sequence of strings.
    """
    lines = [
        f'<tr><td style="{_LEFT}"><b>{escape(name)}</b></td>'
        f'<td style="{_LEFT}">{_cell(value)}</td></tr>'
        for name, value in rows.items()
        if value not in ("", (), {}, None)
    ]
    return f"<table>{''.join(lines)}</table>"


def image(png: bytes, description: str) -> str:
    """A PNG, and the text for those who do not see it."""
    data = base64.b64encode(png).decode()
    return (
        f'<img alt="{escape(description)}" style="max-width: min(40em, 100%)" '
        f'src="data:image/png;base64,{data}">'
    )


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return "<br>".join(f"{escape(str(key))}: {_cell(each)}" for key, each in value.items())
    if isinstance(value, tuple | list):
        more = len(value) - SHOWN
        named = ", ".join(escape(str(each)) for each in value[:SHOWN])
        return f"{named}, … {more:,} more" if more > 0 else named
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return escape(str(value))


def _type(label: str) -> str:
    """The type of a tag: `geo` of `B-geo`."""
    prefix, hyphen, rest = label.partition("-")
    return rest if hyphen and len(prefix) == 1 else label
