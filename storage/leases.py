"""Leases: locks across processes that expire if their holder dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog

from config.background import running_beside
from storage.caller import for_all_tenants
from storage.errors import LeaseLost, StoreUnavailable

if TYPE_CHECKING:
    from storage.database import Connection, Database

EXPIRED_FOR = timedelta(hours=1)
"""Before an expired lease is deleted: a process that was cut off may still find that nobody has taken it."""
FORGET_SECONDS = 300.0
_log = structlog.get_logger(__name__)


class Leases:
    """This process's leases: rows with an expiry time, by the database's clock.

    While `renewed` is open, those that are `kept` are renewed together. The leases of a process that dies expire; a
    process that was cut off from the database learns from `confirm` that it has lost them.
    """

    def __init__(self, database: Database, *, seconds: float) -> None:
        self.holder: UUID = uuid4()
        self._database = database
        self._seconds = seconds
        self.duration = timedelta(seconds=seconds)
        self._kept: set[str] = set()

    @asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        """Renew this process's leases until the block ends; then release them."""
        try:
            async with running_beside(self._renew()):
                yield
        finally:
            try:
                await self._release_all()
            except StoreUnavailable:
                _log.info("leases are left to expire")

    @contextmanager
    def kept(self, name: str) -> Iterator[None]:
        """Renew a lease that was taken, until the block ends."""
        self._kept.add(name)
        try:
            yield
        finally:
            self._kept.discard(name)

    async def take(self, connection: Connection, name: str) -> bool:
        """Take a lease within the connection's transaction; it fails if the lease is held, even by this process."""
        if name in self._kept:  # it may have expired while the database was away, but the work goes on
            return False
        taken = await connection.fetchval(
            """INSERT INTO footnote.leases AS l (name, holder, expires_at) VALUES ($1, $2, clock_timestamp() + $3)
               ON CONFLICT (name) DO UPDATE SET holder = $2, expires_at = excluded.expires_at
               WHERE l.expires_at < clock_timestamp() RETURNING true""",
            name,
            self.holder,
            self.duration,
        )
        return bool(taken)

    async def confirm(self, connection: Connection, name: str) -> None:
        """Lock the lease until the transaction's end, so that no other process can take it meanwhile.

        Raises:
            LeaseLost: it expired, and another process may have it.

        """
        if not await self.is_held(connection, name):
            raise LeaseLost

    async def is_held(self, connection: Connection, name: str) -> bool:
        """Lock the lease as `confirm` does; tell whether it is this process's."""
        return bool(
            await connection.fetchval(
                "SELECT true FROM footnote.leases WHERE name = $1 AND holder = $2 FOR UPDATE", name, self.holder
            )
        )

    async def give_back(self, connection: Connection, name: str) -> None:
        """Release a lease."""
        await connection.execute("DELETE FROM footnote.leases WHERE name = $1 AND holder = $2", name, self.holder)

    @for_all_tenants
    async def forget_expired(self) -> None:
        """Delete leases that expired long ago, of whatever process: nobody gives back those of one that died."""
        async with self._database.connection() as connection:
            await connection.execute(_FORGET, EXPIRED_FOR)

    @for_all_tenants
    async def _release_all(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM footnote.leases WHERE holder = $1", self.holder)

    async def _renew(self) -> None:
        forgot = float("-inf")
        while True:
            await asyncio.sleep(self._seconds / 3)
            if time.monotonic() - forgot > FORGET_SECONDS:
                forgot = time.monotonic()
                await self._tried(self.forget_expired())
            if self._kept:
                await self._tried(self._renew_kept())

    @for_all_tenants
    async def _renew_kept(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_RENEW, self.holder, self.duration, list(self._kept))

    async def _tried(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as exc:  # noqa: BLE001 (whatever it is, the next round may succeed)
            _log.warning("leases were not renewed", error=type(exc).__name__)


# one that is locked is being given back, or confirmed: waiting for it could deadlock
_RENEW = """
    UPDATE footnote.leases SET expires_at = clock_timestamp() + $2 WHERE name IN (
        SELECT name FROM footnote.leases WHERE holder = $1 AND name = ANY($3) FOR UPDATE SKIP LOCKED)"""
_FORGET = """
    DELETE FROM footnote.leases WHERE name IN (
        SELECT name FROM footnote.leases WHERE expires_at < clock_timestamp() - $1::interval
        LIMIT 10000 FOR UPDATE SKIP LOCKED)"""
