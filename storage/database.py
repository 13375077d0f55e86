"""The connection pool and transactions; driver errors are translated here."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import asyncpg
import structlog
from pgvector.asyncpg import register_vector

from config.errors import FootnoteError
from config.settings import DatabaseSettings
from storage.caller import SYSTEM, Caller, caller
from storage.connecting import LEAST_VERSION, URL, Ways
from storage.errors import (
    MissingKey,
    StoreFailed,
    StoreReadOnly,
    StoreRefused,
    StoreSilent,
    StoreTimeout,
    StoreUnavailable,
    TableGone,
    TransactionConflict,
)
from storage.origin import actor_of
from storage.pooler import Pooler
from storage.refusals import ServerUnfit, is_of_password, remedy, words
from storage.sockets import watch
from storage.tracing import ConnectionSilent, TracedConnection, waiting_for_connection

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
SEARCH_PATH = f"{SCHEMA}, public"
APP_ROLE = "footnote_app"
"""The role that statements run as: it owns no table and bypasses no policy (migration 0016)."""
CHUNKS = "data_generation_"  # chunk tables: the only ones that are dropped at run time
PING_AFTER_IDLE = 5.0
PING_TIMEOUT = 2.0
RELEASE_TIMEOUT = 2.0
ANSWER_MARGIN = 2.0
"""Seconds after the server's ``statement_timeout`` in which the client waits for it to say so."""
LEAST_BEGIN = 2.0  # seconds for the first statement of a connection that was got at the last moment
SILENT_PATIENCE = 1.0
"""Seconds that a connection is waited for while the database is known to be silent: one request asks several times."""
NEW = "no new connection could be made"
MOST_REFUSED = 2
"""New connections that a request asks for in vain: more would only keep a server, or its pooler, busy."""
TRIAL_INTERVAL = 0.5  # seconds between two looks whether a silent database answers again
RENEW_INTERVAL = 1.0  # seconds at least between two times that all connections are replaced
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
    _begin_within: float | None = None
    _config: Any  # the driver's, which it reads its `command_timeout` from at each statement
    _own: Any = None
    _local: Mapping[str, str | int | float] = {}
    _always: Mapping[str, str] = {}

    def mark_restricted(self) -> None:
        self.is_restricted = True

    def set_at_begin(self, local: Mapping[str, str | int | float]) -> None:
        """Let the next transaction begin with settings that end with it."""
        self._local = local

    def always_begin_with(self, settings: Mapping[str, str]) -> None:
        """Let every transaction begin with settings that the session does not have."""
        self._always = settings

    def begin_within(self, seconds: float) -> None:
        """Let the next transaction begin within so many seconds."""
        self._begin_within = seconds

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> Any:  # noqa: ANN401, ASYNC109 (asyncpg's)
        if query.startswith("BEGIN"):  # asyncpg's own: one message sets what the policies compare rows with
            self._limit_answers(self._local.get("statement_timeout"))
            local, self._local = {**self._always, **_identity(caller()), **_actor(query), **self._local}, {}
            query = "; ".join([query.rstrip(";"), *(f"SET LOCAL {name} = {value}" for name, value in local.items())])
            timeout, self._begin_within = self._begin_within, None
        elif query.startswith("ROLLBACK") and self._config.command_timeout:
            timeout = RELEASE_TIMEOUT  # one that cannot even do this is ended, and its transaction with it
        return await super().execute(query, *args, timeout=timeout)

    def _limit_answers(self, statement_timeout: str | float | None) -> None:
        """Wait for answers as long as the server works on them, in the transaction that begins."""
        if self._own is None:
            self._own = self._config
        if statement_timeout is None:
            self._config = self._own
        else:
            limit = float(statement_timeout) / 1000 + ANSWER_MARGIN if float(statement_timeout) else None
            self._config = self._own._replace(command_timeout=limit)

    def mark_idle(self) -> None:
        self.idle_since = time.monotonic()

    def idle_seconds(self) -> float:
        return time.monotonic() - self.idle_since


def _begin_with(connection: Connection, local: Mapping[str, str | int | float]) -> None:
    """Let the next transaction begin with settings; names and values come from code, never from a request."""
    with _passed_on():
        connection.set_at_begin(local)  # type: ignore[attr-defined] # the proxy passes it on


