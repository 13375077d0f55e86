"""Keys as a process knows them: looked up seldom, forgotten at once, kept for a while without a database."""

from __future__ import annotations

import asyncio

import pytest
from support.api_keys import ApiKeysInMemory

from server.auth.key_text import KeyText
from server.auth.known_keys import LOOKUPS, MOST_ABSENT, KnownKeys
from storage.errors import StoreUnavailable

DOWN = StoreUnavailable("the database is not available")


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stored() -> ApiKeysInMemory:
    return ApiKeysInMemory()


@pytest.fixture
def known(stored: ApiKeysInMemory, clock: Clock) -> KnownKeys:
    return stored.known(grace=300, clock=clock)


def made(stored: ApiKeysInMemory) -> str:
    text = KeyText.parse(stored.make("query"))
    assert text
    return text.id


async def test_a_key_is_looked_up_once_for_all_who_send_it(stored: ApiKeysInMemory, known: KnownKeys) -> None:
    key_id = made(stored)
    assert known.at_hand(key_id) is None
    found = await asyncio.gather(*(known.get(key_id) for _ in range(100)))
    assert {key.id for key in found if key} == {key_id}
    assert known.at_hand(key_id)
    assert stored.looks == 1


async def test_a_change_is_seen_at_once(stored: ApiKeysInMemory, known: KnownKeys) -> None:
    key_id = made(stored)
    await known.get(key_id)
    await stored.revoke(key_id)
    assert known.at_hand(key_id) is None
    key = await known.get(key_id)
    assert key
    assert key.revoked_at


async def test_a_change_during_a_look_is_not_missed(stored: ApiKeysInMemory, known: KnownKeys) -> None:
    key_id, held, find = made(stored), asyncio.Event(), stored.find

    async def slow(wanted: str) -> object:
        found = await find(wanted)  # as it was before the change
        await held.wait()
        return found

    stored.find = slow  # type: ignore[assignment,method-assign]
    early = asyncio.create_task(known.get(key_id))
    await asyncio.sleep(0.01)
    await stored.revoke(key_id)
    late = asyncio.create_task(known.get(key_id))
    await asyncio.sleep(0.01)
    held.set()
    await early
    key = await late
    assert key
    assert key.revoked_at
    at_hand = known.at_hand(key_id)
    assert at_hand
    assert at_hand.revoked_at


async def test_where_changes_are_not_heard_of_a_key_is_trusted_for_a_second(
    stored: ApiKeysInMemory, known: KnownKeys, clock: Clock
) -> None:
    key_id = made(stored)
    known.is_listening(False)
    await known.get(key_id)
    clock.now += 0.9
    assert known.at_hand(key_id)
    clock.now += 0.2
    assert known.at_hand(key_id) is None
    await known.get(key_id)
    clock.now += 5
    known.is_listening(True)  # what changed before is unknown
    assert known.at_hand(key_id) is None
    await known.get(key_id)
    clock.now += 25
    assert known.at_hand(key_id)
    clock.now += 10
    assert known.at_hand(key_id) is None


async def test_a_known_key_goes_on_for_the_grace_time_without_a_database(
    stored: ApiKeysInMemory, known: KnownKeys, clock: Clock
) -> None:
    key_id, other = made(stored), made(stored)
    await known.get(key_id)
    stored.error = DOWN
    known.is_listening(False)
    clock.now += 299
    assert await known.get(key_id)
    looks = stored.looks
    for _ in range(100):
        assert await known.get(key_id)
    await asyncio.sleep(0)
    assert stored.looks <= looks + 1
    with pytest.raises(StoreUnavailable):
        await known.get(other)
    clock.now += 2
    with pytest.raises(StoreUnavailable):
        await known.get(key_id)
    stored.error = None
    assert await known.get(key_id)


async def test_a_key_that_was_revoked_has_no_grace(stored: ApiKeysInMemory, known: KnownKeys) -> None:
    key_id = made(stored)
    await known.get(key_id)
    await stored.revoke(key_id)
    stored.error = DOWN
    with pytest.raises(StoreUnavailable):
        await known.get(key_id)


async def test_nobody_with_a_known_key_waits_for_a_database_that_hangs(
    stored: ApiKeysInMemory, known: KnownKeys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.auth.known_keys.LOOKUP_SECONDS", 0.05)
    key_id = made(stored)
    await known.get(key_id)
    known.is_listening(False)

    async def hang(_: str) -> None:
        await asyncio.Event().wait()

    stored.find = hang  # type: ignore[assignment,method-assign]
    clock.now += 10
    assert await known.get(key_id)  # the first one waits, for a bounded time
    async with asyncio.timeout(0.04):
        for _ in range(50):
            clock.now += 0.1
            assert await known.get(key_id)


async def test_looks_take_few_connections(stored: ApiKeysInMemory, known: KnownKeys) -> None:
    at_once, most, go = 0, 0, asyncio.Event()

    async def count(_: str) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await go.wait()
        at_once -= 1

    stored.find = count  # type: ignore[assignment,method-assign]
    asking = [asyncio.create_task(known.get(KeyText.new().id)) for _ in range(100)]
    await asyncio.sleep(0.05)
    go.set()
    assert await asyncio.gather(*asking) == [None] * 100
    assert most == LOOKUPS


async def test_ids_that_are_made_up_push_no_key_out(stored: ApiKeysInMemory, known: KnownKeys) -> None:
    key_id = made(stored)
    await known.get(key_id)
    for _ in range(MOST_ABSENT + 10):
        assert await known.get(KeyText.new().id) is None
    assert known.at_hand(key_id)
    assert len(known._absent) == MOST_ABSENT


async def test_an_unknown_id_is_remembered_until_a_key_has_it(stored: ApiKeysInMemory, known: KnownKeys) -> None:
    text = KeyText.new()
    assert [await known.get(text.id) for _ in range(5)] == [None] * 5
    assert stored.looks == 1
    key_id = made(stored)
    known.changed(text.id)
    await known.get(text.id)
    assert stored.looks == 2
    assert await known.get(key_id)
