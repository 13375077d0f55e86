"""Usage that is written for many calls at once: nothing is lost but by a failure that is logged."""

import asyncio
from contextvars import ContextVar
from datetime import date

import pytest
from structlog.testing import capture_logs

from server.limits import usage_buffer
from server.limits.usage_buffer import UsageBuffer
from storage.access.spending import Payer, Tally, Used
from storage.caller import caller
from storage.errors import StoreUnavailable

ADA = Payer("public", "ada", "", date(2026, 2, 28))
BOB = Payer("other", "bob", "k", date(2026, 2, 28))
CALL = Tally.of(Used("m", 3, 4, 0.5), collection="c")
_mark: ContextVar[str] = ContextVar("mark", default="")


class Written:
    """Adds up what is written, and fails as often as it is told."""

    def __init__(self, failures=0):
        self.failures = failures
        self.writes = []
        self.callers = []
        self.marks = []
        self.second = asyncio.Event()

    async def __call__(self, payer, tallies):
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable
        self.writes.append((payer, tallies))
        self.callers.append(caller().tenant)
        self.marks.append(_mark.get())
        if len(self.writes) == 2:
            self.second.set()


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(usage_buffer, "WRITING_SECONDS", 0.01)
    monkeypatch.setattr(usage_buffer, "PAUSES", (0.0, 0.01, 0.01))


async def test_calls_of_one_payer_become_one_write_as_that_payers_tenant():
    written = Written()
    buffer = UsageBuffer(written)
    _mark.set("a request")
    for _ in range(50):
        buffer.add(ADA, CALL)
        buffer.add(BOB, CALL)
    async with asyncio.timeout(5):
        await written.second.wait()
    assert {payer: [each.calls for each in tallies] for payer, tallies in written.writes} == {ADA: [50], BOB: [50]}
    assert sorted(written.callers) == ["other", "public"]
    assert written.marks == ["", ""]  # no request's context goes on in it


async def test_what_comes_while_others_are_written_is_written_next():
    written = Written()
    buffer = UsageBuffer(written)
    for _ in range(200):
        buffer.add(ADA, CALL)
        await asyncio.sleep(0.001)
    await buffer.close()
    assert sum(tallies[0].calls for _, tallies in written.writes) == 200
    assert len(written.writes) < 100


async def test_a_flush_waits_for_what_is_being_written_too():
    written = Written(failures=1)
    buffer = UsageBuffer(written)
    buffer.add(ADA, CALL)
    await asyncio.sleep(0.012)
    await buffer.flush(seconds=5)
    assert len(written.writes) == 1


async def test_what_cannot_be_written_in_the_end_is_logged_with_its_size():
    buffer = UsageBuffer(Written(failures=100))
    buffer.add(ADA, CALL)
    buffer.add(ADA, CALL)
    with capture_logs() as logs:
        await buffer.flush(seconds=5)
    assert [(each["calls"], each["tokens"]) for each in logs if each["log_level"] == "error"] == [(2, 14)]


async def test_closing_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(usage_buffer, "CLOSING_SECONDS", 0.05)
    never = asyncio.Event()

    async def hangs(_payer, _tallies):
        await never.wait()

    buffer = UsageBuffer(hangs)
    buffer.add(ADA, CALL)
    with capture_logs() as logs:
        await buffer.close()
        await asyncio.sleep(0)
    assert [each["calls"] for each in logs] == [1]
