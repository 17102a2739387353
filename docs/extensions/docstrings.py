"""The zoo's docstrings are plain text with a little Markdown; Sphinx reads reStructuredText.

Indented examples become literal blocks, and lists get the blank line that they need. `Args`,
`Returns` and `Raises` are napoleon's matter. Signatures lose what Linen adds to every module, and
defaults that are no Python.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes|Example|Examples|Note):$")
LIST = re.compile(r" *(?:[*-]|\d+\.) ")

LINEN = re.compile(r"(?:, )?parent: [^=]* = <[^>]*_Sentinel object>, name: str \| None = None")
"""The last two arguments of every module."""
DEFAULTS = {r"<factory>": "...", r"<function (\w+)[^>]*>": r"\1"}
"""Defaults as `inspect` shows them -> as Python."""

COLON = "\ue000"
"""Stands for a colon while napoleon works: in a note on a field, and in what is returned, it would
take the words before it for a type."""


def rewrite(lines: list[str]) -> list[str]:
    """A docstring's lines as reStructuredText."""
    out: list[str] = []
    literal = False
    section = ""
    doctest = False
    for line in lines:
        indented = line.startswith("    ")
        blank_before = not out or not out[-1].strip()
        if SECTION.match(line):
            section = line
        elif line and not line.startswith(" "):
            section = ""
        if line.strip() and not indented:
            literal = False
        if indented and not section and not literal and blank_before and out:
            above = next((item for item in reversed(out) if item.strip()), "")
            if not above.startswith((">>>", "...")) and not LIST.match(above):
                out += ["::", ""]
                literal = True
        if LIST.match(line) and not literal and not section and not blank_before:
            if not LIST.match(out[-1]) and not out[-1].startswith("  "):
                out.append("")
        if section in ("Returns:", "Yields:") and line != section:
            line = line.replace(":", COLON)
        doctest = line.lstrip().startswith(">>>") or (doctest and bool(line.strip()))
        out.append(line if literal or doctest else escape(line))
    return out


def escape(line: str) -> str:
    """Bars outside of code are absolute values, not reStructuredText's substitutions."""
    parts = line.split("`")
    parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
    return "`".join(parts)


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = rewrite(lines)
    if what in ("attribute", "data", "property"):
        sections = [number for number, line in enumerate(lines) if SECTION.match(line)]
        end = sections[0] if sections else len(lines)
        lines[:end] = [line.replace(":", COLON) for line in lines[:end]]


def restore(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [line.replace(COLON, ":") for line in lines]


def simplify(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: Any
) -> tuple[str | None, Any]:
    """A signature that Sphinx can read: of another it would show the whole paths of all types."""
    signature = LINEN.sub("", signature or "") or None
    for found, shown in DEFAULTS.items():
        signature = re.sub(found, shown, signature) if signature else None
    return signature, returned


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leaves out what Linen and dataclasses add to every class."""
    return True if name in ("name", "parent", "scope", "setup") else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", restore, priority=600)
    app.connect("autodoc-process-signature", simplify)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
