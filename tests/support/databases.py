"""Databases for tests: copies of a migrated template, made and dropped beside the tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar
from urllib.parse import quote
from uuid import uuid4

import psycopg2
from support.sql import execute

from config.settings import DatabaseSettings
from storage.caller import LOCAL, acting_as
from storage.database import Database

Made = TypeVar("Made")
TEMPLATE = "footnote_template"
READY = 2
"""Copies that wait for a test: making one and dropping one take some 200 ms, in which a test would do nothing."""
MAX_CONNECTIONS = 400
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")
"""Settings that save data from a crash of the machine; the tests' data need no saving."""


class Databases:
    """The databases of one PostgreSQL.

    Args:
        dsn: URL of its database `footnote`.

    """

    def __init__(self, dsn: str) -> None:
        self._before, self._after = dsn.split("/footnote?")
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="databases")
        self._copies: deque[Future[str]] = deque()

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        return f"{self._before}/{quote(name)}?{self._after}"

    def prepare(self, migrate: Callable[[str], None]) -> bool:
        """Make the template and set up PostgreSQL to wait for no disk, unless the template is there.

        Returns whether PostgreSQL has to be started anew.
        """
        admin = self.url("postgres")
        if execute(admin, "SELECT 1 FROM pg_database WHERE datname = %s", TEMPLATE):
            return False
        for name in DURABILITY:
            execute(admin, f"ALTER SYSTEM SET {name} = off")
        execute(admin, f"ALTER SYSTEM SET max_connections = {MAX_CONNECTIONS}")
        execute(admin, "SELECT pg_reload_conf()")
        execute(admin, f"CREATE DATABASE {TEMPLATE}_new")
        migrate(self.url(f"{TEMPLATE}_new"))
        execute(admin, f"ALTER DATABASE {TEMPLATE}_new RENAME TO {TEMPLATE}")
        return True

    @contextlib.contextmanager
    def lend(self) -> Iterator[str]:
        """Lend a copy of the template; yields its URL."""
        while len(self._copies) <= READY:
            self._copies.append(self._worker.submit(self._copy))
        name = self._copies.popleft().result()
        try:
            yield self.url(name)
        finally:
            self._worker.submit(self._drop, name)

    def close(self) -> None:
        """Stop copying and dropping; what is left goes with the server."""
        self._worker.shutdown(cancel_futures=True)

    def _copy(self) -> str:
        name = f"test_{uuid4().hex}"
        execute(self.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return name

    def _drop(self, name: str) -> None:
        with contextlib.suppress(psycopg2.Error):
            execute(self.url("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


def in_database(dsn: str, work: Callable[[Database], Awaitable[Made]]) -> Made:
    """Do something in a database from where no event loop runs, a fixture of a module say; return what comes of it."""

    async def run() -> Made:
        database = await Database.open(dsn, settings=DatabaseSettings())
        try:
            with acting_as(LOCAL):
                return await work(database)
        finally:
            await database.close()

    with ThreadPoolExecutor(1) as pool:  # this thread's event loop is pytest's
        return pool.submit(copy_context().run, asyncio.run, run()).result()
