"""Standard input, output and error: closed, full, left by their reader, or waited for."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zoo.cli import streams
from zoo.cli.asking import _each
from zoo.config import ValueMistake

CHECKOUT = Path(__file__).parents[2]


def given(monkeypatch, content: bytes, most: int = 10) -> list[list[str | ValueMistake]]:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    return list(streams.lines(most))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\n\nb", ["a", "", "b"]),
        (b"cat.png\r\ndog.png\r\n", ["cat.png", "dog.png"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (b"a\rb\x0c\xe2\x80\xa8c\xc2\x85\n", ["a\rb\x0c\u2028c\x85"]),
        ("a\r\nb".encode("utf-16"), ["a", "b"]),
    ],
)
def test_a_line_feed_ends_a_line_with_one_carriage_return_before_it(monkeypatch, content, expected):
    assert [line for chunk in given(monkeypatch, content) for line in chunk] == expected


def test_lines_come_together_up_to_a_number(monkeypatch):
    chunks = given(monkeypatch, b"".join(b"%d\n" % n for n in range(25)))
    assert [len(chunk) for chunk in chunks] == [10, 10, 5]
    assert [int(line) for chunk in chunks for line in chunk] == list(range(25))


def test_standard_input_in_unmarked_utf_16_or_closed_is_refused(monkeypatch):
    with pytest.raises(ValueMistake, match="standard input has a zero after nearly every byte"):
        given(monkeypatch, "text".encode("utf-16-le"))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueMistake, match="standard input is closed"):
        next(streams.lines(10))


@pytest.mark.parametrize("kind", ["pipe", "terminal", "a pipe that does not block"])
def test_what_has_been_read_is_given_when_no_more_is_at_hand(monkeypatch, kind):
    terminal = kind == "terminal"
    reader, writer = os.openpty()[::-1] if terminal else os.pipe()
    os.set_blocking(reader, kind != "a pipe that does not block")
    with os.fdopen(reader) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        lines = streams.lines(10)
        os.write(writer, b"one\n")
        assert next(lines) == ["one"]  # the writer has not closed: it waits for the answer
        threading.Timer(0.05, os.write, (writer, b"two\nthree\n")).start()
        found = next(lines)  # a terminal gives one line at a time
        assert (found if len(found) > 1 else found + next(lines)) == ["two", "three"]
        os.write(writer, b"four\n\x04" if terminal else b"four")
        if not terminal:
            os.close(writer)
        assert next(lines) == ["four"]
        assert list(lines) == []


def ask(items):
    for item in items:
        if "bad" in item:
            raise ValueMistake(f"{item} is bad")
    return [item.upper() for item in items]


def test_a_bad_item_leaves_the_others_their_answers():
    answers = _each(ask, ["a", "bad", "c", "d", "bad too"])
    assert [str(answer) for answer in answers] == ["A", "bad is bad", "C", "D", "bad too is bad"]
    assert _each(ask, []) == []
    with pytest.raises(KeyError):  # a mistake of the program is no line's fault
        _each(lambda items: {}[1], ["a", "b"])


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    inherited = {name: v for name, v in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment = {**inherited, "PYTHONPATH": str(CHECKOUT), "PYTHON": sys.executable} | environment
    return subprocess.run(["bash", "-c", script], capture_output=True, env=environment)


def test_an_output_that_nobody_reads_or_that_is_full_has_its_exit_code():
    zoo = '"$PYTHON" -m zoo.cli'
    ended = shell(f"{zoo} list | true; echo ${{PIPESTATUS[0]}}")
    assert (ended.stdout, ended.stderr) in ((b"0\n", b""), (b"141\n", b""))
    ended = shell(f"{zoo} list >&-")
    assert (ended.returncode, ended.stderr) == (0, b"")
    if Path("/dev/full").exists():
        ended = shell(f"{zoo} list > /dev/full")
        assert ended.returncode == 2
        full = os.strerror(errno.ENOSPC)
        assert ended.stderr.decode() == f"zoo: standard output cannot be written: {full}\n"


PROGRAM = """
import os
from zoo.cli import streams
from zoo.config import say

streams.set_up()
say("a remark")
with open("file", "w"):  # it would get the number of a closed stream
    os.system("echo from a library >&2")
print("the answer")
raise SystemExit(streams.finish(0))
"""


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-", "2>/dev/full"])
def test_with_streams_closed_standard_output_has_only_answers(closed, tmp_path):
    ended = shell(f'cd {tmp_path} && "$PYTHON" -c "$PROGRAM" {closed}', PROGRAM=PROGRAM)
    assert (ended.returncode, ended.stdout) == (0, b"the answer\n")
    assert (tmp_path / "file").read_text() == ""
