"""Statements past a real PgBouncer, in its modes: found out, kept apart, and without a trace in its sessions."""

import asyncio
import re
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr
from support.environment import make_settings
from support.pgbouncer import start_pgbouncer
from support.sql import execute
from support.stack import until

from storage import pooler, schema_version
from storage.caller import LOCAL, Caller, acting_as
from storage.database import APP_ROLE, Database
from storage.errors import StoreRefused, StoreTimeout
from storage.pooler import Pooler
from storage.refusals import remedy

ELSEWHERE = Caller("other", "ada", sees_all=True)
MODES = ["session", "transaction"]
pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def opened(dsn, shared_dir, pgbouncer, *, session=None, **database):
    url = pgbouncer.url(dsn)
    settings = make_settings(url, shared_dir, database={"direct_url": dsn, "pool_max": 4, **database})
    made = await Database.open(url, settings=settings.database, session=session)
    try:
        yield made
    finally:
        await made.close()


async def found(url):
    return await pooler.find(lambda: asyncpg.connect(url, statement_cache_size=0))


@pytest.mark.parametrize("options", [{}, {"server_round_robin": 1}, {"default_pool_size": 1}], ids=str)
@pytest.mark.parametrize("mode", MODES)
async def test_its_mode_is_found_out(dsn, mode, options):
    with start_pgbouncer(dsn, mode=mode, options=options) as pgbouncer:
        assert await found(pgbouncer.url(dsn)) == Pooler(mode)


@pytest.mark.parametrize("mode", MODES)
async def test_its_mode_is_found_out_beside_others_that_use_it(dsn, mode):
    async def use(url, stop):
        connection = await asyncpg.connect(url, statement_cache_size=0)
        while not stop.is_set():
            async with connection.transaction():
                await connection.fetchval("SELECT pg_sleep(0.002)")
        await connection.close()

    with start_pgbouncer(dsn, mode=mode) as pgbouncer:
        stop = asyncio.Event()
        users = [asyncio.create_task(use(pgbouncer.url(dsn), stop)) for _ in range(8)]
        await asyncio.sleep(0.1)
        assert await found(pgbouncer.url(dsn)) == Pooler(mode)
        stop.set()
        await asyncio.gather(*users)


async def test_without_one_there_is_none(dsn):
    assert await found(dsn) is Pooler.NONE


@pytest.mark.parametrize("mode", MODES)
async def test_transactions_have_the_settings_and_the_role_that_they_need(dsn, shared_dir, mode):
    session = {"hnsw.ef_search": 77}
    with start_pgbouncer(dsn, mode=mode) as pgbouncer:
        async with (
            opened(dsn, shared_dir, pgbouncer, session=session, statement_timeout=7) as database,
            database.transaction() as connection,
        ):
            row = await connection.fetchrow(
                """SELECT current_setting('search_path') AS path, current_setting('statement_timeout') AS timeout,
                   current_setting('jit') AS jit, current_user::text AS role, current_setting('hnsw.ef_search') AS ef,
                   current_setting('footnote.tenant') AS tenant"""
            )
        assert tuple(row) == ("footnote, public", "7s", "off", APP_ROLE, "77", LOCAL.tenant)


@pytest.mark.parametrize("mode", MODES)
async def test_a_statement_that_takes_too_long_is_ended(dsn, shared_dir, mode):
    with start_pgbouncer(dsn, mode=mode) as pgbouncer:
        async with opened(dsn, shared_dir, pgbouncer, statement_timeout=0.2) as database:
            with pytest.raises(StoreTimeout):
                async with database.transaction() as connection:
                    await connection.execute("SELECT pg_sleep(20)")


@pytest.mark.parametrize("mode", MODES)
async def test_a_statement_that_nobody_waits_for_ends_with_its_connection_and_without_a_cancel_request(
    dsn, shared_dir, mode
):
    async def asked(database, statement):
        async with database.transaction() as connection:
            return await connection.fetchval(statement)

    with start_pgbouncer(dsn, mode=mode) as pgbouncer:
        async with opened(dsn, shared_dir, pgbouncer) as database:
            waiting = asyncio.create_task(asked(database, "SELECT pg_sleep(100)"))
            await asyncio.to_thread(
                until, lambda: execute(dsn, "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(100)'")
            )
            waiting.cancel()
            await asyncio.wait([waiting], timeout=30)
            assert waiting.cancelled()
            assert await asked(database, "SELECT 1") == 1
        assert not re.search(r"\(nouser\)@\S+ closing|cancel", pgbouncer.log())  # as whom such requests come


