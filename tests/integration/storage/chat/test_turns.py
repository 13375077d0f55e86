"""Turns, leases and idempotency keys in a real database, with what goes wrong between two processes."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest

from storage.chat.conversations import ConversationCatalog
from storage.chat.idempotency import KeyStore
from storage.chat.turns import NewTurn, TurnAnswer, TurnStore, lease_name
from storage.cursors import encode_cursor
from storage.errors import ConversationBusy, ConversationNotFound, IdempotencyKeyReused, InvalidCursor, LeaseLost
from storage.leases import Leases

ANSWER = TurnAnswer("a", 1, None, "[]", "stop", "m", None, None, "{}", "1")
ASKED = NewTurn("q", 1, "r", None)


@pytest.fixture
def process(database):
    """Return a function that makes what one process has: leases, turns, keys."""

    def make():
        leases = Leases(database, seconds=30)
        return leases, TurnStore(database, leases=leases), KeyStore(database, leases=leases, hours=1)

    return make


@pytest.fixture
def expire(database):
    """Return a function that lets every lease expire."""

    async def let():
        async with database.dedicated(as_owner=True) as connection:
            await connection.execute("UPDATE footnote.leases SET expires_at = now() - interval '1 second'")

    return let


async def test_a_conversation_has_one_writer_across_processes(process):
    (_, ours, _), (_, theirs, _) = process(), process()
    turn = await ours.begin(ASKED, collection="default")
    for store in (ours, theirs):
        with pytest.raises(ConversationBusy):
            await store.proceed(str(turn.conversation_id), ASKED)
    await ours.complete(turn, ANSWER)
    assert (await theirs.proceed(str(turn.conversation_id), ASKED)).number == 2


async def test_who_has_lost_the_lease_can_neither_write_nor_free_what_another_works_on(process, expire):
    (_, ours, _), (_, theirs, _) = process(), process()
    first = await ours.begin(ASKED, collection="default")
    await expire()
    second = await theirs.proceed(str(first.conversation_id), ASKED)
    with pytest.raises(LeaseLost):
        await ours.complete(first, ANSWER)
    await ours.break_off(first, state="failed", problem="store-unavailable")
    await theirs.complete(second, ANSWER)


async def test_an_earlier_turn_of_the_same_process_does_not_free_a_later_one(process, expire):
    _, turns, _ = process()
    first = await turns.begin(ASKED, collection="default")
    await expire()
    second = await turns.proceed(str(first.conversation_id), ASKED)
    await turns.break_off(first, state="failed", problem="store-unavailable")
    with pytest.raises(ConversationBusy):
        await turns.proceed(str(first.conversation_id), ASKED)
    await turns.complete(second, ANSWER)


async def test_completing_twice_changes_nothing(process):
    _, turns, _ = process()
    turn = await turns.begin(ASKED, collection="default")
    await turns.complete(turn, ANSWER)
    await turns.complete(turn, ANSWER)
    assert (await turns.proceed(str(turn.conversation_id), ASKED)).number == 2


async def test_a_turn_that_is_withdrawn_leaves_nothing_and_an_earlier_one_stays(process, database):
    _, turns, _ = process()
    catalog = ConversationCatalog(database)
    only = await turns.begin(ASKED, collection="default")
    await turns.withdraw(only)
    with pytest.raises(ConversationNotFound):
        await catalog.get(str(only.conversation_id))
    first = await turns.begin(ASKED, collection="default")
    await turns.complete(first, ANSWER)
    await turns.withdraw(await turns.proceed(str(first.conversation_id), ASKED))
    page = await catalog.messages(str(first.conversation_id), turns=5, cursor=None)
    assert [message.state for message in page.items] == ["complete", "complete"]
    assert (await turns.proceed(str(first.conversation_id), ASKED)).number == 2


async def test_a_key_has_one_answer_across_processes(process, expire):
    (_, _, ours), (_, _, theirs) = process(), process()
    assert (await ours.take("k", fingerprint="f", stream_id="s1")).mine
    waiting = await theirs.take("k", fingerprint="f", stream_id="s2")
    assert (waiting.mine, waiting.stream_id, waiting.answer_json) == (False, "s1", None)
    with pytest.raises(IdempotencyKeyReused):
        await theirs.take("k", fingerprint="other", stream_id="s3")
    await expire()
    assert (await theirs.take("k", fingerprint="f", stream_id="s4")).mine
    await ours.release("k")  # it is not ours any more
    with pytest.raises(LeaseLost):
        await ours.keep("k", answer_json='{"x": 1}')
    await theirs.keep("k", answer_json='{"x": 2}')
    known = await ours.take("k", fingerprint="f", stream_id="s5")
    assert (known.mine, known.stream_id, known.answer_json) == (False, "s4", '{"x": 2}')


async def test_a_key_whose_time_is_over_is_deleted_and_may_be_used_anew(process, database):
    _, _, keys = process()
    for key in ("old", "older"):
        await keys.take(key, fingerprint="f", stream_id="s")
        await keys.keep(key, answer_json="{}")
    async with database.dedicated(as_owner=True) as connection:
        await connection.execute("UPDATE footnote.idempotency_keys SET expires_at = now() - interval '1 second'")
        assert (await keys.take("old", fingerprint="other", stream_id="s")).mine
        await keys.forget_old()
        left = await connection.fetch("SELECT key FROM footnote.idempotency_keys")
    assert [row["key"] for row in left] == ["old"]


async def test_renewing_leases_waits_for_nobody_who_is_about_to_give_one_back(database):
    leases = Leases(database, seconds=1.2)  # renewed every 0.4 seconds
    turns, keys = TurnStore(database, leases=leases), KeyStore(database, leases=leases, hours=1)
    await keys.take("k", fingerprint="f", stream_id="s")
    turn = await turns.begin(ASKED, collection="default")

    async def within(connection):
        await asyncio.sleep(0.9)  # stands for a slow moment between the two leases
        await keys.keep_within(connection, "k", answer_json="{}", conversation_id=turn.conversation_id)

    async with leases.renewed():
        with leases.kept(lease_name(turn.conversation_id)), keys.at_work("k"):
            await asyncio.sleep(0.2)
            await turns.complete(turn, ANSWER, within=within)
    assert (await keys.take("k", fingerprint="f", stream_id="s")).answer_json == "{}"


async def test_leases_of_processes_that_died_are_forgotten_and_no_others(database, monkeypatch):
    monkeypatch.setattr("storage.leases.FORGET_SECONDS", 0.0)
    dead, leases = Leases(database, seconds=60), Leases(database, seconds=0.3)
    async with database.transaction() as connection:
        for name in ("long expired", "expired", "valid"):
            await dead.take(connection, name)
    async with database.dedicated(as_owner=True) as connection:
        await connection.execute(
            """UPDATE footnote.leases SET expires_at = now() - CASE name WHEN 'expired' THEN interval '59 minutes'
               ELSE interval '61 minutes' END WHERE name <> 'valid'"""
        )
        async with leases.renewed(), asyncio.timeout(60):
            names = "SELECT name FROM footnote.leases ORDER BY name"
            while [row["name"] for row in await connection.fetch(names)] != ["expired", "valid"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_leases_that_are_kept_do_not_expire_and_others_do(database):
    leases, other = Leases(database, seconds=1), Leases(database, seconds=1)
    async with leases.renewed():
        async with database.transaction() as connection:
            assert await leases.take(connection, "kept")
            assert await leases.take(connection, "forgotten")
        with leases.kept("kept"):
            await asyncio.sleep(1.6)
            async with database.transaction() as connection:
                assert not await other.take(connection, "kept")
                assert await other.take(connection, "forgotten")
    async with database.transaction() as connection:
        assert await other.take(connection, "kept")  # given back at the end


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00", "2020-01-01", "x"]
)
async def test_a_made_up_cursor_is_refused_or_harmless(database, moment):
    catalog = ConversationCatalog(database)
    try:
        await catalog.list(limit=3, cursor=encode_cursor(json.dumps(["-updated_at", moment, str(uuid4())])))
    except InvalidCursor:
        assert moment != "2020-01-01"
