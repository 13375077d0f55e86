"""Refusals on their way into the audit record: counted, bounded, and not lost where the database is away."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from server.audit import refusals
from server.audit.refusals import MOST, MOST_OF_ONE, MOST_UNKNOWN, OTHERS, Refusals
from storage.audit.record import Refusal
from storage.errors import StoreUnavailable

DENIED = Refusal("access.deny", "GET /x", "denied", tenant="acme", subject="ada", client="203.0.113.7")
FAILED = Refusal("login.fail", "login", "failure", key="abcdefghijkl", client="203.0.113.7", request_id="r")


class Notes:
    def __init__(self) -> None:
        self.lines: list[Refusal] = []
        self.is_away = False

    async def note(self, refusals: Sequence[Refusal]) -> None:
        if self.is_away:
            msg = "away"
            raise StoreUnavailable(msg)
        self.lines += refusals

    def counts(self) -> list[tuple[str, object]]:
        return [(line.about, line.told["count"]) for line in self.lines]


async def written(*added: Refusal) -> Notes:
    notes = Notes()
    counted = Refusals(notes)
    for each in added:
        counted.add(each)
    await counted.write()
    return notes


async def test_what_is_repeated_is_one_line_with_a_count_and_what_it_told_at_first():
    notes = await written(*[DENIED] * 3, FAILED, replace(FAILED, request_id="s"), replace(DENIED, subject="bob"))
    assert notes.counts() == [("GET /x", 3), ("login", 2), ("GET /x", 1)]
    assert notes.lines[1].request_id == "r"


async def test_addresses_of_one_network_are_one_and_others_are_not():
    near = [replace(FAILED, client=f"2001:db8::{number}") for number in range(1, 9)]
    far = replace(FAILED, client="2001:db8:0:1::1")
    assert (await written(*near, far)).counts() == [("login", 8), ("login", 1)]


async def test_one_who_tries_everything_has_a_bounded_number_of_lines_and_hides_nobody():
    many = [replace(DENIED, about=f"GET /{number}") for number in range(10_000)]
    guesses = [replace(FAILED, key=f"{number:012}") for number in range(10_000)]
    notes = await written(*many, *guesses, replace(DENIED, subject="bob"))
    assert len(notes.lines) == 2 * (MOST_OF_ONE + 1) + 1
    assert [count for about, count in notes.counts() if about == OTHERS] == [10_000 - MOST_OF_ONE] * 2
    assert [line.subject for line in notes.lines if line.about == "GET /x"] == ["bob"]
    (theirs,) = [line for line in notes.lines if line.about == OTHERS and line.tenant]
    assert (theirs.subject, theirs.key, theirs.request_id) == ("ada", None, None)


async def test_very_many_share_a_line_in_the_end():
    many = [replace(FAILED, client=f"203.{a}.{b}.1") for a in range(50) for b in range(50)]
    known = [replace(DENIED, subject=f"s{number}") for number in range(2500)]
    notes = await written(*many, *known)
    unknown = [line for line in notes.lines if line.action == "login.fail"]
    assert (len(unknown), len(notes.lines) - len(unknown)) == (MOST_UNKNOWN + 1, MOST + 1)
    assert sum(int(str(count)) for _, count in notes.counts()) == 5000


async def test_what_cannot_be_written_now_is_written_later_with_what_came_meanwhile():
    notes = Notes()
    counted, notes.is_away = Refusals(notes), True
    counted.add(DENIED)
    await counted.write()
    await counted.write()
    counted.add(DENIED)
    notes.is_away = False
    await counted.write()
    await counted.write()
    assert notes.counts() == [("GET /x", 2)]


async def test_it_is_written_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(refusals, "WINDOW_SECONDS", 3600.0)
    notes = Notes()
    async with (counted := Refusals(notes)).written():
        counted.add(DENIED)
        assert notes.lines == []
    assert notes.counts() == [("GET /x", 1)]
