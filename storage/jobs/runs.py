"""Jobs as workers see them: claimed, kept alive, brought to an end, taken up again where a worker died.

Each time a job is begun is a run with an id of its own. Whatever is written about a job names its run, and does nothing
where that is not the job's any more: a worker that was cut off cannot speak for a job that another one has by now.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from storage.errors import JobLost
from storage.jobs import queue
from storage.jobs.rows import Job, JobError, Status, error_json, job_of, lock_jobs

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database

_CLAIM = """
UPDATE footnote.jobs SET status = 'running', run = $3, started_at = clock_timestamp(),
    heartbeat_at = clock_timestamp(), next_try_at = NULL, done = 0, total = NULL,
    attempts = attempts + (status = 'queued')::int
WHERE id = $1 AND queue_id = $2 AND (status = 'queued' OR run = $3) RETURNING *"""

# a row that is locked is at its last step, or is being cancelled: its heartbeat can wait
_BEAT = """
UPDATE footnote.jobs j SET heartbeat_at = clock_timestamp(), done = p.done, total = p.total
FROM (SELECT j.id, p.done, p.total FROM footnote.jobs j
          JOIN unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[]) AS p(id, run, done, total)
              ON j.id = p.id AND j.run = p.run
      FOR NO KEY UPDATE OF j SKIP LOCKED) p
WHERE j.id = p.id"""

_END = """
UPDATE footnote.jobs SET status = $3, run = NULL, finished_at = clock_timestamp(), next_try_at = NULL, result = $4,
    error = $5, done = $6, total = $7
WHERE id = $1 AND run = $2 RETURNING true"""

_NEWER = """
SELECT newer.id FROM footnote.jobs j JOIN footnote.jobs newer USING (tenant_id, collection, document_id)
WHERE j.id = $1 AND newer.created_at > j.created_at AND newer.status = 'queued' LIMIT 1"""

_SUPERSEDE = """
UPDATE footnote.jobs SET status = 'cancelled', run = NULL, finished_at = clock_timestamp(), next_try_at = NULL,
    superseded_by = $2
WHERE id = $1"""

_REQUEUE = """
UPDATE footnote.jobs SET status = 'queued', run = NULL, attempts = attempts - $2::int, error = coalesce($3, error),
    next_try_at = CASE WHEN $4::interval > interval '0' THEN clock_timestamp() + $4 END
