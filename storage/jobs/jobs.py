"""Jobs as clients see them: submitted, watched, cancelled, retried."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from config.telemetry import spans
from storage.caller import current_tenant, for_all_tenants, in_whole_tenant
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page, decode_moment, encode_moment
from storage.errors import IdempotencyKeyReused, JobNotFound, JobNotRetryable
from storage.generation import ACTIVE
from storage.jobs import queue
from storage.jobs.rows import (
    IS_HELD,
    Job,
    JobError,
    NewJob,
    Status,
    bounded_json,
    document_lock,
    job_of,
    lock_jobs,
    lock_of,
    source_lock,
)
from storage.reach import is_reachable, reachable_collections

if TYPE_CHECKING:
    from storage.caller import Caller
    from storage.database import Connection, Database

__all__ = ["Job", "JobCounts", "JobError", "JobStore", "NewJob", "Status"]

WATCH_SECONDS = 0.5

_INSERT = """
INSERT INTO footnote.jobs (id, tenant_id, collection, kind, document_id, lock, arguments, priority, traceparent,
    request_id, idempotency_key, idempotency_fingerprint)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (tenant_id, subject, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING *"""

_ROW = f"SELECT j.*, {IS_HELD} AS is_held FROM footnote.jobs j"
_LIST = f"""
{_ROW}
WHERE tenant_id = $1 AND ($2::text IS NULL OR collection = $2) AND ($3::text IS NULL OR status = $3)
    AND ($4::text IS NULL OR document_id = $4) AND ($5::timestamptz IS NULL OR (created_at, id) < ($5, $6::uuid))
ORDER BY created_at DESC, id DESC LIMIT $7"""

_REVIVE = """
UPDATE footnote.jobs SET status = 'queued', attempts = 0, done = 0, total = NULL, error = NULL, finished_at = NULL
WHERE id = $1 AND status = 'failed' RETURNING true"""

_IS_OVERTAKEN = """
SELECT true FROM footnote.jobs j JOIN footnote.jobs newer USING (tenant_id, collection, document_id)
WHERE j.id = $1 AND newer.created_at > j.created_at AND newer.status IN ('queued', 'running', 'succeeded') LIMIT 1"""

_WITH_SOURCE = """
SELECT document_id FROM footnote.jobs
WHERE tenant_id = $1 AND collection = $2 AND arguments ->> 'source' = $3 AND status IN ('queued', 'running')
    AND document_id IS DISTINCT FROM $4 ORDER BY created_at LIMIT 1"""

_HIDES = f"""
SELECT EXISTS (SELECT FROM footnote.jobs j WHERE j.tenant_id = $1 AND j.collection = $2
    AND ($3::text IS NULL OR j.document_id = $3) AND j.document_id IS NOT NULL AND j.status IN ('queued', 'running')
    AND j.subject <> $4
    AND NOT CASE WHEN jsonb_typeof(j.arguments -> 'readers') = 'array'
        THEN ARRAY(SELECT jsonb_array_elements_text(j.arguments -> 'readers')) && $5::text[]
        ELSE (SELECT coalesce(d.access, c.readers) && $5::text[]
              FROM {ACTIVE} LEFT JOIN footnote.documents d ON d.generation_id = g.id AND d.id = j.document_id
              WHERE c.tenant_id = $1 AND c.name = $2) END)"""

_COUNTS = f"""
SELECT count(*) FILTER (WHERE status = 'queued') AS queued, count(*) FILTER (WHERE status = 'running') AS running,
    count(*) FILTER (WHERE status = 'failed') AS dead,
    clock_timestamp() - least(
        min(coalesce(next_try_at, created_at))
            FILTER (WHERE status = 'queued' AND (next_try_at IS NULL OR next_try_at <= clock_timestamp())
                AND NOT {IS_HELD}),
        min(heartbeat_at) FILTER (WHERE status = 'running' AND heartbeat_at < clock_timestamp() - interval '2 minutes')
    ) AS waiting
FROM footnote.jobs j WHERE status IN ('queued', 'running', 'failed')"""


@dataclass(frozen=True, slots=True)
class JobCounts:
    """The queue as a whole, over all tenants.

    Attributes:
        queued: jobs that wait for a worker or for their retry.
        dead: failed jobs that are still kept.
        oldest_seconds: how long the job that has been due longest has waited for a worker; a running job without a
            heartbeat for two minutes counts as waiting, one whose tenant is suspended does not.

    """

    queued: int
    running: int
    dead: int
    oldest_seconds: float


class JobStore:
    """The jobs of one tenant.

    To avoid deadlocks, lock a document's jobs (`submit`, `cancel_of_document`) before the document.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def submit(self, connection: Connection, new: NewJob) -> Job:
        """Submit a job within the connection's transaction, whose commit wakes the workers.

        It carries the current trace. Where the idempotency key has a job already, that job is returned.

        Raises:
            IdempotencyKeyReused: the key came with another request before.
            JobTooLarge: the arguments are larger than `MAX_BYTES`.

        """
        lock = lock_of(current_tenant(), new)
        if lock is not None:
            await lock_jobs(connection, lock)
        row = await connection.fetchrow(
            _INSERT,
            uuid4(),
            current_tenant(),
            new.collection,
            new.payload.kind,
            new.document_id,
            lock,
            bounded_json(new.payload.arguments()),
            new.priority,
            spans.carrier().get("traceparent"),
            new.request_id,
            new.idempotency_key,
            new.idempotency_fingerprint,
        )
        if row is None:
            return await self._known(connection, new)
        job = job_of(row)
        if new.document_id is not None:
            await self._supersede(connection, job)
        await queue.notify_submitted(connection)
        return job

    async def get(self, job_id: UUID) -> Job:
        """Return a job.

        Raises:
            JobNotFound: there is none.

        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"{_ROW} WHERE tenant_id = $1 AND id = $2", current_tenant(), job_id)
        if row is None or not is_reachable(row["collection"]):
            raise JobNotFound(str(job_id))
        return job_of(row)

    async def list(
        self,
        *,
        limit: int,
        collection: str | None = None,
        status: Status | None = None,
        document_id: str | None = None,
        cursor: str | None = None,
    ) -> Page[Job]:
        """List jobs, the newest first.

        Raises:
            InvalidCursor: the cursor is none of ours.

        """
        moment, last = decode_moment(cursor)
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _LIST, current_tenant(), collection, status, document_id, moment, last, limit + 1
            )
        items = tuple(job_of(row) for row in rows[:limit])
        following = encode_moment(items[-1].created_at, items[-1].id) if len(rows) > limit else None
        return Page(tuple(job for job in items if is_reachable(job.collection)), following)

    async def watch(self, job_id: UUID) -> AsyncIterator[Job]:
        """Yield a job as it is, then whenever it has changed, until it has ended.

        Raises:
            JobNotFound: there is none, or it was deleted meanwhile.

        """
        seen: Job | None = None
        while seen is None or not seen.has_ended:
            if seen is not None:
                await asyncio.sleep(WATCH_SECONDS)
            job = replace(await self.get(job_id), heartbeat_at=None)  # a heartbeat alone is no change
            if job != seen:
                seen = job
                yield job

    @rerun_on_conflict
    async def cancel(self, job_id: UUID) -> Job:
        """Cancel a job that waits or runs; return it as it is now. One that has ended is left as it is.

        From now on nothing is written under it; the worker that runs it stops it within seconds.

        Raises:
            JobNotFound: there is none.

        """
        if reachable_collections() is not None:
            await self.get(job_id)
        async with self._database.transaction() as connection:
            await _cancel(
                connection, "tenant_id = $1 AND id = $2 AND status IN ('queued', 'running')", current_tenant(), job_id
            )
        return await self.get(job_id)

    async def cancel_of_document(self, connection: Connection, collection: str, document_id: str) -> int:
        """Cancel, within the connection's transaction, all jobs that could bring a document back; return how many.

        Failed jobs too, so that they cannot be retried.
        """
        await lock_jobs(connection, document_lock(current_tenant(), collection, document_id))
        return await _cancel(
            connection,
            """tenant_id = $1 AND collection = $2 AND document_id = $3
               AND status IN ('queued', 'running', 'failed')""",
            current_tenant(),
            collection,
            document_id,
        )

    async def hides_any(
        self, connection: Connection, who: Caller | None, *, collection: str, document_id: str | None = None
    ) -> bool:
        """Tell whether documents are on their way, brought by others, that a caller will not be able to read.

        The connection sees the whole tenant. What brings no readers has those of the version before it, else the
        collection's: what a file says of itself is not known before it is read.
        """
        if who is None or who.sees_all:
            return False
        found: bool = await connection.fetchval(
            _HIDES, current_tenant(), collection, document_id, who.subject, list(who.access)
        )
        return found

    async def document_with_source(
        self, connection: Connection, collection: str, source: str, *, but: str | None
    ) -> str | None:
        """Return the document, other than `but`, that a job which has not ended will give a source."""
        found: str | None = await connection.fetchval(_WITH_SOURCE, current_tenant(), collection, source, but)
        return found

    async def cancel_of_collection(self, connection: Connection, collection: str) -> int:
        """Cancel, within the connection's transaction, the jobs of a collection; return how many.

        It does not wait: those that are at work on a document this moment are left out, and `storage.collections
        .dropping` cancels them.
        """
        return await _cancel(
            connection,
            "tenant_id = $1 AND collection = $2 AND status IN ('queued', 'running', 'failed')",
            current_tenant(),
            collection,
            wait=False,
        )

    async def retry(self, job_id: UUID) -> Job:
        """Put a failed job back into the queue, with all its attempts.

        Raises:
            JobNotFound: there is none.
            JobNotRetryable: it has not failed, its document has a newer job, or a job will give its source to another.

        """
        await self.get(job_id)
        await self._retry(job_id)
        return await self.get(job_id)

    @rerun_on_conflict
    @in_whole_tenant  # a newer job may be another subject's
    async def _retry(self, job_id: UUID) -> None:
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                "SELECT * FROM footnote.jobs WHERE tenant_id = $1 AND id = $2", current_tenant(), job_id
            )
            if row is None or not is_reachable(row["collection"]):
                raise JobNotFound(str(job_id))
            source = json.loads(row["arguments"]).get("source")
            if source is not None:
                await lock_jobs(connection, source_lock(current_tenant(), row["collection"], source))
            if row["lock"] is not None:
                await lock_jobs(connection, row["lock"])
            if not await connection.fetchval(_REVIVE, job_id):
                msg = f"the job has {row['status']}; only one that has failed can be repeated"
                raise JobNotRetryable(msg)
            if await connection.fetchval(_IS_OVERTAKEN, job_id):
                msg = "a newer job has taken this one's place"
                raise JobNotRetryable(msg)
            if source is not None and await self.document_with_source(
                connection, row["collection"], source, but=row["document_id"]
            ):
                msg = "another document is about to get its source"
                raise JobNotRetryable(msg)
            await queue.notify_submitted(connection)

    @for_all_tenants
    async def counts(self) -> JobCounts:
        """Count the jobs of all tenants."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_COUNTS)
        if row is None:  # pragma: no cover (an aggregate has a row)
            raise AssertionError
        return JobCounts(row["queued"], row["running"], row["dead"], (row["waiting"] or timedelta()).total_seconds())

    async def _known(self, connection: Connection, new: NewJob) -> Job:
        row = await connection.fetchrow(
            "SELECT * FROM footnote.jobs WHERE tenant_id = $1 AND idempotency_key = $2 "
            "AND subject = current_setting('footnote.subject')",
            current_tenant(),
            new.idempotency_key,
        )
        if row is None or row["idempotency_fingerprint"] != new.idempotency_fingerprint:
            raise IdempotencyKeyReused
        return job_of(row)

    async def _supersede(self, connection: Connection, job: Job) -> None:
        await _cancel(
            connection,
            "tenant_id = $1 AND collection = $2 AND document_id = $3 AND status = 'queued' AND id <> $4",
            current_tenant(),
            job.collection,
            job.document_id,
            job.id,
            superseded_by=job.id,
        )


async def _cancel(
    connection: Connection, condition: str, *values: object, superseded_by: UUID | None = None, wait: bool = True
) -> int:
    """Cancel the jobs that fulfil the condition, which is SQL of ours; return how many."""
    skip = "" if wait else "SKIP LOCKED"
    rows = await connection.fetch(
        f"SELECT id, status FROM footnote.jobs WHERE {condition} ORDER BY id FOR UPDATE {skip}", *values
    )
    if not rows:
        return 0
    await connection.execute(
        """UPDATE footnote.jobs SET status = 'cancelled', run = NULL, next_try_at = NULL, superseded_by = $2,
               finished_at = clock_timestamp() WHERE id = ANY($1)""",
        [row["id"] for row in rows],
        superseded_by,
    )
    if running := [row["id"] for row in rows if row["status"] == "running"]:
        await queue.notify_cancelled(connection, running)
    return len(rows)
