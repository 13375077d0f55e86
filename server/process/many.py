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

import structlog

from config.environment import PREFIX
from server.process.connections import LEAST_OF_WORKER, Connections, compared, write
from server.process.local_model import shared_local_model
from server.process.signals import log_reload, log_stop
from server.process.supervisor import CANNOT_START, CannotStart, Supervisor
from server.process.worker import open_worker
from storage import schema_version
from storage.database import Database
from storage.server import database_server, kept_running

if TYPE_CHECKING:
    from config.settings import Settings

LEAST_BYTES = 65_536
"""The settings' least, of what is kept in memory."""

LAST_WORDS = 15.0
"""Seconds beyond the settings' for a worker that was told to stop."""

INTERRUPTED = 130
_log = structlog.get_logger(__name__)


async def serve_with_workers(
    settings: Settings,
    sockets: list[socket],
    *,
    count: int,
    on_ready: Callable[[], None],
    on_failure: Callable[[str], None],
) -> int:
    """Serve until SIGTERM or SIGINT, replace the workers at SIGHUP; return the exit status.

    Raises:
        FootnoteError: what exists once cannot be opened.

    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _once_then, number, stop, hurry)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(database_server(settings))
        connections = await _checked(settings, server.dsn, count=count)
        await stack.enter_async_context(kept_running(server))
        await stack.enter_async_context(open_worker(settings))
        _log.info(f"starting: {count} processes load libraries and models, ten seconds to half a minute", shown=True)
        folder = stack.enter_context(_private_folder())
        write(folder, connections)
        await stack.enter_async_context(shared_local_model(settings, folder))
        supervisor = Supervisor(
            sockets,
            count=count,
            environment={**os.environ, **shared_out(settings, count=count)},
            folder=folder,
            patience=settings.server.shutdown_timeout + LAST_WORDS,
            drain_delay=settings.server.drain_delay,
            hang_timeout=settings.server.hang_timeout,
        )
        stack.push_async_callback(_ended, supervisor, hurry)
        stack.enter_context(_reloading(supervisor, stop))
        return await _served(supervisor, stop, on_ready=on_ready, on_failure=on_failure)


async def _checked(settings: Settings, dsn: str, *, count: int) -> Connections:
    """Check the schema once for all, before anything is started that needs it, and the connections of all workers."""
    database = await Database.open(dsn, settings=settings.database)
    try:
        await schema_version.check(database)
        return await compared(database, settings, workers=count)
    finally:
        await database.close()


async def _served(
    supervisor: Supervisor, stop: asyncio.Event, *, on_ready: Callable[[], None], on_failure: Callable[[str], None]
) -> int:
    starting, stopping = asyncio.create_task(supervisor.start()), asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        return INTERRUPTED
    try:
        starting.result()
    except CannotStart as exc:
        on_failure(str(exc))
        return CANNOT_START
    on_ready()
    await stopping
    return 0


async def _ended(supervisor: Supervisor, hurry: asyncio.Event) -> None:
    """Stop the workers; at once if a second signal comes."""
    ending, hurrying = asyncio.create_task(supervisor.stop()), asyncio.create_task(hurry.wait())
    await asyncio.wait({ending, hurrying}, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        supervisor.hurry()
    await ending
    hurrying.cancel()


@contextmanager
def _reloading(supervisor: Supervisor, stop: asyncio.Event) -> Iterator[None]:
    """Reload at SIGHUP; stop if it comes as the terminal is gone that the server was started in."""
    loop, reloads, had_terminal = asyncio.get_running_loop(), set[asyncio.Task[None]](), has_terminal()
    was_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup

    def hung_up() -> None:
        if had_terminal and not has_terminal():
            if not was_ignored:
                log_stop(signal.SIGHUP)
                stop.set()
            return
        log_reload(signal.SIGHUP)
        task = asyncio.create_task(supervisor.reload(), name="reload")
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, hung_up)
    try:
        yield
    finally:
        for task in reloads:
            task.cancel()


def has_terminal() -> bool:
    """Tell whether this process has a controlling terminal that still is there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _once_then(number: int, first: asyncio.Event, second: asyncio.Event) -> None:
    log_stop(number, at_once=first.is_set())
    (second if first.is_set() else first).set()


def shared_out(settings: Settings, *, count: int) -> Mapping[str, str]:
    """Return the settings of each of `count` workers that differ from the server's, as environment variables.

    What is kept for long is divided: memory and connections. What limits a burst is not: the kernel spreads connections
    unevenly, and a worker that got most of them would refuse some while the server has room. Nor are the models'
    threads: one question alone is answered by all cores, and where all are busy it costs nothing.

    Not the database's address: a worker counts among those who use the embedded PostgreSQL, so that it lives as long
    as the last of them, even if the supervisor is killed.
    """
    cache = settings.cache
    shares: dict[str, int] = {
        "DATABASE__POOL_MAX": max(LEAST_OF_WORKER, _share(settings.database.pool_max, count)),
        "DATABASE__POOL_MIN": min(settings.database.pool_min, LEAST_OF_WORKER),
        "SERVER__WORKERS": 1,
        "STREAMS__KEPT_BYTES": max(LEAST_BYTES, _share(settings.streams.kept_bytes, count)),
        "CACHE__EMBEDDING_BYTES": _share(cache.embedding_bytes, count),
        "CACHE__ANSWER_BYTES": max(LEAST_BYTES, _share(cache.answer_bytes, count)),
    }
    values = {name: str(value) for name, value in shares.items()}
    values["JOBS__WORKER"] = "never"  # the supervisor's
    return {f"{PREFIX}{name}": value for name, value in values.items()}


def _share(total: int, count: int) -> int:
    return -(-total // count)


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Yield a folder that only this user can read, with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="footnote-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
