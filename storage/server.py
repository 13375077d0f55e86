"""Which PostgreSQL server is used: the one that the settings name, else the embedded one. One code path after that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from config.settings import Settings
from storage.local import LocalPostgres


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """Where the database is; `local` is the embedded server, if it is that."""

    dsn: str
    local: LocalPostgres | None = None


@contextmanager
def database_server(settings: Settings) -> Iterator[DatabaseServer]:
    """Yield the database's address; start the embedded server for as long as the block lasts where no URL is set.

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
