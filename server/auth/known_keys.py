"""API keys as this process knows them: looked up once, forgotten when they change, kept for a while without a database.

A key is trusted without another look while its changes would be heard of (`storage.access.key_changes`), for
`RECHECK_SECONDS` at most; where they would not, for a second. While the database is away, a key goes on for the grace
time since it was last looked up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from cachetools import LRUCache

from config.background import running_beside
from config.errors import FootnoteError
from server.last_known import retrieved
from storage.access.key_changes import listen
from storage.access.keys import ApiKey, ApiKeys
from storage.errors import StoreUnavailable

if TYPE_CHECKING:
    from storage.database import Database

MOST_KEYS, MOST_ABSENT = 10_000, 1000
RECHECK_SECONDS = 30.0
UNHEARD_SECONDS = 1.0
"""How long a key is trusted where nobody would tell of its end."""

LOOKUP_SECONDS = 2.0
LOOKUPS = 4
"""Connections of the pool that are taken for keys at the most, whoever sends them."""

PROBE_SECONDS = 1.0
"""Between two looks while the database is away; nobody who has a known key waits for them."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key, or None for an id that no key has, as it was at a moment."""

    key: ApiKey | None
    at: float


class KnownKeys:
    """Looks keys up; use it from one event loop."""

    def __init__(self, keys: ApiKeys, *, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._grace = grace
        self._clock = clock
        self._kept: LRUCache[str, _Entry] = LRUCache(MOST_KEYS)
        self._absent: LRUCache[str, _Entry] = LRUCache(MOST_ABSENT)  # apart, so that ids made up push no key out
        self._looking: dict[str, asyncio.Task[ApiKey | None]] = {}
        self._places = asyncio.Semaphore(LOOKUPS)
        self._heard_since: float | None = None
        self._is_away = False
        self._probe_at = 0.0

    def at_hand(self, key_id: str) -> ApiKey | None:
        """Return a key that needs no look into the database."""
        entry = self._kept.get(key_id)
        return entry.key if entry is not None and self._is_fresh(entry) else None

    async def get(self, key_id: str) -> ApiKey | None:
        """Return a key, also one that was revoked or has expired.

        Raises:
            FootnoteError: the database is away, and the key was not looked up within the grace time.

        """
        entry = self._kept.get(key_id) or self._absent.get(key_id)
        if entry is not None and self._is_fresh(entry):
            return entry.key
        if entry is not None and self._is_away and self._is_good(entry):
            self._probe(key_id)
            return entry.key
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                return await asyncio.shield(self._look(key_id))
        except (FootnoteError, TimeoutError) as exc:
            return self._without_database(key_id, exc)

    def changed(self, key_id: str) -> None:
        """Forget a key, and what is being found out about it."""
        self._kept.pop(key_id, None)
        self._absent.pop(key_id, None)
        self._looking.pop(key_id, None)

    def is_listening(self, listening: bool) -> None:  # noqa: FBT001 (a callback)
        """Take note of whether changes are heard of from now on."""
        self._heard_since = self._clock() if listening else None

    @asynccontextmanager
    async def followed(self, database: Database) -> AsyncIterator[None]:
        """Hear of changes until the block ends."""
        async with running_beside(listen(database, changed=self.changed, is_listening=self.is_listening)):
            yield

    def _is_fresh(self, entry: _Entry) -> bool:
        is_heard = self._heard_since is not None and entry.at >= self._heard_since
        return self._clock() - entry.at < (RECHECK_SECONDS if is_heard else UNHEARD_SECONDS)

    def _is_good(self, entry: _Entry) -> bool:
        return entry.key is not None and self._clock() - entry.at < self._grace

    def _probe(self, key_id: str) -> None:
        if self._clock() >= self._probe_at:
            self._probe_at = self._clock() + PROBE_SECONDS
            self._look(key_id)

    def _look(self, key_id: str) -> asyncio.Task[ApiKey | None]:
        """Return the one task that looks for a key now; it is of no request."""
        if (task := self._looking.get(key_id)) is None:
            task = asyncio.create_task(self._looked_up(key_id), context=Context())
            task.add_done_callback(retrieved)
            self._looking[key_id] = task
        return task

    async def _looked_up(self, key_id: str) -> ApiKey | None:
        task = asyncio.current_task()
        try:
            async with self._places, asyncio.timeout(LOOKUP_SECONDS):
                at = self._clock()
                key = await self._keys.find(key_id)
            if self._looking.get(key_id) is task:  # it has not changed meanwhile
                self._keep(key_id, _Entry(key, at))
            self._is_away = False
            return key
        finally:
            if self._looking.get(key_id) is task:
                del self._looking[key_id]

    def _keep(self, key_id: str, entry: _Entry) -> None:
        kept, other = (self._absent, self._kept) if entry.key is None else (self._kept, self._absent)
        kept[key_id] = entry
        other.pop(key_id, None)

    def _without_database(self, key_id: str, error: Exception) -> ApiKey | None:
        if not self._is_away:
            _log.warning("keys cannot be looked up", error=type(error).__name__, grace_seconds=self._grace)
        self._is_away, self._probe_at = True, self._clock() + PROBE_SECONDS
        entry = self._kept.get(key_id)
        if entry is not None and self._is_good(entry):
            return entry.key
        if isinstance(error, FootnoteError):
            raise error
        msg = "the database is not available, and this key is not known yet"
        raise StoreUnavailable(msg) from None
