import asyncio
import re
import socket
from urllib.parse import parse_qs, urlsplit

import anyio
import asyncpg
import pytest
from support.environment import make_settings

from config.settings import DatabaseSettings
from storage.connecting import plain_dsn
from storage.database import Database
from storage.errors import StoreFailed, StoreRefused, StoreTimeout, StoreUnavailable


async def test_a_set_local_ends_with_its_transaction(settings):
    one = settings.database.model_copy(update={"pool_min": 1, "pool_max": 1})
    database = await Database.open(one.url.get_secret_value(), settings=one)
    async with database.transaction(local={"work_mem": "'77MB'"}) as connection:
        assert await connection.fetchval("SHOW work_mem") == "77MB"
    async with database.connection() as connection:  # the same one: there is no other
        assert await connection.fetchval("SHOW work_mem") != "77MB"
    await database.close()


async def test_a_connection_that_the_server_closed_is_not_lent(settings):
    one = settings.database.model_copy(update={"pool_min": 1, "pool_max": 1})
    dsn = one.url.get_secret_value()
    database = await Database.open(dsn, settings=one)
    async with database.connection() as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    killer = await asyncpg.connect(dsn)
    await killer.execute("SELECT pg_terminate_backend($1)", pid)
    await killer.close()
    await asyncio.sleep(0.2)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") != pid
    await database.close()


async def test_a_long_queue_for_a_connection_is_waited_in_while_it_moves(settings):
    small = settings.database.model_copy(update={"pool_min": 1, "pool_max": 1, "acquire_timeout": 0.5})
    database = await Database.open(small.url.get_secret_value(), settings=small)

    async def use():
        async with database.connection() as connection:
            await connection.execute("SELECT pg_sleep(0.1)")

    await asyncio.gather(*(use() for _ in range(15)))  # the last one waits for three times the timeout
    given_up = [asyncio.create_task(use()) for _ in range(5)]
    await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    await use()  # nobody has taken the connection along
    await database.close()


async def test_a_full_pool_is_store_unavailable_after_the_acquire_timeout(settings):
    small = settings.database.model_copy(update={"pool_min": 1, "pool_max": 1, "acquire_timeout": 0.2})
    database = await Database.open(small.url.get_secret_value(), settings=small)
    async with database.connection():
        with pytest.raises(StoreUnavailable):
            async with database.connection():
                pass
    async with database.connection() as connection:  # and it is whole again
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()


async def test_a_slow_statement_is_a_store_timeout(settings):
    hurried = settings.database.model_copy(update={"statement_timeout": 0.1})
    database = await Database.open(hurried.url.get_secret_value(), settings=hurried)
    with pytest.raises(StoreTimeout):
        async with database.connection() as connection:
            await connection.fetchval("SELECT pg_sleep(5)")
    await database.close()


async def test_a_refused_statement_names_neither_sql_nor_values_nor_the_driver_s_error(database):
    with pytest.raises(StoreFailed) as caught:
        async with database.connection() as connection:
            await connection.fetchval("SELECT $1::text::int", "a secret of the document")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "22P02" in str(caught.value)


async def test_a_cancelled_borrower_gives_its_connection_back(settings):
    one = settings.database.model_copy(update={"pool_min": 1, "pool_max": 1})
    database = await Database.open(one.url.get_secret_value(), settings=one)

    async def borrow():
        async with database.transaction() as connection:
            await connection.fetchval("SELECT pg_sleep(20)")

    task = asyncio.create_task(borrow())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database._borrowed() as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()


async def test_a_connection_that_comes_as_its_borrower_is_cancelled_again_and_again_goes_back(settings, monkeypatch):
    one = settings.database.model_copy(update={"pool_min": 1, "pool_max": 1})
    database = await Database.open(one.url.get_secret_value(), settings=one)
    acquire, scope = asyncpg.Pool.acquire, anyio.CancelScope()

    async def acquire_too_late(pool):
        connection = await acquire(pool)
        scope.cancel()  # from now on it cancels at each turn of the loop
        return connection

    with monkeypatch.context() as patched, scope:
        patched.setattr(asyncpg.Pool, "acquire", acquire_too_late)
        async with database.connection():
            pytest.fail("it was lent")
    assert scope.cancelled_caught
    async with database.connection() as connection:  # there is no other
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()


async def test_a_connection_comes_back_whenever_a_cancel_scope_ends_its_borrower(settings):
    one = settings.database.model_copy(update={"pool_min": 1, "pool_max": 1})
    database = await Database.open(one.url.get_secret_value(), settings=one)
    done = 0

    async def cancel(scope, turns):
        for _ in range(turns):
            await asyncio.sleep(0)
        scope.cancel()

    async def borrow():
        async with database.transaction(local={"work_mem": "'77MB'"}) as connection:
            await connection.fetchval("SELECT 1")

    for turns in range(60):  # while it waits, begins, asks, commits and gives back
        with anyio.CancelScope() as scope:
            cancelling = asyncio.create_task(cancel(scope, turns * turns // 4))
            await borrow()
            done += 1
        await cancelling
        async with asyncio.timeout(5), database._borrowed() as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SHOW work_mem") != "77MB"
    assert 0 < done < 60
    await database.close()


async def test_a_database_that_is_not_there_is_store_unavailable_and_hides_the_password():
    settings = DatabaseSettings(url="postgresql://me:hidden@127.0.0.1:9/x", connect_timeout=0.3)
    with pytest.raises(StoreUnavailable) as caught:
        await Database.open(settings.url.get_secret_value(), settings=settings)
    assert "hidden" not in str(caught.value)


async def test_the_database_may_start_after_its_client(dsn, shared_dir):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = re.sub(r"@/(.*)\?.*", rf"@127.0.0.1:{port}/\1", dsn)
    opening = asyncio.create_task(Database.open(url, settings=make_settings(url, shared_dir).database))
    await asyncio.sleep(0.3)
    assert not opening.done()

    async def relay(reader, writer):
        there = await asyncio.open_unix_connection(parse_qs(urlsplit(dsn).query)["host"][0] + "/.s.PGSQL.5432")
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

    async def _copy(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(relay, "127.0.0.1", port):
        database = await opening
        await database.ping()
        await database.close()


def test_urls_of_sqlalchemy_and_heroku_are_understood():
    assert plain_dsn("postgresql+asyncpg://u:p@h/d") == "postgresql://u:p@h/d"
    assert plain_dsn("postgres://u:p@h/d?sslmode=require") == "postgresql://u:p@h/d?sslmode=require"
    local = "postgresql://postgres@/footnote?host=%2Ftmp%2Fx"
    assert plain_dsn(local) == local


async def test_a_database_that_refuses_us_is_told_at_once_and_not_tried_again(settings):
    wrong = re.sub("//[^@/]*@", "//nobody-such@", settings.database.url.get_secret_value())
    assert "nobody-such" in wrong
    with pytest.raises(StoreRefused, match="FOOTNOTE_DATABASE__URL"):
        async with asyncio.timeout(4):  # the settings would wait for five seconds
            await Database.open(wrong, settings=settings.database)


@pytest.mark.parametrize("lend", ["connection", "transaction", "dedicated"])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), TimeoutError(), EOFError()], ids=repr)
async def test_an_error_of_the_borrower_s_own_is_not_the_database_s(database, lend, error):
    with pytest.raises(type(error)) as caught:
        async with getattr(database, lend)():
            raise error
    assert caught.value is error


@pytest.mark.parametrize("lend", ["connection", "transaction", "dedicated"])
async def test_a_statement_that_is_not_answered_in_time_is_the_database_s(database, lend):
    with pytest.raises(StoreUnavailable):
        async with getattr(database, lend)() as connection:
            await connection.fetchval("SELECT pg_sleep(60)", timeout=0.05)


async def test_a_connection_that_is_lost_between_being_lent_and_its_transaction_is_unavailable(database, monkeypatch):
    acquire = database._acquire

    async def lost(**patience):
        connection = await acquire(**patience)
        await database._pool.release(connection)  # as asyncpg does where the server ends it: the proxy is empty
        return connection

    monkeypatch.setattr(database, "_acquire", lost)
    with pytest.raises(StoreUnavailable):
        async with database.transaction():
            pass
    monkeypatch.undo()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1