def _begin_within(connection: Connection, seconds: float) -> None:
    with _passed_on():
        connection.begin_within(seconds)  # type: ignore[attr-defined] # the proxy passes it on


@contextmanager
def _passed_on() -> Iterator[None]:
    try:
        yield
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
        ways: Ways,
        session: Mapping[str, str | int] | None = None,
    ) -> None:
        self._pool = pool
        self._ways = ways
        self._session = dict(session or {})
        self._settings = settings
        self._lent = 0
        self._returning: set[asyncio.Future[None]] = set()  # the loop keeps no task alive
        self._renewed_at = self._answered_at = float("-inf")
        self._trial: asyncio.Task[None] | None = None  # runs while the database is silent
        self.renewals = 0
        self._doubted = 0  # requests that try an open connection of a silent database
        self.loop = asyncio.get_running_loop()

    @classmethod
    async def open(
        cls, dsn: str, *, settings: DatabaseSettings, session: Mapping[str, str | int] | None = None
    ) -> Self:
        """Connect, retrying until ``connect_timeout``: a database may start later than its clients.

        `session` are settings that every connection has.

        Raises:
            StoreRefused: no waiting would help; the message says what to change.
            StoreUnavailable: it did not answer in time.

        """
        deadline = time.monotonic() + settings.connect_timeout
        while True:
            try:
                async with _told_at_start():
                    ways = await Ways.found(dsn, settings)
                    pool = await _create_pool(ways, settings, session or {})
                return cls(pool, settings=settings, ways=ways, session=session)
            except StoreRefused:
                raise
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)

    @property
    def pooler(self) -> Pooler:
        """What pooled connections go through."""
        return self._ways.pooled.pooler

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Borrow a connection in a transaction, as `transaction` does."""
        async with self.transaction() as connection:
            yield connection

    @asynccontextmanager
    async def _borrowed(self, *, is_trial: bool = False) -> AsyncIterator[Connection]:
        """Borrow a working connection; outside of a transaction it sees no row that belongs to a tenant."""
        with self._watched():
            async with _translated(self._pool):
                is_doubted = self.is_silent and not is_trial
                connection = await (self._acquire_open() if is_doubted else self._acquire())
        try:
            with self._watched():
                async with _translated(self._pool, DRIVER):  # the block has files and timeouts of its own
                    yield connection
            self._answered_at = time.monotonic()
        except StoreReadOnly:
            await self._renew_if_due()
            raise
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
    async def dedicated(self, *, as_owner: bool = False, is_timed: bool = False) -> AsyncIterator[Session]:
        """Open a connection outside the pool, for session locks, ``LISTEN`` and building an index.

        Its statements have no timeout unless `is_timed`. Its locks end with it, and it ends with this process. Only the
        tables' owner can build an index.
        """
        limit = _answer_within(self._settings) if is_timed else None
        async with _translated():
            connection = await self._ways.direct.connect(
                timeout=self._settings.connect_timeout,
                command_timeout=limit,
                connection_class=_Connection,
                server_settings=_server_settings(self._settings, {}) | ({} if is_timed else {"statement_timeout": "0"}),
            )
            watch(connection)
        try:
            async with _translated(errors=DRIVER):
                await _find_vectors(connection)
                if not as_owner:
                    await _restrict(connection)
                yield connection
        finally:
            await _closed(connection)

    def has_answered(self, *, since: float) -> bool:
        """Tell whether the database has answered anybody since a moment of `time.monotonic`."""
        return self._answered_at > since

    @property
    def is_silent(self) -> bool:
        """Whether the database has not answered, and does not answer yet."""
        return self._trial is not None

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except StoreSilent:
            if self._trial is None:
                # in a context of its own: it belongs to no request, and outlives the one that found it out
                self._trial = self.loop.create_task(self._try_until_it_answers(), context=Context())
            raise

    async def _try_until_it_answers(self) -> None:
        """Ask with all patience, so that nobody else has to while it is in vain."""
        _log.warning("the database is silent; requests wait for a second until it answers")
        while True:
            with suppress(StoreUnavailable, StoreTimeout):
                async with self._borrowed(is_trial=True) as connection:
                    await connection.fetchval("SELECT 1", timeout=self._settings.acquire_timeout)
                break
            await asyncio.sleep(TRIAL_INTERVAL)
        self._trial = None
        _log.info("the database answers again")

    async def renew(self) -> None:
        """Replace every connection before it is used again: they may lead to a server that is the writer no more.

        `renewals` counts it, for those who keep a dedicated one.
        """
        self._renewed_at = time.monotonic()
        self.renewals += 1
        await self._pool.expire_connections()

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the database answers soon; does not wait for the pool.

        While every connection is in use, that others are answered is an answer, too.

        Raises:
            StoreReadOnly: it can be read and not written to; its connections are replaced, since another server may be
                the writer by now.

        """
        began = time.monotonic()
        try:
            async with _translated(self._pool), asyncio.timeout(PING_TIMEOUT), self._borrowed() as connection:
                state = await connection.fetchval(_WRITER_STATE)
        except (StoreReadOnly, StoreRefused):
            raise
        except StoreUnavailable:
            if self.has_answered(since=began):
                return
            raise
        if state is not None:
            await self._renew_if_due()
            raise StoreReadOnly(state)

    def connections(self) -> Mapping[str, int]:
        """Return the numbers of pool connections: ``idle``, ``used`` and ``max``; thread-safe."""
        idle = self._pool.get_idle_size()
        return {"idle": idle, "used": self._pool.get_size() - idle, "max": self._pool.get_max_size()}

    async def close(self) -> None:
        """Wait briefly for connections in use, then close all."""
        if self._trial is not None:
            self._trial.cancel()
            await asyncio.wait({self._trial})
        try:
            await asyncio.wait_for(self._pool.close(), timeout=5)
        except TimeoutError:
            self._pool.terminate()

    async def _renew_if_due(self) -> None:
        if time.monotonic() - self._renewed_at >= RENEW_INTERVAL:
            await self.renew()

    async def _acquire_open(self) -> Connection:
        """Get a connection while the database is said to be silent: one that is open, else after the trial.

        Only the trial opens new ones: a pooler logs clients in while its server is silent, and keeps for minutes those
        that have left.
        """
        patience = min(SILENT_PATIENCE, self._settings.acquire_timeout)
        if self._pool.get_idle_size() > self._doubted:
            self._doubted += 1
            try:
                return await self._acquire(patience=patience, attempts=1)
            finally:
                self._doubted -= 1
        if (trial := self._trial) is not None:
            await asyncio.wait({trial}, timeout=patience)
        if self.is_silent:
            msg = "no answer in time"
            raise ConnectionSilent(msg)
        return await self._acquire()

    async def _acquire(self, *, patience: float | None = None, attempts: int | None = None) -> Connection:
        """Get a connection that works, and let its transaction begin, within one budget for all attempts.

        After a restart of the server, at most all pooled connections are dead.
        """
        budget = _Budget(patience or self._settings.acquire_timeout)
        attempts = attempts or self._settings.pool_max + 1
        broke: Exception | None = None
        refused = 0
        for attempt in range(attempts):
            try:
                with waiting_for_connection():
                    connection = await self._wait_for_connection(budget)
            except TimeoutError:
                if broke is None and not _is_exhausted(self._pool):  # not even a new connection could be made
                    broke = ConnectionSilent("no connection was made in time")
                raise broke or TimeoutError from None
            except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, ConnectionError) as exc:
                broke = exc
                refused += NEW in getattr(exc, "__notes__", ())
                if attempt == attempts - 1 or refused == MOST_REFUSED or budget.left <= 0:
                    raise
            else:
                _begin_within(connection, max(budget.left, LEAST_BEGIN))
                return connection
        raise AssertionError

    async def _wait_for_connection(self, budget: _Budget) -> Connection:
        """Wait in the pool's queue for as long as it moves; `TimeoutError` where it stood still for too long.

        A limit of its own for each waiter would fail those at the end of a long queue that is served well; how long a
        request may take, and how many there are, is limited elsewhere.
        """
        waiting = asyncio.ensure_future(self._pool.acquire())
        try:
            while not waiting.done() and budget.left > 0:
                step, lent, began = budget.step, self._lent, time.monotonic()
                await asyncio.wait({waiting}, timeout=step)
                if self._lent != lent:
                    budget.left = budget.whole
                else:
                    budget.left -= min(step, time.monotonic() - began)  # a loop that stood still: one step
        except asyncio.CancelledError:
            self._leave(waiting)
            raise
        if not waiting.done():
            self._leave(waiting)
            raise TimeoutError
        connection = waiting.result()
        self._lent += 1
        return connection

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


