"""What rows say: read once at a time, and the last known where the database is silent or away."""

from __future__ import annotations

import asyncio

import pytest

from server import last_known as module
from server.last_known import LastKnown
from storage.errors import StoreUnavailable


class Rows:
    """Counts reads; `silent` lets them hang, `away` fail."""

    def __init__(self):
        self.value, self.reads = 1, 0
        self.silent, self.away = False, False

    async def read(self, _name):
        self.reads += 1
        if self.silent:
            await asyncio.sleep(3600)
        if self.away:
            raise StoreUnavailable
        return self.value


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(module, "LONGEST", 0.1)
    return Rows()


async def test_many_at_once_read_a_value_once(rows):
    known = LastKnown(rows.read, fresh=60, kept=60)
    assert await asyncio.gather(*(known.of("a") for _ in range(50))) == [1] * 50
    assert rows.reads == 1
    await known.of("b")
    assert rows.reads == 2


@pytest.mark.parametrize("trouble", ["silent", "away"])
async def test_in_trouble_the_last_value_holds_and_is_waited_for_once_in_a_while(rows, trouble):
    known = LastKnown(rows.read, fresh=0.2, kept=60)
    await known.of("a")
    await asyncio.sleep(0.2)
    setattr(rows, trouble, True)
    began = asyncio.get_running_loop().time()
    for _ in range(100):
        assert await known.of("a") == 1
    assert rows.reads == 2
    assert asyncio.get_running_loop().time() - began < 1
    with pytest.raises(StoreUnavailable):
        await known.of("never read")


async def test_a_value_that_is_too_old_is_not_returned_and_a_newer_one_is_read(rows):
    known = LastKnown(rows.read, fresh=0.0, kept=0.2)
    await known.of("a")
    rows.value = 2
    assert await known.of("a") == 2
    rows.away = True
    await asyncio.sleep(0.25)
    with pytest.raises(StoreUnavailable):
        await known.of("a")


async def test_who_leaves_does_not_end_the_read_of_the_others(rows):
    known = LastKnown(rows.read, fresh=60, kept=60)
    leaving, staying = asyncio.create_task(known.of("a")), asyncio.create_task(known.of("a"))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 1
