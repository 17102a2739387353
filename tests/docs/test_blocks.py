"""The blocks of README.md, CONTRIBUTING.md and the site run, as `blocks` describes."""

from __future__ import annotations

import re
import textwrap

import blocks
import pytest
from sybil.example import SybilFailure

PAGES = blocks.documents()
NAMES = [page.relative_to(blocks.CHECKOUT).as_posix() for page in PAGES]
SLOW = [page for page in PAGES if blocks.marks(page)["slow"]]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_blocks_of_a_page_run_as_copied(page, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    blocks.run(page, tmp_path, slow=False)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("page", SLOW, ids=lambda page: page.name)
def test_the_blocks_that_take_longer_run_too(page, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    blocks.run(page, tmp_path, slow=True)


def test_at_most_one_block_in_ten_is_not_run():
    counts = [blocks.marks(page) for page in PAGES]
    never, all_of_them = sum(c["never"] for c in counts), sum(sum(c.values()) for c in counts)
    assert never <= all_of_them / 10, dict(zip(NAMES, counts, strict=True))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_each_fence_names_its_language(page):
    """Otherwise a block of Python could go without being run."""
    fences = re.findall(r"^ *(```+)(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    opened, found = None, set()
    for ticks, rest in fences:
        if opened is None:
            opened = ticks
            found.add(rest)
        elif ticks == opened and not rest:
            opened = None
    assert {word for word in found if not word.startswith("{")} <= set(blocks.LANGUAGES)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_line_of_code_is_wider_than_the_page(page):
    """A reader on a laptop would have to scroll. `output` wraps."""
    code = ("python", "sh", "text", "toml", "csv", "{code-block} python")
    language, wide = None, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence := re.match(r" *```+(.*)", line):
            language = fence[1].strip() if language is None else None
        elif language in code and len(line) > 100:
            wide.append(number)
    assert not wide, "break it, in the shell with a backslash"


def run(text, tmp_path, **keywords):
    page = tmp_path / "page.md"
    page.write_text(textwrap.dedent(text))
    return blocks.run(page, tmp_path, **keywords)


def test_what_a_block_prints_is_compared_with_what_the_page_shows(tmp_path):
    text = """
    ```python
    print("a 0.123 b")
    ```

    ```output
    a 0.1… b
    ```
    """
    assert run(text, tmp_path, slow=False).passed == [2]
    with pytest.raises(SybilFailure, match=r"the page shows\na 0.2… b\nbut it prints\na 0.123 b"):
        run(text.replace("0.1…", "0.2…"), tmp_path, slow=False)


def test_a_shell_block_may_call_zoo_and_other_programs(tmp_path):
    text = """
    ```sh
    # a comment
    printf 'one\\ntwo\\n' > words.txt
    cat words.txt | sort -r
    zoo list --plain 'mlp*' > names.txt
    head -1 \\
        names.txt
    ```

    ```output
    two
    one
    mlp
    ```
    """
    assert run(text, tmp_path, slow=False).passed == [2]
    with pytest.raises(AssertionError, match="zoo show no_such"):
        run("```sh\nzoo show no_such\n```\n", tmp_path, slow=False)


def test_commands_in_the_background_share_a_shell(tmp_path):
    text = """
    ```sh
    (sleep 0.1; echo two) &
    echo one
    wait
    ```

    ```output
    one
    two
    ```
    """
    assert run(text, tmp_path, slow=False).passed == [2]


def test_marked_blocks_are_left_out_with_their_reason_and_so_is_their_output(tmp_path):
    text = """
    <!-- skip: next "needs a GPU" -->

    ```python
    1 / 0
    ```

    ```output
    nothing
    ```

    <!-- skip: next if(fast, reason="a minute") -->

    ```python
    print(2)
    ```
    """
    ran = run(text, tmp_path, slow=False)
    assert (ran.passed, ran.skipped) == ([], [(4, "needs a GPU"), (14, "a minute")])
    assert run(text, tmp_path, slow=True).passed == [14]
