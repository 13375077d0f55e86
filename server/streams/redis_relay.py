"""Resuming streams on another replica than the one that writes them, through Redis (6.2 or newer).

A frame reaches readers on other replicas 20 to 50 ms after it was published. Only requests for another process's stream
wait for Redis; while it is unreachable, streams go on for readers of this process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import structlog

from config.settings import StreamSettings
from server.redis_link import ERRORS, RedisLink
from server.streams.log import MAX_BYTES, WINDOW_BYTES, StreamLog
from server.streams.redis_keys import ENDS, MARK, RETRY_SECONDS, reader_key, stop_key, stream_key
from server.streams.redis_mirrors import Mirrors
from server.streams.redis_outbox import Outbox

HANG_UP_SECONDS = 0.5
LOOK_SECONDS = 0.5
"""Between two checks whether other processes have deleted or stopped streams that are written here."""

STOPPING_SECONDS = 5.0
"""How long a process waits for another one to stop a stream."""

PACE_SECONDS = 0.05

# A stream that begins with the mark has no frames: it was deleted. Returns the indexes of such streams.
_FORGOTTEN = """
local forgotten = {}
for place, key in ipairs(KEYS) do
  local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if first and first[1] == ARGV[1] then
    forgotten[#forgotten + 1] = place - 1
  end
end
return forgotten
"""
_log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def open_redis_relay(
    link: RedisLink, *, settings: StreamSettings, window_bytes: int = WINDOW_BYTES, max_bytes: int = MAX_BYTES
) -> AsyncIterator[RedisRelay]:
    """Run a relay over Redis, which need not be reachable."""
    relay = RedisRelay(link, settings=settings, window_bytes=window_bytes, max_bytes=max_bytes)
    try:
        yield relay
    finally:
        await relay.close()


class RedisRelay:
    """A `Relay`; see `server.streams.relay`. Create it inside the event loop that uses it."""

    copies = True

    def __init__(self, link: RedisLink, *, settings: StreamSettings, window_bytes: int, max_bytes: int) -> None:
        self._redis = link.client
        self._outbox = Outbox(link, process=uuid4().hex[:12], settings=settings, max_bytes=max_bytes)
        self._mirrors = Mirrors(link, window_bytes=window_bytes, max_bytes=max_bytes)
        self._which_are_forgotten = link.client.register_script(_FORGOTTEN)
        self._tell: Callable[[str], None] = lambda _: None
        self._tell_stopped: Callable[[str], None] = lambda _: None
        self._closing = False
        steps = (self._outbox.step, self._mirrors.step, self._look)
        self._tasks = [asyncio.create_task(self._keep_on(step)) for step in steps]

    def publish(self, stream_id: str, number: int, frame: bytes, *, last: bool) -> None:
        """See `Relay.publish`."""
        self._outbox.publish(stream_id, number, frame, last=last)

    async def find(self, stream_id: str, *, lost: Callable[[int], bytes]) -> StreamLog | None:
        """See `Relay.find`. If the beginning of the stream has been trimmed, the log begins with the rest."""
        return await self._mirrors.find(stream_id, lost=lost)

    async def is_read(self, stream_id: str) -> bool:
        """See `Relay.is_read`; False while Redis is unreachable."""
        try:
            return bool(await self._redis.exists(reader_key(stream_id)))
        except ERRORS:
            return False

    async def forget(self, stream_id: str) -> None:
        """See `Relay.forget`. While Redis is unreachable, it is done when Redis is back, if this process still runs."""
        self._mirrors.forget(stream_id)
        await self._outbox.forget(stream_id)

    async def is_forgotten(self, stream_id: str) -> bool:
        """See `Relay.is_forgotten`; False while Redis is unreachable."""
        return not self._outbox.failing and bool(await self._forgotten([stream_id]))

    async def stop(self, stream_id: str) -> bool:
        """See `Relay.stop`; False while Redis is unreachable."""
        try:
            async with asyncio.timeout(STOPPING_SECONDS):
                is_over = await self._is_over(stream_id)
                if is_over is False:
                    await self._redis.set(stop_key(stream_id), b"", px=round(STOPPING_SECONDS * 1000))
                while is_over is False:
                    await asyncio.sleep(PACE_SECONDS)
                    is_over = await self._is_over(stream_id)
        except TimeoutError:
            return True  # its process is about to end it, or has died
        except ERRORS:
            return False
        return is_over is True

    async def _is_over(self, stream_id: str) -> bool | None:
        """Tell whether a stream has ended; None: there is none, or not any more."""
        newest: Any = await self._redis.xrevrange(stream_key(stream_id), count=1)
        if not newest or newest[0][0].startswith(f"{MARK}-".encode()):
            return None
        return bool(newest[0][1][0].endswith(ENDS))

    def watch(self, *, forgotten: Callable[[str], None], stopped: Callable[[str], None]) -> None:
        """See `Relay.watch`; either is noticed within a second or so."""
        self._tell, self._tell_stopped = forgotten, stopped

    async def _look(self) -> None:
        await asyncio.sleep(LOOK_SECONDS)
        streams = self._outbox.streams
        for stream_id in await self._forgotten(streams):
            self._tell(stream_id)
        for stream_id in await self._stopped(streams):
            self._tell_stopped(stream_id)

    async def _stopped(self, stream_ids: Sequence[str]) -> list[str]:
        if not stream_ids:
            return []
        try:
            found = await self._redis.mget([stop_key(each) for each in stream_ids])
        except ERRORS:
            return []
        return [stream_id for stream_id, value in zip(stream_ids, found, strict=True) if value is not None]

    async def _forgotten(self, stream_ids: Sequence[str]) -> list[str]:
        if not stream_ids:
            return []
        try:
            places = await self._which_are_forgotten(keys=[stream_key(each) for each in stream_ids], args=[f"{MARK}-0"])
        except ERRORS:
            return []
        return [stream_ids[place] for place in places]

    def end_all(self) -> None:
        """See `Relay.end_all`."""
        self._mirrors.end_all()

    async def close(self) -> None:
        """See `Relay.close`; takes a second and a half at the most."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=HANG_UP_SECONDS)
        self._mirrors.close()
        await self._outbox.close()

    async def _keep_on(self, step: Callable[[], Awaitable[None]]) -> None:
        # redis-py waits by `asyncio.wait_for`, which may swallow a cancellation (Python 3.11): hence `_closing`
        while not self._closing:
            try:
                await step()
            except Exception as exc:  # noqa: BLE001 (nobody awaits this, and what it did not foresee must not stop it)
                _log.error("the redis relay failed", error=type(exc).__name__)
                await asyncio.sleep(RETRY_SECONDS)
