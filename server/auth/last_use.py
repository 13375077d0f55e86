"""When keys were last used: collected, and written seldom."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from config.background import repeated_beside
from config.errors import FootnoteError

if TYPE_CHECKING:
    from storage.access.keys import ApiKeys

WRITE_SECONDS = 30.0
MOST_KEYS = 10_000
_log = structlog.get_logger(__name__)


class LastUse:
    """Collects uses; what cannot be written is lost, for nothing depends on it."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._used: dict[str, datetime] = {}

    def note(self, key_id: str) -> None:
        """Take note that a key was used now."""
        if key_id in self._used or len(self._used) < MOST_KEYS:
            self._used[key_id] = datetime.now(UTC)

    def written(self) -> AbstractAsyncContextManager[None]:
        """Write what was noted now and then, and when the block ends."""
        return repeated_beside(self.write, seconds=WRITE_SECONDS)

    async def write(self) -> None:
        """Write what was noted."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._keys.note_used(used)
        except FootnoteError as exc:
            _log.info("when keys were last used was not written", error=type(exc).__name__)
