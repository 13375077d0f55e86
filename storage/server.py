"""Selects the PostgreSQL server: the one in the settings, else the embedded one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog

from config.background import running_beside
from config.settings import Settings
from storage.local import LocalPostgres

WATCH_SECONDS = 2.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """The address of the database; `local` is the embedded server, if used."""

    dsn: str
    local: LocalPostgres | None = None


@contextmanager
def database_server(settings: Settings) -> Iterator[DatabaseServer]:
    """Yield the database's address; run the embedded server during the block if no URL is set.

    Raises:
        EmbeddedServerFailed: the embedded server cannot be started.

    """
    if settings.database.url is not None:
        yield DatabaseServer(settings.database.url.get_secret_value())
        return
    local = LocalPostgres(settings.data_dir)
    dsn = local.start()
    try:
        yield DatabaseServer(dsn, local)
    finally:
        local.stop()


@asynccontextmanager
async def kept_running(server: DatabaseServer) -> AsyncIterator[None]:
    """Restart the embedded server if it dies during the block."""

    async def watch(local: LocalPostgres) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await asyncio.to_thread(local.ensure_running)
            except Exception as exc:  # noqa: BLE001 (whatever pg_ctl says, the next look may go well)
                _log.warning("the embedded PostgreSQL is down", error=type(exc).__name__)

    if server.local is None:
        yield
        return
    async with running_beside(watch(server.local)):
        yield
