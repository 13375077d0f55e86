"""Runs of scheduled sources: the last result of each, and its lock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from storage.caller import current_tenant

if TYPE_CHECKING:
    from storage.database import Database


@dataclass(frozen=True, slots=True)
class SourceKey:
    """Identity of a source: its collection and name."""

    collection: str
    name: str


@dataclass(frozen=True, slots=True)
class SourceRun:
    """The last run of a source.

    Attributes:
        definition: hash of the source's definition at that time.
        failures: consecutive failures up to that run; a killed run counts.
        next_try_at: when to retry after a failure; None after a success.

    """

    definition: str
    started_at: datetime
    finished_at: datetime | None
    failures: int
    next_try_at: datetime | None


class SourceRuns:
    """The runs of one tenant's sources; the clock is the database's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> datetime:
        """Return the time."""
        async with self._database.connection() as connection:
            found: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return found

    async def last(self, key: SourceKey) -> SourceRun | None:
        """Return the last run of a source; None if it never ran."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """SELECT definition, started_at, finished_at, failures, next_try_at FROM footnote.source_runs
                   WHERE tenant_id = $1 AND collection = $2 AND name = $3""",
                current_tenant(),
                key.collection,
                key.name,
            )
        return SourceRun(**dict(row)) if row else None

    @asynccontextmanager
    async def exclusive(self, key: SourceKey) -> AsyncIterator[bool]:
        """Hold the source's exclusive lock during the block; yield False if another process holds it."""
        async with self._database.dedicated() as connection:
            lock = f"source {current_tenant()} {key.collection} {key.name}"
            yield bool(await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", lock))

    async def begin(self, key: SourceKey, *, definition: str, retry_after: timedelta) -> None:
        """Record the beginning of a run; it counts as failed until `succeed`, as it may be killed.

        A changed definition resets the failures.
        """
        async with self._database.connection() as connection:
            await connection.execute(
                """INSERT INTO footnote.source_runs AS r
                       (tenant_id, collection, name, definition, started_at, failures, next_try_at)
                   VALUES ($1, $2, $3, $4, clock_timestamp(), 1, clock_timestamp() + $5::interval)
                   ON CONFLICT (tenant_id, collection, name) DO UPDATE SET
                       failures = CASE r.definition WHEN excluded.definition THEN r.failures ELSE 0 END + 1,
                       definition = excluded.definition, started_at = excluded.started_at, finished_at = NULL,
                       next_try_at = excluded.next_try_at, error = NULL, report = NULL""",
                current_tenant(),
                key.collection,
                key.name,
                definition,
                retry_after,
            )

    async def succeed(self, key: SourceKey, *, report: Mapping[str, object]) -> None:
        """Record the success of a run."""
        await self._finish(key, "failures = 0, next_try_at = NULL, report = $4::jsonb", json.dumps(dict(report)))

    async def fail(self, key: SourceKey, *, error: str, retry_after: timedelta) -> None:
        """Record a failure; the wait before a retry begins now."""
        await self._finish(key, "error = $4, next_try_at = clock_timestamp() + $5::interval", error[:2000], retry_after)

    async def give_back(self, key: SourceKey) -> None:
        """Record an interruption: not a failure, and due again at once."""
        await self._finish(key, "failures = greatest(failures - 1, 0), next_try_at = clock_timestamp()")

    async def _finish(self, key: SourceKey, assignments: str, *values: object) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                f"""UPDATE footnote.source_runs SET finished_at = clock_timestamp(), {assignments}
                    WHERE tenant_id = $1 AND collection = $2 AND name = $3""",
                current_tenant(),
                key.collection,
                key.name,
                *values,
            )