async def test_nothing_of_a_transaction_stays_in_the_session_that_others_get_next(dsn, shared_dir):
    with start_pgbouncer(dsn, mode="transaction", options={"default_pool_size": 1}) as pgbouncer:
        async with opened(dsn, shared_dir, pgbouncer, session={"hnsw.ef_search": 77}) as database:
            await schema_version.check(database)
            with acting_as(Caller("public", "ada", groups=("g",))):
                async with database.transaction() as connection:
                    await connection.fetchval("SELECT count(*) FROM documents")
            stranger = await asyncpg.connect(pgbouncer.url(dsn), statement_cache_size=0)
            plain = await asyncpg.connect(dsn)
            shown = """SELECT name, setting FROM pg_settings
                WHERE name IN ('search_path', 'statement_timeout', 'jit', 'role')
                UNION ALL SELECT 'user', current_user
                UNION ALL SELECT 'tenant', current_setting('footnote.tenant', true)
                UNION ALL SELECT 'prepared', count(*)::text FROM pg_prepared_statements WHERE name <> ''"""
            left = {name: value or None for name, value in await stranger.fetch(shown)}
            usual = {name: value or None for name, value in await plain.fetch(shown)}
            usual["prepared"] = "0"  # of its own statement
            assert left == usual
            await stranger.close()
            await plain.close()


@pytest.mark.parametrize("mode", MODES)
async def test_tenants_that_share_one_session_see_their_own_rows_only(dsn, shared_dir, mode):
    """Every transaction of either is on one and the same connection to PostgreSQL, where the mode allows it."""
    options = {"default_pool_size": 1 if mode == "transaction" else 10}
    with start_pgbouncer(dsn, mode=mode, options=options) as pgbouncer:
        async with opened(dsn, shared_dir, pgbouncer) as database:
            await schema_version.check(database)
            execute(dsn, "INSERT INTO footnote.tenants (id) VALUES ('other')")

            async def count(who):
                with acting_as(who):
                    async with database.transaction() as connection:
                        name = f"{who.tenant} {uuid4()}"
                        await connection.execute(
                            "INSERT INTO footnote.leases (name, holder, expires_at) VALUES ($1, $2, now())",
                            name,
                            uuid4(),
                        )
                        return await connection.fetch("SELECT tenant_id FROM footnote.leases")

            rows = await asyncio.gather(*(count(who) for who in [LOCAL, ELSEWHERE] * 20))
            for who, seen in zip([LOCAL, ELSEWHERE] * 20, rows, strict=True):
                assert {row["tenant_id"] for row in seen} == {who.tenant}


@pytest.mark.parametrize("mode", MODES)
async def test_locks_of_a_session_and_listen_take_the_direct_way(dsn, shared_dir, mode):
    with start_pgbouncer(dsn, mode=mode) as pgbouncer:
        async with opened(dsn, shared_dir, pgbouncer) as database, database.dedicated() as first:
            told = asyncio.Event()
            await first.add_listener("here", lambda *_: told.set())
            assert await first.fetchval("SELECT pg_try_advisory_lock(7)")
            async with database.dedicated() as second:
                assert not await second.fetchval("SELECT pg_try_advisory_lock(7)")
            async with database.transaction() as connection:
                assert not await connection.fetchval("SELECT pg_try_advisory_xact_lock(7)")
                await connection.execute("SELECT pg_notify('here', '')")
            async with asyncio.timeout(10):
                await told.wait()


async def test_in_session_mode_they_need_no_other_way(dsn, shared_dir):
    with start_pgbouncer(dsn, mode="session") as pgbouncer:
        async with opened(dsn, shared_dir, pgbouncer, direct_url=None) as database, database.dedicated() as session:
            assert await session.fetchval("SHOW search_path") == "footnote, public"
            assert await session.fetchval("SHOW statement_timeout") == "0"
            assert await session.fetchval("SELECT current_user::text") == APP_ROLE


@pytest.mark.parametrize("mode", MODES)
async def test_an_upgrade_takes_the_direct_way_or_that_of_a_session(dsn, shared_dir, mode):
    with start_pgbouncer(dsn, mode=mode) as pgbouncer:
        url = pgbouncer.url(dsn)
        settings = make_settings(url, shared_dir).database
        if mode == "transaction":
            with pytest.raises(StoreRefused, match="URL leads to a pooler in transaction mode"):
                await schema_version.upgrade(url, settings)
            settings = settings.model_copy(update={"direct_url": SecretStr(dsn)})
        assert await schema_version.upgrade(url, settings) == (schema_version.REVISION, schema_version.REVISION)


@pytest.mark.parametrize("pooler_setting", ["auto", "transaction"])
async def test_a_start_in_transaction_mode_without_a_direct_way_ends_with_what_to_set(dsn, shared_dir, pooler_setting):
    with (
        start_pgbouncer(dsn, mode="transaction") as pgbouncer,
        pytest.raises(StoreRefused, match=r"transaction mode.*FOOTNOTE_DATABASE__DIRECT_URL to PostgreSQL itself"),
    ):
        async with opened(dsn, shared_dir, pgbouncer, direct_url=None, pooler=pooler_setting):
            pass


async def test_a_direct_way_that_is_a_pooler_of_that_mode_is_refused(dsn, shared_dir):
    with (
        start_pgbouncer(dsn, mode="transaction") as pgbouncer,
        pytest.raises(StoreRefused, match="DIRECT_URL leads to a pooler in transaction mode"),
    ):
        async with opened(dsn, shared_dir, pgbouncer, direct_url=pgbouncer.url(dsn)):
            pass


async def test_two_ways_to_different_databases_are_refused(dsn, shared_dir, postgres):
    with (
        start_pgbouncer(dsn, mode="session") as pgbouncer,
        pytest.raises(StoreRefused, match="DIRECT_URL and FOOTNOTE_DATABASE__URL lead to different databases"),
    ):
        async with opened(dsn, shared_dir, pgbouncer, direct_url=postgres("footnote")):
            pass


async def test_statement_mode_is_refused(dsn, shared_dir):
    with (
        start_pgbouncer(dsn, mode="statement") as pgbouncer,
        pytest.raises(StoreRefused, match="pool_mode to transaction or session"),
    ):
        async with opened(dsn, shared_dir, pgbouncer):
            pass


async def test_a_setting_that_overlooks_the_pooler_is_told_of_with_its_words(dsn, shared_dir):
    with (
        start_pgbouncer(dsn, mode="session") as pgbouncer,
        pytest.raises(
            StoreRefused,
            match=r"unsupported startup parameter.*; where FOOTNOTE_DATABASE__POOLER is none, set it to auto",
        ),
    ):
        async with opened(dsn, shared_dir, pgbouncer, pooler="none"):
            pass


@pytest.mark.parametrize("options", [{}, {"server_round_robin": 1}], ids=str)
async def test_a_setting_that_takes_a_pooler_in_transaction_mode_for_one_in_session_mode_is_refused(
    dsn, shared_dir, options
):
    with (
        start_pgbouncer(dsn, mode="transaction", options=options) as pgbouncer,
        pytest.raises(StoreRefused, match=r"POOLER is session.* set it to transaction, or to auto"),
    ):
        async with opened(dsn, shared_dir, pgbouncer, pooler="session"):
            pass


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InvalidSQLStatementNameError('prepared statement "__asyncpg_stmt_1__" does not exist'),
        asyncpg.DuplicatePreparedStatementError('prepared statement "__asyncpg_stmt_1__" already exists'),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_statement_that_was_prepared_in_another_session_names_the_setting_too(error):
    """Where two clients do not meet: the pooler is several processes."""
    told = remedy(error, setting="X")
    assert told is not None
    assert "FOOTNOTE_DATABASE__POOLER says otherwise; set it to transaction, or to auto" in told


async def test_a_setting_of_session_mode_holds_before_a_pooler_of_that_mode(dsn, shared_dir):
    with start_pgbouncer(dsn, mode="session") as pgbouncer:
        async with opened(dsn, shared_dir, pgbouncer, pooler="session") as database:
            assert database.pooler is Pooler.SESSION


@pytest.mark.parametrize("mode", MODES)
async def test_names_are_settings_and_nothing_else_whatever_the_server_makes_of_backslashes(dsn, shared_dir, mode):
    """The setting that a transaction begins with comes too late for the literals of the same message."""
    odd = "back\\slash\\'; SET LOCAL ROLE NONE; --\\"
    execute(dsn, f"ALTER DATABASE {urlsplit(dsn).path.removeprefix('/')} SET standard_conforming_strings = off")
    with start_pgbouncer(dsn, mode=mode) as pgbouncer:
        async with opened(dsn, shared_dir, pgbouncer) as database:
            with acting_as(Caller("public", odd)):
                async with database.transaction() as connection:
                    row = await connection.fetchrow(
                        "SELECT current_setting('footnote.subject') AS subject, current_user::text AS role"
                    )
            assert tuple(row) == (odd, APP_ROLE)
