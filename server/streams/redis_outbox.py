"""Writing this process's streams to Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from itertools import islice

from config.settings import StreamSettings
from server.redis_link import ERRORS, Outage, RedisLink
from server.streams.redis_keys import ENDS, MARK, RETRY_SECONDS, owner_key, stream_key

PACE_SECONDS = 0.02
"""Between two writes; frames in between are written together."""

OWNER_SECONDS = 6.0
"""Expiry of the key that says that this process is alive."""

BEAT_SECONDS = 2.0
CLOSING_SECONDS = 1.0
CLOSING_TRIES = 3
MAX_WAITING_BYTES = 8_388_608
"""Maximum size of frames waiting for Redis; a stream that would exceed it is cut off from other processes."""

MAX_STREAMS_AT_ONCE = 256
MAX_FRAMES_AT_ONCE = 1024  # of one stream: Lua's stack is bounded
MAX_BYTES_AT_ONCE = 65_536  # of one stream: bounds what readers take at once
MAX_MARKS = 10_000
LEAST_KEPT_SECONDS = 10
"""Followers must see the end, even if finished streams are not kept."""

# ARGV: the owner's milliseconds, a stream's seconds while it runs and after its end, the name of the fields, what ends
# it; then for each stream the number of its last frame, how many come (negative: they end the stream), and these.
# An entry that exists already was written by a call whose reply was lost. Returns the indexes of streams that do not
# exist any more: deleted by a process, or evicted by Redis.
_WRITE = """
local alive = redis.pcall('SET', KEYS[1], '', 'PX', ARGV[1])
if alive.err then
  return alive
