"""The queue: procrastinate's tables from within our own transactions, and its worker loop over a connection of its own.

A row of ``footnote.jobs`` is the job; procrastinate's row beside it lives only while the job waits or runs, and decides
whose turn it is: by priority and age, at its time, one job a lock. Both change in one transaction, ours. What
procrastinate itself writes is which job it has fetched, and nothing that matters if it gets lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from storage.database import SCHEMA, plain_dsn

if TYPE_CHECKING:
    import psycopg
    from procrastinate import App
    from procrastinate.job_context import JobContext
    from procrastinate.manager import JobManager, NotificationCallback

    from config.settings import DatabaseSettings
    from storage.database import Connection

QUEUE = "footnote"
TASK = "footnote.job"
POOL_WAIT = 5.0  # seconds for a connection; a look into the queue that fails is repeated anyway
LONGEST_PAUSE = 5.0
ABORT_POLL = 2.0  # behind the notification
# a database that vanished without a word is noticed; seconds, and milliseconds for the last
KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that this process has fetched.

    Attributes:
        queue_id: of procrastinate's row.

    """

    job_id: UUID
    queue_id: int


async def defer(
    connection: Connection, job_id: UUID, *, lock: str | None, priority: int = 0, at: datetime | None = None
) -> int:
    """Put a job into the queue as a part of the connection's transaction, whose commit wakes the workers.

    `at` is when it may run, None: now. Return the id of procrastinate's row.
    """
    queue_id = await connection.fetchval(
        """SELECT (procrastinate_defer_jobs_v1(ARRAY[ROW(
               $1, $2, $3::int, $4, NULL, jsonb_build_object('job', $5::text), $6::timestamptz
           )::procrastinate_job_to_defer_v1]))[1]""",
        QUEUE,
        TASK,
        priority,
        lock,
        str(job_id),
        at,
    )
    return int(queue_id)


async def withdraw(connection: Connection, queue_ids: Iterable[int]) -> None:
    """Take jobs out of the queue; a worker that is at one is told to let go of it."""
    for queue_id in queue_ids:
        await connection.execute("SELECT procrastinate_cancel_job_v1($1, true, true)", queue_id)


async def remove(connection: Connection, queue_id: int) -> None:
    """Delete procrastinate's row of a job that has ended, or has another row by now."""
    await connection.execute("DELETE FROM procrastinate_jobs WHERE id = $1", queue_id)


async def work(
    dsn: str,
    run: Callable[[Taken], Awaitable[None]],
    *,
    database: DatabaseSettings,
    concurrency: int,
    poll: float,
    grace: float,
    stop: asyncio.Event,
) -> None:
    """Fetch jobs and run them, `concurrency` at once, until `stop` is set; a database that is away is waited for.

    `run` must record a job's outcome itself. It is cancelled where the job was withdrawn, and where `grace` seconds
    after `stop` were not enough for it. Due jobs are looked for every `poll` seconds, and whenever one is put in.
    """
    from procrastinate.exceptions import ConnectorException
    from procrastinate.worker import Worker

    pause = 0.5
    async with _open_app(dsn, run, database=database) as app:
        while not stop.is_set():
            worker = Worker(
                app,
                queues=[QUEUE],
                name="footnote",
                concurrency=concurrency,
                fetch_job_polling_interval=poll,
                abort_job_polling_interval=ABORT_POLL,
                shutdown_graceful_timeout=grace,
                install_signal_handlers=False,
            )
            stopping = asyncio.create_task(_stop(worker.stop, stop))
            try:
                await worker.run()  # type: ignore[no-untyped-call]
                pause = 0.5
            except ConnectorException as exc:
                _log.warning("the queue is out of reach", error=type(exc.__cause__ or exc).__name__)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            finally:
                stopping.cancel()


async def _stop(stop_worker: Callable[[], None], stop: asyncio.Event) -> None:
    await stop.wait()
    stop_worker()


@asynccontextmanager
async def _open_app(
    dsn: str, run: Callable[[Taken], Awaitable[None]], *, database: DatabaseSettings
) -> AsyncIterator[App]:
    import procrastinate
    import psycopg_pool

    pool = psycopg_pool.AsyncConnectionPool(
        plain_dsn(dsn),
        min_size=1,
        max_size=2,
        open=False,
        timeout=POOL_WAIT,
        kwargs={"application_name": "footnote queue", "connect_timeout": max(2, int(POOL_WAIT)), **KEEPALIVE},
        configure=_prepare(database),
        check=psycopg_pool.AsyncConnectionPool.check_connection,
    )
    app = procrastinate.App(connector=procrastinate.PsycopgConnector())
    app.job_manager = _steadfast(app)

    @app.task(name=TASK, queue=QUEUE, pass_context=True)
    async def _run(context: JobContext, job: str) -> None:
        if context.job.id is not None:  # it always is, of a job that was fetched
            await run(Taken(UUID(job), context.job.id))

    await pool.open(wait=False)  # its connections come when the database does
    try:
        async with app.open_async(pool):
            yield app
    finally:
        await pool.close(timeout=POOL_WAIT)


def _prepare(settings: DatabaseSettings) -> Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]]:
    async def prepare(connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute(f"SET search_path = {SCHEMA}, public")
        await connection.execute(f"SET statement_timeout = {int(settings.statement_timeout * 1000)}")
        await connection.commit()

    return prepare


def _steadfast(app: App) -> JobManager:
    """Return procrastinate's view of its queue, made to outlive an absence of the database.

    As it is, its worker stops at the first statement that fails, and its heartbeat at the first that it misses.
    """
    from procrastinate import jobs, manager
    from procrastinate.exceptions import ConnectorException

    class Queue(manager.JobManager):
        async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> jobs.Job | None:
            try:
                return await super().fetch_job(queues, worker_id)
            except ConnectorException as exc:
                _log.warning("no job could be fetched", error=type(exc.__cause__ or exc).__name__)
                # whoever was out of reach for long was struck off, and must not come back as a stranger
                await self.update_heartbeat(worker_id)
                return None

        async def update_heartbeat(self, worker_id: int) -> None:
            with suppress(ConnectorException):
                await self.connector.execute_query_async(
                    """INSERT INTO procrastinate_workers (id, last_heartbeat) OVERRIDING SYSTEM VALUE
                       VALUES (%(worker_id)s, now())
                       ON CONFLICT (id) DO UPDATE SET last_heartbeat = excluded.last_heartbeat""",
                    worker_id=worker_id,
                )

        async def unregister_worker(self, worker_id: int) -> None:
            with suppress(ConnectorException):
                await super().unregister_worker(worker_id)

        async def listen_for_jobs(
            self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
        ) -> None:
            while True:
                with suppress(ConnectorException):
                    await super().listen_for_jobs(on_notification=on_notification, queues=queues)
                await asyncio.sleep(1)  # meanwhile the polls find what is due

        async def finish_job(self, job: jobs.Job, status: jobs.Status, delete_job: bool) -> None:  # noqa: FBT001 (procrastinate's)
            """Do nothing: the job's own transaction has removed it."""

    return Queue(app.connector)