WHERE id = $1 RETURNING next_try_at"""

# After the database was away everybody's heartbeat is old. A job that was fetched and never claimed has no heartbeat,
# but an event of procrastinate's; one that is in no queue is put back into it.
_STALLED = """
SELECT j.* FROM footnote.jobs j LEFT JOIN procrastinate_jobs q ON q.id = j.queue_id
WHERE ($2::uuid IS NULL OR j.id = $2) AND (
    (j.status = 'running' AND greatest(j.heartbeat_at, pg_postmaster_start_time()) < clock_timestamp() - $1::interval)
    OR (j.status = 'queued' AND q.status IS DISTINCT FROM 'todo' AND NOT EXISTS (
        SELECT FROM procrastinate_events e
        WHERE e.job_id = q.id AND e.type = 'started' AND e.at > clock_timestamp() - $1::interval)))"""

_LEFT_OVER = """
DELETE FROM procrastinate_jobs q USING footnote.jobs j
WHERE j.queue_id = q.id AND j.finished_at < clock_timestamp() - $1::interval"""

_FORGET = """
DELETE FROM footnote.jobs WHERE id IN (
    SELECT id FROM footnote.jobs WHERE finished_at < clock_timestamp()
        - CASE WHEN status = 'failed' THEN $2::interval ELSE $1::interval END
    ORDER BY finished_at LIMIT 5000)"""


@dataclass(frozen=True, slots=True)
class Run:
    """A job that this process has claimed."""

    id: UUID
    job: Job
    queue_id: int
    lock: str | None


@dataclass(frozen=True, slots=True)
class Pulse:
    """A sign of life of a run, with its progress."""

    run: Run
    done: int
    total: int | None


class JobRuns:
    """The runs of this process, for whichever tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, taken: queue.Taken, *, run_id: UUID) -> Run | None:
        """Begin a job that was fetched; None where it must not run: it was cancelled, say.

        It may be repeated with the same run where the answer got lost.
        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_CLAIM, taken.job_id, taken.queue_id, run_id)
            if row is None:
                await _drop(connection, taken.queue_id)
                return None
        return Run(run_id, job_of(row), taken.queue_id, row["lock"])

    async def beat(self, pulses: Collection[Pulse]) -> set[UUID]:
        """Say that runs are alive, and how far they are; return the ids of those that are still this process's."""
        async with self._database.connection() as connection:
            await connection.execute(
                _BEAT,
                [pulse.run.job.id for pulse in pulses],
                [pulse.run.id for pulse in pulses],
                [pulse.done for pulse in pulses],
                [pulse.total for pulse in pulses],
            )
            rows = await connection.fetch(
                "SELECT run FROM footnote.jobs WHERE id = ANY($1) AND run = ANY($2)",
                [pulse.run.job.id for pulse in pulses],
                [pulse.run.id for pulse in pulses],
            )
        return {row["run"] for row in rows}

    async def confirm(self, connection: Connection, run: Run) -> None:
        """Make what the connection's transaction writes depend on the run: until its end nobody can take the job away.

        Raises:
            JobLost: it was cancelled, or another worker has it.

        """
        if not await connection.fetchval(
            "SELECT true FROM footnote.jobs WHERE id = $1 AND run = $2 FOR SHARE", run.job.id, run.id
        ):
            raise JobLost

    async def succeed(self, last: Pulse, *, result_json: str) -> bool:
        """End a run well, with its last progress; tell whether it was still this process's."""
        return await self._end(last, "succeeded", result_json, None)

    async def fail(self, last: Pulse, *, error: JobError) -> bool:
        """End a job as dead, with its run's last progress; tell whether that was still this process's."""
        return await self._end(last, "failed", None, error_json(error))

    async def try_later(self, run: Run, *, pause: float, error: JobError) -> bool:
        """Put a job back until its next try in `pause` seconds; tell whether the run was still this process's."""
        return await self._put_back(run, pause=pause, error=error, refund=False)

    async def give_back(self, run: Run) -> bool:
        """Let others do a job at once, as if it had not been begun; tell whether it was still this process's."""
        return await self._put_back(run, pause=0, error=None, refund=True)

    async def rescue(self, *, stalled_after: float, attempts: int, error: JobError) -> int:
        """Put back the jobs of workers that are gone; those that were begun `attempts` times end with `error`.

        Return how many jobs there were.
        """
        silence = timedelta(seconds=stalled_after)
        async with self._database.connection() as connection:
            await connection.execute(_LEFT_OVER, silence)
            stalled = await connection.fetch(_STALLED, silence, None)
        return sum([await self._rescue(row, silence, attempts, error) for row in stalled])

    async def forget_old(self, *, days: float, failed_days: float) -> None:
        """Delete jobs that ended long ago, a bounded number at a time."""
        async with self._database.connection() as connection:
            await connection.execute(_FORGET, timedelta(days=days), timedelta(days=failed_days))

    async def _rescue(self, seen: asyncpg.Record, silence: timedelta, attempts: int, error: JobError) -> bool:
        async with self._database.transaction() as connection:
            if seen["lock"] is not None:
                await lock_jobs(connection, seen["lock"])
            row = await connection.fetchrow(f"{_STALLED} FOR UPDATE OF j SKIP LOCKED", silence, seen["id"])
            if row is None:  # it lives, or another worker is quicker
                return False
            if row["attempts"] >= attempts and row["run"] is not None:
                job = job_of(row)
                await connection.fetchval(
                    _END, job.id, row["run"], "failed", None, error_json(error), job.done, job.total
                )
            else:
                await _requeue(connection, row, pause=0, error=None, refund=False)
            if row["queue_id"] is not None:
                await queue.remove(connection, row["queue_id"])
        return True

    async def _end(self, last: Pulse, status: Status, result_json: str | None, problem_json: str | None) -> bool:
        run = last.run
        async with self._database.transaction() as connection:
            ended = await connection.fetchval(
                _END, run.job.id, run.id, status, result_json, problem_json, last.done, last.total
            )
            await _drop(connection, run.queue_id)
        return bool(ended)

    async def _put_back(self, run: Run, *, pause: float, error: JobError | None, refund: bool) -> bool:
        async with self._database.transaction() as connection:
            if run.lock is not None:
                await lock_jobs(connection, run.lock)
            row = await connection.fetchrow(
                "SELECT id, lock, priority FROM footnote.jobs WHERE id = $1 AND run = $2 FOR UPDATE",
                run.job.id,
                run.id,
            )
            if row is not None:
                await _requeue(connection, row, pause=pause, error=error, refund=refund)
            await _drop(connection, run.queue_id)
        return row is not None


async def _requeue(
    connection: Connection, row: asyncpg.Record, *, pause: float, error: JobError | None, refund: bool
) -> None:
    """Put a job back into the queue, unless a newer one of its document waits there; its row is locked."""
    newer = await connection.fetchval(_NEWER, row["id"])
    if newer is not None:
        await connection.execute(_SUPERSEDE, row["id"], newer)
        return
    at = await connection.fetchval(_REQUEUE, row["id"], int(refund), error_json(error), timedelta(seconds=pause))
    queue_id = await queue.defer(connection, row["id"], lock=row["lock"], priority=row["priority"], at=at)
    await connection.execute("UPDATE footnote.jobs SET queue_id = $2 WHERE id = $1", row["id"], queue_id)


async def _drop(connection: Connection, queue_id: int) -> None:
    """Delete procrastinate's row, unless a job that has not ended stands on it."""
    alive = await connection.fetchval(
        "SELECT true FROM footnote.jobs WHERE queue_id = $1 AND finished_at IS NULL", queue_id
    )
    if not alive:
        await queue.remove(connection, queue_id)