end
local gone = {}
local at = 6
for place = 2, #KEYS do
  local key, number, count = KEYS[place], ARGV[at], tonumber(ARGV[at + 1])
  local name, life = ARGV[4], nil
  if count < 0 then
    count, name, life = -count, ARGV[4] .. ARGV[5], ARGV[3]
  end
  local entry = {'XADD', key}
  if tonumber(number) == count then
    life = life or ARGV[2]
  else
    entry[3] = 'NOMKSTREAM'
  end
  entry[#entry + 1] = number .. '-0'
  for frame = at + 2, at + 1 + count do
    entry[#entry + 1] = name
    entry[#entry + 1] = ARGV[frame]
  end
  local added = redis.pcall(unpack(entry))
  if not added then
    gone[#gone + 1] = place - 2
  elseif type(added) == 'table' and added.err and not string.find(added.err, 'equal or smaller', 1, true) then
    return added
  elseif life then
    redis.call('EXPIRE', key, life)
  end
  at = at + 2 + count
end
return gone
"""

# ARGV: the mark's number, the seconds that it stays; then for each stream whether its frames are deleted.
_MARK = """
for place, key in ipairs(KEYS) do
  if ARGV[place + 2] == '1' then
    redis.call('DEL', key)
    redis.call('XADD', key, ARGV[1] .. '-0', '', '')
    redis.call('EXPIRE', key, ARGV[2])
  else
    redis.pcall('XADD', key, 'NOMKSTREAM', ARGV[1] .. '-0', '', '')
  end
end
"""


@dataclass(slots=True)
class _Outgoing:
    """A stream that this process is writing.

    Attributes:
        frames: not in Redis yet.
        sent: number of the last frame before these.
        sent_bytes: total size of the frames sent.
        ended: whether the last frame was published.
        milestones: numbers of frames that Redis still has, and the bytes up to them.

    """

    frames: list[bytes] = field(default_factory=list)
    sent: int = 0
    sent_bytes: int = 0
    ended: bool = False
    milestones: deque[tuple[int, int]] = field(default_factory=lambda: deque([(0, 0)]))

    def take(self) -> tuple[list[bytes], int]:
        """Return the next entry's frames and their size."""
        size = count = 0
        for frame in self.frames:
            count += 1
            size += len(frame)
            if size >= MAX_BYTES_AT_ONCE or count == MAX_FRAMES_AT_ONCE:
                break
        taken = self.frames[:count]
        del self.frames[:count]
        return taken, size

    def note_sent(self, *, count: int, size: int, max_bytes: int) -> int | None:
        """Return the number of a frame up to which Redis may trim the stream, if trimming is worth it."""
        self.sent += count
        self.sent_bytes += size
        if self.sent_bytes - self.milestones[-1][1] >= max_bytes // 16:
            self.milestones.append((self.sent, self.sent_bytes))
        begin = self.milestones[0]
        while len(self.milestones) > 1 and self.sent_bytes - self.milestones[1][1] >= max_bytes:
            self.milestones.popleft()
        return self.milestones[0][0] if self.milestones[0] is not begin else None


@dataclass(frozen=True, slots=True)
class _Parcel:
    stream_id: str
    stream: _Outgoing
    frames: list[bytes]
    size: int
    last: bool


class Outbox:
    """Queues frames, and writes them some fifty times a second, all streams in one call.

    Attributes:
        waiting_bytes: total size of frames not in Redis yet.

    """

    def __init__(self, link: RedisLink, *, process: str, settings: StreamSettings, max_bytes: int) -> None:
        self._redis = link.client
        self._owner_key = owner_key(process)
        self._write = link.client.register_script(_WRITE)
        self._write_marks = link.client.register_script(_MARK)
        self._max_bytes = max_bytes
        kept = max(LEAST_KEPT_SECONDS, round(settings.keep))
        self._life = round(settings.total_timeout) + kept
        self._head = (round(OWNER_SECONDS * 1000), self._life, kept, process, ENDS)
        self._streams: dict[str, _Outgoing] = {}
        self._news: dict[str, _Outgoing] = {}
        self._marks: dict[str, bool] = {}  # streams to be marked in Redis, and whether their frames are deleted
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._outage = Outage(link, "streams that are written here cannot be taken up elsewhere")
        self.waiting_bytes = 0

    @property
    def failing(self) -> bool:
        """Whether the last call of Redis failed."""
        return self._outage.failing

    @property
    def streams(self) -> tuple[str, ...]:
        """Ids of the streams that are being written."""
        return tuple(self._streams)

    def publish(self, stream_id: str, number: int, frame: bytes, *, last: bool) -> None:
        """Queue a frame; see `Relay.publish`."""
        stream = self._streams.get(stream_id)
        if stream is None:
            if number != 1:
                return  # it was cut off or deleted
            stream = self._streams[stream_id] = _Outgoing()
        if self.waiting_bytes + len(frame) > MAX_WAITING_BYTES:
            self._end(stream_id, forget=False)
            return
        stream.frames.append(frame)
        stream.ended = last
        self.waiting_bytes += len(frame)
        self._news[stream_id] = stream
        self._wake.set()

    async def forget(self, stream_id: str) -> None:
        """Delete a stream for all processes; while Redis is unreachable, as soon as it is back."""
        self._end(stream_id, forget=True)
        if not self._outage.failing:
            await self._attempt()

    async def step(self) -> None:
        """Write new frames, or at least that this process is alive; then pause."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT_SECONDS):
                await self._wake.wait()
        written = await self._attempt()
        await asyncio.sleep(PACE_SECONDS if written else RETRY_SECONDS)

    async def close(self) -> None:
        """Write what is left, and that this process has ended; give up after a second."""
        tries = CLOSING_TRIES
        with contextlib.suppress(*ERRORS):
            async with asyncio.timeout(CLOSING_SECONDS):
                while tries and (self._news or self._marks):
                    tries -= not await self._attempt()
                await self._redis.delete(self._owner_key)

    async def _attempt(self) -> bool:
        async with self._writing:
            self._wake.clear()
            try:
                await self._send()
            except ERRORS as exc:
                self._outage.noticed(exc)
                self._wake.set()
                return False
            self._outage.over()
            if self._news or self._marks:
                self._wake.set()
            return True

    async def _send(self) -> None:
        await self._send_marks()
        parcels = self._pack()
        keys = [self._owner_key]
        arguments: list[str | bytes | float] = [*self._head]
        for parcel in parcels:
            count = len(parcel.frames)
            keys.append(stream_key(parcel.stream_id))
            arguments += (parcel.stream.sent + count, -count if parcel.last else count, *parcel.frames)
        try:
            gone = await self._write(keys=keys, args=arguments)
        except BaseException:
            self._unpack(parcels)
            raise
        await self._note_sent(parcels, gone=set(gone))

    async def _send_marks(self) -> None:
        marks = dict(islice(self._marks.items(), MAX_STREAMS_AT_ONCE))
        if not marks:
            return
        await self._write_marks(
            keys=[stream_key(each) for each in marks], args=[MARK, self._life, *map(int, marks.values())]
        )
        for stream_id, forget in marks.items():
            if self._marks.get(stream_id) is forget:
                del self._marks[stream_id]

    def _pack(self) -> list[_Parcel]:
        parcels: list[_Parcel] = []
        for stream_id, stream in list(islice(self._news.items(), MAX_STREAMS_AT_ONCE)):
            frames, size = stream.take()
            if not stream.frames:
                del self._news[stream_id]
            parcels.append(_Parcel(stream_id, stream, frames, size, stream.ended and not stream.frames))
        return parcels

    def _unpack(self, parcels: list[_Parcel]) -> None:
        """Put back what may not have been written. Readers skip frames that were written twice."""
        for parcel in parcels:
            if self._streams.get(parcel.stream_id) is parcel.stream:
                parcel.stream.frames[:0] = parcel.frames
                self._news[parcel.stream_id] = parcel.stream
            else:
                self.waiting_bytes -= parcel.size

    async def _note_sent(self, parcels: list[_Parcel], *, gone: set[int]) -> None:
        trims: dict[str, int] = {}
        for place, parcel in enumerate(parcels):
            self.waiting_bytes -= parcel.size
            count = len(parcel.frames)
            oldest = parcel.stream.note_sent(count=count, size=parcel.size, max_bytes=self._max_bytes)
            if oldest is not None:
                trims[parcel.stream_id] = oldest
            if (parcel.last or place in gone) and self._streams.get(parcel.stream_id) is parcel.stream:
                self._drop(parcel.stream_id)
        for stream_id, oldest in trims.items():
            await self._redis.xtrim(stream_key(stream_id), minid=oldest + 1, approximate=False)

    def _end(self, stream_id: str, *, forget: bool) -> None:
        """Stop writing a stream, and mark it in Redis."""
        self._drop(stream_id)
        if len(self._marks) < MAX_MARKS:
            self._marks[stream_id] = forget
            self._wake.set()

    def _drop(self, stream_id: str) -> None:
        stream = self._streams.pop(stream_id, None)
        self._news.pop(stream_id, None)
        if stream is not None:
            self.waiting_bytes -= sum(map(len, stream.frames))