class _Budget:
    """The seconds that are left for getting a connection."""

    def __init__(self, seconds: float) -> None:
        self.whole = self.left = seconds

    @property
    def step(self) -> float:
        """Seconds until the next look at whether the queue moves."""
        return min(self.left, self.whole / WAITING_STEPS)


async def _create_pool(
    ways: Ways, settings: DatabaseSettings, session: Mapping[str, str | int]
) -> asyncpg.Pool[asyncpg.Record]:
    server_settings, pooler = _server_settings(settings, session), ways.pooled.pooler
    pool: asyncpg.Pool[asyncpg.Record] | None = await asyncpg.create_pool(
        ways.pooled.dsn,
        connect=partial(_connected, ways.pooled.connect),
        min_size=min(settings.pool_min, settings.pool_max),
        max_size=settings.pool_max,
        timeout=settings.connect_timeout,
        command_timeout=_answer_within(settings),
        connection_class=_Connection,
        init=partial(_prepare, pooler=pooler, server_settings=server_settings),
        setup=_ping_if_idle,
        reset=_hand_back,
        server_settings=server_settings,
    )
    if pool is None:  # pragma: no cover (only when called in a running constructor)
        raise StoreUnavailable
    return pool


async def _connected(connect: Callable[..., Awaitable[Session]], *args: Any, **options: Any) -> Session:
    """Open a connection; mark the error where there is none to be had, as opposed to one that has died since."""
    try:
        return await connect(*args, **options)
    except Exception as exc:
        exc.add_note(NEW)
        raise


