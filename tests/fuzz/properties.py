"""Properties that hold for random inputs, each with two budgets.

In `make test` a property gets a few examples, the same ones in every run. In `make soak` it gets
new ones for ten minutes (`ZOO_FUZZ_SECONDS`). What fails is made small and printed with its seed,
with which `ZOO_FUZZ_SEED` begins again.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

SECONDS = float(os.environ.get("ZOO_FUZZ_SECONDS", "600"))
"""How long a property is tried in `make soak`."""

ROUND = 200
"""Examples with one seed."""

MORE = 120
"""Seconds that the first example of a test may take longer, for imports; in `make test` each may,
since the machine may be busy."""


def holds(few: int = 20, seconds: float = 30, **strategies: Any) -> Callable[..., Any]:
    """Decorator: a test that a property holds for random arguments, with both budgets.

    Args:
      few: the number of examples in `make test`.
      seconds: after which an example counts as a hang; the first ones may compile.
      strategies: of the arguments. The others are fixtures, each made once for all examples.
    """
    common = hypothesis.settings(
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        fixtures = [name for name in inspect.signature(check).parameters if name not in strategies]

        def test(budget: str, **given: Any) -> None:
            number, capsys = 0, given["capsys"]
            fixed = {name: given[name] for name in fixtures}

            @functools.wraps(check)
            def example(**arguments: Any) -> None:
                nonlocal number
                number += 1
                patient = number == 1 or budget == "quick"
                with _alarm(seconds + MORE if patient else seconds):
                    check(**fixed, **arguments)

            example.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
                [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in strategies]
            )
            if budget == "quick":
                once = hypothesis.settings(common, max_examples=few, derandomize=True)
                once(hypothesis.given(**strategies)(example))()
                return
            many = hypothesis.settings(common, max_examples=ROUND)
            end = time.monotonic() + SECONDS
            seed = int(os.environ.get("ZOO_FUZZ_SEED", random.SystemRandom().getrandbits(32)))
            while time.monotonic() < end:
                try:
                    hypothesis.seed(seed)(many(hypothesis.given(**strategies)(example)))()
                except BaseException as error:
                    error.add_note(f"ZOO_FUZZ_SEED={seed}")
                    raise
                seed += 1
            with capsys.disabled():
                print(f"{check.__name__}: {number} examples")

        parameters = dict.fromkeys(["budget", "capsys", *fixtures])
        test.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in parameters]
        )
        test.__name__, test.__doc__, test.__module__ = (
            *(check.__name__, check.__doc__, check.__module__),
        )
        budgets = ["quick", pytest.param("soak", marks=pytest.mark.soak)]
        return pytest.mark.parametrize("budget", budgets)(test)

    return decorate


class HangError(SystemExit):
    """An example took too long. Of the errors that no `except Exception` stops, it is the one that
    Hypothesis makes small."""


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raises HangError in the block after some time, where the system has such alarms."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*ignored: Any) -> None:
        raise HangError(f"no answer after {timedelta(seconds=seconds)}")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Refused:
    """What `asked` gives instead of an answer: the class of the mistake."""

    def __init__(self, mistake: type) -> None:
        self.mistake = mistake

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refused) and self.mistake is other.mistake

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.mistake.__name__}>"


LONGEST = 1000
"""Characters of a message to the user."""


def asked(call: Callable[..., Any], *arguments: Any, lines: bool = False, **options: Any) -> Any:
    """The answer of a call, or `Refused` if it says that the user made a mistake.

    Any other error passes. The message of a mistake is one short line, or anything with `lines`.
    """
    from zoo import Mistake

    try:
        return call(*arguments, **options)
    except Mistake as mistake:
        message = str(mistake)
        assert message.strip(), "a mistake without a message"
        assert lines or len(message) < LONGEST, (
            f"a message of {len(message)} characters: {message:.200}…"
        )
        assert lines or "\n" not in message, f"a message of several lines: {message!r}"
        return Refused(type(mistake))


def _repeated(texts: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    return st.builds(lambda text, times: text * times, texts, st.integers(1, most))


SPECIAL = (
    *("", " ", "\0", "\n", "\r\n", "\r", "\t", "\x85", "\u2028", "\x0c", "\x1b[31m", "\x7f"),
    *("\ufeff", "\ufffe", "\ufffd", "\u200b", "\u200d", "\u202e", "\xad", "e\u0301", "\u0301"),
    *("<pad>", "<eos>", "<EOS>", "<unk>", "None", "nan", "-0", "_", "\\", "\\u", "\\9999999999;"),
    *("\U0001f469\u200d\U0001f680", "ﬃ", "İ", "ẞ", "ͅ", "가", "\u1100\u1161", "ﷺ", "🇩🇪"),
)
"""Texts that are treated specially somewhere."""

unicode_texts = st.one_of(
    st.text(max_size=24),
    st.text("ab .,'-<>/|\"\\_0#\t\n", max_size=24),
    st.lists(st.sampled_from(SPECIAL), max_size=5).map("".join),
    st.sampled_from(SPECIAL),
)
"""Any Unicode text, short."""

surrogates = st.builds(
    "{}{}{}".format,
    st.text(max_size=3),
    st.characters(categories=("Cs",)),
    st.text(max_size=3),
)
"""Strings that are no Unicode text, as `os.fsdecode` gives them."""

any_texts = st.one_of(unicode_texts, unicode_texts, surrogates)
"""Any string, short."""

long_texts = st.one_of(any_texts, _repeated(unicode_texts.filter(bool), 400))
"""Any string, sometimes long."""

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 300),
    st.floats(),
    any_texts,
    st.binary(max_size=8),
    st.sampled_from([2**31, 2**63, -(2**63), 2**64, 10**400, 1j, object(), (), [], {}, ...]),
)
"""What may be handed over where something else belongs."""


def together(ask: Callable[..., Any], items: list[Any], same: Callable[[Any, Any], None]) -> None:
    """Checks that a list of items has the answers that they have alone, or is refused as one is.

    Args:
      ask: a predictor's call.
      items: that it is asked.
      same: raises AssertionError if two answers differ.
    """
    alone = [asked(ask, item) for item in items]
    batch = asked(ask, items)
    refusals = [answer for answer in alone if isinstance(answer, Refused)]
    if isinstance(batch, Refused):
        assert batch in refusals or not items
        return
    assert not refusals
    assert isinstance(batch, list)
    assert len(batch) == len(items)
    for one, other in zip(alone, batch, strict=True):
        same(one, other)
