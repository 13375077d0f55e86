"""Spans and metrics of statements, by OpenTelemetry's conventions for databases, without SQL or parameters.

Errors of the connection's own socket become the driver's here, where they cannot be taken for those of other files.

https://opentelemetry.io/docs/specs/semconv/database/postgresql/
"""

# ruff: noqa: ANN401, ASYNC109, D102, SLF001 (the signatures, and the cancelling, are asyncpg's)

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import asyncpg
from opentelemetry import trace

from config.telemetry import spans
from config.telemetry.metrics import DB_DURATION, DB_TIMEOUTS, DB_WAIT

POOL = {"db.client.connection.pool.name": "footnote"}
LONG_WAIT = 0.005  # minimum seconds of waiting for a connection that a trace shows
_STATEMENT = re.compile(
    r"\b(?:(?P<insert>INSERT)\s+INTO|(?P<delete>DELETE)\s+FROM|(?P<update>UPDATE)|(?P<select>SELECT)\b.*?\bFROM)"
    r"\s+(?:ONLY\s+)?(?P<table>[\w.\"]+)",
    re.IGNORECASE | re.DOTALL,
)
# every statement is in a transaction
_UNTOLD = ("BEGIN", "COMMIT", "ROLLBACK", "START", "SELECT 1", "SAVEPOINT", "RELEASE")


class ConnectionBroke(asyncpg.InterfaceError):
    """The connection failed during a statement."""


class ConnectionSilent(ConnectionBroke):
    """The connection did not answer a statement in time, and was ended."""


class TracedConnection(asyncpg.Connection):
    """A connection whose statements are traced; one that does not answer in time is ended.

    The driver would first ask the server to cancel, and wait for it to say that it has, which one that is frozen, or
    behind a network that swallows packets, never does.

    Attributes:
        is_pooled: whether a pooler stands between it and the server.

    """

    is_pooled = False

    def mark_pooled(self) -> None:
        """Say that a pooler stands between this connection and the server."""
        self.is_pooled = True

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        with self._mortal(), _statement(query):
            return await super().execute(query, *args, timeout=timeout)

    async def executemany(self, command: str, args: Any, *, timeout: float | None = None) -> Any:
        with self._mortal(), _statement(command):
            return await super().executemany(command, args, timeout=timeout)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        with self._mortal(), _statement(query):
            return await super().fetch(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        with self._mortal(), _statement(query):
            return await super().fetchrow(query, *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        with self._mortal(), _statement(query):
            return await super().fetchval(query, *args, **options)

    async def copy_records_to_table(self, table_name: str, **options: Any) -> Any:
        with self._mortal(), _told(_described("COPY", table_name)):
            return await super().copy_records_to_table(table_name, **options)

    async def _cancel(self, waiter: asyncio.Future[None], cancel_waiter: asyncio.Future[None] | None = None) -> None:
        """Cancel the statement; behind a pooler, end the connection instead, and with it the statement's.

        PgBouncer 1.18 ends somebody else's connection, or itself, where a cancel request's own connection is closed
        before the server has taken the request, which one that is frozen does not do (its issue 801).
        """
        own, drivers = cast("Any", self), cast("Any", super())  # asyncpg's stubs know of neither
        if not self.is_pooled:
            await drivers._cancel(waiter, cancel_waiter)
            return
        own._cancellations.discard(asyncio.current_task())
        self.terminate()
        if not waiter.done():
            waiter.set_result(None)

    @contextmanager
    def _mortal(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as exc:
            self.terminate()
            raise ConnectionSilent(type(exc).__name__) from exc
        except (OSError, EOFError) as exc:
            raise ConnectionBroke(type(exc).__name__) from exc


@contextmanager
def waiting_for_connection() -> Iterator[None]:
    """Measure the wait for a pool connection."""
    started = time.perf_counter()
    try:
        yield
    except TimeoutError:
        DB_TIMEOUTS.add(1, POOL)
        raise
    finally:
        waited = time.perf_counter() - started
        DB_WAIT.record(waited, POOL)
        if waited >= LONG_WAIT and _is_traced():
            spans.past("wait for a connection", seconds=waited, attributes=POOL)


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement's span and metric."""

    attributes: Mapping[str, str]
    labels: Mapping[str, str]


@contextmanager
def _statement(sql: str) -> Iterator[None]:
    # the settings of a transaction differ from caller to caller
    statement = None if sql.startswith("BEGIN") else _summary(sql)
    with nullcontext() if statement is None else _told(statement):
        yield


@contextmanager
def _told(statement: _Statement) -> Iterator[None]:
    attributes, labels = statement.attributes, statement.labels
    # background statements (leases, the server's own look-ups) are counted but not traced
    span = (
        spans.begin(attributes["db.query.summary"], kind=spans.CLIENT, attributes=attributes) if _is_traced() else None
    )
    started = time.perf_counter()
    try:
        yield
    except BaseException as exc:
        if isinstance(exc, asyncpg.PostgresError | OSError | TimeoutError):
            labels = {**labels, "error.type": type(exc).__name__}
        if span is not None:
            if isinstance(exc, asyncpg.PostgresError) and exc.sqlstate:
                span.set_attribute("db.response.status_code", exc.sqlstate)
            spans.failed(span, exc)
            if "error.type" in labels:  # the database error's name; the request's span has the problem's
                span.set_attribute("error.type", labels["error.type"])
        raise
    finally:
        DB_DURATION.record(time.perf_counter() - started, labels, context=spans.context_of(span))
        if span is not None:
            span.end()


@lru_cache(maxsize=1024)
def _summary(sql: str) -> _Statement | None:
    if sql.lstrip().upper().startswith(_UNTOLD):
        return None
    if found := _STATEMENT.search(sql):
        return _described((found["insert"] or found["delete"] or found["update"] or "SELECT").upper(), found["table"])
    return _described(sql.split(None, 1)[0].strip(";").upper(), "")


def _described(operation: str, table: str) -> _Statement:
    name = table.replace('"', "")
    labels = {"db.system.name": "postgresql", "db.operation.name": operation}
    told = {"db.collection.name": name} if name else {}
    return _Statement({**labels, "db.query.summary": f"{operation} {name}".strip(), **told}, labels)


def _is_traced() -> bool:
    return trace.get_current_span().is_recording()
