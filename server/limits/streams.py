"""Concurrent streams of a subject and of an API key, on all servers together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar, cast
from uuid import UUID

import structlog

from config.errors import FootnoteError
from config.telemetry.metrics import LIMIT_REFUSALS
from server.answers import Done
from server.errors import RateLimited
from server.limits.effective import Asking, EffectiveLimits, asking
from server.waiting.background import Background
from storage.access.open_streams import OpenStreams, StreamHolder, StreamScope

if TYPE_CHECKING:
    from config.settings import LimitSettings

MARGIN = 30.0
"""Seconds beyond the longest stream after which one that nobody has ended counts no more."""
TRY_AGAIN = 5
CLOSING_SECONDS = 2.0
ENDING_SECONDS = 0.5
"""Seconds that a stream's end waits for the database to know of it."""
Event = TypeVar("Event")

_log = structlog.get_logger(__name__)


class StreamSlots:
    """Lets a subject, and a key, have so many streams at a time."""

    def __init__(self, streams: OpenStreams, *, limits: EffectiveLimits, longest: float) -> None:
        """Take the seconds that a stream lasts at the most."""
        self._streams = streams
        self._limits = limits
        self._seconds = longest + MARGIN
        self._ending = Background("a stream that ended counts until it expires")

    async def held(self, events: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
        """Yield a stream's events while one of the caller's slots is taken for it.

        Raises:
            RateLimited: before the first event: the subject or the key has as many streams as it may.

        """
        async with aclosing(cast("AsyncGenerator[Event, None]", events)) as given:
            who = asking()
            limits = await self._limits.of(who)
            is_bounded = limits.subject_streams is not None or (who.key is not None and limits.key_streams is not None)
            slot = await self._begun(_holder(who, limits)) if is_bounded else None
            try:
                async for event in given:
                    if slot is not None and isinstance(event, Done):
                        # whoever asks again after this event is not refused for this stream's sake
                        ended = self._ending.start(self._streams.end(who.tenant, slot))
                        slot = None
                        await asyncio.wait({ended}, timeout=ENDING_SECONDS)
                    yield event
            finally:
                if slot is not None:  # a stream that is cut is cancelled, and nothing can be awaited here
                    self._ending.start(self._streams.end(who.tenant, slot))

    async def close(self) -> None:
        """Wait until what has ended counts no more."""
        await self._ending.close(seconds=CLOSING_SECONDS)

    async def _begun(self, holder: StreamHolder) -> UUID | None:
        async def undo(slot: UUID | StreamScope) -> None:
            if isinstance(slot, UUID):
                await self._streams.end(holder.tenant, slot)

        beginning = self._streams.begin(holder, seconds=self._seconds)
        try:
            slot = await self._ending.undone_if_cancelled(beginning, undo=undo)
        except FootnoteError as error:
            _log.warning("a stream was not counted", error=type(error).__name__)
            return None
        if isinstance(slot, UUID):
            return slot
        LIMIT_REFUSALS.add(1, {"footnote.limit": "streams", "footnote.scope": slot})
        most = holder.most_of_key if slot == "key" else holder.most_of_subject
        detail = f"the {slot} has at most {most} streams at a time; wait for one to end"
        raise RateLimited(detail, retry_after=TRY_AGAIN)


def _holder(who: Asking, limits: LimitSettings) -> StreamHolder:
    key = who.key.id if who.key else None
    return StreamHolder(who.tenant, who.subject, key, limits.subject_streams, limits.key_streams if key else None)
