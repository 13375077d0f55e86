"""Several processes that want the vector index of one generation: one builds it, the others wait and hinder nobody."""

import asyncio
from collections import Counter

import pytest
from support.corpus import fill, make_collection

from storage import chunk_tables
from storage.collections import generations as module
from storage.collections.generations import Generations

ASKED = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE '%advisory_lock(%' AND pid <> pg_backend_pid()"""
BUILDS = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"""


@pytest.fixture
def builds(monkeypatch):
    """Count how often an index is built."""
    counted = Counter()
    build = chunk_tables.build_index

    async def building(*args, **options):
        counted["builds"] += 1
        await build(*args, **options)

    monkeypatch.setattr(module, "INDEX_POLL", 0.05)
    monkeypatch.setattr(chunk_tables, "build_index", building)
    return counted


async def until_one(connection, statement):
    async with asyncio.timeout(30):
        while not await connection.fetchval(statement):  # noqa: ASYNC110 (PostgreSQL tells nobody)
            await asyncio.sleep(0.02)


async def test_a_second_builder_waits_without_a_statement_that_the_first_one_would_wait_for(database, builds):
    generation = await make_collection(database)
    await fill(database, generation, {name: (f"text {name}", {}) for name in ("a", "b", "c", "d", "e")})
    async with (
        asyncio.timeout(60),
        asyncio.TaskGroup() as group,
        database.dedicated(as_owner=True) as watching,
        database.transaction() as writing,
    ):
        await writing.execute(f"LOCK TABLE {chunk_tables.qualified(generation.id)} IN ROW EXCLUSIVE MODE")
        group.create_task(Generations(database).tidy(generation, least=5))
        await until_one(watching, BUILDS)  # the first one waits for those that write
        group.create_task(Generations(database).tidy(generation, least=5))
        await until_one(watching, ASKED)  # the second one waits for the first
    async with database.dedicated() as connection:
        assert await chunk_tables.has_index(connection, generation.id)
    assert builds["builds"] == 1


async def test_who_waits_builds_where_the_first_one_did_not(database, builds):
    generation = await make_collection(database)
    await fill(database, generation, {"a": ("one", {})})
    async with asyncio.timeout(60), database.dedicated(as_owner=True) as watching:
        async with database.dedicated() as first:
            key = f"index {generation.id}"
            await first.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", key)
            await first.execute("SELECT 1")  # no longer one that asked
            waiting = asyncio.create_task(Generations(database).tidy(generation))
            await until_one(watching, ASKED)
            assert builds["builds"] == 0
        await waiting
    assert builds["builds"] == 1
