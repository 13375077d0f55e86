"""How workers learn at once of jobs that were submitted or cancelled: PostgreSQL's ``NOTIFY``.

A notification is a hint, and may get lost. Workers poll for jobs that are due besides, and each heartbeat tells them
which of their jobs were cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from config.errors import FootnoteError

if TYPE_CHECKING:
    from storage.database import Connection, Database

CHANNEL = "footnote_jobs"
CHECK_SECONDS = 5.0
CHECK_TIMEOUT = 5.0
RECONNECT_SECONDS = 1.0
_log = structlog.get_logger(__name__)


async def notify_submitted(connection: Connection) -> None:
    """Wake the idle workers when the connection's transaction commits."""
    await connection.execute("SELECT pg_notify($1, '')", CHANNEL)


async def notify_cancelled(connection: Connection, job_ids: Iterable[UUID]) -> None:
    """Tell the workers that run these jobs to stop them, when the connection's transaction commits."""
    await connection.execute("SELECT pg_notify($1, id::text) FROM unnest($2::uuid[]) AS id", CHANNEL, list(job_ids))


async def listen(database: Database, *, submitted: Callable[[], None], cancelled: Callable[[UUID], None]) -> None:
    """Call back for each notification, until this is cancelled; reconnect where the connection is lost.

    `submitted` is also called after each connect, since notifications before that were missed.
    """

    def hear(*notification: object) -> None:
        payload = str(notification[-1])
        if payload:
            cancelled(UUID(payload))
        else:
            submitted()

    while True:
        try:
            renewals = database.renewals
            async with database.dedicated() as connection:
                await connection.add_listener(CHANNEL, hear)
                submitted()
                # a connection that broke without a word is noticed only when it is used
                while database.renewals == renewals:
                    await asyncio.sleep(CHECK_SECONDS)
                    await connection.fetchval("SELECT 1", timeout=CHECK_TIMEOUT)
        except FootnoteError as exc:
            _log.info("not listening for jobs; they are found by polling", error=type(exc).__name__)
        await asyncio.sleep(RECONNECT_SECONDS)
