"""The worker: claims jobs from the queue and does them, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from config.background import running_beside
from ingestion.jobs.heartbeat import rescue_stalled, send_heartbeats
from ingestion.jobs.runner import JobRunner
from storage import schema_version
from storage.database import Database
from storage.jobs import queue
from storage.jobs.runs import JobRuns
from storage.server import database_server, kept_running

if TYPE_CHECKING:
    from config.settings import Settings
    from ingestion.jobs.retries import Handler

POLL_SECONDS = 5.0
"""Between two looks for jobs that are due; a new job wakes a worker at once."""

_log = structlog.get_logger(__name__)


async def run_worker(
    database: Database,
    handlers: Mapping[str, Handler],
    *,
    settings: Settings,
    concurrency: int | None = None,
    stop: asyncio.Event,
    hurry: asyncio.Event,
) -> None:
    """Do jobs, `concurrency` at once (None: as the settings say), until `stop` is set.

    Then no more are claimed; those in hand have ``jobs.shutdown_timeout`` seconds to end, or until `hurry` is set, and
    are given back after that. While the database is unavailable, it waits.
    """
    runs = JobRuns(database)
    runner = JobRunner(runs, handlers, settings=settings.jobs, stop=stop)
    async with AsyncExitStack() as stack:
        for work in (
            queue.listen(database, submitted=runner.wake, cancelled=runner.cancelled),
            send_heartbeats(runs, runner.in_hand, stalled_after=settings.jobs.stalled_after),
            rescue_stalled(runs, settings=settings.jobs),
            _when(stop, runner.wake),
            _when(hurry, runner.let_go),
        ):
            await stack.enter_async_context(running_beside(work))
        await runner.work(concurrency=concurrency or settings.jobs.concurrency, poll_seconds=POLL_SECONDS)


def main(
    options: argparse.Namespace,
    settings: Settings,
    *,
    open_handlers: Callable[[Database], AbstractAsyncContextManager[Mapping[str, Handler]]],
) -> int:
    """Run ``python -m ingestion worker``; return the exit code.

    `options.concurrency` may be None. `open_handlers` opens what the handlers need, over the open database. The first
    SIGTERM or Ctrl-C lets the jobs in hand end, the second gives them back at once.

    Raises:
        FootnoteError: it cannot start; the message says what to do.

    """
    return asyncio.run(_serve(settings, open_handlers, concurrency=options.concurrency))


async def _serve(
    settings: Settings,
    open_handlers: Callable[[Database], AbstractAsyncContextManager[Mapping[str, Handler]]],
    *,
    concurrency: int | None,
) -> int:
    stop, hurry = asyncio.Event(), asyncio.Event()
    _stop_on_signals(stop, hurry)
    with database_server(settings) as server:
        database = await Database.open(server.dsn, settings=settings.database)
        try:
            await schema_version.check(database)
            async with kept_running(server), open_handlers(database) as handlers:
                _log.info("worker ready", kinds=sorted(handlers), concurrency=concurrency or settings.jobs.concurrency)
                await run_worker(database, handlers, settings=settings, concurrency=concurrency, stop=stop, hurry=hurry)
        finally:
            await database.close()
    return 0


def _stop_on_signals(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    def take() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, take)


async def _when(event: asyncio.Event, then: Callable[[], None]) -> None:
    await event.wait()
    then()
