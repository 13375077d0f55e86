"""Jobs as workers see them: claimed, kept alive, ended, and put back where their worker died.

Each attempt at a job is a run with an id of its own. Every write about a job names its run, and does nothing where the
job has another run by now: a worker that was cut off cannot overwrite the work of the one that replaced it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from storage.caller import for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.errors import JobLost
from storage.jobs import queue
from storage.jobs.rows import IS_HELD, Job, JobError, Status, error_json, job_of, lock_jobs

if TYPE_CHECKING:
    from storage.database import Connection, Database

# `running` is there for a claim that is repeated because its answer was lost
_CLAIM = f"""
WITH running AS (SELECT id FROM footnote.jobs WHERE status = 'running' AND run = $1),
due AS (
    SELECT id FROM footnote.jobs j
    WHERE status = 'queued' AND coalesce(next_try_at, created_at) <= clock_timestamp()
        AND NOT EXISTS (SELECT FROM footnote.jobs other WHERE other.status = 'running' AND other.lock = j.lock)
        AND NOT EXISTS (SELECT FROM running) AND NOT {IS_HELD}
    ORDER BY priority DESC, coalesce(next_try_at, created_at), id LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE footnote.jobs j SET status = 'running', run = $1, started_at = clock_timestamp(),
    heartbeat_at = clock_timestamp(), next_try_at = NULL, done = 0, total = NULL,
    attempts = attempts + (status = 'queued')::int
FROM (SELECT id FROM running UNION ALL SELECT id FROM due) chosen WHERE j.id = chosen.id RETURNING j.*"""

# a row that is locked is being ended or cancelled: it needs no heartbeat
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
WHERE id = $1"""

# while the database was down nobody could beat
_STALLED = """
SELECT * FROM footnote.jobs j WHERE ($2::uuid IS NULL OR id = $2) AND status = 'running'
    AND greatest(heartbeat_at, pg_postmaster_start_time()) < clock_timestamp() - $1::interval"""

_FORGET = """
DELETE FROM footnote.jobs WHERE id IN (
    SELECT id FROM footnote.jobs WHERE finished_at < clock_timestamp()
        - CASE WHEN status = 'failed' THEN $2::interval ELSE $1::interval END
    ORDER BY finished_at LIMIT 5000 FOR UPDATE SKIP LOCKED)"""


@dataclass(frozen=True, slots=True)
class Run:
    """A job that this process has claimed."""

    id: UUID
    job: Job
    lock: str | None


@dataclass(frozen=True, slots=True)
class Pulse:
    """A heartbeat of a run, with its progress."""

    run: Run
    done: int
    total: int | None


class JobRuns:
    """The runs of this process, for all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @rerun_on_conflict
    @for_all_tenants
    async def claim(self, *, run_id: UUID) -> Run | None:
        """Begin the next job that is due: by priority, then by age; None where there is none.

        Calling it again with the same `run_id` returns the job that it began, should the first answer be lost.
        """
        while True:
            async with self._database.connection() as connection:
                try:
                    async with connection.transaction():
                        row = await connection.fetchrow(_CLAIM, run_id)
                except asyncpg.UniqueViolationError:  # at this moment another worker began a job with the same lock
                    continue
            return None if row is None else Run(run_id, job_of(row), row["lock"])

    @rerun_on_conflict
    @for_all_tenants
    async def beat(self, pulses: Collection[Pulse]) -> set[UUID]:
        """Record heartbeats and progress; return the ids of the runs that are still this process's, and may go on."""
        async with self._database.connection() as connection:
            await connection.execute(
                _BEAT,
                [pulse.run.job.id for pulse in pulses],
                [pulse.run.id for pulse in pulses],
                [pulse.done for pulse in pulses],
                [pulse.total for pulse in pulses],
            )
            rows = await connection.fetch(
                f"SELECT run FROM footnote.jobs j WHERE id = ANY($1) AND run = ANY($2) AND NOT {IS_HELD}",
                [pulse.run.job.id for pulse in pulses],
                [pulse.run.id for pulse in pulses],
            )
        return {row["run"] for row in rows}

    async def confirm(self, connection: Connection, run: Run) -> None:
        """Let the connection's transaction write only if the run is still this process's, and keep it so to the end.

        Raises:
            JobLost: it was cancelled, or another worker has it.

        """
        if not await connection.fetchval(
            "SELECT true FROM footnote.jobs WHERE id = $1 AND run = $2 FOR SHARE", run.job.id, run.id
        ):
            raise JobLost

    async def succeed(self, last: Pulse, *, result_json: str) -> bool:
        """Record success, with the run's last progress; tell whether the run was still this process's."""
        return await self._end(last, "succeeded", result_json, None)

    async def fail(self, last: Pulse, *, error: JobError) -> bool:
        """Record failure for good, with the run's last progress; tell whether the run was still this process's."""
        return await self._end(last, "failed", None, error_json(error))

    async def try_later(self, run: Run, *, pause: float, error: JobError) -> bool:
        """Put a job back, to be retried in `pause` seconds; tell whether the run was still this process's."""
        return await self._put_back(run, pause=pause, error=error, refund=False)

    async def give_back(self, run: Run) -> bool:
        """Put a job back as if it had not been begun; tell whether the run was still this process's."""
        return await self._put_back(run, pause=0, error=None, refund=True)

    @for_all_tenants
    async def rescue(self, *, stalled_after: float, attempts: int, error: JobError) -> int:
        """Put back the jobs of workers that died; those that were begun `attempts` times end with `error`.

        Return how many jobs there were.
        """
        silence = timedelta(seconds=stalled_after)
        async with self._database.connection() as connection:
            stalled = await connection.fetch(_STALLED, silence, None)
        return sum([await self._rescue(row, silence, attempts, error) for row in stalled])

    @rerun_on_conflict
    @for_all_tenants
    async def forget_old(self, *, days: float, failed_days: float) -> None:
        """Delete jobs that ended long ago, a bounded number at a time."""
        async with self._database.connection() as connection:
            await connection.execute(_FORGET, timedelta(days=days), timedelta(days=failed_days))

    @rerun_on_conflict
    async def _rescue(self, seen: asyncpg.Record, silence: timedelta, attempts: int, error: JobError) -> bool:
        async with self._database.transaction() as connection:
            if seen["lock"] is not None:
                await lock_jobs(connection, seen["lock"])
            row = await connection.fetchrow(f"{_STALLED} FOR UPDATE OF j SKIP LOCKED", silence, seen["id"])
            if row is None:  # it lives, or another worker is quicker
                return False
            if row["attempts"] >= attempts:
                job = job_of(row)
                await connection.fetchval(
                    _END, job.id, row["run"], "failed", None, error_json(error), job.done, job.total
                )
            else:
                await _requeue(connection, row["id"], pause=0, error=None, refund=False)
        return True

    @for_all_tenants
    async def _end(self, last: Pulse, status: Status, result_json: str | None, problem_json: str | None) -> bool:
        run = last.run
        async with self._database.connection() as connection:
            ended = await connection.fetchval(
                _END, run.job.id, run.id, status, result_json, problem_json, last.done, last.total
            )
        return bool(ended)

    @rerun_on_conflict
    @for_all_tenants
    async def _put_back(self, run: Run, *, pause: float, error: JobError | None, refund: bool) -> bool:
        async with self._database.transaction() as connection:
            if run.lock is not None:
                await lock_jobs(connection, run.lock)
            row = await connection.fetchrow(
                "SELECT id FROM footnote.jobs WHERE id = $1 AND run = $2 FOR UPDATE", run.job.id, run.id
            )
            if row is not None:
                await _requeue(connection, row["id"], pause=pause, error=error, refund=refund)
        return row is not None


async def _requeue(connection: Connection, job_id: UUID, *, pause: float, error: JobError | None, refund: bool) -> None:
    """Put a job back, unless a newer one of its document waits; its row is locked."""
    newer = await connection.fetchval(_NEWER, job_id)
    if newer is not None:
        await connection.execute(_SUPERSEDE, job_id, newer)
        return
    await connection.execute(_REQUEUE, job_id, int(refund), error_json(error), timedelta(seconds=pause))
    if not pause:
        await queue.notify_submitted(connection)
