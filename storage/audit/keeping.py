"""What keeps the audit record in order beside a server: it is sealed, its months are made ahead, and dropped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from config.background import running_beside
from config.errors import FootnoteError
from storage.audit.retention import make_partitions, prune
from storage.audit.sealing import oldest_pending, seal
from storage.errors import StoreFailed

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from config.settings import AuditSettings
    from storage.database import Database

SEAL_SECONDS = 1.0
TIDY_SECONDS = 3600.0
STANDS_STILL_AFTER = 60.0
"""Seconds for which the same line is the next one to be sealed, whoever seals."""
_log = structlog.get_logger(__name__)


class Sealing:
    """How the sealing goes, as this process sees it.

    Attributes:
        trouble: why lines are not sealed; None: they are.

    """

    def __init__(self) -> None:
        """Begin without trouble."""
        self.trouble: str | None = None
        self._next: tuple[datetime, UUID] | None = None
        self._since = 0.0

    def note_next(self, pending: tuple[datetime, UUID] | None) -> None:
        """Take note of the line that is to be sealed next; None: there is none."""
        now = time.monotonic()
        if pending is None or pending != self._next:
            self._next, self._since, self.trouble = pending, now, None
        elif now - self._since >= STANDS_STILL_AFTER:
            self.fail("no line has been sealed for a minute, though some wait; does somebody hold the sealer's lock?")

    def fail(self, reason: str) -> None:
        """Take note of why lines are not sealed, and log it."""
        self.trouble = reason
        _log.error("the audit record is not sealed", reason=reason)


@asynccontextmanager
async def kept_in_order(database: Database, *, settings: AuditSettings) -> AsyncIterator[Sealing]:
    """Keep the record in order until the block ends; several processes may be at it."""
    sealing = Sealing()
    async with running_beside(_keep(database, settings, sealing)):
        yield sealing


async def tidy(database: Database, *, settings: AuditSettings) -> None:
    """Seal what is written, make the months ahead, and drop those that are kept long enough."""
    await seal(database)
    await make_partitions(database)
    if settings.retention_days:
        await prune(database, days=settings.retention_days)


async def _keep(database: Database, settings: AuditSettings, sealing: Sealing) -> None:
    tidied = -TIDY_SECONDS
    while True:
        try:
            await _seal(database, sealing)
            if time.monotonic() - tidied >= TIDY_SECONDS:
                tidied = time.monotonic()
                await tidy(database, settings=settings)
        except FootnoteError as exc:  # the database is away, say, which is told elsewhere
            _log.info("the audit record was not sealed; another attempt follows", error=type(exc).__name__)
        await asyncio.sleep(SEAL_SECONDS)


async def _seal(database: Database, sealing: Sealing) -> None:
    pending = await oldest_pending(database)
    if pending is None:
        sealing.note_next(None)
        return
    try:
        await seal(database)
    except StoreFailed as exc:
        sealing.fail(str(exc))
    else:
        sealing.note_next(pending)
