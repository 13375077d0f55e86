"""What a tenant may still store: a run adds no document beyond its quotas.

The database is asked when a run begins, every few seconds, and before anything is refused. Two runs at once may each
use what the other has used since, so that together they may exceed a quota by what they write in that time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.settings import LimitSettings, overridden_where_valid
from ingestion.errors import QuotaExceeded
from storage.access.quotas import Stored, count_of_documents, count_stored_now
from storage.access.tenant_limits import TenantLimits
from storage.caller import LOCAL, caller

if TYPE_CHECKING:
    from storage.database import Database
    from storage.generation import Generation

COUNT_SECONDS = 5.0
SETTLE_SECONDS = 1.0
HELP = "delete some, or give it more (python -m server limits)"


@dataclass(frozen=True, slots=True)
class Growth:
    """By how many documents and chunks a tenant has more when a document is written."""

    documents: int = 0
    chunks: int = 0

    def __add__(self, other: Growth) -> Growth:
        """Return both together."""
        return Growth(self.documents + other.documents, self.chunks + other.chunks)

    def __neg__(self) -> Growth:
        """Return what takes it back."""
        return Growth(-self.documents, -self.chunks)


class Room:
    """The room of one tenant, as one run uses it up; documents are compared with those that answer now."""

    def __init__(
        self, database: Database, *, tenant: str, limits: LimitSettings, answering: Generation, builds: bool
    ) -> None:
        """Take the generation that answers; the run `builds` another, whose documents are not counted yet."""
        self._database = database
        self._tenant = tenant
        self._limits = limits
        self._answering = answering
        self._builds = builds
        self._turn = asyncio.Lock()
        self._stored = Stored(0, 0, 0)
        self._counted_at: float | None = None
        self._in_flight = self._written = Growth()
        self._flying = 0
        self._settled = asyncio.Event()

    async def take(self, ids: Sequence[str], *, documents: int, chunks: int) -> Growth:
        """Take the room of a document with its attachments, which replaces those of these ids and their attachments.

        Raises:
            QuotaExceeded: there is none.

        """
        async with self._turn:
            async with self._database.connection() as connection:
                had = await count_of_documents(connection, self._answering.id, ids)
            growth = Growth(documents - had.documents, chunks - had.chunks)
            if self._is_stale or self._refusal(growth):
                await self._count()
            while reason := self._refusal(growth):
                if not self._flying or not await self._one_settles():
                    raise QuotaExceeded(reason)
                await self._count()
            self._in_flight += growth
            self._flying += 1
            return growth

    def wrote(self, growth: Growth) -> None:
        """Take note that a document was written."""
        self._written += growth
        self.give_back(growth)

    def give_back(self, growth: Growth) -> None:
        """Take note that a document was not written."""
        self._in_flight += -growth
        self._flying -= 1
        self._settled.set()

    async def _one_settles(self) -> bool:
        """Wait a moment for one that is in flight: what is in the database before we hear of it was counted twice."""
        self._settled.clear()
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                return await self._settled.wait()
        except TimeoutError:
            return False

    @property
    def _is_stale(self) -> bool:
        return self._counted_at is None or time.monotonic() - self._counted_at > COUNT_SECONDS

    async def _count(self) -> None:
        written = self._written
        async with self._database.connection() as connection:
            self._stored = await count_stored_now(connection, self._tenant)
        self._counted_at = time.monotonic()
        if not self._builds:  # what was written meanwhile may be counted twice, until the next time
            self._written += -written

    def _refusal(self, growth: Growth) -> str | None:
        """Return why a document does not fit; one that takes no more room than before always does."""
        used = Growth(self._stored.documents + self._stored.coming, self._stored.chunks)
        used = used + self._in_flight + self._written
        documents, chunks = self._limits.tenant_documents, self._limits.tenant_chunks
        if documents is not None and growth.documents > 0 and used.documents + growth.documents > documents:
            return f"the tenant may store {documents} documents, and has no room for more; {HELP}"
        if chunks is not None and growth.chunks > 0 and used.chunks >= chunks:
            return f"the tenant may store {chunks} chunks, and has them; {HELP}"
        return None


async def room_of(
    database: Database, *, limits: LimitSettings, answering: Generation, builds: bool = False
) -> Room | None:
    """Return the room of the current tenant, None where it may store what it likes."""
    tenant = (caller() or LOCAL).tenant
    holds = overridden_where_valid(limits, await TenantLimits(database).read(tenant))
    if holds.tenant_documents is None and holds.tenant_chunks is None:
        return None
    return Room(database, tenant=tenant, limits=holds, answering=answering, builds=builds)
