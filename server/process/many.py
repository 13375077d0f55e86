"""The server as several processes: what exists once is opened here, and the workers are looked after."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from config.environment import PREFIX
from server.process.supervisor import CANNOT_START, CannotStart, Supervisor
from server.process.worker import open_worker
from storage.server import database_server, kept_running

if TYPE_CHECKING:
    from config.settings import Settings

BACKLOG = 2048
LEAST_CONNECTIONS = 4
LAST_WORDS = 15.0
"""Seconds beyond the settings' for a worker that was told to stop."""

INTERRUPTED = 130


async def serve_with_workers(
    settings: Settings, sockets: list[socket], *, count: int, on_ready: Callable[[], None]
) -> int:
    """Serve until SIGTERM or SIGINT, replace the workers at SIGHUP; return the exit status.

    Raises:
        FootnoteError: what exists once cannot be opened.

    """
    loop, stop, hurry = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _once_then, stop, hurry)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(database_server(settings))
        await stack.enter_async_context(kept_running(server))
        await stack.enter_async_context(open_worker(settings))
        folder = stack.enter_context(_private_folder())
        for sock in sockets:
            sock.listen(BACKLOG)
        supervisor = Supervisor(
            sockets,
            count=count,
            environment={**os.environ, **shared_out(settings, count=count, dsn=server.dsn)},
            folder=folder,
            patience=settings.server.drain_delay + settings.server.shutdown_timeout + LAST_WORDS,
        )
        reloads: set[asyncio.Task[None]] = set()

        def reload() -> None:
            task = asyncio.create_task(supervisor.reload(), name="reload")
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        starting = asyncio.create_task(supervisor.start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                return INTERRUPTED
            try:
                starting.result()
            except CannotStart:  # the worker has said why
                return CANNOT_START
            on_ready()
            await stop.wait()
            return 0
        finally:
            for task in reloads:
                task.cancel()
            ending = asyncio.create_task(supervisor.stop())
            hurrying = asyncio.create_task(hurry.wait())
            await asyncio.wait({ending, hurrying}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                supervisor.hurry()
            await ending
            hurrying.cancel()


def _once_then(first: asyncio.Event, second: asyncio.Event) -> None:
    (second if first.is_set() else first).set()


def shared_out(settings: Settings, *, count: int, dsn: str) -> Mapping[str, str]:
    """Return the settings of each of `count` workers that differ from the server's, as environment variables."""
    server, threads = settings.server, settings.embedding.threads
    values: dict[str, object] = {
        "DATABASE__URL": dsn,
        "DATABASE__POOL_MAX": max(LEAST_CONNECTIONS, -(-settings.database.pool_max // count)),
        "DATABASE__POOL_MIN": min(settings.database.pool_min, LEAST_CONNECTIONS),
        "JOBS__WORKER": "never",  # the supervisor's
        "SERVER__WORKERS": 1,
        "SERVER__MAX_CONCURRENCY": -(-server.max_concurrency // count),
        "SERVER__MAX_UPLOADS": -(-server.max_uploads // count),
        "SERVER__MAX_WATCHERS": -(-server.max_watchers // count),
        "EMBEDDING__THREADS": max(1, (threads or os.cpu_count() or 1) // count),
    }
    return {f"{PREFIX}{name}": str(value) for name, value in values.items()}


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Yield a folder that only this user can read, with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="footnote-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
