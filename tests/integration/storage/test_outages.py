"""A database that is silent, or read-only, or changes place: how long its users wait, and what they are told.

Every wait that is measured has a limit of several times its setting, for the sake of a busy machine: without the limit
under test it would have no end.
"""

import asyncio
import contextlib
import socket
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr
from support.pgbouncer import start_pgbouncer
from support.tcp_proxy import tcp_proxy

from config.settings import DatabaseSettings
from storage.database import MOST_REFUSED, TRIAL_INTERVAL, Database, reading
from storage.errors import StoreReadOnly, StoreSilent, StoreTimeout, StoreUnavailable
from storage.local import LocalPostgres

FOREVER = 60.0
"""Seconds by which whoever waits without a limit has failed."""


def hurried(settings, **changes):
    limits = {"pool_min": 1, "pool_max": 3, "acquire_timeout": 1.0, "statement_timeout": 1.0}
    return settings.database.model_copy(update=limits | changes)


@pytest.fixture
def proxy(dsn):
    with tcp_proxy(dsn) as running:
        yield running


@pytest.fixture
async def behind(proxy, settings):
    """Lend a database behind the proxy, which has been used a moment ago."""
    database = await Database.open(proxy.dsn, settings=hurried(settings))
    async with database.connection() as connection:
        await connection.fetchval("SELECT 1")
    yield database
    proxy.forward()
    await database.close()


async def ask(database):
    async with database.connection() as connection:
        return await connection.fetchval("SELECT 42")


async def test_a_silent_database_is_unavailable_within_the_budget_and_answers_again_when_it_does(behind, proxy):
    proxy.swallow()
    async with asyncio.timeout(FOREVER):
        found = await asyncio.gather(*(ask(behind) for _ in range(12)), return_exceptions=True)
    assert all(isinstance(each, StoreUnavailable) for each in found)
    proxy.forward()
    assert await ask(behind) == 42


async def test_a_statement_under_way_when_the_network_falls_silent_ends(behind, proxy):
    async def slow():
        async with behind.connection() as connection:
            await connection.fetchval("SELECT pg_sleep(0.5)")

    waiting = asyncio.create_task(slow())
    await asyncio.sleep(0.2)
    proxy.swallow()
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        async with asyncio.timeout(FOREVER):
            await waiting


async def test_once_it_is_known_to_be_silent_a_request_waits_a_second_and_not_again_and_again(behind, proxy):
    behind._settings = behind._settings.model_copy(update={"acquire_timeout": 8.0})
    proxy.swallow()
    with pytest.raises(StoreSilent):
        await asyncio.wait_for(ask(behind), FOREVER)
    assert behind.is_silent
    began = time.monotonic()
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(ask(behind), FOREVER)
    assert time.monotonic() - began < 30  # of five times eight seconds
    proxy.forward()
    await asyncio.wait({behind._trial}, timeout=FOREVER)
    assert not behind.is_silent
    assert await ask(behind) == 42


async def test_while_it_is_silent_nobody_opens_connections_but_the_one_that_looks_for_it(settings, proxy):
    """A pooler logs clients in while its server is silent, and keeps those that have left for minutes."""
    database = await Database.open(proxy.dsn, settings=hurried(settings, pool_max=20))
    try:
        await ask(database)
        proxy.swallow()
        with pytest.raises(StoreSilent):
            await asyncio.wait_for(ask(database), FOREVER)
        assert database.is_silent
        began, before = time.monotonic(), proxy.accepted
        for _ in range(3):
            found = await asyncio.gather(*(ask(database) for _ in range(30)), return_exceptions=True)
            assert all(isinstance(each, StoreSilent) for each in found)
        assert proxy.accepted - before <= 1 + (time.monotonic() - began) / TRIAL_INTERVAL
    finally:
        proxy.forward()
        await database.close()


async def test_a_pooler_is_not_filled_while_the_database_behind_it_is_silent(dsn, settings, proxy):
    with start_pgbouncer(dsn, mode="transaction", proxy=proxy) as pgbouncer:
        limits = hurried(settings, pool_max=12).model_copy(update={"direct_url": SecretStr(dsn)})
        database = await Database.open(pgbouncer.url(dsn), settings=limits)
        try:
            await asyncio.gather(*(ask(database) for _ in range(12)))
            proxy.swallow()
            until, answers = time.monotonic() + 10, []
            while time.monotonic() < until:
                answers += await asyncio.gather(*(ask(database) for _ in range(20)), return_exceptions=True)
            assert all(isinstance(each, StoreUnavailable) for each in answers)
            # of the pool those that were lent, those that took their place before silence was known, and the trials'
            assert pgbouncer.clients() <= 12 + 12 + 10 / TRIAL_INTERVAL
            proxy.forward()
            async with asyncio.timeout(FOREVER):
                while (await asyncio.gather(*(ask(database) for _ in range(20)), return_exceptions=True)) != [42] * 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            proxy.forward()
            await database.close()


