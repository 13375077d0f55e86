"""Patterns read a long run of characters once, not from each of its characters on; they hold up the whole process."""

from __future__ import annotations

import re
import time

import pytest

from server.engines.quoting import unmentioned
from server.engines.quoting.kinds import ANSWERED, ASKED

PATTERNS = {
    "joined": unmentioned._JOINED,
    "name": unmentioned._NAME,
    "phrase": unmentioned._PHRASE,
    **{f"asked {kind}": pattern for kind, pattern in ASKED.items()},
    **{f"answered {kind}": pattern for kind, pattern in ANSWERED.items()},
}
LENGTH = 20_000
BOUND_SECONDS = 1.0
"""Of this thread's CPU; once takes a few ms, quadratic patterns took 2 to 5 s."""


@pytest.mark.parametrize("run", ["a", "_", "漢", "1,", "a-", ". ", '"', "Ab ", "of a and "])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_a_long_run_is_read_once(pattern: re.Pattern[str], run: str) -> None:
    text = (run * LENGTH)[:LENGTH]
    begun = time.thread_time()
    pattern.findall(text)
    assert time.thread_time() - begun < BOUND_SECONDS


@pytest.mark.parametrize(
    ("question", "pairs"),
    [
        ("gibbons and macaws", [("gibbons", "macaws")]),
        ("a or b and c", [("a", "b"), ("b", "c")]),
        ("the ridge versus the valley", [("ridge", "valley")]),
    ],
)
def test_two_things_are_found_from_the_beginning_of_a_word(question: str, pairs: list[tuple[str, str]]) -> None:
    assert unmentioned._JOINED.findall(question) == pairs


@pytest.mark.parametrize("text", ["It is red, green, blue, or black.", "x,y, z, or w", "(a, b, c, d"])
def test_a_list_is_one_wherever_it_begins(text: str) -> None:
    assert ANSWERED["list"].search(text)
