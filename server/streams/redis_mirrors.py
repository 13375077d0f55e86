"""Copies of streams that other processes write, read from Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from server.redis_link import ERRORS, Outage, RedisLink
from server.streams.log import MAX_BYTES, WINDOW_BYTES, StreamLog
from server.streams.redis_keys import ENDS, MARK, RETRY_SECONDS, owner_key, reader_key, stream_key

PACE_SECONDS = 0.02
"""Between two reads, and between two checks whether a slow reader has made room."""

BLOCK_MILLISECONDS = 50
WATCH_SECONDS = 1.0
"""Between two checks which owners are alive."""

READER_SECONDS = 5.0
"""Expiry of the key that tells an owner that its stream is read by another process."""

IDLE_SECONDS = 5.0
"""How long a stream without readers is followed."""

OUTAGE_SECONDS = 5.0
"""How long Redis may be unreachable before mirrors end as lost."""

TRUST_SECONDS = 3.0
"""After an outage, keys of live owners may have expired: they have this long to renew them."""

OPENING_SECONDS = 5.0
MAX_ENTRIES = 256
MAX_ENTRIES_AT_ONCE = 1024
Entry = tuple[bytes, list[bytes]]

# KEYS: of each stream its own, its owner's and its readers'. ARGV: the readers' milliseconds, then for each stream
# whether it is read here. Returns the indexes of streams that are gone, or whose owner is.
_WATCH = """
local orphans = {}
for at = 1, #KEYS, 3 do
  local place = (at - 1) / 3
  if redis.call('EXISTS', KEYS[at], KEYS[at + 1]) < 2 then
    orphans[#orphans + 1] = place
  elseif ARGV[place + 2] == '1' then
    redis.call('SET', KEYS[at + 2], '', 'PX', ARGV[1])
  end
end
return orphans
"""


class Mirror(StreamLog):
    """A copy of a stream's log, filled from Redis.

    Attributes:
        stream_id: of the stream.
        owner: the process that writes it.
        orphan: whether the owner was gone at the last check.
        used: when it was last read or requested, by the loop's clock.

    """

    __slots__ = ("_lost", "orphan", "owner", "stream_id", "used")

    def __init__(
        self,
        stream_id: str,
        *,
        lost: Callable[[int], bytes],
        window_bytes: int = WINDOW_BYTES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__(window_bytes=window_bytes, max_bytes=max_bytes)
        self.stream_id = stream_id
        self.owner = ""
        self.orphan = False
        self.used = 0.0
        self._lost = lost

    def take(self, entries: Iterable[Entry]) -> None:
        """Append the frames of some entries, each once; if one is missing, end the log."""
        for entry_id, fields in entries:
            if self.ended:
                return
            number = int(entry_id.partition(b"-")[0])
            frames = fields[1::2]
            if number == MARK or not self._follows(number - len(frames) + 1):
                self.lose()
                return
            self.owner = fields[0].removesuffix(ENDS).decode()
            for frame in frames[self.last + 1 - (number - len(frames) + 1) :]:
                self.append(frame, last=fields[0].endswith(ENDS) and self.last == number - 1)

    def lose(self) -> None:
        """End the log with the frame that says that the rest is lost."""
        if not self.ended:
            self.cut_off(self._lost(self.last + 1))

    def _follows(self, first: int) -> bool:
        if not self.owner:
            self._first = first  # the head may be trimmed
        return first <= self.last + 1


class Mirrors:
    """Follows streams of other processes: one mirror per stream for all readers here, one task for all mirrors."""

    def __init__(self, link: RedisLink, *, window_bytes: int, max_bytes: int) -> None:
        self._redis = link.client
        self._window_bytes = window_bytes
        self._max_bytes = max_bytes
        self._watch_all = link.client.register_script(_WATCH)
        self._mirrors: dict[str, Mirror] = {}
        self._opening: dict[str, asyncio.Task[Mirror | None]] = {}
        self._wanted = asyncio.Event()
        self._outage = Outage(link, "streams of other processes cannot be taken up here")
        self._answered = 0.0
        self._watch_at = 0.0
        self._trust_at = 0.0

    def end_all(self) -> None:
        """End every mirror."""
        for mirror in self._mirrors.values():
            mirror.lose()

    async def find(self, stream_id: str, *, lost: Callable[[int], bytes]) -> Mirror | None:
        """Return a stream's mirror with everything that is in Redis now; see `Relay.find`."""
        mirror = self._mirrors.get(stream_id)
        if mirror is None or mirror.ended:  # a stream that has ended may have been deleted since
            opening = self._opening.get(stream_id)
            if opening is None:
                opening = self._opening[stream_id] = asyncio.create_task(self._open(stream_id, lost=lost))
                opening.add_done_callback(lambda _: self._opening.pop(stream_id, None))
            try:
                mirror = await asyncio.shield(opening)
            except asyncio.CancelledError:
                if not opening.cancelled():
                    raise  # the caller was cancelled, not the task by `close`
        if mirror is not None:
            mirror.used = _now()
        return mirror

    def forget(self, stream_id: str) -> None:
        """End a mirror, if there is one."""
        mirror = self._mirrors.pop(stream_id, None)
        if mirror is not None:
            mirror.lose()

    def close(self) -> None:
        """End all mirrors, also those that are being opened."""
        for opening in self._opening.values():
            opening.cancel()
        self._lose_all()

    def _lose_all(self) -> None:
        for stream_id in list(self._mirrors):
            self.forget(stream_id)

    async def step(self) -> None:
        """Read new frames, as soon as there is a stream to follow; then pause."""
        if not self._mirrors:
            self._wanted.clear()
            await self._wanted.wait()
            self._answered = _now()
        try:
            await self._watch()
            await self._read()
        except ERRORS as exc:
            self._fail(exc)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            self._outage.over()
            self._answered = _now()
            await asyncio.sleep(PACE_SECONDS)

    def _fail(self, error: BaseException) -> None:
        self._outage.noticed(error)
        self._trust_at = _now() + TRUST_SECONDS
        for mirror in self._mirrors.values():
            mirror.orphan = False
        if _now() - self._answered > OUTAGE_SECONDS:
            self._lose_all()

    async def _open(self, stream_id: str, *, lost: Callable[[int], bytes]) -> Mirror | None:
        mirror = Mirror(stream_id, lost=lost, window_bytes=self._window_bytes, max_bytes=self._max_bytes)
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                while not mirror.ended and await self._read_on(mirror):
                    pass
                if not mirror.ended:
                    await self._redis.set(reader_key(stream_id), b"", px=round(READER_SECONDS * 1000))
        except ERRORS as exc:
            self._outage.noticed(exc)
            return None
        self._outage.over()
        if not mirror.owner:
            self.forget(stream_id)
            return None
        mirror.used = _now()
        self._mirrors[stream_id] = mirror
        self._wanted.set()
        return mirror

    async def _read_on(self, mirror: Mirror) -> bool:
        """Read a new mirror's next entries; return whether there may be more."""
        key, after = stream_key(mirror.stream_id), f"({mirror.last}-0"
        entries: Any = await self._redis.xrange(key, min=after, max="+", count=MAX_ENTRIES)
        mirror.take(entries)
        return len(entries) == MAX_ENTRIES

    async def _read(self) -> None:
        following = [mirror for mirror in self._mirrors.values() if not mirror.ended]
        hungry = [mirror for mirror in following if mirror.has_room]
        if not hungry:
            return
        # a mirror that waits for its readers must not also wait for other streams' frames
        block = BLOCK_MILLISECONDS if len(hungry) == len(following) else round(PACE_SECONDS * 1000)
        count = max(4, min(MAX_ENTRIES, MAX_ENTRIES_AT_ONCE // len(hungry)))
        keys = [stream_key(mirror.stream_id) for mirror in hungry]
        positions = [f"{mirror.last}-0" for mirror in hungry]
        reply: Any = await self._redis.xread(dict(zip(keys, positions, strict=True)), count=count, block=block)
        came = {key.decode(): entries for key, entries in reply or ()}
        for key, mirror in zip(keys, hungry, strict=True):
            if key in came:
                mirror.take(came[key])
            elif mirror.orphan:  # it was an orphan before the read, so nothing more will come
                self.forget(mirror.stream_id)

    async def _watch(self) -> None:
        """Once a second, check owners, tell them which streams are read here, and drop unread ones."""
        if _now() < self._watch_at:
            return
        self._watch_at = _now() + WATCH_SECONDS
        self._drop_unread()
        following = [mirror for mirror in self._mirrors.values() if not mirror.ended]
        keys: list[str] = []
        for mirror in following:
            keys += (stream_key(mirror.stream_id), owner_key(mirror.owner), reader_key(mirror.stream_id))
        read = [int(mirror.is_read) for mirror in following]
        orphans = set(await self._watch_all(keys=keys, args=[round(READER_SECONDS * 1000), *read]))
        for place, mirror in enumerate(following):
            mirror.orphan = place in orphans and _now() >= self._trust_at

    def _drop_unread(self) -> None:
        now = _now()
        for mirror in list(self._mirrors.values()):
            if mirror.is_read:
                mirror.used = now
            elif now - mirror.used > IDLE_SECONDS:
                self.forget(mirror.stream_id)


def _now() -> float:
    return asyncio.get_running_loop().time()