async def test_who_gets_no_new_connection_tries_only_once_more(settings, proxy):
    database = await Database.open(proxy.dsn, settings=hurried(settings, pool_max=20))
    try:
        await asyncio.gather(*(ask(database) for _ in range(20)))
        proxy.refuse()
        await asyncio.sleep(0.1)  # all are broken, and each is found to be
        before = proxy.accepted
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(ask(database), FOREVER)
        assert proxy.accepted - before <= MOST_REFUSED
    finally:
        proxy.forward()
        await database.close()


async def test_a_transaction_without_a_limit_of_its_own_has_none_here_either(behind):
    async with behind.transaction(local={"statement_timeout": 0}) as connection:
        await connection.fetchval("SELECT pg_sleep(3.5)")  # the pool's statements have one second, and two more
    with pytest.raises(StoreTimeout):
        async with behind.connection() as connection:
            await connection.fetchval("SELECT pg_sleep(60)")
    with pytest.raises(StoreTimeout):
        async with behind.transaction(local={"statement_timeout": 200}) as connection:
            await connection.fetchval("SELECT pg_sleep(60)")


async def test_a_cancelled_borrower_of_a_silent_connection_is_let_go(behind, proxy):
    async def slow():
        async with behind.connection() as connection:
            await connection.fetchval("SELECT pg_sleep(0.5)")

    waiting = asyncio.create_task(slow())
    await asyncio.sleep(0.2)
    proxy.swallow()
    waiting.cancel()
    done, _ = await asyncio.wait({waiting}, timeout=FOREVER)
    assert done
    assert waiting.cancelled()


async def test_all_attempts_for_a_connection_share_one_budget(behind, proxy, monkeypatch):
    monkeypatch.setattr("storage.database.PING_AFTER_IDLE", 0.0)  # each attempt asks, and waits for two seconds
    async with asyncio.TaskGroup() as group:  # all three are open
        for _ in range(3):
            group.create_task(ask(behind))
    behind._settings = behind._settings.model_copy(update={"acquire_timeout": 3.0, "pool_max": 40})
    proxy.swallow()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(FOREVER):
            await ask(behind)
    assert time.monotonic() - began < 20  # of up to 41 attempts of two or three seconds


async def test_a_timed_dedicated_connection_does_not_wait_for_ever(behind, proxy):
    async def read():
        async with behind.dedicated(is_timed=True) as connection:
            proxy.swallow()
            async with reading(connection):
                await connection.fetchval("SELECT 1")

    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(read(), FOREVER)


@pytest.fixture
def folder():
    """Lend a folder that PostgreSQL's user may pass, which other runs of pytest would close."""
    with tempfile.TemporaryDirectory(prefix="footnote-frozen-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


async def test_a_postgresql_that_is_frozen_is_given_up_and_used_again_once_it_goes_on(folder):
    local = LocalPostgres(folder)
    limits = {"acquire_timeout": 1.0, "statement_timeout": 1.0, "connect_timeout": 60}
    database = await Database.open(local.start(), settings=DatabaseSettings(**limits))
    frozen = [each for each in psutil.process_iter(["name"]) if _is_of(each, local)]
    try:
        assert await ask(database) == 42
        for process in frozen:
            process.suspend()
        with pytest.raises(StoreSilent):
            await asyncio.wait_for(ask(database), FOREVER)
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(database.ping(), FOREVER)
    finally:
        for process in frozen:
            process.resume()
    await asyncio.wait({database._trial}, timeout=FOREVER)
    assert await ask(database) == 42
    await database.close()
    local.stop()


def _is_of(process, local):
    with contextlib.suppress(psutil.Error):
        return process.info["name"].startswith("postgres") and process.cwd() == str(local.directory)
    return False


async def test_sockets_to_the_database_have_keepalives_and_a_limit_of_their_own(behind):
    async def options(connection):
        found = connection._transport.get_extra_info("socket")
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5

    async with behind.connection() as connection:
        await options(connection)
    async with behind.dedicated() as connection:
        await options(connection)


async def test_connections_to_a_writer_that_was_demoted_are_replaced(behind):
    async with behind.connection() as connection:
        before = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.execute("SELECT set_config('default_transaction_read_only', 'on', false)")
    with pytest.raises(StoreReadOnly):
        async with behind.connection() as connection:
            await connection.execute("CREATE TABLE footnote.nothing ()")
    async with behind.connection() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") != before
        await connection.execute("SELECT pg_advisory_xact_lock(1)")
    assert behind.renewals == 1


async def test_a_ping_says_that_the_database_is_read_only(behind):
    async with behind.connection() as connection:
        await connection.execute("SELECT set_config('default_transaction_read_only', 'on', false)")
    with pytest.raises(StoreReadOnly, match="read-only"):
        await behind.ping()
    await behind.ping()  # by another connection