def _server_settings(settings: DatabaseSettings, session: Mapping[str, str | int]) -> dict[str, str]:
    return {
        "application_name": "footnote",
        "search_path": SEARCH_PATH,
        "statement_timeout": str(int(settings.statement_timeout * 1000)),
        "jit": "off",
        "standard_conforming_strings": "on",
        **{name: str(value) for name, value in session.items()},
    }


def _answer_within(settings: DatabaseSettings) -> float:
    """Return the seconds after which a statement without an answer is given up here, the server having failed to."""
    return settings.statement_timeout + ANSWER_MARGIN


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


def _actor(begin: str) -> dict[str, str]:
    """Return the setting that the audit record takes from, where a transaction may write."""
    if "READ ONLY" in begin or (actor := actor_of(caller())) is None:
        return {}
    return {f"{SCHEMA}.actor": _quoted(json.dumps(actor))}


def _array(items: Iterable[str]) -> str:
    escaped = (item.replace("\\", "\\\\").replace('"', '\\"') for item in items)
    return "{" + ",".join(f'"{item}"' for item in escaped) + "}"


def _quoted(text: str) -> str:
    """Return a literal that is the same whatever ``standard_conforming_strings`` says, as a pooler may lose it."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'" if "\\" not in text else "E'" + escaped.replace("\\", "\\\\") + "'"


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


_WRITER_STATE = """
    SELECT CASE WHEN pg_is_in_recovery() THEN 'the database is read-only: it is a standby'
        WHEN current_setting('transaction_read_only') = 'on' THEN 'the database is read-only' END"""


async def _prepare(connection: Any, *, pooler: Pooler, server_settings: Mapping[str, str]) -> None:  # noqa: ANN401 (asyncpg hands a proxy that its stubs type otherwise)
    watch(connection)
    with _ended_on_failure(connection):
        await _set_up(connection, pooler=pooler, server_settings=server_settings)


@contextmanager
def _ended_on_failure(connection: Any) -> Iterator[None]:  # noqa: ANN401 (see _prepare)
    """End a connection that fails before it is lent: the driver would wait for its server to say goodbye."""
    try:
        yield
    except BaseException:
        connection.terminate()
        raise


async def _set_up(connection: Any, *, pooler: Pooler, server_settings: Mapping[str, str]) -> None:  # noqa: ANN401 (see _prepare)
    version = connection.get_server_version()
    if version.major < LEAST_VERSION:
        msg = f"the database is PostgreSQL {version.major}.{version.minor}; Footnote needs {LEAST_VERSION} or newer"
        raise ServerUnfit(msg)
    schema = await connection.fetchval(_VECTORS)
    if schema is not None:  # missing before the first migration
        await register_vector(connection, schema=schema)
    path = _path(schema)
    if pooler is Pooler.NONE:
        await _restrict(connection)
        if path != SEARCH_PATH:
            connection.always_begin_with({"search_path": path})
        return
    connection.mark_pooled()
    settings = {name: _quoted(value) for name, value in server_settings.items() if name != "application_name"}
    if await connection.fetchval(_CAN_RESTRICT, APP_ROLE, SCHEMA):
        settings["role"] = APP_ROLE
        connection.mark_restricted()
    connection.always_begin_with(settings | {"search_path": path})


_VECTORS = """
    SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"""


def _path(schema: str | None) -> str:
    """Return the search path with the schema that an administrator put pgvector into."""
    if schema in {None, SCHEMA, "public"}:
        return SEARCH_PATH
    return f"{SEARCH_PATH}, " + '"' + str(schema).replace('"', '""') + '"'


async def _find_vectors(connection: Session) -> None:
    if (path := _path(await connection.fetchval(_VECTORS))) != SEARCH_PATH:
        await connection.execute(f"SET search_path = {path}")


async def _ping_if_idle(connection: Any) -> None:  # noqa: ANN401 (see _prepare)
    if connection.idle_seconds() > PING_AFTER_IDLE:
        with _ended_on_failure(connection):
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


@asynccontextmanager
async def _told_at_start() -> AsyncIterator[None]:
    """Translate errors of connections that are opened at the start, where the server's own words are told.

    Not afterwards: whoever asks over HTTP must not read them.
    """
    try:
        yield
    except (asyncpg.PostgresError, *UNAVAILABLE) as exc:
        if (told := remedy(exc, setting=URL)) is not None:
            raise StoreRefused(told) from None
        if isinstance(exc, DRIVER) and not isinstance(exc, UNAVAILABLE):
            raise _ours(exc, is_exhausted=False) from None
        error = StoreUnavailable(f"the database is not available: {words(exc)}")
        error.was_logged = True
        _log.warning("store unavailable", error=type(exc).__name__, reason=words(exc))
        raise error from None


def _is_exhausted(pool: asyncpg.Pool[asyncpg.Record]) -> bool:
    return pool.get_idle_size() == 0 and pool.get_size() == pool.get_max_size()


def _ours(error: Exception, *, is_exhausted: bool) -> FootnoteError:
    if isinstance(error, asyncpg.QueryCanceledError | asyncpg.LockNotAvailableError):
        return StoreTimeout("the database took too long")
    if isinstance(error, REFUSED) or is_of_password(error):
        reason = remedy(error, setting=URL)
        _log.warning("store refused", error=type(error).__name__, reason=reason)
        return StoreRefused("the database refuses this server; its log says why")
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return MissingKey("a row points at one that is not there")
    if isinstance(error, asyncpg.UndefinedTableError) and CHUNKS in str(error):
        return TableGone("a table was dropped while it was wanted; ask again")
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, UNAVAILABLE):
        name, state = type(error).__name__, error.sqlstate
        return StoreFailed(f"the database refused a statement (SQLSTATE {state}, {name})")
    unavailable = _unavailable(error, is_exhausted=is_exhausted)
    _log.warning("store unavailable", error=type(error).__name__, reason=str(unavailable))
    return unavailable


def _unavailable(error: Exception, *, is_exhausted: bool) -> StoreUnavailable:
    if isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError):
        return TransactionConflict("a concurrent transaction was in the way")
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return StoreReadOnly("the database is read-only for now")
    if isinstance(error, asyncpg.DiskFullError):
        return StoreUnavailable("the database's disk is full")
    if _was_silent(error):
        return StoreSilent("the database did not answer in time")
    if is_exhausted:
        return StoreUnavailable("every connection to the database is in use")
    return StoreUnavailable("the database is not available")


def _was_silent(error: BaseException | None) -> bool:
    """Tell whether an error follows from a connection that did not answer, as that of ending its transaction does."""
    while error is not None:
        if isinstance(error, ConnectionSilent):
            return True
        error = error.__context__
    return False
