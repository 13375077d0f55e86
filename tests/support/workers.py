"""Workers for tests: one within the test's own event loop, or processes that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.programs import Program

from config.settings import Settings
from ingestion.jobs import worker
from ingestion.jobs.retries import Handler
from storage.database import Database
from storage.jobs.jobs import Job, JobStore, NewJob
from storage.jobs.payloads import Payload

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds that something may take on a busy machine."""


@dataclass
class InProcess:
    """A worker in this event loop; it stops when `stop` is set, in a hurry when `hurry` is."""

    task: asyncio.Task[None]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    async def stopped(self) -> None:
        """Stop it and wait for its end."""
        self.stop.set()
        async with asyncio.timeout(PATIENCE):
            await self.task


@contextlib.asynccontextmanager
async def working(
    settings: Settings, database: Database, handlers: Mapping[str, Handler], poll_seconds: float = 0.2, **jobs: object
) -> AsyncIterator[InProcess]:
    """Run a worker beside the block, with settings of the group ``jobs``."""
    changed = settings.jobs.model_copy(update={"retry_pause": 0.01, **jobs})
    stop, hurry = asyncio.Event(), asyncio.Event()
    work = worker.run_worker(
        database,
        handlers,
        settings=settings.model_copy(update={"jobs": changed}),
        stop=stop,
        hurry=hurry,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "POLL_SECONDS", poll_seconds)
        running = InProcess(asyncio.create_task(work), stop, hurry)
        try:
            yield running
        finally:
            await running.stopped()


@dataclass
class Process:
    """``job_worker.py``; see there."""

    popen: subprocess.Popen[str]
    directory: Path
    log: Path

    def begun(self) -> list[str]:
        """Return the ids of the jobs that any worker of this directory began, in order."""
        return _first_words(self.directory / "begun")

    def ended(self) -> list[str]:
        """Return the ids of the jobs that any worker of this directory did to the end, in order."""
        return _first_words(self.directory / "ended")

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.popen.kill()
        self.popen.wait()


@contextlib.contextmanager
def started(
    dsn: str, directory: Path, *, telemetry: Mapping[str, object] | None = None, **jobs: object
) -> Iterator[Process]:
    """Start a worker process, with settings of the group ``jobs``; ``dsn="embedded"``: with a PostgreSQL of its own."""
    chosen = {"retry_pause": 0.01, "stalled_after": 2, "shutdown_timeout": 30, **jobs}
    groups = {"jobs": chosen, "telemetry": dict(telemetry or {"enabled": False})}
    log = directory / "worker.log"
    with log.open("a") as output:
        popen = Program(
            [ROOT / "tests/support/job_worker.py", dsn, directory, json.dumps(groups)],
            stdout=subprocess.PIPE,
            stderr=output,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        )
    try:
        assert popen.stdout is not None
        assert popen.stdout.readline() == "ready\n", log.read_text()
        yield Process(popen, directory, log)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.communicate()


@dataclass(frozen=True)
class AnyPayload(Payload):
    """Of a kind that only tests know."""

    kind: str
    content: Mapping[str, object]

    def arguments(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return dict(self.content)


def new_job(kind: str = "wait", *, arguments: Mapping[str, object] | None = None, **fields: Any) -> NewJob:
    """Return a job of any kind."""
    return NewJob(AnyPayload(kind, arguments or {}), **{"collection": "docs", **fields})


async def submit(database: Database, **fields: Any) -> Job:
    """Submit a job in a transaction of its own."""
    async with database.transaction() as connection:
        return await JobStore(database).submit(connection, new_job(**fields))


async def ended(database: Database, job_id: UUID) -> Job:
    """Wait for a job's end."""
    async with asyncio.timeout(PATIENCE):
        return [job async for job in JobStore(database).watch(job_id)][-1]


async def until(look: Callable[[], Any]) -> Any:
    """Look again and again until there is something; return it. `look` may be a coroutine function."""
    end = time.monotonic() + PATIENCE
    while True:
        seen = look()
        seen = await seen if asyncio.iscoroutine(seen) else seen
        if seen:
            return seen
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)


def _first_words(path: Path) -> list[str]:
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []
