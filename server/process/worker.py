"""The embedded set-up's worker: ``python -m ingestion worker`` beside the server, in a process of its own.

Reading, splitting and embedding would hold up answers in the server's own process. The child has the server's settings,
since it has its environment and its working directory, and writes its log lines where the server writes its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from config import die_with_parent
from config.background import running_beside
from config.settings import Settings

COMMAND = (sys.executable, "-m", "ingestion", "worker")
SHORTEST_WAIT, MAX_WAIT = 0.5, 30.0
STEADY = 60.0
"""Seconds after which a start counts as gone well, and the next restart need not wait long."""

LAST_WORDS = 10.0
"""Seconds beyond ``jobs.shutdown_timeout`` in which a worker that was told to stop can give back what it has."""

_log = structlog.get_logger(__name__)


class WorkerProcess:
    """A supervised worker: started, started again where it dies, stopped."""

    def __init__(self, command: Sequence[str], *, patience: float) -> None:
        self._command = tuple(command)
        self._patience = patience
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Process id, where there is a process."""
        return self._process.pid if self._process else None

    async def supervise(self) -> None:
        """Keep a worker running until this is cancelled; then end it."""
        wait = SHORTEST_WAIT
        while True:
            started = time.monotonic()
            reason = await self._run()
            wait = SHORTEST_WAIT if time.monotonic() - started > STEADY else min(2 * wait, MAX_WAIT)
            _log.warning("worker died", reason=reason, restart_in_s=wait)
            await asyncio.sleep(wait)

    async def _run(self) -> str:
        """Run the process until it ends, whoever ends it; return how it ended."""
        try:
            process = self._process = await _spawn(self._command)
        except OSError as exc:
            return f"it cannot be started: {exc}"
        _log.info("worker started", pid=process.pid)
        try:
            return f"status {await process.wait()}"
        finally:
            await asyncio.shield(self._end(process))
            self._process = None

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._patience)
        except TimeoutError:
            _log.warning("worker does not stop and is killed; its jobs are taken up later", pid=process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def is_wanted(settings: Settings) -> bool:
    """Tell whether this server runs a worker: where nobody else would look after its own PostgreSQL's jobs."""
    if settings.jobs.worker == "auto":
        return settings.database.url is None
    return settings.jobs.worker == "always"


@asynccontextmanager
async def open_worker(settings: Settings, *, command: Sequence[str] = COMMAND) -> AsyncIterator[WorkerProcess | None]:
    """Run a worker beside the block, if the settings want one; enter it while the database is up."""
    if not is_wanted(settings):
        yield None
        return
    worker = WorkerProcess(command, patience=settings.jobs.shutdown_timeout + LAST_WORDS)
    async with running_beside(worker.supervise()):
        yield worker


async def _spawn(command: Sequence[str]) -> asyncio.subprocess.Process:
    parent_first = die_with_parent.command(signal.SIGTERM) if sys.platform == "linux" else ()
    return await asyncio.create_subprocess_exec(
        *parent_first,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,  # the server's may be a protocol's (MCP over stdio); logs go to stderr
        start_new_session=True,  # Ctrl-C is for us; we end it when the answers are written
    )
