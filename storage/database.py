"""The connection pool and transactions; driver errors are translated here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import structlog
from pgvector.asyncpg import register_vector

from config.errors import FootnoteError
from config.settings import DatabaseSettings
from storage.errors import (
    MissingKey,
    StoreFailed,
    StoreRefused,
    StoreTimeout,
    StoreUnavailable,
    TableGone,
    TransactionConflict,
)
from storage.tracing import TracedConnection, waiting_for_connection

if TYPE_CHECKING:
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Session = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.pool.PoolConnectionProxy
    Session = asyncpg.Connection


def storable(text: str) -> str:
    """Return a text without NUL and lone surrogates, which models write and PostgreSQL rejects."""
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


SCHEMA = "footnote"
CHUNKS = "data_generation_"  # chunk tables: the only ones that are dropped at run time
PING_AFTER_IDLE = 5.0
PING_TIMEOUT = 2.0
RELEASE_TIMEOUT = 2.0
WAITING_STEPS = 5  # in which a wait for a connection is counted
_log = structlog.get_logger(__name__)

_UNAVAILABLE = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.TransactionRollbackError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.ReadOnlySQLTransactionError,
)
DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
UNAVAILABLE = (OSError, TimeoutError, EOFError, *_UNAVAILABLE)
"""Where nothing but the database is asked: a file's own errors, say, have the same classes."""


# a missing database may be created while we wait; a wrong user or password stays wrong
REFUSED = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)


class _Connection(TracedConnection):
    """A connection that records since when it is idle."""

    idle_since = 0.0

    def mark_idle(self) -> None:
        self.idle_since = time.monotonic()

    def idle_seconds(self) -> float:
        return time.monotonic() - self.idle_since


class Database:
    """A pool of asyncpg connections; one that was idle for long is checked before use.

    Every method raises `StoreUnavailable`, `StoreTimeout` or `StoreFailed`, never a driver's error.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        *,
        settings: DatabaseSettings,
        dsn: str,
        session: Mapping[str, str | int] | None = None,
    ) -> None:
        self._pool = pool
        self._dsn = dsn
        self._session = dict(session or {})
        self._settings = settings
        self._lent = 0
        self._returning: set[asyncio.Future[None]] = set()  # the loop keeps no task alive
        self.loop = asyncio.get_running_loop()

    @classmethod
    async def open(
        cls, dsn: str, *, settings: DatabaseSettings, session: Mapping[str, str | int] | None = None
    ) -> Self:
        """Connect, retrying until ``connect_timeout``: a database may start later than its clients.

        `session` are settings that every connection has.
        """
        deadline = time.monotonic() + settings.connect_timeout
        while True:
            try:
                async with _translated():
                    pool = await _create_pool(plain_dsn(dsn), settings, session or {})
                return cls(pool, settings=settings, dsn=plain_dsn(dsn), session=session)
            except StoreRefused:
                raise
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Borrow a working connection."""
        async with _translated(self._pool):
            connection = await self._acquire()
        try:
            async with _translated(self._pool, DRIVER):  # the block has files and timeouts of its own
                yield connection
        finally:
            async with _translated(self._pool):
                # shielded from cancellation; a statement that does not end is aborted
                await self._pool.release(connection, timeout=RELEASE_TIMEOUT)

    @asynccontextmanager
    async def transaction(
        self, *, local: Mapping[str, str | int | float] | None = None, readonly: bool = False
    ) -> AsyncIterator[Connection]:
        """Borrow a connection in a transaction; `local` settings end with it (``SET LOCAL``)."""
        async with self.connection() as connection, connection.transaction(readonly=readonly):
            if local:
                # names and values come from code and bounded settings, never from a request
                await connection.execute("; ".join(f"SET LOCAL {name} = {value}" for name, value in local.items()))
            yield connection

    @asynccontextmanager
    async def tuned(self, wanted: Mapping[str, str | int]) -> AsyncIterator[Connection]:
        """Borrow a connection for reading with certain settings; opens a transaction only if the session's differ."""
        local = {name: value for name, value in wanted.items() if self._session.get(name) != value}
        lent = self.transaction(local=local, readonly=True) if local else self.connection()
        async with lent as connection:
            yield connection

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Session]:
        """Open a connection outside the pool, for session locks, ``LISTEN`` and building an index.

        Its statements have no timeout. Its locks end with it, and it ends with this process.
        """
        async with _translated():
            connection = await asyncpg.connect(
                self._dsn,
                timeout=self._settings.connect_timeout,
                connection_class=_Connection,
                server_settings=_server_settings(self._settings, {}) | {"statement_timeout": "0"},
            )
        try:
            async with _translated(errors=DRIVER):
                yield connection
        finally:
            await _closed(connection)

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the database answers soon; does not wait for the pool."""
        async with _translated(self._pool), asyncio.timeout(PING_TIMEOUT), self.connection() as connection:
            await connection.fetchval("SELECT 1")

    def connections(self) -> Mapping[str, int]:
        """Return the numbers of pool connections: ``idle``, ``used`` and ``max``; thread-safe."""
        idle = self._pool.get_idle_size()
        return {"idle": idle, "used": self._pool.get_size() - idle, "max": self._pool.get_max_size()}

    async def close(self) -> None:
        """Wait briefly for connections in use, then close all."""
        try:
            await asyncio.wait_for(self._pool.close(), timeout=5)
        except TimeoutError:
            self._pool.terminate()

    async def _acquire(self) -> Connection:
        # after a restart of the server, at most all pooled connections are dead
        for attempt in range(self._settings.pool_max + 1):
            try:
                with waiting_for_connection():
                    return await self._wait_for_connection()
            except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, ConnectionError):
                if attempt == self._settings.pool_max:
                    raise
        raise AssertionError

    async def _wait_for_connection(self) -> Connection:
        """Wait in the pool's queue for as long as it moves; `TimeoutError` where it stood still for too long.

        A limit of its own for each waiter would fail those at the end of a long queue that is served well; how long a
        request may take, and how many there are, is limited elsewhere.
        """
        left = patience = self._settings.acquire_timeout
        waiting = asyncio.ensure_future(self._pool.acquire())
        try:
            while not waiting.done() and left > 0:
                step, lent = min(left, patience / WAITING_STEPS), self._lent
                await asyncio.wait({waiting}, timeout=step)
                left = patience if self._lent != lent else left - step  # a loop that stood still: one step
        except asyncio.CancelledError:
            self._leave(waiting)
            raise
        if not waiting.done():
            self._leave(waiting)
            raise TimeoutError
        self._lent += 1
        return waiting.result()

    def _leave(self, waiting: asyncio.Future[Connection]) -> None:
        """Leave the pool's queue; a connection that comes all the same goes back.

        Nothing is awaited here: anyio's cancel scopes cancel again and again, and would end that.
        """
        waiting.cancel()
        waiting.add_done_callback(self._came_too_late)

    def _came_too_late(self, waiting: asyncio.Future[Connection]) -> None:
        if not waiting.cancelled() and waiting.exception() is None:
            returning = asyncio.ensure_future(self._put_back(waiting.result()))
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)

    async def _put_back(self, connection: Connection) -> None:
        with suppress(asyncpg.PostgresError, *UNAVAILABLE):  # it is closed then
            await self._pool.release(connection, timeout=RELEASE_TIMEOUT)


async def _create_pool(
    dsn: str, settings: DatabaseSettings, session: Mapping[str, str | int]
) -> asyncpg.Pool[asyncpg.Record]:
    pool = await asyncpg.create_pool(
        dsn,
        min_size=min(settings.pool_min, settings.pool_max),
        max_size=settings.pool_max,
        timeout=settings.connect_timeout,
        connection_class=_Connection,
        init=_prepare,
        setup=_ping_if_idle,
        reset=_hand_back,
        server_settings=_server_settings(settings, session),
    )
    if pool is None:  # pragma: no cover (only when called in a running constructor)
        raise StoreUnavailable
    return pool


def _server_settings(settings: DatabaseSettings, session: Mapping[str, str | int]) -> dict[str, str]:
    return {
        "application_name": "footnote",
        "search_path": f"{SCHEMA}, public",
        "statement_timeout": str(int(settings.statement_timeout * 1000)),
        "jit": "off",
        **{name: str(value) for name, value in session.items()},
    }


async def _closed(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    try:
        await asyncio.shield(connection.close(timeout=RELEASE_TIMEOUT))
    except (asyncpg.PostgresError, *UNAVAILABLE):
        connection.terminate()


async def _prepare(connection: Any) -> None:  # noqa: ANN401 (asyncpg hands a proxy that its stubs type otherwise)
    schema = await connection.fetchval(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
    )
    if schema is not None:  # missing before the first migration
        await register_vector(connection, schema=schema)


async def _ping_if_idle(connection: Any) -> None:  # noqa: ANN401 (see _prepare)
    if connection.idle_seconds() > PING_AFTER_IDLE:
        await connection.fetchval("SELECT 1", timeout=PING_TIMEOUT)


async def _hand_back(connection: Any) -> None:  # noqa: ANN401 (see _prepare)
    # sessions carry no state here (SET LOCAL, transaction locks), so asyncpg's reset is a safeguard only
    if connection.is_in_transaction():
        await connection.reset()
    connection.mark_idle()


@asynccontextmanager
async def _translated(
    pool: asyncpg.Pool[asyncpg.Record] | None = None,
    errors: tuple[type[Exception], ...] = (asyncpg.PostgresError, *UNAVAILABLE),
) -> AsyncIterator[None]:
    """Translate driver errors; the originals are dropped, since they may quote parameters and rows."""
    try:
        yield
    except errors as exc:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # releasing the connection failed after a cancellation, and its error replaced the cancellation
            raise asyncio.CancelledError from None
        error = _ours(exc, is_exhausted=isinstance(exc, TimeoutError) and pool is not None and _is_exhausted(pool))
        error.was_logged = isinstance(error, StoreUnavailable)
        raise error from None


def _is_exhausted(pool: asyncpg.Pool[asyncpg.Record]) -> bool:
    return pool.get_idle_size() == 0 and pool.get_size() == pool.get_max_size()


def _ours(error: Exception, *, is_exhausted: bool) -> FootnoteError:
    if isinstance(error, asyncpg.QueryCanceledError | asyncpg.LockNotAvailableError):
        return StoreTimeout("the database took too long")
    if isinstance(error, REFUSED):
        _log.warning("store refused", error=type(error).__name__)
        return StoreRefused("the database refuses us: check the user and the password in FOOTNOTE_DATABASE__URL")
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return MissingKey("a row points at one that is not there")
    if isinstance(error, asyncpg.UndefinedTableError) and CHUNKS in str(error):
        return TableGone("a table was dropped while it was wanted; ask again")
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, UNAVAILABLE):
        name, state = type(error).__name__, error.sqlstate
        return StoreFailed(f"the database refused a statement (SQLSTATE {state}, {name})")
    kind, reason = StoreUnavailable, "the database is not available"
    if isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError):
        kind, reason = TransactionConflict, "a concurrent transaction was in the way"
    elif is_exhausted:
        reason = "every connection to the database is in use"
    _log.warning("store unavailable", error=type(error).__name__, reason=reason)
    return kind(reason)


def plain_dsn(dsn: str) -> str:
    """Return the URL with the scheme ``postgresql``, without a SQLAlchemy driver (``postgresql+asyncpg``)."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(scheme="postgresql")) if "+" in parts.scheme or parts.scheme == "postgres" else dsn
