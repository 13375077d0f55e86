"""The connection pool and transactions; driver errors are translated here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import structlog
from pgvector.asyncpg import register_vector

from config.errors import FootnoteError
from config.settings import DatabaseSettings
from storage.caller import SYSTEM, Caller, caller
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
APP_ROLE = "footnote_app"
"""The role that statements run as: it owns no table and bypasses no policy (migration 0016)."""
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
    """A connection whose transactions act for the caller, and that records since when it is idle."""

    idle_since = 0.0
    is_restricted = False
    _local: Mapping[str, str | int | float] = {}

    def mark_restricted(self) -> None:
        self.is_restricted = True

    def set_at_begin(self, local: Mapping[str, str | int | float]) -> None:
        """Let the next transaction begin with settings that end with it."""
        self._local = local

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> Any:  # noqa: ANN401, ASYNC109 (asyncpg's)
        if query.startswith("BEGIN"):  # asyncpg's own: one message sets what the policies compare rows with
            local, self._local = {**_identity(caller()), **self._local}, {}
            query = "; ".join([query.rstrip(";"), *(f"SET LOCAL {name} = {value}" for name, value in local.items())])
        return await super().execute(query, *args, timeout=timeout)

    def mark_idle(self) -> None:
        self.idle_since = time.monotonic()

    def idle_seconds(self) -> float:
        return time.monotonic() - self.idle_since


def _begin_with(connection: Connection, local: Mapping[str, str | int | float]) -> None:
    """Let the next transaction begin with settings; names and values come from code, never from a request."""
    try:
        connection.set_at_begin(local)  # type: ignore[attr-defined] # the proxy passes it on
    except AttributeError:  # it was lost between being lent and this: the proxy has nothing to pass it on to
        msg = "the connection was lost"
        raise asyncpg.InterfaceError(msg) from None


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
        """Borrow a connection in a transaction, as `transaction` does."""
        async with self.transaction() as connection:
            yield connection

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Connection]:
        """Borrow a working connection; outside of a transaction it sees no row that belongs to a tenant."""
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
        """Borrow a connection in a transaction that acts for the caller; `local` settings end with it.

        Where nobody asks, no row exists: see `storage.caller`.
        """
        async with self._borrowed() as connection:
            _begin_with(connection, local or {})
            async with connection.transaction(readonly=readonly):
                yield connection

    @asynccontextmanager
    async def tuned(self, wanted: Mapping[str, str | int]) -> AsyncIterator[Connection]:
        """Borrow a connection for reading with certain settings, which are set only if the session's differ."""
        local = {name: value for name, value in wanted.items() if self._session.get(name) != value}
        async with self.transaction(local=local, readonly=True) as connection:
            yield connection

    @asynccontextmanager
    async def dedicated(self, *, as_owner: bool = False) -> AsyncIterator[Session]:
        """Open a connection outside the pool, for session locks, ``LISTEN`` and building an index.

        Its statements have no timeout. Its locks end with it, and it ends with this process. Only the tables' owner can
        build an index.
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
                if not as_owner:
                    await _restrict(connection)
                yield connection
        finally:
            await _closed(connection)

    async def renew(self) -> None:
        """Replace every connection before it is used again: the role that they switch to may be there by now."""
        await self._pool.expire_connections()

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the database answers soon; does not wait for the pool."""
        async with _translated(self._pool), asyncio.timeout(PING_TIMEOUT), self._borrowed() as connection:
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
        "standard_conforming_strings": "on",  # see `_identity`
        **{name: str(value) for name, value in session.items()},
    }


async def _closed(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    try:
        await asyncio.shield(connection.close(timeout=RELEASE_TIMEOUT))
    except (asyncpg.PostgresError, *UNAVAILABLE):
        connection.terminate()


def _identity(who: Caller | None) -> dict[str, str]:
    """Return the settings that the policies compare rows with; nobody's match no row."""
    if who is None:
        return {}
    settings = {
        "tenant": _quoted(who.tenant),
        "subject": _quoted(who.subject),
        "access": _quoted(_array(who.access)),
    }
    if who.sees_all:
        settings["sees_all"] = "'on'"
    if who is SYSTEM:
        settings["system"] = "'on'"
    return {f"{SCHEMA}.{name}": value for name, value in settings.items()}


def _array(items: Iterable[str]) -> str:
    escaped = (item.replace("\\", "\\\\").replace('"', '\\"') for item in items)
    return "{" + ",".join(f'"{item}"' for item in escaped) + "}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def reading(connection: Session) -> AbstractAsyncContextManager[None]:
    """Open a transaction of a dedicated connection, which acts for the caller."""
    return connection.transaction(readonly=True)


@asynccontextmanager
async def owning(connection: Connection) -> AsyncIterator[str]:
    """Let the connection's transaction create or drop a table of chunks, as the tables' owner.

    Yields SQL that lets the application's role use a new ``{table}``.
    """
    await connection.execute("SET LOCAL ROLE NONE")
    is_restricted: bool = connection.is_restricted  # type: ignore[attr-defined] # the proxy passes it on
    yield f"; GRANT SELECT, INSERT, UPDATE, DELETE ON {{table}} TO {APP_ROLE}" if is_restricted else ""
    if is_restricted:  # an error ends the transaction, and the role with it
        await connection.execute(f"SET LOCAL ROLE {APP_ROLE}")


async def _restrict(connection: Any) -> None:  # noqa: ANN401 (see _prepare)
    """Give up the rights of the tables' owner, and a superuser's; `storage.schema_version.check` sees to it."""
    if await connection.fetchval(_CAN_RESTRICT, APP_ROLE, SCHEMA):
        await connection.execute(f"SET ROLE {APP_ROLE}")
        connection.mark_restricted()


_CAN_RESTRICT = """
    SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1 AND has_schema_privilege(oid, to_regnamespace($2), 'USAGE')
        AND pg_has_role(session_user, oid,
            CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END))"""


async def _prepare(connection: Any) -> None:  # noqa: ANN401 (asyncpg hands a proxy that its stubs type otherwise)
    schema = await connection.fetchval(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
    )
    if schema is not None:  # missing before the first migration
        await register_vector(connection, schema=schema)
    await _restrict(connection)


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
