"""The chain of the audit record: what is sealed, and what a check finds that somebody changed by hand."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from support.audit import OLD, aged
from support.corpus import CHUNKING, IDENTITY
from support.sql import execute

from storage.access.tenants import Tenants
from storage.audit.record import AuditFilter, AuditRecord
from storage.audit.retention import make_partitions, prune
from storage.audit.sealing import oldest_pending, seal
from storage.audit.verification import verify
from storage.caller import SYSTEM, Caller, acting_as
from storage.collections.collections import Collections
from storage.errors import CollectionExists

NAMES = [f"t{number}" for number in range(6)]


@pytest.fixture
async def filled(database, dsn):
    """Write six lines, and seal them."""
    for name in NAMES:
        await Tenants(database).create(name)
    assert await verify(database)
    return dsn


async def problems(database, **options):
    verdict = await verify(database, **options)
    assert verdict.problem_count == len(verdict.problems)
    return verdict.problems


@pytest.mark.usefixtures("filled")
async def test_an_untouched_record_is_whole_and_its_head_stays_known(database):
    first = await verify(database)
    assert (first.problems, first.entries, first.sequence, first.dropped) == ([], 6, 6, 0)
    await Tenants(database).suspend("t0")
    assert await oldest_pending(database)
    second = await verify(database, expected=first.head)
    assert (second.problems, second.sequence) == ([], 7)
    assert second.head != first.head
    assert not await oldest_pending(database)


TAMPERING = {
    "changed": "UPDATE footnote.audit SET subject = 'eve' WHERE object = 'tenant:t2'",
    "was changed": "UPDATE footnote.audit SET after = '{\"status\": \"suspended\"}' WHERE object = 'tenant:t2'",
    "removed": "DELETE FROM footnote.audit WHERE object = 'tenant:t2'",
    "removed before it was sealed": """
        WITH gone AS (DELETE FROM footnote.audit WHERE object = 'tenant:t2' RETURNING at, id),
            entry AS (DELETE FROM footnote.audit_chain WHERE sequence >= 3)
        INSERT INTO footnote.audit_pending SELECT at, id FROM gone""",
    "out of its place": """
        UPDATE footnote.audit_chain SET digest = (SELECT digest FROM footnote.audit_chain WHERE sequence = 4)
        WHERE sequence = 3""",
    "comes 4": "DELETE FROM footnote.audit_chain WHERE sequence = 3",
    "begins with entry 3": "DELETE FROM footnote.audit_chain WHERE sequence < 3",
    "not in the chain": "DELETE FROM footnote.audit_chain WHERE sequence > 4",
    # put in where nobody looks: without its trigger, and at a time of before
    "is not in the chain": """
        ALTER TABLE footnote.audit DISABLE TRIGGER audit_queued;
        INSERT INTO footnote.audit (at, tenant_id, subject, actor_tenant, action, object, outcome)
            VALUES (now() - interval '1 minute', 't1', 'eve', 't1', 'key.create', 'key:x', 'success')""",
}


@pytest.mark.parametrize("told", TAMPERING)
async def test_what_a_superuser_changes_by_hand_is_found(database, filled, told):
    execute(filled, TAMPERING[told])
    found = await problems(database)
    assert any(told in problem for problem in found), found


async def test_entries_that_change_places_are_found(database, filled):
    execute(
        filled,
        """UPDATE footnote.audit_chain SET sequence = 100 WHERE sequence = 2;
           UPDATE footnote.audit_chain SET sequence = 2 WHERE sequence = 5;
           UPDATE footnote.audit_chain SET sequence = 5 WHERE sequence = 100""",
    )
    found = await problems(database)
    assert {number for number in range(1, 7) for problem in found if f"entry {number} " in problem} >= {2, 5}


async def test_a_record_that_is_cut_at_its_end_is_found_by_whoever_noted_its_head(database, filled):
    head = (await verify(database)).head
    execute(
        filled,
        """WITH entries AS (DELETE FROM footnote.audit_chain WHERE sequence > 4 RETURNING at, id)
           DELETE FROM footnote.audit l USING entries e WHERE l.at = e.at AND l.id = e.id""",
    )
    assert await problems(database) == []  # nothing in the database can tell
    assert ["no entry of the chain has the hash" in problem for problem in await problems(database, expected=head)] == [
        True
    ]


async def test_a_whole_record_written_anew_is_found_by_whoever_noted_its_head(database, filled):
    head = (await verify(database)).head
    execute(
        filled,
        """UPDATE footnote.audit SET subject = 'eve' WHERE object = 'tenant:t2';
           DELETE FROM footnote.audit_chain; INSERT INTO footnote.audit_pending SELECT at, id FROM footnote.audit""",
    )
    assert await problems(database) == []
    assert len(await problems(database, expected=head)) == 1


async def test_many_problems_are_counted_and_the_first_are_told(database, dsn):
    for number in range(30):
        await Tenants(database).create(f"t{number}")
    await seal(database)
    execute(dsn, "UPDATE footnote.audit SET subject = 'eve'")
    verdict = await verify(database)
    assert (verdict.problem_count, len(verdict.problems)) == (30, 20)


async def test_many_writers_and_sealers_make_one_chain_and_no_deadlock(database, monkeypatch):
    monkeypatch.setattr("storage.audit.sealing.BATCH", 7)
    tenants = Tenants(database)

    async def make(number):
        await tenants.create(f"w{number}")
        await tenants.suspend(f"w{number}")
        await seal(database)
        with acting_as(Caller(f"w{number}", "ada", sees_all=True)):
            await Collections(database).create("default", embedding=IDENTITY, chunking=CHUNKING)
        await tenants.resume(f"w{number}")

    await asyncio.gather(*map(make, range(12)), *(seal(database, waits=True) for _ in range(4)))
    verdict = await verify(database)
    assert (verdict.problems, verdict.entries) == ([], 48)


async def test_a_writer_is_not_held_up_by_another_whose_transaction_is_open(database):
    """A chain that is written in the transactions would serialise them; this one is sealed after them."""

    async def late():
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO footnote.tenants (id) VALUES ('late')")
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # its line is written, and not committed
            opened.set()
            await go.wait()

    opened, go = asyncio.Event(), asyncio.Event()
    with acting_as(SYSTEM):
        task = asyncio.create_task(late())
    await opened.wait()
    await Tenants(database).create("early")
    assert (await verify(database)).entries == 1
    go.set()
    await task
    verdict = await verify(database)
    assert (verdict.problems, verdict.entries) == ([], 2)
    listed = await AuditRecord(database).list_any(None, AuditFilter(), limit=5)
    assert [line.object for line in listed.items] == ["tenant:early", "tenant:late"]  # by their times, not by the chain


async def test_a_line_that_is_queued_twice_or_is_not_there_does_not_stop_the_sealer(database, filled):
    execute(
        filled,
        """INSERT INTO footnote.audit_pending SELECT at, id FROM footnote.audit LIMIT 3;
           INSERT INTO footnote.audit_pending VALUES (now(), gen_random_uuid())""",
    )
    await Tenants(database).create("later")
    assert [problem for problem in await problems(database) if "removed before it was sealed" not in problem] == []
    assert not await oldest_pending(database)


async def test_a_transaction_that_is_rolled_back_leaves_no_line(database, dsn):
    await Collections(database).create("kept", embedding=IDENTITY, chunking=CHUNKING)
    with pytest.raises(CollectionExists):
        await Collections(database).create("kept", embedding=IDENTITY, chunking=CHUNKING)

    async def broken(name):
        async with database.transaction() as connection:
            await Collections(database).delete(connection, name)
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            assert await connection.fetchval("SELECT count(*) FROM footnote.audit") == 2
            raise CollectionExists(name)

    with pytest.raises(CollectionExists):
        await broken("kept")
    assert execute(dsn, "SELECT action FROM footnote.audit") == [("collection.create",)]


# retention


async def test_months_are_dropped_after_their_time_and_the_chain_says_so(database, dsn):
    execute(dsn, "SELECT footnote.make_audit_partition('2025-03-01')")
    await aged(database, dsn, ["a", "b"], OLD)  # in their month's own partition
    await aged(database, dsn, ["c"], OLD + timedelta(days=40))  # in none: April 2025 has no partition
    await Tenants(database).create("d")
    before = await verify(database)
    assert (before.problems, before.entries) == ([], 4)
    assert await prune(database, days=31, now=OLD) == 0
    assert await prune(database, days=31, now=datetime(2025, 5, 20, tzinfo=UTC)) == 2
    assert execute(dsn, "SELECT to_regclass('footnote.audit_2025_03')") == [(None,)]
    assert execute(dsn, "SELECT object FROM footnote.audit ORDER BY at") == [("tenant:c",), ("tenant:d",), ("audit",)]
    after = await verify(database, expected=before.head)
    assert (after.problems, after.entries, after.sequence, after.dropped) == ([], 3, 5, 0)
    assert after.pruned_before == "2025-04-01T00:00:00.000000+00:00"
    assert await prune(database, days=31, now=datetime(2025, 6, 20, tzinfo=UTC)) == 1
    assert await prune(database, days=31, now=datetime(2025, 6, 20, tzinfo=UTC)) == 0
    assert (await verify(database, expected=before.head)).problems == []
    (told,) = execute(dsn, "SELECT after ->> 'sequence' FROM footnote.audit WHERE action = 'audit.prune' ORDER BY at")[
        -1:
    ]
    assert told == ("3",)


async def test_entries_of_dropped_lines_stay_in_the_middle_of_the_chain(database, dsn):
    await Tenants(database).create("now")
    await seal(database)
    await aged(database, dsn, ["old"], OLD)  # committed so late that it is sealed after one of today
    assert await prune(database, days=31, now=datetime(2025, 5, 20, tzinfo=UTC)) == 1
    verdict = await verify(database)
    assert (verdict.problems, verdict.entries, verdict.dropped) == ([], 3, 1)
    assert await prune(database, days=31, now=datetime(2025, 5, 20, tzinfo=UTC)) == 0


async def test_a_record_of_which_everything_is_dropped_goes_on(database, dsn):
    await aged(database, dsn, ["a", "b"], OLD)
    head = (await verify(database)).head
    assert await prune(database, days=31, now=datetime(2025, 5, 20, tzinfo=UTC)) == 2
    await Tenants(database).create("c")
    verdict = await verify(database, expected=head)
    assert (verdict.problems, verdict.sequence) == ([], 4)


async def test_cutting_the_beginning_without_retention_or_beyond_it_is_found(database, dsn):
    await aged(database, dsn, ["a", "b"], OLD)
    for name in ("c", "d", "e"):
        await Tenants(database).create(name)
    await prune(database, days=31, now=datetime(2025, 5, 20, tzinfo=UTC))
    assert (await verify(database)).problems == []
    execute(
        dsn, "DELETE FROM footnote.audit WHERE object = 'tenant:c'; DELETE FROM footnote.audit_chain WHERE sequence = 3"
    )
    assert ["begins with entry 4" in problem for problem in await problems(database)] == [True]


@pytest.mark.parametrize(
    "said",
    [
        '{"before": "banana", "sequence": "x", "hash": 7}',
        f'{{"before": "2025-13-01T00:00:00+00:00", "sequence": 2, "hash": "{"0" * 64}"}}',
        f'{{"before": "2030-01-01T00:00:00+00:00", "sequence": 5, "hash": "{"0" * 64}"}}',
        f'{{"sequence": 1{"0" * 5000}}}',
        "{}",
    ],
)
async def test_odd_lines_of_retention_and_numbers_without_end_stop_nothing(database, dsn, said):
    await aged(database, dsn, ["a", "b"], OLD)
    assert await prune(database, days=31, now=datetime(2025, 5, 20, tzinfo=UTC)) == 2
    execute(dsn, "SELECT footnote.audit_note('audit.prune', '', 'audit', NULL, %s::jsonb)", said)
    assert ["is not believed" in problem for problem in await problems(database)] == [True]
    await aged(database, dsn, ["c"], OLD)
    assert await prune(database, days=31, now=datetime(2025, 5, 20, tzinfo=UTC)) == 1
    assert ["is not believed" in problem for problem in await problems(database)] == [True]
    assert len((await AuditRecord(database).list_any(None, AuditFilter(), limit=9)).items) == 3


async def test_processes_that_prune_at_once_drop_it_once(database, dsn):
    await aged(database, dsn, ["a", "b"], OLD)
    counts = await asyncio.gather(*(prune(database, days=31, now=datetime(2025, 5, 20, tzinfo=UTC)) for _ in range(4)))
    assert sorted(counts) == [0, 0, 0, 2]
    assert len(execute(dsn, "SELECT 1 FROM footnote.audit WHERE action = 'audit.prune'")) == 1
    assert (await verify(database)).problems == []


async def test_a_reader_is_not_waited_for_long_and_the_month_goes_the_next_time(database, dsn):
    execute(dsn, "SELECT footnote.make_audit_partition('2025-03-01')")
    await aged(database, dsn, ["a"], OLD)
    with acting_as(SYSTEM):
        async with database.transaction() as connection:
            await connection.fetchval("SELECT count(*) FROM footnote.audit")
            assert await prune(database, days=31, now=datetime(2025, 5, 20, tzinfo=UTC)) == 0
    assert await prune(database, days=31, now=datetime(2025, 5, 20, tzinfo=UTC)) == 1


async def test_partitions_are_made_ahead_once_and_an_insert_never_lacks_one(database, dsn):
    assert await make_partitions(database) == 0
    parts = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'footnote.audit'::regclass ORDER BY 1"
    made = execute(dsn, parts)
    assert len(made) == 5  # this month, three ahead, and the rest
    execute(dsn, f"DROP TABLE {made[0][0]}")
    await Tenants(database).create("homeless")
    assert execute(dsn, "SELECT count(*) FROM footnote.audit_rest") == [(1,)]
    assert await make_partitions(database) == 0  # it has lines in the rest, where they stay
    execute(dsn, f"DROP TABLE {made[2][0]}")
    counts = await asyncio.gather(*(make_partitions(database) for _ in range(4)))
    assert sum(counts) == 1
    assert (await verify(database)).problems == []
