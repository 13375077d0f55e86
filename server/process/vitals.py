"""Metrics of a running server: process, event loop, connection pool, collections and queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psutil
import structlog

from config.background import running_beside
from config.errors import FootnoteError
from config.telemetry.metrics import (
    COLLECTION_CHUNKS,
    COLLECTION_DOCUMENTS,
    CPU_TIME,
    DB_CONNECTIONS,
    DB_MOST_CONNECTIONS,
    GENERATION_AGE,
    GENERATIONS_BEHIND,
    GENERATIONS_OLD,
    JOBS,
    JOBS_AGE,
    LOOP_LAG,
    MEMORY,
    OPEN_FILES,
    OPEN_STREAMS,
    Readings,
)
from storage.jobs.jobs import JobStore
from storage.tracing import POOL

if TYPE_CHECKING:
    from server.services.pinned_generations import PinnedGenerations
    from server.streams.streams import Streams
    from storage.collections.collections import Collections, NameSize
    from storage.database import Database
    from storage.jobs.jobs import JobCounts

BEAT_SECONDS = 0.5
LOOK_SECONDS = 30.0
COUNT_SECONDS = 10.0
MAX_COLLECTIONS = 50
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def observed_vitals(
    database: Database, *, collections: Collections, generations: PinnedGenerations, streams: Streams
) -> AsyncIterator[None]:
    """Measure until the block ends."""
    process, seen, queue = psutil.Process(), _Collections(collections), _Queue(JobStore(database))
    sources = {
        MEMORY: lambda: [(process.memory_info().rss, {})],
        CPU_TIME: lambda: _cpu_times(process),
        OPEN_FILES: lambda: [(process.num_fds(), {})],
        OPEN_STREAMS: lambda: [(len(streams), {})],
        DB_CONNECTIONS: lambda: _connections(database.connections()),
        DB_MOST_CONNECTIONS: lambda: [(database.connections()["max"], POOL)],
        COLLECTION_DOCUMENTS: seen.documents,
        COLLECTION_CHUNKS: seen.chunks,
        GENERATION_AGE: seen.ages,
        GENERATIONS_BEHIND: lambda: [(len(generations.behind), {})],
        GENERATIONS_OLD: lambda: [(generations.old, {})],
        JOBS: queue.statuses,
        JOBS_AGE: queue.ages,
    }
    async with AsyncExitStack() as stack:
        for gauge, source in sources.items():
            stack.enter_context(gauge.observed(source))
        looks = (_repeated(seen.look, every=LOOK_SECONDS), _repeated(queue.look, every=COUNT_SECONDS))
        for work in (_beat(), *looks):
            await stack.enter_async_context(running_beside(work))
        yield


async def _beat() -> None:
    """Measure the event loop's lag."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + BEAT_SECONDS
        await asyncio.sleep(BEAT_SECONDS)
        LOOP_LAG.record(max(0.0, loop.time() - due))


async def _repeated(look: Callable[[], Awaitable[None]], *, every: float) -> None:
    """Call `look` at intervals; if it fails, the last values are kept."""
    while True:
        try:
            await look()
        except FootnoteError as exc:
            _log.debug("nothing was counted", error=type(exc).__name__)
        await asyncio.sleep(every)


class _Queue:
    """The last counted jobs of all servers and tenants."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._seen: JobCounts | None = None  # not zeros: jobs that failed earlier would seem to fail now

    async def look(self) -> None:
        """Count the jobs."""
        self._seen = await self._jobs.counts()

    def statuses(self) -> Readings:
        """Return the number of jobs by status."""
        if self._seen is None:
            return []
        counted = {"queued": self._seen.queued, "running": self._seen.running, "failed": self._seen.dead}
        return [(number, {"footnote.status": status}) for status, number in counted.items()]

    def ages(self) -> Readings:
        """Return how long the oldest due job has waited, in seconds."""
        return [] if self._seen is None else [(self._seen.oldest_seconds, {})]


class _Collections:
    """The collections of all tenants at the last look, added up by name, as questions are counted.

    The `MAX_COLLECTIONS` largest have a label of their own, the rest have ``other``.
    """

    def __init__(self, collections: Collections) -> None:
        self._collections = collections
        self._seen: Sequence[NameSize] = ()

    async def look(self) -> None:
        """Read the collections."""
        self._seen = await self._collections.sizes(most=MAX_COLLECTIONS)

    def documents(self) -> Readings:
        """Return each name's number of documents."""
        return [(size.documents, _label(size)) for size in self._seen]

    def chunks(self) -> Readings:
        """Return each name's number of chunks."""
        return [(size.chunks, _label(size)) for size in self._seen]

    def ages(self) -> Iterator[tuple[float, Mapping[str, str]]]:
        """Return the seconds since the last write to a collection of each name."""
        now = datetime.now(UTC)
        for size in self._seen:
            yield max(0.0, (now - size.written_at).total_seconds()), _label(size)


def _label(size: NameSize) -> Mapping[str, str]:
    return {"footnote.collection": size.name}


def _cpu_times(process: psutil.Process) -> Readings:
    times = process.cpu_times()
    return [(times.user, {"cpu.mode": "user"}), (times.system, {"cpu.mode": "system"})]


def _connections(counts: Mapping[str, int]) -> Readings:
    return [(counts[state], {**POOL, "db.client.connection.state": state}) for state in ("idle", "used")]
